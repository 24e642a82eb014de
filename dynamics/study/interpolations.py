"""Fields that a config says by reference to others, `width: ${data.num_samples}`: they follow each run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dynamics.core import spec as specs
from dynamics.core.spec import RunSpec
from dynamics.engine.axes import Axes
from dynamics.errors import InputError

REFERENCE = re.compile(r"\$\{([\w.]+)\}")


class Interpolations:
    """The fields of a system that a config interpolates (`${...}`), and how they follow those that are axes.

    cfg: the config with everything laid over it, interpolations unresolved
    """

    def __init__(self, cfg: DictConfig, system: type[RunSpec]):
        self.cfg = cfg
        text = OmegaConf.to_container(cfg, resolve=False)
        self.paths = tuple(path for path in specs.leaf_paths(system) if _is_interpolated(text, path))

    def follow(self, runs: Sequence[RunSpec], axes: Axes) -> list[RunSpec]:
        """Return the runs of some axes with every interpolated field worked out from the run's own values.

        An interpolated field that is an axis itself is what the axis says.
        """
        swept = [path for name in axes for path in name.split(" ")]
        following = [path for path in self.paths if path not in swept]
        if not following or not runs:
            return list(runs)
        scratch = self.cfg.copy()
        causes = [path for path in swept if self._depend_on(scratch, path, following, runs)]
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        followed = []
        for run in runs:
            key = tuple(specs.get(run, path) for path in causes)
            if key not in found:
                found[key] = _read(scratch, dict(zip(causes, key, strict=True)), following)
            followed.append(specs.freeze(specs.put(run, found[key])))
        return list(dict.fromkeys(followed))

    def _depend_on(self, scratch: DictConfig, path: str, following: Sequence[str], runs: Sequence[RunSpec]) -> bool:
        """Return whether the interpolated fields are others at another value of a field."""
        values = list(dict.fromkeys(specs.get(run, path) for run in runs))[:3]
        kept = OmegaConf.select(scratch, path)
        seen = [_read(scratch, {path: value}, following) for value in values]
        OmegaConf.update(scratch, path, kept, merge=False)
        return any(other != seen[0] for other in seen) or seen[0] != _read(scratch, {}, following)


def _is_interpolated(text: Any, path: str) -> bool:
    """Return whether a field, or a level that it lies in, is an interpolation."""
    for part in path.split("."):
        if not isinstance(text, Mapping):
            break
        text = text.get(part)
    if isinstance(text, list):
        return any("${" in str(part) for part in text)
    return isinstance(text, str) and "${" in text


def _read(scratch: DictConfig, values: Mapping[str, Any], following: Iterable[str]) -> dict[str, Any]:
    """Return what the interpolated fields are with these values in the config."""
    for path, value in values.items():
        OmegaConf.update(scratch, path, list(value) if isinstance(value, tuple) else value, merge=False)
    read = {path: OmegaConf.select(scratch, path) for path in following}
    return {path: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value for path, value in read.items()}


def refuse_references_to_axes(text: Any, axes: Iterable[str]) -> None:
    """Raise `InputError` for an axis whose values refer to a field that is an axis itself, which they cannot follow.

    text: `sweep` and `panels` as they are written
    """
    swept = set(axes)
    for reference in REFERENCE.findall(str(text)):
        if reference in swept:
            allowed = "is an axis itself: an axis cannot follow it; let the field refer to it, or give both in a zip"
            raise InputError("sweep", f"${{{reference}}}", allowed)
