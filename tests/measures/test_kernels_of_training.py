"""The tangent kernel and what is measured of it, by Jacobians in numpy, by dense ones,
and at hand-computed networks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change, hyper_of, key_of, net_jacobian, net_output, random_net, to_jax

from dynamics.core import spec as specs
from dynamics.data.problem import DataSpec, Problem, Samples
from dynamics.errors import InputError
from dynamics.measures.measure import measure
from dynamics.measures.table import MEASURES
from dynamics.measures.view import View, prepare_run_data
from dynamics.models.base import plain_model
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import TwoLayer, build_two_layer
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.systems.training import TrainingSpec

pytestmark = pytest.mark.usefixtures("x64")
N, TESTS, WIDTH = 5, 3, 4
NAMES = ("predictions", "tangent_kernel", "test_tangent_kernel", "tangent_kernel_alignment", "tangent_kernel_spread")
SCALARS = ("tangent_kernel_change", "tangent_kernel_alignment", "tangent_kernel_spread", "parameter_change")


def look(model, params, first, samples, fresh, sizes, names):
    """The columns of these measures, in one program."""

    @jax.jit
    def seen(params, first, samples, fresh):
        hyper = {f"{k}": jnp.int32(v) for k, v in sizes.items()}
        fixed = prepare_run_data(model, Problem(Samples(*samples), Samples(*fresh)), hyper, jax.random.key(0))
        view = View(model, params, fixed._replace(start=first), 0.5)
        found = {}
        for name in names:
            found |= MEASURES[name](view)
        return found

    return {name: np.asarray(v) for name, v in seen(*to_jax((params, first, samples, fresh))).items()}


def align(kernel, labels):
    """Cosine of the kernel and y y^T as matrices."""
    return np.sum(kernel * np.outer(labels, labels)) / np.linalg.norm(kernel) / np.linalg.norm(np.outer(labels, labels))


@pytest.mark.parametrize("activation, dim, more", [("relu", 1, 0), ("relu", 2, 0), ("gelu", 2, 3)])
def test_kernels_of_a_two_layer_net_are_products_of_its_jacobian(rng, activation, dim, more):
    """In one dimension the layout sorts the samples; three more samples, coordinates and neurons are padding."""
    net, first = random_net(rng, dim, WIDTH), random_net(rng, dim, WIDTH)
    x, fresh, y = rng.normal(size=(N, dim)), rng.normal(size=(TESTS, dim)), rng.normal(size=N)
    jacobian, others, before = (net_jacobian(p, at, activation) for p, at in ((net, x), (net, fresh), (first, x)))
    kernel, old = jacobian @ jacobian.T, before @ before.T

    def pad(p):
        return TwoLayer(np.pad(p.hidden, ((0, more), (0, more))), np.pad(p.readout, (0, more)), p.offset)

    padded = (np.pad(x, ((0, more), (0, more))), *[np.pad(y, (0, more))] * 2, np.pad(np.full(N, 1 / N), (0, more)))
    test = (np.pad(fresh, ((0, 0), (0, more))), *[np.zeros(TESTS)] * 2, np.full(TESTS, 1 / TESTS))
    model = build_two_layer(dim + more, WIDTH + more, activation, "torch_default", jnp.float64)
    sizes = {"data.input_dim": dim, "data.num_samples": N, "model.width": WIDTH}
    names = SCALARS if more else (*NAMES, *SCALARS)
    seen = look(model, pad(net), pad(first), padded, test, sizes, names)
    centre = np.eye(N) - 1 / N
    flat, flat_first = (np.concatenate([np.ravel(leaf) for leaf in p]) for p in (net, first))
    expected = {
        "tangent_kernel": kernel,
        "test_tangent_kernel": others @ jacobian.T,
        "train_prediction": net_output(net, x, activation),
        "test_prediction": net_output(net, fresh, activation),
        "tangent_kernel_change": np.linalg.norm(kernel - old) / np.linalg.norm(old),
        "tangent_kernel_alignment": align(kernel, y),
        "centered_tangent_kernel_alignment": align(centre @ kernel @ centre, centre @ y),
        "tangent_kernel_mean_eigenvalue": np.linalg.eigvalsh(kernel).mean(),
        "tangent_kernel_effective_rank": np.linalg.eigvalsh(kernel).sum() ** 2 / np.sum(np.linalg.eigvalsh(kernel) ** 2),
        "parameter_distance": np.linalg.norm(flat - flat_first),
        "parameter_change": np.linalg.norm(flat - flat_first) / np.linalg.norm(flat_first),
    }
    for name, value in seen.items():
        np.testing.assert_allclose(value, expected.pop(name), rtol=1e-10, atol=1e-12, err_msg=name)
    assert not [name for name in expected if "prediction" not in name and not name.endswith("tangent_kernel")]


def test_the_kernel_of_several_outputs_is_the_mean_over_them(rng):
    """f_c(x) = tanh(x W)_c: df_c/dW = x (1 - f_c^2) in column c; by automatic differentiation, sample by sample."""
    x, fresh, w = rng.normal(size=(N, 2)), rng.normal(size=(TESTS, 2)), rng.normal(size=(2, 3))
    model = plain_model(lambda key, hyper: w, lambda w, x: jnp.tanh(x @ w))

    def samples(x):
        return (x, np.zeros((len(x), 3)), np.zeros((len(x), 3)), np.full(len(x), 1 / len(x)))

    seen = look(model, w, w, samples(x), samples(fresh), {"data.num_samples": N}, NAMES)
    one, other = (1 - np.tanh(at @ w) ** 2 for at in (x, fresh))
    more = (*(np.concatenate([a, a[:1]]) for a in samples(x)[:3]), np.append(samples(x)[3], 0.0))  # a sample of no weight
    padded = look(model, w, w, more, samples(fresh), {"data.num_samples": N}, ["tangent_kernel_spread"])
    for name, value in padded.items():
        assert value == pytest.approx(seen[name], rel=1e-12)
    np.testing.assert_allclose(seen["tangent_kernel"], (x @ x.T) * (one @ one.T) / 3, rtol=1e-12)
    np.testing.assert_allclose(seen["test_tangent_kernel"], (fresh @ x.T) * (other @ one.T) / 3, rtol=1e-12)
    np.testing.assert_allclose(seen["test_prediction"], np.tanh(fresh @ w), rtol=1e-12)


RUN = TrainingSpec(
    steps=1,
    precision="float64",
    data=DataSpec(input_dim=2, num_samples=N, num_test=TESTS),
    model=ModelSpec(width=WIDTH),
    optimizer=OptimizerSpec(learning_rate=0.05),
    measures=["tangent_kernel_change", "parameter_change"],
)


def test_a_run_compares_with_its_start():
    spec = specs.freeze(RUN)
    spec.check()
    dynamics = specs.static(spec).dynamics()

    @jax.jit
    def run(key, hyper):
        fixed, first = dynamics.init(key, hyper)
        last = dynamics.step(first, fixed, key)
        return fixed.problem.train.inputs, first.params, last.params, [dynamics.observe(s, fixed) for s in (first, last)]

    x, first, last, (before, after) = run(key_of(spec), hyper_of(spec))
    assert before["tangent_kernel_change"] == before["parameter_change"] == 0
    old, new = (j @ j.T for j in (net_jacobian(p, np.asarray(x)) for p in (first, last)))
    flat, flat_first = (np.concatenate([np.ravel(leaf) for leaf in p]) for p in (last, first))
    moved, size = np.linalg.norm(flat - flat_first), np.linalg.norm(flat_first)
    expected = {
        "tangent_kernel_change": np.linalg.norm(new - old) / np.linalg.norm(old),
        "parameter_distance": moved,
        "parameter_change": moved / size,
    }
    for name, value in expected.items():
        assert after[name] == pytest.approx(value, rel=1e-9) and value > 1e-4


def test_what_compares_with_the_start_needs_a_run(rng):
    net = random_net(rng, 2, WIDTH)
    with pytest.raises(InputError, match=r"tangent_kernel_change.*training run"):
        measure(net, np.ones((3, 2)), np.ones(3), "tangent_kernel_change", learning_rate=0.1)
    for names, kept in ((["train_loss"], False), (["parameter_change"], True)):
        dynamics = specs.static(specs.freeze(change(RUN, measures=names))).dynamics()
        fixed, _ = jax.eval_shape(dynamics.init, key_of(RUN), hyper_of(RUN))
        assert (fixed.start is not None) == kept


def test_kernels_are_priced():
    """A column a gradient, twice where the start's is compared; to m test samples a third of it for each of m / n."""
    base, priced = (change(RUN, measures=names).cost().flops_per_record for names in (["train_loss"], ["tangent_kernel"]))
    both = change(RUN, measures=["tangent_kernel", "tangent_kernel_change", "tangent_kernel_spread"]).cost().flops_per_record
    gradient = change(RUN, measures=["train_loss"]).cost().flops_per_step
    assert priced - base == pytest.approx(N * gradient) and both - base == pytest.approx(2 * N * gradient)
    fresh = change(RUN, measures=["test_tangent_kernel"]).cost().flops_per_record - base
    assert fresh == pytest.approx(N * gradient * (2 + TESTS / N) / 3)
