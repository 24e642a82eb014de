"""What an experiment's figure and claims need of a study, and which axes they know.

A config says what is needed under `needs`: measures, panels, axes of at least two values, how many seeds. It stands
there and not in the experiment's Python file so that a plan, which imports nothing that draws, knows it, and beside the
axes and measures that somebody may change. The axes that a figure knows need no statement: in each panel those that the
config itself varies there, at any of its sizes. Any other axis of several values splits the study into parts, each with
a page and claims of its own, so that no cell of a table ever holds two settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from dynamics.core import spec as specs
from dynamics.core.spec import RunSpec
from dynamics.engine import axes
from dynamics.errors import InputError, require, suggest
from dynamics.study.selection import show_levels

MOST_PARTS = 24
Panels = Mapping[str, Sequence[RunSpec]]


@dataclass(frozen=True)
class AnalysisNeeds:
    """What figure and claims need; without it they may fail.

    measures: that every run records; panels: that there are; axes: fields that have at least two values; seeds:
        how many
    known: the axes of each panel that figure and claims read; any panel beside these may have them all
    """

    measures: tuple[str, ...] = ()
    panels: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    seeds: int = 1
    known: Mapping[str, frozenset[str]] | None = None

    def known_in(self, panel: str) -> frozenset[str]:
        """Return the axes that figure and claims read in a panel."""
        known = self.known or {}
        return known.get(panel, frozenset().union(*known.values()))

    def require_met(self, name: str, panels: Panels) -> None:
        """Raise `InputError` unless the runs of these panels have all that is needed, in every part of the study."""
        for label, part in split_parts(name, panels, self).items():
            for field, found, missing in self._list_missing(part):
                where = f" for {label}" if label else ""
                allowed = (
                    f"the figure and claims of {name} need {missing}{where}; mode=compute computes and stores without them"
                )
                raise InputError(field, found, allowed)

    def _list_missing(self, panels: Panels) -> Iterator[tuple[str, Any, str]]:
        """Yield field, what was found there, and what is missing, in words."""
        runs = [run for part in panels.values() for run in part]
        absent = [panel for panel in self.panels if panel not in panels]
        if absent:
            yield "panels", sorted(panels), f"the panel{'s' if absent[1:] else ''} {', '.join(absent)}"
        for run in runs:
            lacking = [measure for measure in self.measures if measure not in getattr(run, "measures", ())]
            if lacking:
                yield (
                    "measures",
                    list(getattr(run, "measures", ())),
                    f"the measure{'s' if lacking[1:] else ''} {', '.join(lacking)}",
                )
        for path in self.axes:
            values = sorted({specs.get(run, path) for run in runs})
            if len(values) < 2:
                yield path, show_levels(values), "at least two values of it"
        for panel, part in panels.items():
            seeds = {run.seed for run in part}
            if len(seeds) < self.seeds:
                yield "seed", show_levels(sorted(seeds)), f"at least {self.seeds} seeds in panel {panel}"


def read_needs(said: Mapping[str, Any], trees: Sequence[Mapping[str, Any]]) -> AnalysisNeeds:
    """Return what a config says under `needs`; trees: its `sweep` and `panels`, at each of its sizes.

    Raises `InputError` for a word that is none.
    """
    words = [f.name for f in fields(AnalysisNeeds) if f.name != "known"]
    for word in said:
        require(word in words, f"needs.{word}", said[word], f"choose among {', '.join(words)}{suggest(word, words)}")
    lists = {word: tuple(said.get(word) or ()) for word in ("measures", "panels", "axes")}
    known: dict[str, frozenset[str]] = {}
    for tree in trees:
        for panel, own in (tree["panels"] or {"main": {}}).items():
            if own is not None:
                varied = varied_paths(axes.merge_axes(tree["sweep"], own))
                known[panel] = known.get(panel, frozenset()) | varied
    return AnalysisNeeds(**lists, seeds=int(said.get("seeds", 1)), known=known)


def varied_paths(tree: Mapping[str, Any]) -> frozenset[str]:
    """Return the fields that a sweep gives several values."""
    found: set[str] = set()
    for path, node in axes.flatten_axes(tree).items():
        if path == "zip":
            for together in [node] if isinstance(node, Mapping) else node:
                found |= varied_paths(together)
        elif (isinstance(node, Mapping) and node) or (isinstance(node, list | tuple) and len(node) > 1):
            found.add(path)
    return frozenset(found)


def find_unknown_axis(panels: Panels, needs: AnalysisNeeds) -> tuple[str, list[Any], set[str]] | None:
    """Return a field that varies within a panel though figure and claims do not read it, its values, and those panels.

    A field that follows the known axes (a width of 4n) is none of these; one that follows the seed is.
    """
    found: dict[str, set[str]] = {}
    for panel, runs in panels.items():
        flat = [specs.flatten(run) for run in runs]
        varying = [path for path in (flat[0] if flat else ()) if len({row[path] for row in flat}) > 1]
        known = needs.known_in(panel) - {"seed"}
        keys = [path for path in varying if path in known]
        for path in varying:
            if path not in known and path != "seed":
                cells = {(*(row[key] for key in keys), row[path]) for row in flat}
                if len(cells) > len({cell[:-1] for cell in cells}):
                    found.setdefault(path, set()).add(panel)
    if not found:
        return None
    path, where = next(iter(found.items()))
    return path, sorted({specs.get(run, path) for panel in where for run in panels[panel]}), where


def split_parts(name: str, panels: Panels, needs: AnalysisNeeds) -> dict[str, Panels]:
    """Return the study in parts that vary in nothing unknown, by a label such as `data.noise_std = 0.5`;
    one is unnamed.

    A panel in which an axis does not vary belongs to every part.
    Raises `InputError` for more parts than a figure can have.
    """
    unknown = find_unknown_axis(panels, needs) if needs.known is not None else None
    if unknown is None:
        return {"": panels}
    path, values, where = unknown
    allowed = f"has {len(values)} values, and the figure of {name} does not know this axis: at most {MOST_PARTS} pages are made"
    require(len(values) <= MOST_PARTS, path, show_levels(values), f"{allowed}; mode=compute computes and stores without them")
    found: dict[str, Panels] = {}
    for value in values:
        part = {
            panel: [run for run in runs if panel not in where or specs.get(run, path) == value]
            for panel, runs in panels.items()
        }
        own = {panel: runs for panel, runs in part.items() if runs}
        for label, below in split_parts(name, own, needs).items():
            found[", ".join(filter(None, (f"{path} = {show_levels([value])}", label)))] = below
    require(len(found) <= MOST_PARTS, path, show_levels(values), f"makes {len(found)} pages with other axes; {allowed}")
    return found
