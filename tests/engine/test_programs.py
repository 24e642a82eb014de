"""One program serves all segments, schedules and values; and it is built again after a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from ensemble_cases import FULL, MACHINE, SYSTEMS, compute
from oracles import change

from dynamics.core.dynamics import Cost, Dynamics
from dynamics.core.recording import RecordSpec
from dynamics.engine import execute
from dynamics.engine.execute import Executor, stack_hyperparameters
from dynamics.engine.plan import make_plan
from dynamics.systems.one_sample_descent import CatapultSpec
from dynamics.systems.training import TrainingSpec


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

        return Dynamics(*(counted(n, f) for n, f in super().dynamics()._asdict().items() if callable(f)))


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
        init, step, observe, *_ = super().dynamics()
        return Dynamics(init, lambda s, h, k: s._replace(kernel=step(s, h, k).kernel * self.initial_kernel), observe)

    def cost(self) -> Cost:
        return super().cost()


def test_a_builder_that_closes_over_a_swept_scalar_yields_nan_and_not_a_wrong_number():
    trajectory = compute([LeakySpec(0, 10, RecordSpec(num=0, at=[1]), "float64", edge_ratio=r) for r in (0.5, 1.5)])
    assert trajectory.status.tolist() == ["diverged", "diverged"]
    assert trajectory.diverged_at.tolist() == [1, 1]
    assert np.isnan(trajectory.records["kernel"][:, 1]).all()


def test_stack_hyper_fills_up_with_the_last_run_and_keeps_types():
    runs = tuple(SYSTEMS["catapult map"][:3])
    stacked = stack_hyperparameters(runs, 5)
    np.testing.assert_array_equal(stacked["edge_ratio"], [0.5, 1.5, 3.0, 3.0, 3.0])
    np.testing.assert_array_equal(stacked["width"], [20] * 5)
    assert (stacked["edge_ratio"].dtype, stacked["width"].dtype) == (np.float64, np.int32)


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
    executor.compile_ahead([(group, group.runs) for group in groups])
    assert len(executor._programs) == len(groups) == 2
