"""From a composed Hydra config to a study's runs.

Every system has a typed schema: the fields of its `RunSpec` and those of `StudySpec`, side by side at the top
level. An experiment's YAML names its schema in its defaults list (`/system/training`), so a misspelt key is an
error before anything else happens.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra import compose as compose_config
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from dynamics.core import spec as specs
from dynamics.core.spec import RunSpec
from dynamics.errors import InputError, choose, require, suggest
from dynamics.study import trust
from dynamics.sweep import axes
from dynamics.systems import SYSTEMS

MODES = ("run", "plan", "figure")
AXIS_FIELDS = ("sweep", "panels")
EXECUTION_FIELDS = (
    "mode",
    "save_final",
    "checkpoint_seconds",
    "memory",
    "worker",
    "workers",
    "distributed",
    "coordinator",
)  # not what
OWN_FIELDS = ("output", "coordinator")  # taken from the command line alone: where to write, whom to ask


@dataclass(frozen=True)
class StudySpec:
    """The frame of a study; no part of any run's identity.

    size: which entry of `sizes` to lay over the rest; mode: `run`, `plan` (show what would run) or `figure` (draw
    from the store alone); output: folder of results/, figures/ and multirun/; save_final: keep final states;
    may_diverge: whether diverged runs are no failure; sweep, panels: axes.
    checkpoint_seconds: how often a chunk under way is saved; memory: GB that one chunk may take (0: what the machine
    has); worker, workers: which of how many processes this is that share the work through the store;
    distributed, coordinator: whether they join through jax.distributed, and at which host:port (empty: found out).
    axis_overrides: overrides of `sweep` and `panels`, which the command line puts here.
    """

    size: str = "laptop"
    mode: str = "run"
    output: str = "."
    save_final: bool = False
    may_diverge: bool = False
    checkpoint_seconds: float = 30.0
    memory: float = 0.0
    worker: int = 0
    workers: int = 1
    distributed: bool = False
    coordinator: str = ""
    axis_overrides: list[str] = field(default_factory=list)
    sweep: dict[str, Any] = field(default_factory=dict)
    panels: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise `InputError` for a value that is not allowed."""
        require(self.mode in MODES, "mode", self.mode, f"choose one of {', '.join(MODES)}{suggest(self.mode, MODES)}")
        fits = len(self.output) <= 2000 and all(len(os.fsencode(part)) <= 255 for part in Path(self.output).parts)
        require(fits, "output", self.output, "is longer than the name of a folder may be")
        require(self.checkpoint_seconds >= 0, "checkpoint_seconds", self.checkpoint_seconds, "must be at least 0")
        require(0 <= self.memory < math.inf, "memory", self.memory, "must be gigabytes, or 0 for what the machine has")
        require(self.workers >= 1, "workers", self.workers, "must be at least 1")
        require(0 <= self.worker < self.workers, "worker", self.worker, f"must be from 0 to workers - 1 = {self.workers - 1}")


@dataclass(frozen=True)
class Request:
    """A study as asked for: its runs by panel, resolved and checked; notices are lines to tell the user."""

    name: str
    settings: StudySpec
    panels: dict[str, list[RunSpec]]
    notices: list[str]

    @cached_property
    def runs(self) -> list[RunSpec]:
        """Every run once, whatever panels it is in."""
        return list({specs.run_id(run): run for runs in self.panels.values() for run in runs}.values())

    @cached_property
    def members(self) -> list[tuple[str, str]]:
        """(panel, identity) of every run of every panel."""
        return [(panel, specs.run_id(run)) for panel, runs in self.panels.items() for run in runs]

    @property
    def results_folder(self) -> Path:
        return Path(self.settings.output) / "results" / self.name

    @property
    def figures_folder(self) -> Path:
        """`figures/`, or `figures/smoke/` so that a smoke run never replaces a real figure."""
        root = Path(self.settings.output) / "figures"
        return (root / "smoke" if self.settings.size == "smoke" else root) / Path(self.name).parent


def home() -> Path:
    """The folder with `configs/` and `experiments/`: the working folder if it has them, else the suite's own."""
    package = Path(__file__).resolve().parents[1]
    for folder in (Path.cwd(), package.parent, package / "suite"):
        if (folder / "configs" / "config.yaml").exists() and (folder / "experiments").exists():
            return folder
    raise InputError("working folder", str(Path.cwd()), "has no configs/ and experiments/, nor has the installation")


def experiment_names() -> list[str]:
    """Every experiment that has a config, such as `stable_minima/rates`."""
    root = home() / "configs" / "experiment"
    return sorted(str(file.relative_to(root).with_suffix("")) for file in root.rglob("*.yaml"))


def experiment_file(name: str) -> Path:
    """experiments/<name>.py, where the experiment's `figure` and `claims` are."""
    file = home() / "experiments" / f"{name}.py"
    require(file.exists(), "experiment", name, f"has a config but no {file}")
    return file


def experiment_module(name: str) -> ModuleType:
    """The experiment's `figure` and `claims`; what draws takes a second to import, so ask for it only to draw."""
    file = experiment_file(name)
    module_name = f"experiments.{name.replace('/', '.')}"
    found = importlib.util.spec_from_file_location(module_name, file)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[module_name] = module
    found.loader.exec_module(module)
    for function in ("figure", "claims"):
        require(hasattr(module, function), "experiment", name, f"{file} must define {function}(study)")
    return module


def schema(system: type[RunSpec]) -> DictConfig:
    """The typed config of one system: its run's fields and the study's, open to overrides."""
    combined = make_dataclass(f"{system.__name__}Config", [], bases=(system, StudySpec), frozen=True)
    node = OmegaConf.structured(combined)
    _thaw(node)
    return node


def _thaw(node: Any) -> None:
    """Undo the read-only flag that OmegaConf derives from `frozen`: frozen is for runs, a config is written to."""
    OmegaConf.set_readonly(node, None)
    if isinstance(node, DictConfig):
        for name in node:
            child = node[name]
            if OmegaConf.is_config(child):
                _thaw(child)


def register() -> None:
    """Make every system's schema known to Hydra as `/system/<name>`, and `study`, the part that all have in common.

    The latter is there before an experiment is chosen, as in a sweep over experiments.
    """
    study = OmegaConf.structured(StudySpec)
    _thaw(study)
    ConfigStore.instance().store(name="study", node=study)
    for name, system in SYSTEMS.items():
        ConfigStore.instance().store(group="system", name=name, node=schema(system), package="_global_")


def split_axes(arguments: list[str]) -> tuple[list[str], list[str]]:
    """(what Hydra composes, what only `template` sees): axes are kept from Hydra, which cannot replace a mapping by a list."""
    axes = [a for a in arguments if re.match(r"[+~]*(sweep|panels)[.=]", a)]
    return [a for a in arguments if a not in axes], axes


def encode_axis_overrides(arguments: list[str]) -> list[str]:
    """The arguments with overrides of axes carried past Hydra as text, in the field `axis_overrides`."""
    plain, axes = split_axes(arguments)
    return (
        [*plain, f"axis_overrides=[{','.join(QuotedString(a, Quote.single).with_quotes() for a in axes)}]"] if axes else plain
    )


def compose(name: str, *overrides: str) -> Request:
    """The study that `dynamics experiment=<name> <overrides>` means, without a command line."""
    register()
    plain, _ = split_axes(list(overrides))
    trust.check([f"experiment={name}", *plain], home())
    with initialize_config_dir(str(home() / "configs"), version_base="1.3"):
        cfg = compose_config("config", [f"experiment={name}", *plain])
    return request(cfg, name, list(overrides))


@dataclass(frozen=True)
class Template:
    """A study up to the values of some plain fields: what the jobs of a sweep have in common.

    base: the run that all are variations of; trees: the axes of each panel
    """

    name: str
    settings: StudySpec
    base: RunSpec
    trees: dict[str, dict[str, Any]]
    notices: list[str]

    def request(self, values: Mapping[str, Any] | None = None) -> Request:
        """The study with these values (by dotted path) in the base run, every run of it checked."""
        base = specs.freeze(specs.put(self.base, values)) if values else self.base
        panels = {panel: axes.expand(base, parsed) for panel, parsed in self._axes.items()}
        warnings: dict[str, None] = {}
        for runs in panels.values():
            for run in runs:
                run.check()
                warnings |= dict.fromkeys(f"warning: {line}" for line in run.warnings())
        return Request(self.name, self.settings, panels, [*self.notices, *warnings])

    @cached_property
    def _axes(self) -> dict[str, axes.Axes]:
        return {panel: axes.parse(tree, self.base) for panel, tree in self.trees.items()}


def request(cfg: DictConfig, name: str, overrides: list[str]) -> Request:
    """The study meant by a composed config."""
    return template(cfg, name, overrides).request()


def template(cfg: DictConfig, name: str, overrides: list[str]) -> Template:
    """What a composed config means; size settings come below the command line's `overrides`, above the rest."""
    choose("experiment", name, dict.fromkeys(experiment_names()))
    kind = OmegaConf.get_type(cfg)
    system = next((cls for cls in SYSTEMS.values() if isinstance(kind, type) and issubclass(kind, cls)), None)
    if system is None:
        allowed = f"its defaults list must name one of {', '.join('/system/' + s for s in SYSTEMS)}"
        raise InputError("experiment", name, allowed)
    trees: dict[str, Any] = {f: OmegaConf.to_container(cfg[f], resolve=True) for f in (*AXIS_FIELDS, "sizes")}
    sizes = trees["sizes"] or {"laptop": {}}
    block = choose("size", cfg.size, sizes) or {}
    require(isinstance(block, Mapping), f"sizes.{cfg.size}", block, "must be a mapping of fields")
    block = dict(block)
    for f in AXIS_FIELDS:
        own = block.pop(f, None) or {}
        axes.check_tree(f, own)
        trees[f] = axes.merge_axes(trees[f], own)
    # a size drops the panels that it sets to null
    trees["panels"] = {panel: own for panel, own in trees["panels"].items() if own is not None}
    cfg = OmegaConf.merge(cfg, block)  # type: ignore[assignment]

    known = {f.name for f in fields(StudySpec)} | {p for leaf in specs.leaf_paths(system) for p in _prefixes(leaf)}
    _, axis_overrides = split_axes(cfg.axis_overrides)
    require(len(axis_overrides) == len(cfg.axis_overrides), "axis_overrides", list(cfg.axis_overrides), "may hold axes only")
    given: list[str] = []
    asked: set[str] = set()
    for override in OverridesParser.create().parse_overrides([*overrides, *axis_overrides]):
        path = override.key_or_group
        top, _, rest = path.partition(".")
        if path == "experiment":
            continue
        asked.add(path)
        require(top in AXIS_FIELDS or path in known, path, override.value(), f"no such field{suggest(path, known)}")
        if top in AXIS_FIELDS:
            if override.is_delete():
                require(_remove(trees[top], rest), path, override.value(), "no such axis")
            else:
                laid: Any = _nest(rest, override.value()) if rest else override.value()
                axes.check_tree(top, laid)
                trees[top] = axes.merge_axes(trees[top], laid)
        elif not override.is_delete():
            value = override.value()
            OmegaConf.update(cfg, path, value, merge=True)
            given += axes.leaves(value, f"{path}.") if isinstance(value, Mapping) else [path]

    for panel, own in trees["panels"].items():
        named = isinstance(panel, str) and re.fullmatch(r"\w[\w.+-]*", panel) is not None
        require(named, "panels", panel, "a panel's name has letters, digits, and _ . + - after the first")
        axes.check_tree(f"panels.{panel}", own)
    notices = [n for path in given for n in drop_overridden_axes(path, trees)]
    config = OmegaConf.to_object(cfg)
    settings = StudySpec(**{f.name: getattr(config, f.name) for f in fields(StudySpec)})
    settings.check()
    for own_field in OWN_FIELDS:
        value = getattr(settings, own_field)
        mine = own_field in asked or value == getattr(StudySpec, own_field)
        require(mine, own_field, value, "is not for a config to say; give it on the command line")
    base = specs.freeze(system(**{f.name: getattr(config, f.name) for f in fields(system)}))
    panels = {}
    for panel, own in (trees["panels"] or {"main": {}}).items():
        panels[panel] = axes.merge_axes(trees["sweep"], own)
    return Template(name, settings, base, panels, notices)


def _prefixes(path: str) -> list[str]:
    """`a.b.c` and what it lies in: `a`, `a.b`."""
    parts = path.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _nest(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def _remove(tree: dict[str, Any], path: str) -> bool:
    """Take out what is at a dotted path; whether there was anything."""
    head, _, rest = path.partition(".")
    if rest and isinstance(tree.get(head), dict):
        return _remove(tree[head], rest)
    return not rest and tree.pop(head, tree) is not tree


def drop_overridden_axes(path: str, trees: dict[str, Any]) -> list[str]:
    """A plain value on the command line replaces the axes of that field; each replacement is told."""
    told = []
    for where, tree in [("sweep", trees["sweep"]), *((f"panels.{p}", t) for p, t in trees["panels"].items())]:
        if path in axes.leaves(tree):
            _remove(tree, path)
            told.append(f"note: {path} from the command line replaces the axis {where}.{path}")
        entries = tree.get("zip", [])
        for entry in [entries] if isinstance(entries, dict) else entries:
            if path in axes.leaves(entry):
                entry.pop(path, None)  # zip entries may be written with dotted paths
                _remove(entry, path)
                told.append(f"note: {path} from the command line replaces its part of {where}.zip")
    return told
