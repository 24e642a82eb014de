"""Hydra plugins of the suite: a sweep's jobs folded into few compiled programs.

`hydra/launcher=fold` hands all jobs of a sweep to the task function at once (its attribute `fold`), where the default
launcher calls it for one after another; `hydra/sweeper=fold` makes a job of every combination of comma-separated
values, as Hydra's basic sweeper does, without composing every job twice.
Nothing heavy is imported here: Hydra loads every plugin at every start (and outside of sys.modules, which dataclasses
with postponed annotations do not survive).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

MOST_JOBS = 100_000


@dataclass
class FoldLauncherConf:
    _target_: str = "hydra_plugins.dynamics_sweeps.FoldLauncher"


@dataclass
class FoldSweeperConf:
    _target_: str = "hydra_plugins.dynamics_sweeps.FoldSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None


ConfigStore.instance().store(group="hydra/launcher", name="fold", node=FoldLauncherConf, provider="dynamics")
ConfigStore.instance().store(group="hydra/sweeper", name="fold", node=FoldSweeperConf, provider="dynamics")


class FoldLauncher(Launcher):
    """Launches all jobs of a batch together: `task_function.fold(compose, batch, first)` returns their outcomes."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra passes at the start of a sweep."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs, numbered from `initial_job_idx`, and return their outcomes as Hydra has them."""
        setup_globals()
        fold = getattr(self.task_function, "fold", None)
        if fold is None:
            raise TypeError("hydra/launcher=fold needs a task function with an attribute `fold`; use hydra/launcher=basic")

        def compose(overrides: list[str]) -> DictConfig:
            config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = initial_job_idx
                config.hydra.runtime.output_dir = str(Path(config.hydra.sweep.dir).absolute())
            return config

        outcomes = fold(compose, job_overrides, initial_job_idx)
        here = str(Path.cwd())
        return [
            JobReturn(overrides=list(overrides), working_dir=here, status=JobStatus.COMPLETED, _return_value=outcome)
            for overrides, outcome in zip(job_overrides, outcomes, strict=True)
        ]


class FoldSweeper(Sweeper):
    """Makes the jobs of a sweep and launches them, all at once or in batches.

    A launcher that composes all jobs before it starts any checks them itself; for another one every job is composed
    first. What the jobs of another launcher returned goes to the task function's attribute `record_outcomes`,
    if it has one.
    """

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None) -> None:
        self.max_batch_size, self.params = max_batch_size, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher that the config names."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.record_outcomes = getattr(task_function, "record_outcomes", lambda outcomes: None)

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run the jobs that the overrides mean; return what each batch of them returned."""
        assert self.config is not None and self.launcher is not None and self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        overrides = parser.parse_overrides(given)
        check_number(overrides, self.max_batch_size)
        jobs = expand(overrides)
        size = self.max_batch_size or max(len(jobs), 1)
        batches = [jobs[i : i + size] for i in range(0, len(jobs), size)]
        folder = Path(self.config.hydra.sweep.dir)
        folds = isinstance(self.launcher, FoldLauncher)
        if not folds:
            folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(self.config, folder / "multirun.yaml")
        results: list[Sequence[JobReturn]] = []
        for number, batch in enumerate(batches):
            if not folds:
                self.validate_batch_is_legal(batch)
            results.append(self.launcher.launch(batch, initial_job_idx=number * size))
            for job in results[-1]:
                _ = job.return_value  # raises what the job has raised
        if not folds:
            self.record_outcomes([job.return_value for batch in results for job in batch])
        elif folder.is_dir():  # jobs that only plan leave no folder
            OmegaConf.save(self.config, folder / "multirun.yaml")
        return results


def expand(overrides: list[Override]) -> list[list[str]]:
    """Return the overrides of each job: every combination of the swept values, the last field changing fastest."""
    values: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            values[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            from dynamics.errors import InputError

            raise InputError(key, override.input_line, "is a continuous range; give values, such as 0.1,0.2 or range(0,8)")
    return [list(job) for job in itertools.product(*values.values())]


def check_number(overrides: list[Override], batch: int | None) -> None:
    """Refuse a sweep of no jobs, and one that would not fit into memory, before its jobs are listed."""
    from dynamics.errors import require

    require(batch is None or batch >= 1, "hydra.sweeper.max_batch_size", batch, "must be at least 1")
    for override in overrides:
        name = override.key_or_group
        require(name != "output" or not override.is_sweep_override(), name, override.input_line, "is one folder for all jobs")
        swept: Any = override.value()
        if isinstance(swept, RangeSweep):
            require(float(swept.step) != 0, name, override.input_line, "must have a step that is not 0")
            count = (float(swept.stop or 0) - float(swept.start or 0)) / float(swept.step)
            allowed = f"is more than {MOST_JOBS} jobs; sweep axes instead"
            require(count <= MOST_JOBS, override.key_or_group, override.input_line, allowed)
    counts = [len(list(o.sweep_string_iterator())) for o in overrides if o.is_discrete_sweep()]
    allowed = f"a Hydra sweep has at most {MOST_JOBS} jobs; put the rest into `sweep`, whose runs need no folders"
    require(math.prod(counts) >= 1, "number of jobs", 0, "an axis of the sweep has no values")
    require(math.prod(counts) <= MOST_JOBS, "number of jobs", math.prod(counts), allowed)
