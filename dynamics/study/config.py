"""From a composed Hydra config to a study's runs.

Every system has a typed schema: the fields of its `RunSpec` and those of `StudySpec`, side by side at the top
level. An experiment's YAML names its schema in its defaults list (`/system/training`), so a misspelt key is an
error before anything else happens. Values come from four places, each above the one before: the config, its
block for the chosen size, the overrides of a command line, the values that a call of `dyn.run` gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from dynamics.core import spec as specs
from dynamics.core.checked_fields import deferred_checks
from dynamics.core.spec import RunSpec
from dynamics.core.usage import default_values
from dynamics.engine import axes
from dynamics.errors import InputError, choose, require, suggest
from dynamics.study import trust
from dynamics.study.analysis_needs import AnalysisNeeds, read_needs
from dynamics.study.axis_layers import lay_axes, notice_shadowed, remove_axis
from dynamics.study.compositions import compose_experiment
from dynamics.study.effects import Panels, check_effects
from dynamics.study.experiments import experiment_names, home, shadow_notices
from dynamics.study.hydra_state import hydra_at
from dynamics.study.interpolations import Interpolations, refuse_references_to_axes
from dynamics.study.own_code import import_own_code
from dynamics.study.request import AXIS_FIELDS, OWN_FIELDS, Request, StudySpec
from dynamics.study.schema import register
from dynamics.study.values import check_type, lay_values
from dynamics.systems import SYSTEMS


def split_axes(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return (what Hydra composes, the overrides of axes); Hydra cannot replace a mapping by a list,
    so it never sees those."""
    axes = [a for a in arguments if re.match(r"[+~]*(sweep|panels)[.=]", a)]
    return [a for a in arguments if a not in axes], axes


def encode_axis_overrides(arguments: list[str]) -> list[str]:
    """Return the arguments with overrides of axes carried past Hydra as text, in the field `axis_overrides`."""
    plain, axes = split_axes(arguments)
    if not axes:
        return plain
    return [*plain, f"axis_overrides=[{','.join(QuotedString(a, Quote.single).with_quotes() for a in axes)}]"]


def refuse_several_values(overrides: Iterable[str]) -> list[Override]:
    """Return the overrides as read; raise `InputError` for one that gives several values where one is taken,
    `seed=0,1`."""
    known = {path: value for system in SYSTEMS.values() for path, value in default_values(system).items()}
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in parsed:
        if override.is_sweep_override():
            path, text = override.key_or_group, str(override.input_line).partition("=")[2]
            axis = "[...]" if "(" in text else f"[{text}]"
            study = f", or as one study over them with sweep.{path}={axis}" if path in known else ""
            meant = (
                f"write {path}=[{text}] for a list"
                if isinstance(known.get(path), tuple)
                else f"add -m to run a job for each{study}"
            )
            raise InputError(path, text, f"are several values: {meant}")
    return parsed


def compose(name: str, *overrides: str, values: Mapping[str, Any] | None = None) -> Request:
    """Return the study that `dynamics experiment=<name> <overrides>` means, without a command line.

    values: Python values by dotted path, laid over all else; `lay_values` says what becomes of a list.
    """
    plain, _ = split_axes(list(overrides))
    parsed = refuse_several_values(plain)
    trust.check([f"experiment={name}", *plain])
    import_own_code([name])
    with hydra_at(home() / "configs"):
        register()
        cfg = compose_experiment(name, plain, parsed)
    return template(cfg, name, list(overrides), values).request()


@dataclass(frozen=True)
class Template:
    """A study up to the values of some plain fields: what the jobs of a sweep have in common.

    base: the run that all are variations of; trees: the axes of each panel
    overrides: what was asked for beyond experiment, size and how to compute; needs:
        of the experiment's figure and claims
    asked: the paths of all that was asked for; other_sizes: returns the same study at the other sizes of its config
    interpolations: what refers to other fields
    """

    name: str
    settings: StudySpec
    base: RunSpec
    trees: dict[str, dict[str, Any]]
    notices: list[str]
    overrides: tuple[str, ...] = ()
    needs: AnalysisNeeds | None = None
    asked: frozenset[str] = frozenset()
    other_sizes: Callable[[], Iterable[Template]] = tuple
    interpolations: Interpolations | None = None

    def request(self, values: Mapping[str, Any] | None = None) -> Request:
        """Return the study with these values (by dotted path) in the base run, every run of it checked."""
        panels, asked = self.grids(values), self.asked | set(values or {})

        def elsewhere() -> Iterator[Panels]:
            return (other.grids(values) for other in self.other_sizes())

        found = checked_request(self.name, self.settings, panels, self.notices, asked, elsewhere)
        return replace(found, overrides=self.overrides, needs=self.needs)

    def grids(self, values: Mapping[str, Any] | None = None) -> dict[str, list[RunSpec]]:
        """Return the runs of each panel as they are asked for, with these values in the base run."""
        base = specs.freeze(specs.put(self.base, values)) if values else self.base
        grids = {panel: axes.grid_runs(base, parsed) for panel, parsed in self._axes.items()}
        if self.interpolations is None or not self.interpolations.paths:
            return grids
        return {panel: self.interpolations.follow(runs, self._axes[panel]) for panel, runs in grids.items()}

    @cached_property
    def _axes(self) -> dict[str, axes.Axes]:
        return {panel: axes.parse_axes(tree, self.base) for panel, tree in self.trees.items()}


def checked_request(
    name: str,
    settings: StudySpec,
    grids: Panels,
    notices: Sequence[str] = (),
    asked: Collection[str] | None = None,
    elsewhere: Callable[[], Iterable[Panels]] = tuple,
) -> Request:
    """Return the request of these runs, resolved, once each has passed its own checks and no value is without effect.

    grids: the runs of each panel as they were asked for; asked, elsewhere: see `check_effects`. Warnings join the
    notices.
    """
    warnings: dict[str, None] = {}
    panels = {panel: list(dict.fromkeys(run.resolve() for run in runs)) for panel, runs in grids.items()}
    for runs in panels.values():
        for run in runs:
            run.check()
            warnings |= dict.fromkeys(f"warning: {line}" for line in run.warnings())
    warnings |= dict.fromkeys(f"warning: {line}" for line in check_effects(grids, asked, elsewhere))
    return Request(name, settings, panels, [*notices, *warnings])


def request(cfg: DictConfig, name: str, overrides: list[str]) -> Request:
    """Return the study that a composed config means."""
    return template(cfg, name, overrides).request()


def template(cfg: DictConfig, name: str, overrides: list[str], values: Mapping[str, Any] | None = None) -> Template:
    """Return what a composed config means; size settings come below `overrides` and `values`, above the rest."""
    choose("experiment", name, dict.fromkeys(experiment_names()))
    import_own_code([name])
    system, composed = _system(cfg, name), cfg
    size = str((values or {}).get("size", cfg.size))
    shipped = [_axes_at(cfg, each) for each in {size, *map(str, cfg.sizes or {})}]
    cfg, trees = _lay_size(cfg, size), _axes_at(cfg, size)
    asked, notices = _lay_overrides(cfg, trees, system, overrides)
    if values:
        notices += lay_values(cfg, trees, system, values)
        asked |= {path.lstrip("+") for path in values}
    notices += notice_shadowed(trees, asked)
    trees["panels"] = {panel: own for panel, own in trees["panels"].items() if own is not None}
    for panel, own in trees["panels"].items():
        named = isinstance(panel, str) and re.fullmatch(r"\w[\w.+-]*", panel) is not None
        require(named, "panels", panel, "a panel's name has letters, digits, and _ . + - after the first")
        axes.check_sweep(f"panels.{panel}", own)

    with deferred_checks():
        config = OmegaConf.to_object(cfg)
        base = system(**{f.name: getattr(config, f.name) for f in fields(system)})
    settings = StudySpec(**{f.name: getattr(config, f.name) for f in fields(StudySpec)})
    settings.check()
    for own_field in OWN_FIELDS:
        value = getattr(settings, own_field)
        mine = own_field in asked or value == getattr(StudySpec, own_field)
        require(mine, own_field, value, "is not for a config to say; give it on the command line")
    kinds = dict(specs.layout(system))
    base = specs.freeze(specs.put(base, {path: check_type(path, v, kinds[path]) for path, v in specs.flatten(base).items()}))
    panels = {panel: axes.merge_axes(trees["sweep"], own) for panel, own in (trees["panels"] or {"main": {}}).items()}
    block: Any = (OmegaConf.to_container(composed.sizes, resolve=False) or {}).get(size) or {}  # type: ignore[union-attr]
    written = [(OmegaConf.to_container(composed[f], resolve=False), block.get(f)) for f in AXIS_FIELDS]
    refuse_references_to_axes([*written, trees], {path for tree in panels.values() for path in axes.axis_paths(tree)})
    altering = alterations([*overrides, *cfg.axis_overrides, *(f"{path}={value}" for path, value in (values or {}).items())])

    def other_sizes() -> Iterator[Template]:
        for other in {*composed.sizes} - {size}:
            yield template(composed, name, [*overrides, f"size={other}"], {**(values or {}), "size": other})

    lines = [*shadow_notices(name), *notices]
    needs, following = read_needs(settings.needs, shipped), Interpolations(cfg, system)
    return Template(name, settings, base, panels, lines, altering, needs, frozenset(asked), other_sizes, following)


def override_path(override: str) -> str:
    """Return the dotted path that an override is about."""
    return override.lstrip("+~").partition("=")[0]


def alterations(overrides: Iterable[str]) -> tuple[str, ...]:
    """Return those of some overrides that may change which runs a study has: not its name,
    its size or how it is computed."""
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


def _size_block(cfg: DictConfig, size: str) -> Mapping[str, Any]:
    """Return what the config says under this size, as it is written."""
    sizes: Any = OmegaConf.to_container(cfg.sizes, resolve=False)
    block = choose("size", size, sizes or {"laptop": {}}) or {}
    require(isinstance(block, Mapping), f"sizes.{size}", block, "must be a mapping of fields")
    return block


def _lay_size(cfg: DictConfig, size: str) -> DictConfig:
    """Return the config with its block for this size laid over it."""
    block = {f: value for f, value in _size_block(cfg, size).items() if f not in AXIS_FIELDS}
    return OmegaConf.merge(cfg, block)  # type: ignore[return-value]


def _axes_at(cfg: DictConfig, size: str) -> dict[str, Any]:
    """Return the axes (`sweep`, `panels`) of a size: those of the config with those of its block over them.

    A size drops the panels that it sets to null.
    """
    block = _size_block(cfg, size)
    trees: dict[str, Any] = {f: OmegaConf.to_container(cfg[f], resolve=True) for f in AXIS_FIELDS}
    for f in AXIS_FIELDS:
        own = OmegaConf.to_container(cfg.sizes[size], resolve=True).get(f) or {} if f in block else {}  # type: ignore[union-attr]
        axes.check_sweep(f, own)
        if f == "panels":
            dropped = [panel for panel, axis in own.items() if axis is None and panel not in trees[f]]
            require(not dropped, f"sizes.{size}.panels", dropped, f"no such panel{suggest(str(dropped[:1]), trees[f])}")
        trees[f] = (axes.merge_panels if f == "panels" else axes.merge_axes)(trees[f], own)
    trees["panels"] = {panel: own for panel, own in trees["panels"].items() if own is not None}
    return trees


def _lay_overrides(
    cfg: DictConfig, trees: dict[str, Any], system: type[RunSpec], overrides: list[str]
) -> tuple[set[str], list[str]]:
    """Lay the overrides of a command line over config and axes; returns the paths that they name, and what to tell."""
    known = {f.name for f in fields(StudySpec)} | {p for leaf in specs.leaf_paths(system) for p in _prefixes(leaf)}
    _, axis_overrides = split_axes(cfg.axis_overrides)
    require(len(axis_overrides) == len(cfg.axis_overrides), "axis_overrides", list(cfg.axis_overrides), "may hold axes only")
    given: list[str] = []
    asked: set[str] = set()
    notices: list[str] = []
    for override in OverridesParser.create().parse_overrides([*overrides, *axis_overrides]):
        path = override.key_or_group
        top = path.partition(".")[0]
        if path == "experiment":
            continue
        asked.add(path)
        require(top != "needs", path, override.value(), "is for a config to say")
        require(top in AXIS_FIELDS or path in known, path, override.value(), f"no such field{suggest(path, known)}")
        if top in AXIS_FIELDS and override.is_delete():
            remove_axis(trees, path)
        elif top in AXIS_FIELDS:
            notices += lay_axes(trees, path, override.value(), add=override.is_add() or override.is_force_add())
        elif not override.is_delete():
            value = override.value()
            OmegaConf.update(cfg, path, value, merge=True)
            given += axes.flatten_axes(value, f"{path}.") if isinstance(value, Mapping) else [path]
    notices += [n for path in given for n in axes.drop_overridden_axes(path, trees, "from the command line")]
    return asked, notices


def _prefixes(path: str) -> list[str]:
    """`a.b.c` and what it lies in: `a`, `a.b`."""
    parts = path.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
