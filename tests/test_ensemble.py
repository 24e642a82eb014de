"""A run is the same run alone, in an ensemble, padded, sharded, in any lane, in any order: 200 steps in 64 bits.

A trained network at a moderate learning rate does not amplify rounding, so paths may be compared entry by entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import assert_trees_close, change, hyper_of, key_of, to_numpy

from dynamics.core import spec as specs
from dynamics.core.dynamics import Cost, Dynamics
from dynamics.core.recording import RecordSpec
from dynamics.core.simulate import drive, simulate
from dynamics.core.spec import RunSpec
from dynamics.data.problem import DataSpec
from dynamics.models.spec import ModelSpec
from dynamics.sweep import execute
from dynamics.sweep.execute import Executor, build, stack_hyper
from dynamics.sweep.plan import Group, Machine, Plan, make_plan
from dynamics.systems.catapult import CatapultSpec
from dynamics.systems.training import TrainingSpec

MACHINE = Machine("cpu", 4, 2.5e10, 2e-6, 2.0, 1e9, 0)  # one run a lane, unless a test asks for more
RECORD = RecordSpec(num=0, at=[1, 50])
CLOSE = {"rtol": 1e-10, "atol": 1e-13}

NETWORK = TrainingSpec(
    steps=200,
    record=RECORD,
    precision="float64",
    data=DataSpec(input_dim=2, num_samples=10, num_test=5),
    model=ModelSpec(width=6),
    measures=["train_loss", "excess_risk", "activation_statistics"],
)
RATES = (0.02, 0.05, 0.1)


def six(base: RunSpec, **options) -> list[RunSpec]:
    """Two seeds, three values of the named field. Always six runs: equal shapes share compiled programs."""
    ((path, values),) = options.items()
    return [change(base, seed=seed, **{path: value}) for seed in (0, 1) for value in values]


FULL = six(change(NETWORK, data__noise_std=0.7), optimizer__learning_rate=RATES)
SYSTEMS: dict[str, list[RunSpec]] = {
    "full batch": FULL,
    "minibatch": [change(run, optimizer__batch_size=4, measures=["train_loss"]) for run in FULL],
    "adam": [change(run, optimizer__kind="adam", optimizer__weight_decay=0.02, measures=["train_loss"]) for run in FULL],
    "catapult net": six(CatapultSpec(0, 200, RECORD, "float64", form="net", width=12), edge_ratio=(0.5, 1.5, 3.0)),
    "catapult map": six(CatapultSpec(0, 200, RECORD, "float64", width=20), edge_ratio=(0.5, 1.5, 3.0)),
}
PADDED = {"full batch": (3, 13, 9), "minibatch": (3, 13, 9), "adam": (3, 13, 9), "catapult net": (17,), "catapult map": (25,)}


def group_of(runs, padded=None, lanes=None) -> Group:
    """The one group of these runs, built at padded sizes and with so many lanes if asked."""
    (group,) = make_plan([specs.freeze(run.resolve()) for run in runs], MACHINE).groups
    static = specs.static(group.runs[0], padded) if padded else group.static
    return change(group, static=static, lanes=lanes or group.lanes)


def compute(runs, **how):
    return computed(tuple(specs.freeze(run.resolve()) for run in runs), **how)


@cache
def computed(runs, **how):
    group = group_of(runs, **how)
    trajectory = Executor().compute(group, group.runs).trajectory
    return trajectory._replace(state=to_numpy(trajectory.state))


@pytest.fixture(scope="module", params=SYSTEMS)
def ensemble(request):
    """(name, runs, their trajectory in one ensemble over four devices)."""
    runs = SYSTEMS[request.param]
    return request.param, runs, compute(runs)


def same_records(actual, desired):
    assert actual.records.keys() == desired.records.keys()
    for name, value in desired.records.items():
        np.testing.assert_allclose(actual.records[name], value, **CLOSE, err_msg=name)
    np.testing.assert_array_equal(actual.finite, desired.finite)
    np.testing.assert_array_equal(actual.steps, desired.steps)


def pick(trajectory, index):
    """The trajectory of some runs of an ensemble."""
    return trajectory._replace(
        records={name: value[index] for name, value in trajectory.records.items()},
        finite=trajectory.finite[index],
        state=jax.tree.map(lambda leaf: np.asarray(leaf)[index], trajectory.state),
    )


def test_an_ensemble_has_moved_and_its_runs_differ(ensemble):
    """Else every comparison below would hold of nothing."""
    name, _, trajectory = ensemble
    assert trajectory.steps.tolist() == [0, 1, 50, 200]
    seen = trajectory.records["output" if "catapult" in name else "train_loss"]
    assert seen.shape == (6, 4)
    assert np.all(np.abs(seen[:, -1] - seen[:, 0]) > 1e-6)
    assert len(np.unique(seen[:, -1])) == (3 if name == "catapult map" else 6)  # the map draws nothing from its seed


def test_a_run_in_an_ensemble_is_the_run_alone(ensemble):
    _, runs, trajectory = ensemble
    with jax.enable_x64(True):
        for i in (0, 5) if runs is FULL else (4,):
            alone = simulate(runs[i].dynamics(), key_of(runs[i]), hyper_of(runs[i]), runs[i].record.schedule(200))
            same_records(pick(trajectory, i), alone)
            assert_trees_close(pick(trajectory, i).state, alone.state, **CLOSE)


ORDER = np.array([3, 0, 5, 4, 1, 2])


@pytest.mark.parametrize("name", ["full batch", "minibatch", "catapult net"])
def test_one_lane_equals_many_and_the_order_of_runs_does_not_matter(name):
    runs = SYSTEMS[name]
    alone, abreast = compute(runs), compute([runs[i] for i in ORDER], lanes=2)
    same_records(abreast, pick(alone, ORDER))
    assert_trees_close(abreast.state, pick(alone, ORDER).state, **CLOSE)


@pytest.mark.parametrize("name", ["full batch", "catapult net"])
def test_one_device_equals_four(name):
    runs = SYSTEMS[name]
    trajectory, group = compute(runs), group_of(runs)
    with jax.enable_x64(True):
        programs = build(group.static.dynamics(), 1, len(runs), jax.local_devices()[:1])
        assert (programs.devices, programs.size) == (1, 6)
        keys = jax.vmap(jax.random.key)(np.array([r.seed for r in runs], np.uint32))
        fixed, state = programs.start(keys, {k: jnp.asarray(v) for k, v in stack_hyper(group.runs, 6).items()}, {})
        alone = drive(lambda s, *to: programs.advance(keys, fixed, s, *to), state, group.schedule)
    same_records(pick(alone, slice(0, 6)), trajectory)


def test_padding_changes_no_number(ensemble):
    name, runs, plain = ensemble
    padded = compute([runs[i] for i in ORDER], padded=PADDED[name])
    same_records(padded, pick(plain, ORDER))
    if isinstance(runs[0], TrainingSpec):
        own, wide = pick(plain, ORDER).state.params, padded.state.params
        np.testing.assert_allclose(wide.hidden[:, :3, :6], own.hidden, **CLOSE)
        np.testing.assert_allclose(wide.readout[:, :6], own.readout, **CLOSE)
        assert not wide.hidden[:, 3:].any() and not wide.hidden[:, :, 6:].any() and not wide.readout[:, 6:].any()


def test_runs_of_different_sizes_share_a_padded_program_and_keep_their_numbers():
    small = [change(run, data__input_dim=1, data__num_samples=5, model__width=9) for run in FULL[:3]]
    together, own = compute(small + FULL[3:], padded=(3, 13, 9)), compute(small)
    same_records(pick(together, slice(0, 3)), own)
    same_records(pick(together, slice(3, 6)), pick(compute(FULL), slice(3, 6)))


def test_sharpness_of_a_padded_relu_net_agrees_to_the_tolerance_of_lanczos():
    """Lanczos starts elsewhere in a larger space, so unlike the other measures this one is not the same to rounding.

    The kernel is small enough to be exhausted, so Gauss-Newton's is.
    """
    runs = [change(run, measures=["sharpness", "gauss_newton_sharpness"]) for run in FULL]
    plain, padded = compute(runs), compute(runs, padded=(3, 13, 9))
    assert plain.records["sharpness_converged"].all() and padded.records["sharpness_converged"].all()
    np.testing.assert_allclose(padded.records["sharpness"], plain.records["sharpness"], rtol=1e-5)
    np.testing.assert_allclose(padded.records["gauss_newton_sharpness"], plain.records["gauss_newton_sharpness"], **CLOSE)


def test_a_smooth_net_is_not_padded_where_its_sharpness_is_measured():
    """GELU has slope 1/2 at 0, so a zero neuron would add curvature; see test_curvature."""
    smooth = change(NETWORK, model__activation="gelu")
    assert smooth.paddable == NETWORK.paddable == ("data.input_dim", "data.num_samples", "model.width")
    assert change(smooth, measures=["sharpness"]).paddable == ("data.num_samples",)


# Divergence


def diverging(rates, **values):
    base = change(NETWORK, record=RecordSpec(num=0, at=[2, 4, 6, 8, 10, 15, 20, 50, 100]), measures=["train_loss"], **values)
    return [change(base, seed=i, optimizer__learning_rate=float(rate)) for i, rate in enumerate(rates)]


def test_a_diverged_run_leaves_its_neighbours_bit_identical_and_is_told_by_its_first_bad_record():
    tame = diverging([0.1, 0.1, 0.2, 0.05, 0.1, 0.2])
    wild = diverging([0.1, 1e3, 0.2, 0.05, 1e12, 0.2])
    calm, mixed = compute(tame, lanes=2), compute(wild, lanes=2)  # a bad run shares its lane with a good one
    keep = np.array([0, 2, 3, 5])
    np.testing.assert_array_equal(mixed.records["train_loss"][keep], calm.records["train_loss"][keep])
    assert_trees_close(pick(mixed, keep).state, pick(calm, keep).state, rtol=0)
    assert mixed.status.tolist() == ["ok", "diverged", "ok", "ok", "diverged", "ok"]
    assert mixed.diverged_at[keep].tolist() == [-1] * 4
    assert len(mixed.steps) == len(calm.steps)  # the good runs went on to the end
    for i in (1, 4):
        assert mixed.diverged_at[i] == first_record_after_overflow(wild[i], mixed.steps)
    assert mixed.diverged_at[4] < mixed.diverged_at[1]


def first_record_after_overflow(run, steps):
    """Step by step, in a Python loop: the first recorded step at which a parameter is not finite."""
    with jax.enable_x64(True):
        dynamics = run.dynamics()
        fixed, state = jax.jit(dynamics.init)(jax.random.fold_in(key_of(run), 0), hyper_of(run))
        step = jax.jit(dynamics.step)
        for t in range(1, steps[-1] + 1):
            state = step(state, fixed, key_of(run))
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state)):
                return min(s for s in steps if s >= t)
    raise AssertionError("did not diverge")


def test_a_group_of_which_every_run_has_diverged_stops_early():
    """One segment is under way while the last record is looked at, so it ends at most two records after the news."""
    trajectory = compute(diverging([1e50, 1e60, 1e70, 1e80, 1e90, 1e100], steps=10_000_000))
    assert set(trajectory.status) == {"diverged"}
    last = trajectory.steps.tolist().index(trajectory.diverged_at.max())
    assert len(trajectory.steps) <= last + 3 <= 8
    assert trajectory.records["train_loss"].shape == (6, len(trajectory.steps))


# Programs: one trace for all segments, schedules and values


@dataclass(frozen=True)
class CountingSpec(CatapultSpec):
    """The catapult's map, with a count of how often Python runs through its functions."""

    system: ClassVar[str] = "counting"
    calls: ClassVar[dict[str, int]] = {}

    def dynamics(self) -> Dynamics:
        def counted(name, function):
            def call(*args):
                self.calls[name] = self.calls.get(name, 0) + 1
                return function(*args)

            return call

        return Dynamics(*(counted(n, f) for n, f in super().dynamics()._asdict().items() if f is not None))


def test_a_group_is_traced_once_whatever_its_schedule_and_its_values():
    CountingSpec.calls.clear()
    executor = Executor()

    def run(steps, record, ratios):
        runs = [CountingSpec(0, steps, record, "float64", edge_ratio=r) for r in ratios]
        (group,) = make_plan(runs, MACHINE).groups
        executor.compute(group, group.runs)
        return group

    short = run(100, RecordSpec(num=0), (0.5, 1.5))
    assert CountingSpec.calls == {"init": 1, "step": 1, "observe": 1}
    long = run(300, RecordSpec(num=25), (0.7, 3.0))
    assert len(long.schedule) > 20 and short.program == long.program
    assert CountingSpec.calls == {"init": 1, "step": 1, "observe": 1}
    run(100, RecordSpec(num=0), (0.5, 1.5, 2.5))  # another ensemble size is another program: the counter does count
    assert CountingSpec.calls == {"init": 2, "step": 2, "observe": 2}


def test_training_over_many_segments_is_traced_once(monkeypatch):
    traces = []
    original = TrainingSpec.dynamics

    def counted(spec):
        dynamics = original(spec)
        return dynamics._replace(step=lambda *args: traces.append(1) or dynamics.step(*args))

    monkeypatch.setattr(TrainingSpec, "dynamics", counted)
    compute([change(run, record=RecordSpec(num=12), measures=["train_loss"]) for run in FULL])
    assert len(traces) == 1


@dataclass(frozen=True)
class LeakySpec(CatapultSpec):
    """Closes over a swept scalar, which a builder must not do."""

    system: ClassVar[str] = "leaky"

    def dynamics(self) -> Dynamics:
        init, step, observe, _ = super().dynamics()
        return Dynamics(init, lambda s, h, k: s._replace(kernel=step(s, h, k).kernel * self.initial_kernel), observe)

    def cost(self) -> Cost:
        return super().cost()


def test_a_builder_that_closes_over_a_swept_scalar_yields_nan_and_not_a_wrong_number():
    trajectory = compute([LeakySpec(0, 10, RecordSpec(num=0, at=[1]), "float64", edge_ratio=r) for r in (0.5, 1.5)])
    assert trajectory.status.tolist() == ["diverged", "diverged"]
    assert trajectory.diverged_at.tolist() == [1, 1]
    assert np.isnan(trajectory.records["kernel"][:, 1]).all()


# The ensemble's own arithmetic


def test_chunks_of_a_group_give_the_same_numbers_as_the_whole():
    runs = SYSTEMS["catapult map"]
    group = group_of(runs)
    executor = Executor()
    plan = Plan((change(group, chunk=4, chunks=(group.runs[:4], group.runs[4:])),), MACHINE)
    results = list(executor.results(plan))
    assert [len(r.runs) for r in results] == [4, 2]
    whole = compute(runs)
    for name, value in whole.records.items():
        np.testing.assert_allclose(np.concatenate([r.trajectory.records[name] for r in results]), value, **CLOSE)


def test_stack_hyper_fills_up_with_the_last_run_and_keeps_types():
    runs = tuple(SYSTEMS["catapult map"][:3])
    stacked = stack_hyper(runs, 5)
    np.testing.assert_array_equal(stacked["edge_ratio"], [0.5, 1.5, 3.0, 3.0, 3.0])
    np.testing.assert_array_equal(stacked["width"], [20] * 5)
    assert (stacked["edge_ratio"].dtype, stacked["width"].dtype) == (np.float64, np.int32)


def test_catapult_net_follows_its_exact_two_variable_map():
    """The closed pair (f, lambda) of Lewkowycz et al. 2020: an oracle for the net, by plain Python."""
    runs = [
        CatapultSpec(s, 60, RecordSpec(dense=60), "float64", form="net", width=12, edge_ratio=r)
        for s, r in ((0, 1.5), (1, 3.0))
    ]
    trajectory = compute(runs)
    for i, run in enumerate(runs):
        f, kernel, rate = run.initial_output, run.initial_kernel, run.edge_ratio
        for t in range(61):
            assert trajectory.records["output"][i, t] == pytest.approx(f, rel=1e-8, abs=1e-12)
            assert trajectory.records["kernel"][i, t] == pytest.approx(kernel, rel=1e-8)
            f, kernel = f * (1 - rate * kernel + rate**2 * f**2 / 12), kernel + rate * f**2 / 12 * (rate * kernel - 4)


def test_a_program_that_failed_to_compile_is_tried_again_and_the_next_is_begun_meanwhile(monkeypatch):
    runs = [CountingSpec(0, 10, RecordSpec(num=0), "float64", form=form) for form in ("net", "map")]
    groups = make_plan(runs, MACHINE._replace(compile_seconds=0.0)).groups
    executor, compiled = Executor(), execute.compile_programs
    attempts = []

    def failing_once(*arguments):
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("no space left")
        return compiled(*arguments)

    monkeypatch.setattr(execute, "compile_programs", failing_once)
    with pytest.raises(OSError, match="no space left"):
        executor.compute(groups[0], groups[0].runs)
    assert executor.compute(groups[0], groups[0].runs).trajectory.finite.all()
    executor.ahead([(group, group.runs) for group in groups])
    assert len(executor._programs) == len(groups) == 2
