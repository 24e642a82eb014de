"""Axes laid over those of a config, by an override or a call: what they replace, and what stands in their way,
is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dynamics.engine import axes
from dynamics.errors import InputError, require, suggest

Trees = dict[str, dict[str, Any]]  # `sweep`, and `panels` by name


def lay_axes(trees: Trees, path: str, value: Any, *, add: bool) -> list[str]:
    """Lay a value at `sweep...` or `panels...` over the axes of a config; returns one notice per axis that it replaces.

    add: whether a panel may be a new one, as a plus before the path says; otherwise its name must be known
    """
    top, _, rest = path.partition(".")
    laid = axes.nest_path(rest, value) if rest else value
    axes.check_sweep(top, laid)
    if top == "sweep":
        notices = _name_replaced(top, trees[top], laid)
        trees[top] = axes.merge_axes(trees[top], laid)
        return notices
    notices = []
    for panel, own in laid.items():
        known = panel in trees[top] or (panel == "main" and not trees[top])
        require(known or (add and own is not None), f"panels.{panel}", own, _unknown_panel(panel, trees[top]))
        below = trees[top].get(panel)
        if isinstance(own, Mapping) and isinstance(below, Mapping):
            notices += _name_replaced(f"panels.{panel}", below, own)
    trees[top] = axes.merge_panels(trees[top], laid)
    return notices


def _unknown_panel(panel: str, known: Iterable[str]) -> str:
    """Return what is said of a panel that a config does not have."""
    there = f"there are {', '.join(known)}" if list(known) else "there are none"
    return f"no such panel{suggest(panel, known)}; {there}; a new one is added with a plus, +panels.{panel}"


def _name_replaced(where: str, below: Mapping[str, Any], laid: Mapping[str, Any]) -> list[str]:
    """Return a notice for every axis of a zip, or beside one, that gives way to an axis of another kind."""
    before, after = axes.zipped_paths(below), axes.zipped_paths(laid)
    plain = set(axes.flatten_axes(laid)) - {"zip"}
    lost = sorted(before - after) if "zip" in laid else sorted(before & plain)
    covered = sorted((set(axes.flatten_axes(below)) - {"zip"}) & after)
    return [
        *(f"note: {path} as given replaces its part of {where}.zip" for path in lost if path in plain),
        *(
            f"note: {where}.zip as given replaces the one of the config, and with it {path}"
            for path in lost
            if path not in plain
        ),
        *(f"note: {where}.zip as given replaces the axis {where}.{path}" for path in covered),
    ]


def remove_axis(trees: Trees, path: str) -> None:
    """Remove an axis or a panel, or raise an `InputError` with the nearest name if there is none."""
    top, _, rest = path.partition(".")
    known = [p for panel, own in trees[top].items() if isinstance(own, Mapping) for p in (panel, *_below(panel, own))]
    allowed = f"no such axis{suggest(rest, known if top == 'panels' else axes.flatten_axes(trees[top]))}"
    require(axes.remove_axis(trees[top], rest), path, None, allowed)


def _below(panel: str, own: Mapping[str, Any]) -> list[str]:
    return [f"{panel}.{path}" for path in axes.flatten_axes(own)]


def notice_shadowed(trees: Trees, asked: Iterable[str]) -> list[str]:
    """Return a notice for every axis of `sweep` in whose place a panel has its own.

    Raises `InputError` for one that was asked for and has no effect, since every panel has its own.
    """
    panels = {panel: axes.axis_paths(own) for panel, own in trees["panels"].items() if isinstance(own, Mapping)}
    notices, sweep = [], axes.flatten_axes(trees["sweep"])
    for path in sorted(axes.axis_paths(trees["sweep"])):
        own = [panel for panel, paths in panels.items() if path in paths]
        given = any(f"sweep.{path}" == a or f"sweep.{path}".startswith(f"{a}.") or a == "sweep.zip" for a in asked)
        if own and given:
            places = ", ".join(f"panels.{panel}.{path}" for panel in own)
            if len(own) == len(panels):
                raise InputError(f"sweep.{path}", sweep.get(path, sweep.get("zip")), f"every panel has its own; give {places}")
            notices.append(f"note: in place of sweep.{path} stays {places}")
    return notices
