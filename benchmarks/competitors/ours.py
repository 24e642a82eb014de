"""Ours: a plan through the engine, on one XLA device per core."""

from __future__ import annotations

import time
from pathlib import Path

import jax
import numpy as np
from problems import CHECK_STEPS, CLIP_NORM, Problem, Start

from dynamics import spec as specs
from dynamics.data.problem import DataSpec
from dynamics.models import ModelSpec
from dynamics.optimizers import OptimizerSpec
from dynamics.runtime import prepare
from dynamics.schedule import RecordSpec
from dynamics.sweep.execute import Executor, Result, build, stack_hyper
from dynamics.sweep.plan import Plan, make_plan
from dynamics.training import TrainingSpec


class Competitor:
    """Draws the problem for everyone, then computes plans as `dynamics` itself does."""

    def __init__(self, problem: Problem, folder: Path) -> None:
        prepare(cache_folder=str(folder / "xla"))  # empty, so that compiling is really measured
        self.problem = problem
        self.executor = Executor()
        self.save_start(folder / f"{problem.name}.npz")

    def plan(self, steps: int, records: int = 0, clip_norm: float = CLIP_NORM) -> Plan:
        """All runs in one group; recorded at step 0, at the last, and `records` in all if that is more."""
        p = self.problem
        runs: list[specs.RunSpec] = [
            TrainingSpec(
                seed=seed,
                steps=steps,
                record=RecordSpec(num=records, spacing="linear"),
                data=DataSpec(input_dim=p.input_dim, num_samples=p.num_samples, num_test=1),
                model=ModelSpec(width=p.width),
                optimizer=OptimizerSpec(learning_rate=p.learning_rate, clip_norm=clip_norm),
                measures=["train_loss"],
            )
            for seed in range(p.runs)
        ]
        runs = [specs.freeze(run.resolve()) for run in runs]
        for run in runs:
            run.check()
        return make_plan(runs)

    def compute(self, executor: Executor, plan: Plan) -> Result:
        (result,) = executor.results(plan)
        return result

    def save_start(self, file: Path) -> None:
        """The data and initial weights that the engine's own start program draws."""
        (group,) = self.plan(1).groups
        programs = build(group.static.dynamics(), group.lanes, len(group.runs))
        keys = jax.vmap(jax.random.key)(np.arange(programs.size, dtype=np.uint32))
        fixed, state = programs.start(keys, stack_hyper(group.runs, programs.size))
        train, params = fixed.problem.train, state.params
        arrays = train.inputs, train.labels, params.hidden[:, 1:], params.hidden[:, 0], params.readout, params.offset
        Start(*(np.asarray(a)[: self.problem.runs] for a in arrays)).save(file)

    def losses(self, clip_norm: float) -> list[float]:
        result = self.compute(self.executor, self.plan(CHECK_STEPS, clip_norm=clip_norm))
        return result.trajectory.records["train_loss"][:, -1].tolist()

    def compile_seconds(self) -> float:
        """Of a fresh executor: from the empty cache at the first call, from the cache on disk at the next."""
        return self.compute(Executor(), self.plan(1)).compile_seconds

    def seconds(self, steps: int, records: int = 0) -> float:
        """All that a user waits for once the programs are compiled: drawing the data, stepping, fetching records."""
        plan = self.plan(steps, records)
        begun = time.perf_counter()
        self.compute(self.executor, plan)
        return time.perf_counter() - begun

    def devices(self) -> int:
        return jax.local_device_count()
