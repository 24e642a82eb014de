"""From a composed Hydra config to a study's runs.

Every system has a typed schema: the fields of its `RunSpec` and those of `StudySpec`, side by side at the top
level. An experiment's YAML names its schema in its defaults list (`/system/training`), so a misspelt key is an
error before anything else happens. Values come from four places, each above the one before: the config, its
block for the chosen size, the overrides of a command line, the values that a call of `dyn.run` gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from hydra import compose as compose_config
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from dynamics.core import spec as specs
from dynamics.core.spec import RunSpec
from dynamics.engine import axes
from dynamics.errors import InputError, choose, require, suggest
from dynamics.study import trust
from dynamics.study.analysis_needs import AnalysisNeeds, read_needs
from dynamics.study.experiments import experiment_names, home, shadow_notices
from dynamics.study.hydra_state import hydra_at
from dynamics.study.own_code import import_own_code
from dynamics.study.request import AXIS_FIELDS, OWN_FIELDS, Request, StudySpec
from dynamics.study.schema import register
from dynamics.study.values import lay_values
from dynamics.systems import SYSTEMS


def split_axes(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return (what Hydra composes, the overrides of axes); Hydra cannot replace a mapping by a list, so it never sees those."""
    axes = [a for a in arguments if re.match(r"[+~]*(sweep|panels)[.=]", a)]
    return [a for a in arguments if a not in axes], axes


def encode_axis_overrides(arguments: list[str]) -> list[str]:
    """Return the arguments with overrides of axes carried past Hydra as text, in the field `axis_overrides`."""
    plain, axes = split_axes(arguments)
    if not axes:
        return plain
    return [*plain, f"axis_overrides=[{','.join(QuotedString(a, Quote.single).with_quotes() for a in axes)}]"]


def compose(name: str, *overrides: str, values: Mapping[str, Any] | None = None) -> Request:
    """Return the study that `dynamics experiment=<name> <overrides>` means, without a command line.

    values: Python values by dotted path, laid over all else; `lay_values` says what becomes of a list.
    """
    plain, _ = split_axes(list(overrides))
    trust.check([f"experiment={name}", *plain])
    import_own_code([name])
    with hydra_at(home() / "configs"):
        register()
        cfg = compose_config("config", [f"experiment={name}", *plain])
    return template(cfg, name, list(overrides), values).request()


@dataclass(frozen=True)
class Template:
    """A study up to the values of some plain fields: what the jobs of a sweep have in common.

    base: the run that all are variations of; trees: the axes of each panel
    overrides: what was asked for beyond experiment, size and how to compute; needs: of the experiment's figure and claims
    """

    name: str
    settings: StudySpec
    base: RunSpec
    trees: dict[str, dict[str, Any]]
    notices: list[str]
    overrides: tuple[str, ...] = ()
    needs: AnalysisNeeds | None = None

    def request(self, values: Mapping[str, Any] | None = None) -> Request:
        """Return the study with these values (by dotted path) in the base run, every run of it checked."""
        base = specs.freeze(specs.put(self.base, values)) if values else self.base
        panels = {panel: axes.expand_runs(base, parsed) for panel, parsed in self._axes.items()}
        made = checked_request(self.name, self.settings, panels, self.notices)
        return replace(made, overrides=self.overrides, needs=self.needs)

    @cached_property
    def _axes(self) -> dict[str, axes.Axes]:
        return {panel: axes.parse_axes(tree, self.base) for panel, tree in self.trees.items()}


def checked_request(
    name: str, settings: StudySpec, panels: dict[str, list[RunSpec]], notices: list[str] | None = None
) -> Request:
    """Return the request of these runs once each of them has passed its own checks; their warnings join the notices."""
    warnings: dict[str, None] = {}
    for runs in panels.values():
        for run in runs:
            run.check()
            warnings |= dict.fromkeys(f"warning: {line}" for line in run.warnings())
    return Request(name, settings, panels, [*(notices or []), *warnings])


def request(cfg: DictConfig, name: str, overrides: list[str]) -> Request:
    """Return the study that a composed config means."""
    return template(cfg, name, overrides).request()


def template(cfg: DictConfig, name: str, overrides: list[str], values: Mapping[str, Any] | None = None) -> Template:
    """Return what a composed config means; size settings come below `overrides` and `values`, above the rest."""
    choose("experiment", name, dict.fromkeys(experiment_names()))
    import_own_code([name])
    system = _system(cfg, name)
    size = str((values or {}).get("size", cfg.size))
    shipped = [_lay_size(cfg, each)[1] for each in {size, *map(str, cfg.sizes or {})}]
    cfg, trees = _lay_size(cfg, size)
    asked, notices = _lay_overrides(cfg, trees, system, overrides)
    if values:
        notices += lay_values(cfg, trees, system, values)
        asked |= values.keys()
    trees["panels"] = {panel: own for panel, own in trees["panels"].items() if own is not None}
    for panel, own in trees["panels"].items():
        named = isinstance(panel, str) and re.fullmatch(r"\w[\w.+-]*", panel) is not None
        require(named, "panels", panel, "a panel's name has letters, digits, and _ . + - after the first")
        axes.check_sweep(f"panels.{panel}", own)

    config = OmegaConf.to_object(cfg)
    settings = StudySpec(**{f.name: getattr(config, f.name) for f in fields(StudySpec)})
    settings.check()
    for own_field in OWN_FIELDS:
        value = getattr(settings, own_field)
        mine = own_field in asked or value == getattr(StudySpec, own_field)
        require(mine, own_field, value, "is not for a config to say; give it on the command line")
    base = specs.freeze(system(**{f.name: getattr(config, f.name) for f in fields(system)}))
    panels = {panel: axes.merge_axes(trees["sweep"], own) for panel, own in (trees["panels"] or {"main": {}}).items()}
    altering = alterations([*overrides, *cfg.axis_overrides, *(f"{path}={value}" for path, value in (values or {}).items())])
    needs = read_needs(settings.needs, shipped)
    return Template(name, settings, base, panels, [*shadow_notices(name), *notices], altering, needs)


def override_path(override: str) -> str:
    """Return the dotted path that an override is about."""
    return override.lstrip("+~").partition("=")[0]


def alterations(overrides: Iterable[str]) -> tuple[str, ...]:
    """Return those of some overrides that may change which runs a study has: not its name, its size or how it is computed."""
    frame = {f.name for f in fields(StudySpec)} - set(AXIS_FIELDS) | {"experiment"}
    return tuple(override for override in overrides if override_path(override) not in frame)


def _system(cfg: DictConfig, name: str) -> type[RunSpec]:
    """Return the system whose schema the experiment names."""
    kind, known = OmegaConf.get_type(cfg), set(SYSTEMS.values())
    system = next((cls for cls in kind.__mro__ if cls in known), None) if isinstance(kind, type) else None
    if system is None:
        allowed = f"its defaults list must name one of {', '.join('/system/' + s for s in SYSTEMS)}"
        raise InputError("experiment", name, allowed)
    return system


def _lay_size(cfg: DictConfig, size: str) -> tuple[DictConfig, dict[str, Any]]:
    """Return the config with its block for this size laid over it, and the axes (`sweep`, `panels`) likewise.

    A size drops the panels that it sets to null.
    """
    trees: dict[str, Any] = {f: OmegaConf.to_container(cfg[f], resolve=True) for f in (*AXIS_FIELDS, "sizes")}
    block = choose("size", size, trees.pop("sizes") or {"laptop": {}}) or {}
    require(isinstance(block, Mapping), f"sizes.{size}", block, "must be a mapping of fields")
    block = dict(block)
    for f in AXIS_FIELDS:
        own = block.pop(f, None) or {}
        axes.check_sweep(f, own)
        trees[f] = axes.merge_axes(trees[f], own)
    trees["panels"] = {panel: own for panel, own in trees["panels"].items() if own is not None}
    return OmegaConf.merge(cfg, block), trees  # type: ignore[return-value]


def _lay_overrides(
    cfg: DictConfig, trees: dict[str, Any], system: type[RunSpec], overrides: list[str]
) -> tuple[set[str], list[str]]:
    """Lay the overrides of a command line over config and axes; returns the paths that they name, and what to tell."""
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
        require(top != "needs", path, override.value(), "is for a config to say")
        require(top in AXIS_FIELDS or path in known, path, override.value(), f"no such field{suggest(path, known)}")
        if top in AXIS_FIELDS and override.is_delete():
            require(axes.remove_axis(trees[top], rest), path, override.value(), "no such axis")
        elif top in AXIS_FIELDS:
            laid: Any = axes.nest_path(rest, override.value()) if rest else override.value()
            axes.check_sweep(top, laid)
            trees[top] = axes.merge_axes(trees[top], laid)
        elif not override.is_delete():
            value = override.value()
            OmegaConf.update(cfg, path, value, merge=True)
            given += axes.flatten_axes(value, f"{path}.") if isinstance(value, Mapping) else [path]
    return asked, [n for path in given for n in axes.drop_overridden_axes(path, trees, "from the command line")]


def _prefixes(path: str) -> list[str]:
    """`a.b.c` and what it lies in: `a`, `a.b`."""
    parts = path.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
