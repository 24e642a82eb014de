"""Networks whose filters see windows of a sample: against numpy window by window, and as part of the engine."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles import (
    assert_trees_close,
    change,
    hyper_of,
    key_of,
    patch_hessian,
    patch_jacobian,
    patch_output,
    random_net,
    to_jax,
    to_numpy,
)

from dynamics.core import spec as specs
from dynamics.core.recording import RecordSpec
from dynamics.core.simulate import start
from dynamics.data.problem import DataSpec
from dynamics.data.views import ViewSpec, list_views
from dynamics.engine.execute import Executor
from dynamics.engine.plan import Machine, make_plan
from dynamics.errors import InputError
from dynamics.kernels import build
from dynamics.measures.table import MEASURES
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import TwoLayer
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.systems.training import TrainingSpec

DIM, SAMPLES, FILTERS = 6, 9, 5
# (size, stride): next to one another, overlapping or not, with coordinates at the end that none sees,
# only one that fits
VIEWS = [(3, 1), (3, 2), (2, 3), (4, 3), (6, 4), (1, 1), (1, 2), (5, 9)]


def windows(dim: int, size: int, stride: int) -> np.ndarray:
    return list_views(ViewSpec("sliding", size, stride), (dim,))


def test_windows_start_a_stride_apart_and_end_within():
    assert windows(6, 3, 1).tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert windows(6, 2, 3).tolist() == [[0, 1], [3, 4]]
    assert windows(6, 4, 3).tolist() == [[0, 1, 2, 3]]
    assert windows(6, 6, 7).tolist() == [[0, 1, 2, 3, 4, 5]]
    assert windows(3, 1, 2).tolist() == [[0], [2]]


def built(size: int, stride: int, dtype, width: int = FILTERS, **fields):
    spec = ModelSpec("convolutional", width, views=ViewSpec("sliding", size, stride), **fields)
    return spec.build((DIM,), jnp.dtype(dtype))


def in_64_bits(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def flat(params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in params])


def close(actual, desired, tolerance) -> None:
    actual, desired = np.asarray(actual, float), np.asarray(desired, float)
    assert actual.shape == desired.shape
    np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance * np.max(np.abs(desired)))


@pytest.mark.parametrize("dtype, activation", [("float32", "relu"), ("float64", "relu"), ("float64", "gelu")])
def test_predictions_and_gradients_are_those_of_numpy(rng, dtype, activation):
    """In closed form (by the kernels in 32 bits), and by differentiating predictions."""
    cases = [(random_net(rng, size, FILTERS), rng.normal(size=(SAMPLES, DIM)), rng.normal(size=SAMPLES)) for size, _ in VIEWS]
    cases = jax.tree.map(lambda a: np.asarray(a, dtype), cases)
    weights = np.full(SAMPLES, 1 / SAMPLES, dtype)

    @jax.jit
    def everything(cases, weights):
        results = []
        for (params, x, y), (size, stride) in zip(cases, VIEWS, strict=True):
            model = built(size, stride, dtype, activation=activation)
            batch = model.prepare(x, y, weights)

            def loss(p, model=model, batch=batch):
                return jnp.sum(batch.weights * (model.apply(p, batch) - batch.labels) ** 2)

            results.append((model.apply(params, batch), model.squared_gradient(params, batch, 1.0), jax.grad(loss)(params)))
        return results

    tolerance = 1e-5 if dtype == "float32" else 1e-12
    with jax.enable_x64(dtype == "float64"):
        seen = everything(cases, weights)
    for (f, closed, autodiff), case, view in zip(seen, cases, VIEWS, strict=True):
        params, x, y = in_64_bits(case)
        prediction = patch_output(params, x, *view, activation)
        gradient = 2 * (prediction - y) @ patch_jacobian(params, x, *view, activation) / SAMPLES
        close(np.ravel(f), prediction, tolerance)
        close(flat(closed), gradient, tolerance)
        close(flat(autodiff), gradient, tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_window_over_everything_is_the_two_layer_net_to_the_last_bit(rng, dtype):
    spec = TrainingSpec(data=DataSpec(input_dim=DIM), model=ModelSpec(width=FILTERS), precision=dtype)
    samples = rng.normal(size=(SAMPLES, DIM)), rng.normal(size=SAMPLES), np.full(SAMPLES, 1 / SAMPLES)

    @jax.jit
    def everything(key, hyper, *samples):
        two_layer = spec.model.build((DIM,), jnp.dtype(dtype))
        results = []
        for model in (two_layer, built(DIM, 2, dtype)):
            params, batch = model.init(key, hyper), model.prepare(*samples)
            results.append((params, model.apply(params, batch), model.squared_gradient(params, batch, 1.0)))
        return results

    with jax.enable_x64(dtype == "float64"):
        two_layer, convolutional = everything(key_of(spec), hyper_of(spec), *(jnp.asarray(a, dtype) for a in samples))
    assert_trees_close(convolutional, two_layer, rtol=0)
    assert np.all(two_layer[0].hidden)


def test_filters_are_drawn_for_the_inputs_that_they_see():
    """Weights and biases uniform on +-1/sqrt(size), and no other fan-in."""
    spec = TrainingSpec(data=DataSpec(input_dim=DIM), model=ModelSpec("convolutional", 2000, views=ViewSpec("sliding", 2)))
    params = jax.jit(built(2, 1, "float32", width=2000).init)(key_of(spec), hyper_of(spec))
    largest = np.max(np.abs(params.hidden), axis=1)
    np.testing.assert_allclose(largest, 2**-0.5, rtol=1e-2)
    assert np.max(largest) <= 2**-0.5
    assert ravel_pytree(params)[0].size == spec.model.parameters((DIM,)) == 2000 * 4 + 1


def test_padded_filters_and_samples_have_exactly_zero_gradient_and_change_no_other(rng):
    params, x, y = random_net(rng, 3, FILTERS), rng.normal(size=(SAMPLES + 4, DIM)), rng.normal(size=SAMPLES + 4)
    wide = TwoLayer(np.pad(params.hidden, ((0, 0), (0, 6))), np.pad(params.readout, (0, 6)), params.offset)
    params, wide, x, y = jax.tree.map(np.float32, (params, wide, x, y))
    weights = np.pad(np.full(SAMPLES, 1 / SAMPLES, np.float32), (0, 4))

    @jax.jit
    def both(params, wide, *samples):
        small, large = (built(3, 2, "float32", width=width) for width in (FILTERS, FILTERS + 6))
        fewer = small.prepare(*(a[:SAMPLES] for a in samples))
        return small.squared_gradient(params, fewer, 1.0), large.squared_gradient(wide, large.prepare(*samples), 1.0)

    plain, gradient = to_numpy(both(*to_jax((params, wide, x, y, weights))))
    assert not gradient.hidden[:, FILTERS:].any() and not gradient.readout[FILTERS:].any()
    close(flat((gradient.hidden[:, :FILTERS], gradient.readout[:FILTERS], gradient.offset)), flat(plain), 1e-6)
    assert plain.hidden.any(axis=0).sum() >= 3  # the others are on for none of the samples


MACHINE = Machine("cpu", 4, 2.5e10, 2e-6, 1e6, 1e9, 1e12)  # compiling is dear and lanes are wide: one program, padded
RUN = TrainingSpec(
    steps=30,
    record=RecordSpec(num=0),
    data=DataSpec(input_dim=DIM, num_samples=SAMPLES, num_test=4),
    model=ModelSpec("convolutional", FILTERS, views=ViewSpec("sliding", 3, 2)),
    optimizer=OptimizerSpec(learning_rate=0.05, weight_decay=0.1),
    measures=["train_loss", "excess_risk", "gauss_newton_sharpness", "sharpness"],
)


def test_an_ensemble_of_padded_runs_in_lanes_is_numpy_run_by_run():
    """Descent, and both sharpnesses at its start and end against decompositions of the dense matrices."""
    sizes = [(SAMPLES, FILTERS), (7, 3), (5, FILTERS), (SAMPLES, 2)]
    runs = [change(RUN, seed=s, data__num_samples=n, model__width=k) for s in (0, 1) for n, k in sizes]
    plan = make_plan([specs.freeze(run) for run in runs], MACHINE)
    (group,) = plan.groups
    assert group.lanes == 2 and group.shape == {"input_dim": DIM, "num_samples": SAMPLES, "width": FILTERS}
    (result,) = Executor().compute_plan(plan)
    trajectory = result.trajectory
    assert trajectory.steps.tolist() == [0, 30] and trajectory.finite.all()
    records, ends, gaps = trajectory.records, in_64_bits(trajectory.state.params), []

    draw = jax.jit(lambda key, hyper: start(group.static.dynamics(), key, hyper))  # at the padded sizes, as drawn in the sweep
    for i, run in enumerate(result.runs):
        n, k = run.data.num_samples, int(run.model.width)
        fixed, state = draw(key_of(run), hyper_of(run))
        x, y = in_64_bits((fixed.problem.train.inputs[:n], fixed.problem.train.labels[:n]))
        hidden, readout, offset = in_64_bits(state.params)
        params = TwoLayer(hidden[:, :k], readout[:k], offset)
        seen = [params]
        for _ in range(30):
            residual = patch_output(params, x, 3, 2) - y
            gradient = 2 / n * residual @ patch_jacobian(params, x, 3, 2)
            p = flat(params) - 0.05 * (gradient + 0.1 * flat(params))
            params = TwoLayer(p[: 4 * k].reshape(4, k), p[4 * k : -1], p[-1])
        seen.append(params)
        assert not ends.hidden[i][:, k:].any() and not ends.readout[i][k:].any()
        close(flat((ends.hidden[i][:, :k], ends.readout[i][:k], ends.offset[i])), flat(params), 1e-5)
        for t, params in enumerate(seen):
            jacobian = patch_jacobian(params, x, 3, 2)
            top = np.linalg.eigvalsh(2 * jacobian.T @ jacobian / n)[-1]
            exact = np.linalg.eigvalsh(patch_hessian(params, x, y, 1.0, 3, 2))[-1]
            loss = np.mean((patch_output(params, x, 3, 2) - y) ** 2)
            found = [records[name][i, t] for name in ("train_loss", "gauss_newton_sharpness", "sharpness")]
            np.testing.assert_allclose(found, [loss, top, exact], rtol=2e-4)
            gaps.append(abs(exact / top - 1))
    assert max(gaps) > 0.05  # so that one could not be taken for the other


def test_the_speed_that_a_plan_counts_with_is_that_of_kernels_where_there_are_some():
    if build.find_library() is None:
        pytest.skip(build.explain_missing_library())
    base = change(RUN, measures=["train_loss"])
    ways = [(size, way) for size in (1, 2) for way in ("closed_form", "autodiff")]
    for size, way in ways:
        model = ModelSpec("convolutional", 8, views=ViewSpec("sliding", size), gradient=way)
        spec = specs.freeze(change(base, model=model))
        network = model.build((DIM,), jnp.dtype("float32"))
        params = TwoLayer(jnp.zeros((size + 1, 8)), jnp.zeros(8), jnp.zeros(()))
        batch = network.prepare(jnp.zeros((SAMPLES, DIM)), jnp.zeros(SAMPLES), jnp.zeros(SAMPLES))
        program = str(jax.make_jaxpr(lambda p: network.squared_gradient(p, batch, 1.0))(params))
        assert (spec.cost().speed > 1) == ("dynamics_" in program), model


OTHERS = "is of model.kind = convolutional or locally_connected; leave it out"
BAD = {
    "no views": ({"model__views": ViewSpec()}, "model.views.scheme = '': says what filters see; convolutional needs one"),
    "no patch": ({"model__views__size": 0}, "model.views.size = 0: must be from 1 to 6 for sliding views of 6"),
    "a negative one": ({"model__views__size": -1}, "views.size = -1: must be an integer from 0"),
    "one too large": ({"model__views__size": 7}, "model.views.size = 7: must be from 1 to 6 for sliding views of 6"),
    "no stride": ({"model__views__stride": 0}, "views.stride = 0: must be an integer from 1"),
    "of another model": ({"model__kind": "two_layer"}, f"model.views.scheme = 'sliding': {OTHERS}"),
    "size of another": (
        {"model__kind": "two_layer", "model__views": ViewSpec("", 3)},
        f"model.views.size = 3: {OTHERS}",
    ),
    "stride of another": (
        {"model__kind": "two_layer", "model__views": ViewSpec("", 0, 2)},
        f"model.views.stride = 2: {OTHERS}",
    ),
    "pooling of another": (
        {"model": ModelSpec(width=5, pooling="sum")},
        f"model.pooling = 'sum': {OTHERS}",
    ),
    "no such pooling": ({"model__pooling": "max"}, "model.pooling = 'max': choose one of mean, sum"),
    "a readout of its own": (
        {"model__readout": "unit"},
        "model.readout = 'unit': is of model.kind = locally_connected; leave it out",
    ),
    "of an mlp": (
        {"model__kind": "mlp", "model__activation": "tanh"},
        f"model.views.scheme = 'sliding': {OTHERS}",
    ),
    "no such activation": ({"model__activation": "sine"}, "model.activation = 'sine': choose one of erf, gelu"),
    **{
        name: (
            {"measures": [name], "model": ModelSpec("linear", 1)},
            f"measures = '{name}': needs model.kind = two_layer or convolutional",
        )
        for name, measure in MEASURES.items()
        if {"one_hidden_layer", "shared_filters"} & set(measure.needs)
    },
    "conservation of what is shared": (
        {"measures": ["balance"], "model__kind": "locally_connected"},
        "measures = 'balance': needs model.kind = two_layer or convolutional",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_by_field_and_value(case):
    values, message = BAD[case]
    RUN.check()
    with pytest.raises(InputError) as error:
        change(RUN, **values).check()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_the_command_line_knows_them(cli):
    study = ("experiment=stable_minima/rates", "size=smoke", "mode=plan", "model.kind=convolutional", "output=tmp/new")
    measures = "measures=[train_loss]"
    code, _, err = cli(*study, measures)
    assert code == 2 and err.startswith("error: ") and "model.views.scheme = ''" in err and len(err.splitlines()) == 1
    code, _, err = cli(*study, measures, "model.views.scheme=sliding", "model.views.size=1")
    assert code == 0, err
