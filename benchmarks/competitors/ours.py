"""Ours: a plan through the engine, on all its devices (on a CPU, one per core)."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from problems import CLIP_NORM, Problem, Start

from competitors import Base
from dynamics.core import spec as specs
from dynamics.core.devices import prepare
from dynamics.core.recording import RecordSpec
from dynamics.data.problem import DataSpec
from dynamics.data.views import ViewSpec
from dynamics.engine.execute import Executor, build_programs, stack_hyperparameters
from dynamics.engine.plan import Plan, make_plan
from dynamics.errors import InputError
from dynamics.models.model_spec import MODELS, ModelSpec
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.store.results import ChunkResult
from dynamics.systems.training import TrainingSpec


def plan_of(p: Problem, steps: int, records: int = 0, clip_norm: float = CLIP_NORM, measures: tuple[str, ...] = ()) -> Plan:
    """Return a plan with all runs in one group, recorded at the first and last step, or at `records` steps."""
    convolutional = {"kind": "convolutional", "views": ViewSpec("sliding", p.patch_size, p.stride)}
    base = TrainingSpec(
        steps=steps,
        record=RecordSpec(num=records, spacing="linear"),
        data=DataSpec(input_dim=p.input_dim, num_samples=p.num_samples, num_test=1),
        model=ModelSpec(width=p.width, **(convolutional if p.patch_size else {})),  # type: ignore[arg-type]
        optimizer=OptimizerSpec(learning_rate=p.learning_rate, clip_norm=clip_norm),
        measures=["train_loss", *measures],
    )
    base.check()
    base = specs.freeze(base.resolve())
    return make_plan([specs.put(base, {"seed": seed}) for seed in range(p.runs)])


class Competitor(Base):
    """Draws the problem for everyone, then computes plans as `dynamics` itself does."""

    def __init__(self, problem: Problem, folder: Path, device: str) -> None:
        super().__init__(problem, folder, device)
        prepare(cache_folder=str(folder / "xla"))  # empty, so that compiling is really measured
        self.executor = Executor()

    def missing(self) -> str | None:
        """Return why our suite cannot run the problem, or None if it can."""
        there = not self.problem.patch_size or "convolutional" in MODELS
        return None if there else "ours: not in the suite yet (model.kind = convolutional)"

    def compute(self, executor: Executor, plan: Plan) -> ChunkResult:
        """Return the result of a plan that has one chunk."""
        (result,) = executor.compute_plan(plan)
        return result

    @cached_property
    def cold(self) -> float:
        """Return the compile seconds with an empty cache; call before anything fills the cache on disk."""
        return self.compute(Executor(), plan_of(self.problem, 1)).compile_seconds

    def compile_seconds(self, **variant: Any) -> tuple[float, float]:
        """Return the compile seconds with an empty cache and with programs cached on disk."""
        cold = self.cold
        return cold, self.compute(Executor(), plan_of(self.problem, 1)).compile_seconds

    def save_start(self) -> None:
        """The data and initial weights that the engine's own start program draws, in the file that all read."""
        self.compile_seconds()
        (group,) = plan_of(self.problem, 1).groups
        programs = build_programs(group.static.dynamics(), group.lanes, len(group.runs))
        keys = jax.vmap(jax.random.key)(np.arange(programs.size, dtype=np.uint32))
        fixed, state = programs.start(keys, stack_hyperparameters(group.runs, programs.size), {})
        train, params = fixed.problem.train, state.params
        arrays = train.inputs, train.labels, params.hidden[:, 1:], params.hidden[:, 0], params.readout, params.offset
        start = Start(*(np.asarray(a)[: self.problem.runs] for a in arrays))
        start.save(self.folder / f"{self.problem.name}.npz")

    def losses(self, clip_norm: float, records: int = 0) -> list[float]:
        """Return the training loss of every run after `check_steps` steps."""
        plan = plan_of(self.problem, self.problem.check_steps, records, clip_norm)
        return self.compute(self.executor, plan).trajectory.records["train_loss"][:, -1].tolist()

    def seconds(self, steps: int, records: int = 0, measures: tuple[str, ...] = ()) -> float:
        """Return the wall seconds without compilation: drawing the data, stepping, fetching records."""
        plan = plan_of(self.problem, steps, records, measures=tuple(measures))
        begun = time.perf_counter()
        result = self.compute(self.executor, plan)
        return time.perf_counter() - begun - result.compile_seconds

    def record_seconds(self, measure: str, steps: int) -> float | str:
        """Return the extra seconds of a record of `measure` over one of the training loss, or why it is unavailable."""
        try:
            own, base = self.seconds(steps, measures=(measure,)), self.seconds(steps)
        except InputError as error:
            return str(error)
        return (own - base) / 2

    def reset_peak(self) -> None:
        """Reset the peak memory on a CPU; JAX cannot reset it on a GPU."""
        if self.device == "cpu":
            super().reset_peak()

    def peak_bytes(self) -> int:
        """Return the peak memory; on a GPU that of the whole process, because JAX cannot reset it."""
        stats = jax.local_devices()[0].memory_stats() if self.device == "gpu" else None
        return stats["peak_bytes_in_use"] if stats else super().peak_bytes()

    def devices(self) -> int:
        """Return the number of local devices."""
        return jax.local_device_count()
