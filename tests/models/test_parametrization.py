"""Parametrisations: the table against that of the papers by hand, equal dynamics where theory says so,
and width powers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change, hyper_of, key_of, to_numpy

from dynamics.core.usage import ignored_fields
from dynamics.data.problem import DataSpec
from dynamics.errors import InputError
from dynamics.models.losses import LossSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.models.parametrization import PARAMETRIZATIONS, scale_layers
from dynamics.optimizers.layer_rates import FAMILIES
from dynamics.optimizers.rules import RULES, OptimizerSpec
from dynamics.systems.training import TrainingSpec

D, N = 3, 16
# what a layer's product multiplier * W starts with over the standard deviation m^(-1/2), and the rates of that product
# under SGD (multiplier^2 * rate) and Adam (multiplier * rate): first layer, between, readout
BY_HAND = {
    "standard": ([1, 1, 1], [1, 1, 1], [1, 1, 1]),
    "ntk": ([1, 1, 1], [1 / D, 1 / N, 1 / N], [(D * N) ** -0.5, N**-1.5, 1 / N]),  # Jacot et al. 2018: rates 1
    "mean_field": ([1, 1, N**-0.5], [N, 1, 1 / N], [1, 1 / N, 1 / N]),
    "mup": ([1, 1, N**-0.5], [N, 1, 1 / N], [1, 1 / N, 1 / N]),  # Yang et al. 2022, Table 3: fan_out, 1, 1/fan_in
}


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_the_table_is_that_of_the_papers(name):
    layers = scale_layers(name, (D, N, N), N)
    starts, sgd, adam = BY_HAND[name]
    np.testing.assert_allclose([layer.draw * layer.multiplier for layer in layers], starts)
    np.testing.assert_allclose([layer.multiplier**2 * layer.sgd for layer in layers], sgd)
    np.testing.assert_allclose([layer.multiplier * layer.adam for layer in layers], adam)
    assert layers[-1].bias_sgd == layers[-1].bias_adam == 1 and layers[0].bias_sgd == layers[0].sgd
    assert name not in ("ntk", "mean_field") or layers[1].multiplier == N**-0.5
    assert (scale_layers(name, (D, N, N), N, base_width=N) == scale_layers("standard", (D, N, N), N)) == (
        name in ("standard", "mup")
    )


RUN = TrainingSpec(
    measures=("train_loss",),
    seed=5,
    precision="float64",
    data=DataSpec(input_dim=D, num_samples=6, num_test=1),
    model=ModelSpec("mlp", N, depth=2, activation="gelu", layer_init="torch_default"),
    loss=LossSpec("half"),
    optimizer=OptimizerSpec("momentum", learning_rate=0.002, momentum=0.5),
)


def follow(*runs, steps=6):
    """f at the samples before each step, (steps, n) of each run; all of them are one program."""

    @jax.jit
    def follow_all(key, hyper):
        data, paths = {}, []  # drawn once a kind of network, which lays them out its own way
        for spec in runs:
            dynamics = spec.dynamics()
            begun, state = dynamics.init(key, hyper)
            fixed = data.setdefault(spec.model.kind, begun)

            def step(state, _, spec=spec, dynamics=dynamics, fixed=fixed):
                return dynamics.step(state, fixed, key), spec.network(hyper).apply(state.params, fixed.train)

            paths.append(jax.lax.scan(step, state, length=steps)[1].reshape(steps, -1))
        return paths

    return to_numpy(follow_all(key_of(runs[0]), hyper_of(runs[0])))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("rule", [RUN.optimizer, OptimizerSpec("adam", learning_rate=0.01, epsilon=1e-30)])
def test_mean_field_is_mup_of_base_width_one_and_mup_of_its_own_width_is_standard(rule):
    """Moving powers of the width between draw, multiplier and rate leaves the function's path (Yang and Hu 2021)."""
    base = change(RUN, optimizer=rule, model__layer_init="lecun_normal")
    runs = [change(base, model__parametrization=name) for name in PARAMETRIZATIONS]
    *found, own = follow(*runs, change(base, model__parametrization="mup", model__base_width=N))
    paths = dict(zip(PARAMETRIZATIONS, found, strict=True))
    np.testing.assert_allclose(paths["mean_field"], paths["mup"], rtol=1e-9)
    np.testing.assert_allclose(own, paths["standard"], rtol=1e-9)
    np.testing.assert_allclose(paths["ntk"][0], paths["standard"][0], rtol=1e-12)
    for one, other in (("mup", "standard"), ("ntk", "standard"), ("ntk", "mup")):
        assert np.max(np.abs(paths[one][-1] - paths[other][-1])) > 1e-4


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["ntk", "mean_field", "mup"])
def test_the_two_layer_net_in_closed_form_is_the_mlp_of_one_hidden_layer(name):
    """In every parametrisation, from the same start, step by step."""
    deep = change(RUN, model__depth=1, model__parametrization=name)
    flat = change(RUN, model=ModelSpec("two_layer", N, activation="gelu", init="torch_default", parametrization=name))
    known, found = follow(flat, deep)
    np.testing.assert_allclose(np.sort(known), np.sort(found), rtol=1e-9)
    assert np.ptp(known[:, 0]) > 1e-4
    assert flat.paddable == ("data.num_samples",) and change(flat, model__parametrization="standard").paddable != flat.paddable


@pytest.mark.usefixtures("x64")
def test_the_kernel_at_the_start_is_that_of_multipliers_written_out(rng):
    """f = n^(-1/2) v . phi(d^(-1/2) W x): sum of squared derivatives by hand (Jacot et al. 2018)."""
    spec = ModelSpec("mlp", N, activation="tanh", layer_init="lecun_normal", bias=False, parametrization="ntk")
    model, x = spec.build((D,), jnp.dtype("float64")), rng.normal(size=(1, D))

    @jax.jit
    def begin(key, hyper, x):
        params = model.init(key, hyper)
        batch = model.prepare(x, jnp.zeros(1), jnp.ones(1))
        return params, jax.grad(lambda p: model.apply(p, batch)[0])(params)

    (first, last), slopes = to_numpy(begin(jax.random.key(0), hyper_of(change(RUN, model=spec)), x))
    h = np.tanh(x[0] @ first.weight / np.sqrt(D))
    by_hand = np.mean(h**2) + np.sum(x**2) / D * np.mean((last.weight[:, 0] * (1 - h**2)) ** 2)
    assert sum(np.sum(g**2) for g in jax.tree.leaves(slopes)) == pytest.approx(by_hand, rel=1e-12)
    assert np.std(first.weight) == pytest.approx(1, rel=0.3) and np.std(last.weight) == pytest.approx(1, rel=0.5)


def test_a_rule_moves_each_leaf_by_its_own_rate():
    """On a loss that is linear in the parameters updates do not depend on where they are."""
    assert set(FAMILIES) <= set(RULES)
    params, factors = {"a": np.zeros(3), "b": np.zeros(())}, {"a": np.array([1.0, 4.0, 0.5]), "b": 3.0}
    slopes = {"a": np.array([0.3, -0.2, 0.1]), "b": np.array(0.7)}
    params, factors, slopes = jax.tree.map(np.float32, (params, factors, slopes))

    def moved(kind, given, rates):
        spec = OptimizerSpec(kind, learning_rate=0.1)
        rule = spec.rule(hyper_of(change(RUN, optimizer=spec, precision="float32")), jax.tree.map(jnp.ones_like, given), rates)
        now, state = given, rule.init(given)
        for t in range(2):
            now, state = rule.update(now, state, lambda p: slopes, step=jnp.int32(t), key=jax.random.key(t))
        return jax.tree.map(lambda new, old: new - old, now, given)

    both = jax.jit(lambda given, rates: {kind: (moved(kind, given, None), moved(kind, given, rates)) for kind in FAMILIES})
    for kind, (plain, scaled) in to_numpy(both(params, factors)).items():
        for name in params:
            np.testing.assert_allclose(scaled[name], factors[name] * plain[name], rtol=1e-5, atol=5e-7, err_msg=kind)
            assert np.all(plain[name] != 0)


POWERS = {  # of the change of the last hidden layer and of the output in one step, in the width
    ("ntk", "gd"): (-0.5, 0),
    ("mup", "signgd"): (0, 0),
    ("standard", "signgd"): (1, 1.5),
}


@pytest.mark.parametrize("name, rule", POWERS)
def test_changes_in_one_step_go_with_the_predicted_power_of_the_width(name, rule, rng):
    """On the loss -mean f, whose slope in f is the same at every width."""
    x, widths = rng.normal(size=(4, 8)).astype(np.float32), (64, 512)

    def change_at(width):
        spec = ModelSpec("mlp", width, depth=2, layer_init="kaiming_normal", parametrization=name)
        model, factors = spec.build((8,), jnp.dtype("float32")), scale_layers(name, (8, width, width), width)
        hyper = hyper_of(change(RUN, precision="float32", model=spec, data__input_dim=8, optimizer__learning_rate=0.01))
        rates = model.layer_rates[FAMILIES[rule]] if model.layer_rates else None

        def pass_layers(params):
            h, seen = x, []
            for (bias, weight), layer in zip(params, factors, strict=True):
                seen.append(layer.multiplier * h @ weight + bias)
                h = jnp.maximum(seen[-1], 0)
            return seen[1:]  # of the second hidden layer, of the output

        @jax.jit
        @jax.vmap
        def moved(seed):
            params = model.init(jax.random.key(seed), hyper)
            step = OptimizerSpec(rule).rule(hyper, jax.tree.map(jnp.ones_like, params), rates)
            descended = jax.grad(lambda p: -jnp.mean(pass_layers(p)[-1]))
            after, _ = step.update(params, step.init(params), descended, step=jnp.int32(0), key=jax.random.key(0))
            return [jnp.mean(jnp.abs(a - b)) for a, b in zip(pass_layers(after), pass_layers(params), strict=True)]

        return np.array([np.mean(part) for part in moved(np.arange(4))])

    small, large = (change_at(width) for width in widths)
    np.testing.assert_allclose(np.log(large / small) / np.log(widths[1] / widths[0]), POWERS[name, rule], atol=0.2)


def test_what_does_not_go_together_is_told_before_compute(monkeypatch):
    mup = change(RUN, model__parametrization="mup")
    mup.check()
    monkeypatch.delitem(FAMILIES, "momentum")
    with pytest.raises(InputError, match=r"^optimizer\.kind = 'momentum': has one learning rate for all layers"):
        mup.check()
    assert ignored_fields(change(RUN, model__parametrization="ntk", model__base_width=8)) == {"model.base_width": 8}
    assert ignored_fields(change(mup, model__base_width=8)) == {}
