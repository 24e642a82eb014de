"""Networks of filters that see patches, shared or one set a position: against numpy filter by filter, and their theory.

A net is a `ModelSpec` and its parameters. Everything expected is made of loops over positions and filters.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles import (
    PHI,
    SLOPE,
    assert_trees_close,
    change,
    hyper_of,
    key_of,
    one_sided_weight,
    to_jax,
    to_numpy,
    two_sided_weight,
)
from scipy import optimize, stats

from dynamics.core import spec as specs
from dynamics.core.recording import RecordSpec
from dynamics.core.simulate import start
from dynamics.data.law import DataSpec
from dynamics.data.problem import Problem, Samples, TargetSpec
from dynamics.data.targets import TARGETS, Setting
from dynamics.data.views import ViewSpec, views
from dynamics.errors import InputError
from dynamics.kernels import build
from dynamics.measures.table import MEASURES, NEURON_MEASURES
from dynamics.measures.view import View, prepare_run_data
from dynamics.models.base import Batch
from dynamics.models.locally_connected import LocallyConnected
from dynamics.models.losses import LossSpec, loss
from dynamics.models.several_outputs import SeveralOutputs
from dynamics.models.spec import ModelSpec
from dynamics.models.two_layer import TwoLayer
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.sweep.execute import Executor
from dynamics.sweep.plan import make_plan
from dynamics.systems.training import TrainingSpec

pytestmark = pytest.mark.xdist_group("patch_models")  # tests share programs

DIM, SAMPLES, FILTERS = 5, 7, 4
WINDOWS = ViewSpec("sliding", 3)  # three of them, overlapping
SHARED = ModelSpec("convolutional", FILTERS, views=WINDOWS)
UNSHARED = ModelSpec("locally_connected", FILTERS, views=WINDOWS)
UNIT = replace(UNSHARED, readout="unit")
NETS = [replace(net, pooling=pooling) for net in (SHARED, UNSHARED, UNIT) for pooling in ("mean", "sum")]
OTHERS = [
    replace(SHARED, views=ViewSpec("disjoint", 2)),
    replace(UNSHARED, views=ViewSpec("sliding", 1, 2)),
    replace(UNIT, views=ViewSpec("random_subsets", 3, count=2, seed=1), pooling="sum"),
]


def name_of(spec: ModelSpec) -> str:
    return f"{spec.kind}-{spec.readout}-{spec.pooling}-{spec.views.scheme}{spec.views.size}"


by_name = pytest.mark.parametrize("spec", NETS, ids=name_of)


# The same networks in numpy


class Unit(NamedTuple):
    """One filter at one position: which entries of hidden and of readout are its own, and what it sees of the samples."""

    hidden: tuple
    readout: tuple
    seen: np.ndarray


def units(spec: ModelSpec, x: np.ndarray) -> list[Unit]:
    """Position after position, filter after filter."""
    found = []
    for position, view in enumerate(views(spec.views, (x.shape[1],))):
        for k in range(int(spec.width)):
            own = spec.kind == "locally_connected"
            hidden = (position, slice(None), k) if own else (slice(None), k)
            found.append(Unit(hidden, (position, k) if spec.readout == "unit" else (k,), x[:, view]))
    return found


def share(spec: ModelSpec) -> float:
    return 1 / len(views(spec.views, (DIM,))) if spec.pooling == "mean" else 1.0


def with_one(x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(x), 1)), x], axis=1)


def output(spec: ModelSpec, params, x: np.ndarray) -> np.ndarray:
    f = np.full(len(x), float(params.offset))
    for unit in units(spec, x):
        z = with_one(unit.seen) @ params.hidden[unit.hidden]
        f += share(spec) * params.readout[unit.readout] * PHI[spec.activation](z)
    return f


def jacobian(spec: ModelSpec, params, x: np.ndarray) -> np.ndarray:
    """Rows d f(x_i) / d theta in the order of the raveled parameters, (n, P)."""
    hidden, readout = (np.zeros((len(x), *a.shape)) for a in (params.hidden, params.readout))
    for unit in units(spec, x):
        rows = with_one(unit.seen)
        z = rows @ params.hidden[unit.hidden]
        slope = params.readout[unit.readout] * SLOPE[spec.activation](z)
        hidden[(slice(None), *unit.hidden)] += share(spec) * slope[:, None] * rows
        readout[(slice(None), *unit.readout)] += share(spec) * PHI[spec.activation](z)
    return np.concatenate([hidden.reshape(len(x), -1), readout.reshape(len(x), -1), np.ones((len(x), 1))], axis=1)


def hessian(spec: ModelSpec, params, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Newton and the rest of the Hessian of (1/2n) sum (f - y)^2 of a ReLU net, (P, P) each."""
    rows, residual = jacobian(spec, params, x), output(spec, params, x) - y
    index = np.arange(params.hidden.size).reshape(params.hidden.shape)
    outer = params.hidden.size + np.arange(params.readout.size).reshape(params.readout.shape)
    rest = np.zeros((rows.shape[1], rows.shape[1]))
    for unit in units(spec, x):
        on = with_one(unit.seen) @ params.hidden[unit.hidden] > 0
        part = share(spec) / len(x) * (residual * on) @ with_one(unit.seen)
        rest[index[unit.hidden], outer[unit.readout]] += part
        rest[outer[unit.readout], index[unit.hidden]] += part
    return rows.T @ rows / len(x), rest


def random_params(rng: np.random.Generator, spec: ModelSpec):
    """Normal in all parameters."""
    num_views, size = spec.rows((DIM,))
    width = int(spec.width)
    if spec.kind == "convolutional":
        return TwoLayer(rng.normal(size=(size + 1, width)), rng.normal(size=width), rng.normal())
    readout = rng.normal(size=(num_views, width) if spec.readout == "unit" else width)
    return LocallyConnected(rng.normal(size=(num_views, size + 1, width)), readout, rng.normal())


def flat(params) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])


def close(actual, desired, tolerance: float) -> None:
    actual, desired = np.asarray(actual, float), np.asarray(desired, float)
    assert actual.shape == desired.shape
    np.testing.assert_allclose(actual, desired, rtol=0, atol=tolerance * np.max(np.abs(desired)))


# Predictions and derivatives


@pytest.mark.parametrize("dtype, activation", [("float32", "relu"), ("float64", "relu"), ("float64", "gelu")])
def test_predictions_gradients_and_kernels_are_those_of_numpy(rng, dtype, activation):
    """In closed form (by kernels in 32 bits where there are any, and without), by autodiff, and with filled-up samples."""
    nets = [replace(net, activation=activation) for net in (*OTHERS, SHARED, UNSHARED, UNIT)]
    nets = nets[3:] if (dtype, activation) == ("float64", "relu") else nets  # what is compiled for 32 bits without kernels too
    ways = ("closed_form", "autodiff") if dtype == "float32" else ("closed_form",)
    x, y = rng.normal(size=(SAMPLES + 2, DIM)), rng.normal(size=SAMPLES + 2)
    weights = np.append(rng.dirichlet(np.full(SAMPLES, 3.0)), [0, 0])  # any that sum to one
    params = [random_params(rng, net) for net in nets]
    params, x, y, weights = jax.tree.map(lambda a: np.asarray(a, dtype), (params, x, y, weights))

    @jax.jit
    def everything(params, *samples):
        found = []
        for p, net in zip(params, nets, strict=True):
            for way in ways:
                model = replace(net, gradient=way).build((DIM,), jnp.dtype(dtype))
                batch = model.prepare(*samples)
                seen = [model.apply(p, batch).reshape(-1), model.squared_gradient(p, batch, 0.5)]
                seen.append(jax.grad(lambda p, m=model, b=batch: loss("squared", 0.5, m.apply, p, b))(p))
                found.append((*seen, model.gauss_newton(p, batch)))
        return found

    with jax.enable_x64(dtype == "float64"):
        found = iter(to_numpy(everything(params, x, y, weights)))
    params, x, y, weights = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, x, y, weights))
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    for p, net in zip(params, nets, strict=True):
        f, rows, root = output(net, p, x), jacobian(net, p, x), np.sqrt(weights)
        gradient = (weights * (f - y)) @ rows
        for _ in ways:
            prediction, closed, autodiff, kernel = next(found)
            close(prediction[: len(x)], f, tolerance)
            close(flat(closed), gradient, tolerance)
            close(flat(autodiff), gradient, tolerance)
            close(kernel[: len(x), : len(x)], root[:, None] * (rows @ rows.T) * root, tolerance)
    assert next(found, None) is None


def test_the_oracles_jacobian_is_a_derivative(rng):
    """Finite differences of numpy's own output."""
    for net in (*NETS, replace(UNIT, activation="gelu")):
        params, x = random_params(rng, net), rng.normal(size=(2, DIM))
        shapes = [np.shape(leaf) for leaf in params]
        sizes = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])

        def f(theta, net=net, params=params, x=x, shapes=shapes, sizes=sizes):
            parts = [theta[a:b].reshape(s) for a, b, s in zip(sizes, sizes[1:], shapes, strict=False)]
            return output(net, type(params)(*parts), x)

        theta = flat(params)
        np.testing.assert_allclose(optimize.approx_fprime(theta, f, 1e-7), jacobian(net, params, x), atol=1e-5)


@by_name
def test_half_spaces_are_sums_over_open_and_closed_gates(rng, spec):
    """Of several coefficients at once; plain, and by kernels in 32 bits."""
    params, x = random_params(rng, spec), rng.normal(size=(SAMPLES, DIM))
    coefficients = rng.normal(size=(2, SAMPLES))
    width, rows = int(spec.width), with_one(x[:, :3]).shape[1]
    num_units = FILTERS if spec.kind == "convolutional" else 3 * FILTERS
    expected = np.zeros((2, 2, rows, num_units))
    for n, unit in enumerate(units(spec, x)):
        z = with_one(unit.seen) @ params.hidden[unit.hidden]
        for side, on in enumerate((z > 0, z < 0)):
            place = n % width if spec.kind == "convolutional" else n
            expected[side, :, :, place] += share(spec) * (coefficients * on) @ with_one(unit.seen)
    for dtype, tolerance in (("float64", 1e-12), ("float32", 2e-5)):
        with jax.enable_x64(dtype == "float64"):
            model = spec.build((DIM,), jnp.dtype(dtype))
            given = jax.tree.map(lambda a: jnp.asarray(a, dtype), (params, x, coefficients))

            @jax.jit
            def sums(p, x, c, model=model):
                batch = model.prepare(x, c[0], c[1])
                return model.half_spaces(p, batch, c.reshape(2, *batch.weights.shape)), model.neurons(p)

            seen, neurons = to_numpy(sums(*given))
        close(seen, expected, tolerance)
        for n, unit in enumerate(units(spec, x)[:num_units]):
            close(neurons.hidden[:, n], params.hidden[unit.hidden], 1e-6)
            close(neurons.readout[n], params.readout[unit.readout], 1e-6)


def test_kernels_are_used_where_there_are_some():
    if build.library() is None:
        pytest.skip(build.why_not())
    for net in NETS:
        for way in ("closed_form", "autodiff"):
            model = replace(net, gradient=way).build((DIM,), jnp.dtype("float32"))
            params = to_jax(jax.tree.map(np.float32, random_params(np.random.default_rng(0), net)))
            batch = model.prepare(jnp.zeros((2, DIM)), jnp.zeros(2), jnp.zeros(2))
            program = str(jax.make_jaxpr(lambda p, m=model, b=batch: m.squared_gradient(p, b, 1.0))(params))
            assert ("dynamics_" in program) == (way == "closed_form")


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_one_position_that_sees_everything_is_a_two_layer_net(rng, activation):
    """Of the same parameters; whether the readout is shared or not makes no difference there."""
    everything = ViewSpec("sliding", DIM)
    dense = ModelSpec(width=FILTERS, activation=activation)
    params, x, y = (
        random_params(rng, replace(SHARED, views=everything)),
        rng.normal(size=(SAMPLES, DIM)),
        rng.normal(size=SAMPLES),
    )
    results = []
    for net in (dense, *(replace(u, views=everything, activation=activation) for u in (UNSHARED, UNIT))):
        model = net.build((DIM,), jnp.dtype("float64"))

        @jax.jit
        def seen(p, x, y, model=model):
            batch = model.prepare(x, y, jnp.full(SAMPLES, 1 / SAMPLES))
            c = jnp.stack([batch.weights, batch.labels])
            gradient = model.squared_gradient(p, batch, 1.0)
            curves = (model.gauss_newton(p, batch), model.half_spaces(p, batch, c), model.neurons(p))
            return model.apply(p, batch).reshape(-1), [jnp.ravel(leaf) for leaf in gradient], curves

        own = params
        if net is not dense:
            readout = params.readout[None] if net.readout == "unit" else params.readout
            own = LocallyConnected(params.hidden[None], readout, params.offset)
        results.append(to_numpy(seen(to_jax(own), x, y)))
        assert net.parameters((DIM,)) == flat(own).size
    for other in results[1:]:
        assert_trees_close(other, results[0], rtol=1e-11, atol=1e-13)


def test_positions_are_drawn_for_what_they_see_and_the_readout_for_what_it_sums():
    """Uniform on +-1/sqrt(fan-in): m for a filter, K or K L for the readout; no two weights alike."""
    for spec, fan_mid in ((UNSHARED, 400), (UNIT, 400 * 3)):
        spec = replace(spec, width=400)
        run = TrainingSpec(data=DataSpec(input_dim=DIM), model=spec)
        params = to_numpy(jax.jit(spec.build((DIM,), jnp.dtype("float32")).init)(key_of(run), hyper_of(run)))
        assert params.hidden.shape == (3, 4, 400) and params.readout.shape == ((3, 400) if fan_mid == 1200 else (400,))
        for position in params.hidden:
            for row in position:
                assert stats.kstest(row, stats.uniform(-(3**-0.5), 2 * 3**-0.5).cdf).pvalue > 1e-3
        assert stats.kstest(params.readout.ravel(), stats.uniform(-(fan_mid**-0.5), 2 * fan_mid**-0.5).cdf).pvalue > 1e-3
        assert len(np.unique(flat(params))) > 0.999 * flat(params).size
        assert spec.parameters((DIM,)) == flat(params).size == ravel_pytree(params)[0].size


# The theory


COLUMNS = ("residual_sharpness", "path_norms", "activation_statistics", "rate_norm_correlation", "stability_checks")
CURVATURE = ("gauss_newton_sharpness", "sharpness")  # which take long to compile: of one net only, the others are told them
assert set(NEURON_MEASURES) == {*COLUMNS, "balance"}
NETS_EACH = 64


def look(model, columns, width, params, x, y, weights, told=()):
    """Columns of a net whose loss is that of the theory; told: the tops of its Gauss-Newton matrix and of its Hessian."""
    samples = Samples(x, y, y, weights)
    hyper = {"optimizer.learning_rate": jnp.asarray(0.1), "model.width": width, "data.num_samples": jnp.sum(weights > 0)}
    seen = View(model, params, prepare_run_data(model, Problem(samples, samples), hyper, jax.random.key(0)), 0.5)
    if len(told):
        seen.gauss_newton, seen.sharpness = (SimpleNamespace(value=value) for value in told)
    return {name: value for measure in columns for name, value in MEASURES[measure](seen).items()}


@cache
def program(spec: ModelSpec):
    """(params, x, y, tops), each with a leading axis of nets, to the columns."""
    model, weights = spec.build((DIM,), jnp.dtype("float64")), np.full(SAMPLES, 1 / SAMPLES)
    alone, width = spec == UNSHARED, jnp.int32(spec.width)
    columns = (*COLUMNS, *CURVATURE) if alone else COLUMNS

    def look_at(params, x, y, tops):
        return look(model, columns, width, params, x, y, jnp.asarray(weights), () if alone else tops)

    return jax.jit(jax.vmap(look_at))


def seen_by_library(spec: ModelSpec, cases: list, known: Facts) -> dict[str, np.ndarray]:
    tops = np.stack([known.gauss_newton, known.sharpness], axis=1)
    filled = [(*case, top) for case, top in zip(cases, tops, strict=True)]
    filled += filled[:1] * (NETS_EACH - len(cases))
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *filled)
    return {name: np.asarray(value, float)[: len(cases)] for name, value in program(spec)(*stacked).items()}


def any_case(rng: np.random.Generator, spec: ModelSpec):
    """Parameters of any scale, some units dead, or always on; windows of normals or of a sphere; labels near and far."""
    params, scale = random_params(rng, spec), 10 ** rng.uniform(-1.5, 1.5, size=4)
    hidden = params.hidden * scale[0]
    kind = rng.choice(["plain", "dead", "always on"])
    if kind != "plain":
        hidden[..., 0, : FILTERS // 2] = (-1 if kind == "dead" else 1) * 100 * np.abs(hidden).max()
    params = params._replace(hidden=hidden, readout=params.readout * scale[1], offset=np.asarray(params.offset * scale[2]))
    x = rng.normal(size=(SAMPLES, DIM))
    if rng.uniform() < 0.5:
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = scale[3] * rng.normal(size=SAMPLES)
    if rng.uniform() < 0.4:  # nearly interpolated
        y = output(spec, params, x) + 10 ** rng.uniform(-4, 0) * rng.normal(size=SAMPLES)
    return params, x, y


@cache
def random_cases(spec: ModelSpec) -> list:
    rng = np.random.default_rng(len(name_of(spec)))
    return [any_case(rng, spec) for _ in range(NETS_EACH)]


@cache
def seen_at_random(spec: ModelSpec) -> dict[str, np.ndarray]:
    return seen_by_library(spec, random_cases(spec), facts_at_random(spec))


class Facts(NamedTuple):
    """In theory units: tops of Gauss-Newton and Hessian, |rest|, R, sqrt(2 L)."""

    gauss_newton: float
    sharpness: float
    rest: float
    radius: float
    error: float


def facts(spec: ModelSpec, params, x: np.ndarray, y: np.ndarray) -> Facts:
    gauss_newton, rest = hessian(spec, params, x, y)
    values = [np.linalg.eigvalsh(matrix) for matrix in (gauss_newton, gauss_newton + rest, rest)]
    error = np.sqrt(np.mean((output(spec, params, x) - y) ** 2))
    return Facts(values[0][-1], values[1][-1], np.abs(values[2]).max(), radius(spec, x), error)


def facts_of(spec: ModelSpec, cases: list) -> Facts:
    """Of every case, stacked."""
    return Facts(*np.transpose([facts(spec, *case) for case in cases]))


@cache
def facts_at_random(spec: ModelSpec) -> Facts:
    return facts_of(spec, random_cases(spec))


def radius(spec: ModelSpec, x: np.ndarray) -> float:
    return max(np.linalg.norm(row) for unit in units(spec, x) for row in unit.seen)


def theory(spec: ModelSpec, params, x: np.ndarray) -> dict[str, float]:
    """The path norms of the notes, section 2.3: of each filter on the multiset of all patches, or of each unit on its own n."""
    found, every = np.zeros(3), units(spec, x)
    factor = share(spec) ** 2  # 1/L^2 for a mean
    if spec.kind == "convolutional":
        factor = (share(spec) * 3) ** 2
        every = [
            unit._replace(seen=np.concatenate([other.seen for other in every[k::FILTERS]]))
            for k, unit in enumerate(every[:FILTERS])
        ]
    for unit in every:
        bias, *w = params.hidden[unit.hidden]
        norm = np.linalg.norm(w)
        u, t, size = np.array(w) / norm, -bias / norm, abs(params.readout[unit.readout]) * norm
        weighted = np.array([two_sided_weight(unit.seen, u, t), one_sided_weight(unit.seen, u, t)])
        found += size * np.array([np.sqrt(factor), *(factor * weighted)])
    return dict(zip(("path_norm", "weighted_path_norm", "one_sided_path_norm"), found, strict=True))


def coupling(spec: ModelSpec) -> float:
    """How many samples' gates a block of the Hessian holds, to the root where they are of different coordinates."""
    kind = spec.kind if spec.kind == "convolutional" else spec.readout
    return {"convolutional": 3.0, "shared": 3**0.5, "unit": 1.0}[kind] * share(spec)


@pytest.mark.usefixtures("x64")
@by_name
def test_the_rest_of_the_hessian_is_its_largest_block(spec):
    """|S| exactly: of a filter, or of the units that share a readout, or of one unit. And lambda_H and lambda_GN beside it."""
    seen, known = seen_at_random(spec), facts_at_random(spec)
    np.testing.assert_allclose(seen["residual_sharpness"], known.rest, rtol=1e-6)
    assert np.all(np.abs(known.sharpness - known.gauss_newton) <= known.rest * (1 + 1e-9))
    if spec == UNSHARED:
        assert seen["sharpness_converged"].all()
        np.testing.assert_allclose(seen["gauss_newton_sharpness"], known.gauss_newton, rtol=1e-9)
        np.testing.assert_allclose(seen["sharpness"], known.sharpness, rtol=1e-6)
        assert np.mean(np.abs(known.sharpness / known.gauss_newton - 1) > 1e-3) > 0.1


@pytest.mark.usefixtures("x64")
@by_name
def test_paths_are_weighted_by_what_each_unit_sees(spec):
    """1 + 2 sum |v||w| g~ over all patches with shared filters, 1 + (2/L^2) sum |v||w| g~_l without, and the checks' slacks."""
    cases, seen, known = random_cases(spec), seen_at_random(spec), facts_at_random(spec)
    paths = [theory(spec, params, x) for params, x, _ in cases]
    for name in paths[0]:
        np.testing.assert_allclose(seen[name], [path[name] for path in paths], rtol=1e-9, atol=1e-13, err_msg=name)
    flat_slack = known.sharpness / 2 - 1 / 2 - seen["weighted_path_norm"]
    far = max(coupling(spec), 1) * (known.radius + 1) * known.error
    expected = {
        "c1_slack": known.gauss_newton - 1 - 2 * seen["one_sided_path_norm"],
        "c2_slack": flat_slack + coupling(spec) * np.sqrt(1 + known.radius**2) / 2 * known.error,
        "c3_slack": flat_slack + far,
        "stationary_slack": flat_slack,
        "c1_scale": known.gauss_newton,
        "c3_scale": known.sharpness / 2 + far,
    }
    for name, value in expected.items():
        assert np.all(np.abs(seen[name] - value) <= 1e-6 * (known.sharpness + far)), name


@pytest.mark.usefixtures("x64")
@by_name
def test_the_checks_hold_on_random_networks_and_not_with_plain_path_norms(spec):
    """On dense matrices. A check with too small a coupling would fail too, if rarely."""
    seen, known = seen_at_random(spec), facts_at_random(spec)
    layout = spec.build((DIM,), jnp.dtype("float64")).layout
    assert layout.coupling == pytest.approx(coupling(spec), rel=1e-12)
    scale = known.sharpness + known.error * (1 + known.radius)
    assert np.all(known.gauss_newton - 1 - 2 * seen["one_sided_path_norm"] >= -1e-10 * scale)
    flat_slack = known.sharpness / 2 - 1 / 2 - seen["weighted_path_norm"]
    assert np.all(flat_slack + layout.coupling * np.sqrt(1 + known.radius**2) / 2 * known.error >= -1e-10 * scale)
    assert np.all(flat_slack + max(layout.coupling, 1) * (known.radius + 1) * known.error >= -1e-10 * scale)
    assert np.all(known.rest <= layout.coupling * np.sqrt(1 + known.radius**2) * known.error * (1 + 1e-12))
    for name, least in (("c1_slack", -1e-10), ("c2_slack", -1e-6), ("c3_slack", -1e-6)):
        assert np.all(seen[name] >= least * scale)
    unweighted = known.gauss_newton - 1 - 2 * seen["path_norm"]
    assert np.mean(unweighted < -1e-3 * scale) > 0.05


def level(spec: ModelSpec, rng: np.random.Generator, *, on_everywhere: bool):
    """All samples are one constant vector, so that all patches are one; every unit that is on is balanced between its layers.

    Where positions with filters of their own share a readout, a filter is on at one of them only, or else at all of them.
    """
    x = np.full((SAMPLES, DIM), 0.8)
    params = random_params(rng, spec)
    hidden = np.abs(params.hidden)  # on
    z = hidden[..., 0, :] + 0.8 * hidden[..., 1:, :].sum(axis=-2)
    balanced = z / np.sqrt(1 + 3 * 0.8**2)
    if spec.kind == "locally_connected" and spec.readout == "shared":
        here = rng.integers(3, size=FILTERS)
        if not on_everywhere:
            hidden[:, 0] = np.where(np.arange(3)[:, None] == here, hidden[:, 0], -100)
        balanced = balanced[here, np.arange(FILTERS)]
    offset = np.asarray(params.offset)
    return params._replace(hidden=hidden, readout=np.sign(params.readout) * balanced, offset=offset), x, np.full(SAMPLES, 3.0)


@pytest.mark.usefixtures("x64")
@by_name
def test_the_bounds_are_attained_so_no_factor_in_them_is_too_large_or_too_small(rng, spec):
    """C1 where samples are alike and layers balanced; |S| <= coupling sqrt(1 + R^2) sqrt(2 L) where all gates are open too."""
    cases = [level(spec, rng, on_everywhere=False) for _ in range(8)]
    known = facts_of(spec, cases)
    seen = seen_by_library(spec, cases, known)
    assert np.min(known.gauss_newton) > 1.2
    np.testing.assert_allclose(1 + 2 * seen["one_sided_path_norm"], known.gauss_newton, rtol=1e-12)
    cases = [level(spec, rng, on_everywhere=True) for _ in range(8)]
    known = facts_of(spec, cases)
    seen = seen_by_library(spec, cases, known)
    layout = spec.build((DIM,), jnp.dtype("float64")).layout
    attained = layout.coupling * np.sqrt(1 + known.radius**2) * known.error
    assert np.min(known.error) > 1e-3
    np.testing.assert_allclose(seen["residual_sharpness"], attained, rtol=1e-10)
    np.testing.assert_allclose(known.rest, attained, rtol=1e-10)


@pytest.mark.usefixtures("x64")
@by_name
def test_activation_rates_are_shares_of_what_a_unit_sees(spec):
    cases = random_cases(spec)[:24]
    seen, several = seen_at_random(spec), 0
    for i, (params, x, _) in enumerate(cases):
        every = units(spec, x)
        on = np.array([with_one(unit.seen) @ params.hidden[unit.hidden] > 0 for unit in every]).mean(axis=1)
        weights = np.array([params.hidden[unit.hidden] for unit in every])
        outer = np.array([abs(params.readout[unit.readout]) for unit in every])
        if spec.kind == "convolutional":  # a filter is one unit, which sees all positions
            on, weights, outer = on.reshape(3, FILTERS).mean(axis=0), weights[:FILTERS], outer[:FILTERS]
        norm, alive = np.linalg.norm(weights[:, 1:], axis=1), on > 0
        rates = on[alive]
        several += len(set(rates)) > 2
        expected = {
            "alive_fraction": alive.mean(),
            "outside_fraction": np.mean(np.abs(weights[:, 0]) >= radius(spec, x) * norm),
            "always_active_fraction": np.mean(on == 1),
            "activation_rate_mean": rates.mean(),
            "activation_rate_median": np.median(rates),
            "activation_rate_p90": np.quantile(rates, 0.9),
            "sparse_fraction": np.mean(rates <= 0.1),
            "alive_weight_norm_median": np.median(norm[alive]),
        }
        if len(set(rates)) > 1:
            expected["rate_weight_norm_correlation"] = stats.spearmanr(rates.round(9), norm[alive]).statistic
            expected["rate_path_correlation"] = stats.spearmanr(rates.round(9), (norm * outer)[alive]).statistic
        for name, value in expected.items():
            assert seen[name][i] == pytest.approx(value, rel=1e-9, abs=1e-12), name
    assert several > 10


@pytest.mark.usefixtures("x64")
def test_padding_a_convolutional_net_leaves_every_measure_as_it_is(rng):
    """In filters and samples; the same count of padded numbers that are meant gives others."""
    wide = replace(SHARED, width=FILTERS + 3)
    model = wide.build((DIM,), jnp.dtype("float64"))
    cases = random_cases(SHARED)[:6]
    weights = jnp.asarray(np.append(np.full(SAMPLES, 1 / SAMPLES), np.zeros(4)))
    padded = [
        (
            TwoLayer(np.pad(p.hidden, ((0, 0), (0, 3))), np.pad(p.readout, (0, 3)), p.offset),
            np.concatenate([x, 9 * rng.normal(size=(4, DIM))]),
            np.pad(y, (0, 4)),
        )
        for p, x, y in cases
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *padded)
    look_at = jax.jit(jax.vmap(lambda w, p, x, y: look(model, COLUMNS[:-1], w, p, x, y, weights), in_axes=(None, 0, 0, 0)))
    plain = seen_at_random(SHARED)
    for width, same in ((FILTERS, True), (FILTERS + 3, False)):
        seen = look_at(jnp.int32(width), *stacked)
        alike = [np.allclose(value, plain[name][:6], rtol=1e-9, equal_nan=True) for name, value in seen.items()]
        assert len(alike) > 10 and all(alike) == same


@pytest.mark.usefixtures("x64")
def test_a_filters_layers_are_balanced_by_its_gradient(rng):
    """(w, b) . dL/d(w, b) = v dL/dv of a filter, all its positions together: what `balance` of shared filters rests on."""
    x, y = to_jax((rng.normal(size=(SAMPLES, DIM)), rng.normal(size=SAMPLES)))
    for net in (SHARED, UNSHARED):
        model, params = net.build((DIM,), jnp.dtype("float64")), random_params(rng, net)
        gradient = model.squared_gradient(to_jax(params), model.prepare(x, y, jnp.full(SAMPLES, 1 / SAMPLES)), 1.0)
        inner = np.sum(np.asarray(params.hidden * gradient.hidden).reshape(-1, 4, FILTERS), axis=(0, 1))
        np.testing.assert_allclose(inner, params.readout * np.asarray(gradient.readout), rtol=1e-12)


# Teachers


def teacher_of(kind: str, target: TargetSpec, data: DataSpec):
    return lambda key: TARGETS[kind].draw(key, Setting(data.input_dim, data, target, None, jnp.float64))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["teacher", "scaled_teacher"])
@pytest.mark.parametrize(
    "seen, law", [(ViewSpec("disjoint", 3), "gaussian"), (ViewSpec("sliding", 2, 2), "digits"), (ViewSpec(), "gaussian")]
)
def test_a_teacher_is_a_patch_net_with_shared_filters(rng, kind, seen, law):
    """Of parameters drawn from keys of their own, filter by filter; `scaled` has no biases and is homogeneous."""
    data = DataSpec(law, 64 if law == "digits" else 7)
    target, key = TargetSpec(kind, units=4, views=seen), jax.random.key(3)
    target.check(data)
    x = rng.normal(size=(9, data.input_dim))
    f = np.asarray(teacher_of(kind, target, data)(key)(jnp.asarray(x), None))
    places = views(seen, data.grid)
    keys, m = [jax.random.fold_in(key, i) for i in range(4)], places.shape[1]
    v, w = (np.asarray(jax.random.normal(k, shape)) for k, shape in zip(keys, ((4,), (m, 4)), strict=False))
    b, c = (
        np.asarray(jax.random.uniform(keys[2], (4,), minval=-0.5, maxval=0.5)),
        float(jax.random.uniform(keys[3], minval=-1, maxval=1)),
    )
    if kind == "scaled_teacher":
        v, w, b, c = v / 2, w / np.sqrt(m), 0 * b, 0.0
    expected = np.full(9, c)
    for place in places:
        for k in range(4):
            expected += v[k] * np.maximum(x[:, place] @ w[:, k] - b[k], 0) / len(places)
    np.testing.assert_allclose(f, expected, rtol=1e-12)
    again = np.asarray(teacher_of(kind, target, data)(key)(jnp.asarray(3 * x), None))
    assert np.allclose(again, 3 * f, rtol=1e-12) == (kind == "scaled_teacher")


@pytest.mark.usefixtures("x64")
def test_teachers_have_the_second_moments_of_their_law():
    """Over keys, at an input of one view: K E v^2 E relu(z)^2 + E c^2, z being symmetric; half of E z^2 is left by the ReLU."""
    x, data, keys = np.array([[0.5, -1.0, 2.0]]), DataSpec("gaussian", 3), jax.random.split(jax.random.key(0), 4000)
    square = np.sum(x**2)
    for kind, expected in (("teacher", 5 * (square + 1 / 12) / 2 + 1 / 3), ("scaled_teacher", square / 3 / 2)):
        make = teacher_of(kind, TargetSpec(kind, units=5), data)
        f = np.asarray(jax.jit(jax.vmap(lambda key, make=make: make(key)(jnp.asarray(x), None)[0]))(keys))
        assert abs(np.mean(f**2) - expected) < 4 * np.std(f**2) / np.sqrt(len(keys))
        assert abs(np.mean(f)) < 4 * np.std(f) / np.sqrt(len(keys))


# Classification


def softmax_loss(f: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.array([np.log(np.sum(np.exp(row))) * np.sum(y) - row @ y for row, y in zip(f, labels, strict=True)])


@pytest.mark.usefixtures("x64")
def test_cross_entropy_is_the_negative_logarithm_of_the_softmax_and_its_gradient(rng):
    """By finite differences; of one-hot labels and of any chances; far outputs do not overflow."""
    f, chances = 3 * rng.normal(size=(6, 4)), rng.dirichlet(np.ones(4), size=6)
    weights = np.append(np.full(5, 1 / 5), 0)
    for labels in (np.eye(4)[rng.integers(4, size=6)], chances):
        batch = to_jax((np.zeros(6), labels, weights))

        def of(f, batch=batch):
            return loss("cross_entropy", 1.0, lambda p, b: p, f, Batch(*batch))

        assert of(jnp.asarray(f)) == pytest.approx(weights @ softmax_loss(f, labels), rel=1e-12)
        slope = optimize.approx_fprime(f.ravel(), lambda p, y=labels: weights @ softmax_loss(p.reshape(6, 4), y), 1e-7)
        np.testing.assert_allclose(np.ravel(jax.grad(of)(jnp.asarray(f))), slope, atol=1e-6)
        assert np.isfinite(of(jnp.asarray(1e4 * f)))


CLASSES = TrainingSpec(
    steps=4,
    record=RecordSpec(num=0),
    precision="float64",
    data=DataSpec("digits", 64, num_samples=30, num_test=50, noise_std=0.0),
    target=TargetSpec("one_hot"),
    model=ModelSpec("convolutional", 6, views=ViewSpec("disjoint", 4)),
    loss=LossSpec(kind="cross_entropy"),
    optimizer=OptimizerSpec(learning_rate=0.5, weight_decay=0.01, clip_norm=0.29),
    measures=["train_loss", "test_loss", "accuracy", "clean_train_error", "excess_risk", "generalization_gap", "gradient_norm"],
)


def outputs_of(params: SeveralOutputs, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f (n, C), and the Jacobian (n, C, P), of filters shared by the four quarters of an image."""
    hidden, readout = params.hidden[0], params.readout[0]
    f, rows = np.tile(params.offset, (len(x), 1)), []
    dh, dv = np.zeros((len(x), 10, *hidden.shape)), np.zeros((len(x), 10, 6, 10))
    for place in views(ViewSpec("disjoint", 4), (8, 8, 1)):
        seen = with_one(x[:, place])
        for k in range(6):
            z = seen @ hidden[:, k]
            f += np.outer(np.maximum(z, 0), readout[k]) / 4
            dh[:, :, :, k] += ((z > 0)[:, None] * seen)[:, None] * readout[k][None, :, None] / 4
            for c in range(10):
                dv[:, c, k, c] += np.maximum(z, 0) / 4
    rows = [dh.reshape(len(x), 10, -1), dv.reshape(len(x), 10, -1), np.tile(np.eye(10), (len(x), 1, 1))]
    return f, np.concatenate(rows, axis=2)


def test_a_classifier_of_images_is_trained_in_a_sweep_as_in_numpy():
    """Cross-entropy, clipped and with decay, two seeds in one program; every measure from its definition."""
    runs = [specs.freeze(change(CLASSES, seed=seed)) for seed in (0, 1)]
    with jax.enable_x64(True):
        for run in runs:
            run.check()
        (result,) = Executor().results(make_plan(runs))
        dynamics = specs.static(runs[0]).dynamics()
        begin = jax.jit(lambda key, hyper: start(dynamics, key, hyper))
        first = [begin(key_of(run), {**hyper_of(run), **run.shared_arrays()}) for run in runs]
    sizes_of_steps: list[float] = []
    records, ends = result.trajectory.records, to_numpy(result.trajectory.state.params)
    assert result.trajectory.steps.tolist() == [0, 4]
    for i, (fixed, state) in enumerate(to_numpy(first)):
        train, test = fixed.problem
        params, norms, rate = state.params, [], 0.5
        sizes = np.cumsum([0, *(leaf.size for leaf in params)])
        seen = [params]
        for _ in range(4):
            f, rows = outputs_of(params, train.inputs)
            softmax = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)
            outward = softmax - train.labels
            gradient = np.einsum("nc,ncp->p", outward, rows) / 30
            norms.append(np.linalg.norm(gradient))
            theta = flat(params)
            theta = theta - rate * (gradient * min(1, 0.29 / norms[-1]) + 0.01 * theta)
            parts = [theta[a:b].reshape(leaf.shape) for a, b, leaf in zip(sizes, sizes[1:], params, strict=False)]
            params = SeveralOutputs(*parts)
        seen.append(params)
        close(flat(jax.tree.map(lambda leaf, i=i: leaf[i], ends)), flat(params), 1e-9)
        sizes_of_steps += norms
        for t, params in enumerate(seen):
            f, fresh = outputs_of(params, train.inputs)[0], outputs_of(params, test.inputs)[0]
            squares, risk = (
                np.sum((f - train.labels) ** 2, axis=1).mean(),
                np.sum((fresh - test.labels) ** 2, axis=1).mean(),
            )
            entropy = softmax_loss(f, train.labels).mean(), softmax_loss(fresh, test.labels).mean()
            expected = {
                "train_loss": entropy[0],
                "test_loss": entropy[1],
                "train_accuracy": np.mean(f.argmax(axis=1) == train.labels.argmax(axis=1)),
                "test_accuracy": np.mean(fresh.argmax(axis=1) == test.labels.argmax(axis=1)),
                "clean_train_error": squares,
                "excess_risk": risk,
                "generalization_gap": risk - squares,
            }
            for name, value in expected.items():
                assert records[name][i, t] == pytest.approx(value, rel=1e-9), name
        assert records["gradient_norm"][i, 0] == pytest.approx(norms[0], rel=1e-9)
    assert np.ptp(records["test_accuracy"]) > 0 and min(sizes_of_steps) < 0.29 < max(sizes_of_steps)


@pytest.mark.usefixtures("x64")
def test_the_gap_of_several_outputs_counts_the_noise_of_each(rng):
    """E |f - y|^2 with fresh noise drawn at 20 000 test samples, to four standard errors; one output's noise is not enough."""
    count, noise = 20_000, 0.6
    spec = ModelSpec("two_layer", FILTERS)
    model = spec.build((DIM,), jnp.dtype("float64"), 3)
    params = SeveralOutputs(rng.normal(size=(1, DIM + 1, FILTERS)), 0.1 * rng.normal(size=(1, FILTERS, 3)), np.zeros(3))
    x, fresh = rng.normal(size=(SAMPLES, DIM)), rng.normal(size=(count, DIM))
    y, clean = np.ones((SAMPLES, 3)), np.zeros((count, 3))
    train, test = (Samples(*to_jax((a, b, b, np.full(len(a), 1 / len(a))))) for a, b in ((x, y), (fresh, clean)))
    hyper = {"data.noise_std": jnp.asarray(noise)}
    view = View(model, to_jax(params), prepare_run_data(model, Problem(train, test), hyper, jax.random.key(0)), 1.0)
    gap = float(MEASURES["generalization_gap"](view)["generalization_gap"])
    f = [np.maximum(with_one(a) @ params.hidden[0], 0) @ params.readout[0] for a in (x, fresh)]
    errors = np.sum((f[1] + noise * rng.normal(size=(count, 3))) ** 2, axis=1)
    tolerance = 4 * errors.std() / np.sqrt(count)
    assert abs(gap - (errors.mean() - np.mean(np.sum((f[0] - y) ** 2, axis=1)))) < tolerance < noise**2 / 2


BAD = {
    "entropy of a scalar": ({"target__kind": "part_index"}, "loss.kind = 'cross_entropy': cross_entropy is for a target.kind"),
    "no such loss": ({"loss__kind": "hinge"}, "loss.kind = 'hinge': choose one of cross_entropy, squared"),
    "classes of a scalar": (
        {"target__kind": "part_index", "loss__kind": "squared", "measures": ["accuracy"]},
        "measures = 'accuracy': needs a target.kind of several outputs",
    ),
    "kernel of an entropy": (
        {"measures": ["gauss_newton_sharpness"]},
        "measures = 'gauss_newton_sharpness': needs loss.kind = squared",
    ),
    "several of a linear net": (
        {"model": ModelSpec("linear", 1)},
        "model.kind = 'linear': has one output, and the target has 10",
    ),
    **{
        f"{name} of several": ({"measures": [name]}, f"measures = '{name}': needs model.kind = two_layer or convolutional")
        for name in NEURON_MEASURES
    },
    "what no filter sees": ({"model": ModelSpec("locally_connected", 3)}, "model.views.scheme = '': says what filters see"),
    "no such readout": ({"model": replace(UNIT, readout="own")}, "model.readout = 'own': choose one of shared, unit"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_by_field_and_value(case):
    values, message = BAD[case]
    CLASSES.check()
    with pytest.raises(InputError) as error:
        change(CLASSES, **values).check()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
