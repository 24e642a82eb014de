"""The theory of patch networks: blocks of the Hessian, weighted paths, bounds and where they are attained."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import one_sided_weight, to_jax, two_sided_weight
from patch_nets import (
    DIM,
    FILTERS,
    SAMPLES,
    SHARED,
    UNSHARED,
    by_name,
    hessian,
    name_of,
    output,
    random_params,
    share,
    units,
    with_one,
)
from scipy import stats

from dynamics.data.problem import Problem, Samples
from dynamics.measures.table import MEASURES
from dynamics.measures.view import View, prepare_run_data
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import TwoLayer

COLUMNS = ("residual_sharpness", "path_norms", "activation_statistics", "rate_norm_correlation", "stability_checks")


CURVATURE = ("gauss_newton_sharpness", "sharpness")  # which take long to compile: of one net only, the others are told them


assert {name for name, measure in MEASURES.items() if "one_hidden_layer" in measure.needs} == set(COLUMNS)


NETS_EACH = 64


def look(model, columns, width, params, x, y, weights, told=()):
    """Columns of a net whose loss is that of the theory; told:
    the tops of its Gauss-Newton matrix and of its Hessian."""
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
    """Parameters of any scale, some units dead, or always on; windows of normals or of a sphere;
    labels near and far."""
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
    """The path norms of the notes, section 2.3: of each filter on the multiset of all patches,
    or of each unit on its own n."""
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
    """|S| exactly: of a filter, or of the units that share a readout, or of one unit.
    And lambda_H and lambda_GN beside it."""
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
    """1 + 2 sum |v||w| g~ over all patches with shared filters, 1 + (2/L^2) sum |v||w| g~_l without,
    and the checks' slacks."""
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
    """All samples are one constant vector, so that all patches are one;
    every unit that is on is balanced between its layers.

    Where positions with filters of their own share a readout, a filter is on at one of them only,
    or else at all of them.
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
    """C1 where samples are alike and layers balanced;
    |S| <= coupling sqrt(1 + R^2) sqrt(2 L) where all gates are open too."""
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
    """(w, b) . dL/d(w, b) = v dL/dv of a filter, all its positions together:
    what `balance` of shared filters rests on."""
    x, y = to_jax((rng.normal(size=(SAMPLES, DIM)), rng.normal(size=SAMPLES)))
    for net in (SHARED, UNSHARED):
        model, params = net.build((DIM,), jnp.dtype("float64")), random_params(rng, net)
        gradient = model.squared_gradient(to_jax(params), model.prepare(x, y, jnp.full(SAMPLES, 1 / SAMPLES)), 1.0)
        inner = np.sum(np.asarray(params.hidden * gradient.hidden).reshape(-1, 4, FILTERS), axis=(0, 1))
        np.testing.assert_allclose(inner, params.readout * np.asarray(gradient.readout), rtol=1e-12)
