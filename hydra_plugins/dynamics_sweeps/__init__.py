"""Hydra plugins of the suite: a sweep's jobs folded into few compiled programs.

`hydra/launcher=fold` hands all jobs of a sweep to the task function at once (its attribute `fold`), where the default
launcher calls it for one after another; `hydra/sweeper=fold` is Hydra's own sweeper without composing every job twice.
Nothing heavy is imported here: Hydra loads every plugin at every start (and outside of sys.modules, which dataclasses
with postponed annotations do not survive).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
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
    """Launches all jobs of a batch together: `task_function.fold(compose, batch, first)` returns what each came to."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
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

        values = fold(compose, job_overrides, initial_job_idx)
        return [
            JobReturn(overrides=list(overrides), working_dir=str(Path.cwd()), status=JobStatus.COMPLETED, _return_value=value)
            for overrides, value in zip(job_overrides, values, strict=True)
        ]


class FoldSweeper(BasicSweeper):
    """Hydra's sweeper, which leaves checking to a launcher that composes all jobs before it starts any.

    What the jobs of another launcher returned goes to the task function's attribute `finished`, if it has one.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.finished = getattr(task_function, "finished", lambda values: None)

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None and self.launcher is not None and self.hydra_context is not None
        if not isinstance(self.launcher, FoldLauncher):
            results = super().sweep(arguments)
            self.finished([job.return_value for batch in results for job in batch])
            return results
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        _check_number(overrides, self.max_batch_size)
        self.overrides = self.split_arguments(overrides, self.max_batch_size)
        results, first = [], 0
        folder = Path(self.config.hydra.sweep.dir)
        try:
            for batch in self.overrides:
                results.append(self.launcher.launch(batch, first))
                first += len(batch)
        except SystemExit:  # nobody reads what is printed any more; all is done by then
            self._save(folder)
            raise
        self._save(folder)
        return results

    def _save(self, folder: Path) -> None:
        """Hydra's record of the sweep; jobs that came to nothing (a plan) leave no folder to put it in."""
        if folder.is_dir():
            OmegaConf.save(self.config, folder / "multirun.yaml")


def _check_number(overrides: list[Override], batch: int | None) -> None:
    """Refuse a sweep of no jobs, and one that would not fit into memory, before its jobs are listed."""
    from dynamics.errors import require

    require(batch is None or batch >= 1, "hydra.sweeper.max_batch_size", batch, "must be at least 1")
    for override in overrides:
        name = override.key_or_group
        require(name != "output" or not override.is_sweep_override(), name, override.input_line, "is one folder for all jobs")
        swept = override.value()
        if isinstance(swept, RangeSweep):
            require(float(swept.step) != 0, name, override.input_line, "must have a step that is not 0")
            count = (float(swept.stop or 0) - float(swept.start or 0)) / float(swept.step)
            require(
                count <= MOST_JOBS,
                override.key_or_group,
                override.input_line,
                f"is more than {MOST_JOBS} jobs; sweep axes instead",
            )
    counts = [len(list(o.sweep_string_iterator())) for o in overrides if o.is_discrete_sweep()]
    allowed = f"a Hydra sweep has at most {MOST_JOBS} jobs; put the rest into `sweep`, whose runs need no folders"
    require(math.prod(counts) >= 1, "number of jobs", 0, "an axis of the sweep has no values")
    require(math.prod(counts) <= MOST_JOBS, "number of jobs", math.prod(counts), allowed)
