"""Hydra's composition of an experiment's config, made once for as long as what it is made of stays the same.

Hydra takes a tenth of a second and more, nearly all of it for reading and merging the same files again. The values of
plain fields do not change which files those are, so the config is composed without them, kept, and they are laid over a
copy, as Hydra itself lays them. Whatever else is asked for (groups, deletions, additions), Hydra composes anew, and it
is Hydra that tells what is wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dynamics.study.folders import search_folders

Stamp = tuple[tuple[str, int, int], ...]


def compose_experiment(name: str, overrides: Sequence[str], parsed: Sequence[Override]) -> DictConfig:
    """Return the config of an experiment with these overrides, inside `hydra_at` and once the schemas are registered.

    parsed: the same overrides, as Hydra's grammar reads them
    """
    folders = [folder / "configs" for folder in search_folders()]
    if all(_is_plain(override, folders) for override in parsed):
        kept = _compose_once(name, tuple(map(_stamp, folders)), _registered())
        config = copy.deepcopy(kept)
        try:
            for override in parsed:
                OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
            return config
        except OmegaConfBaseException:
            pass  # Hydra tells of it below
    return compose("config", [f"experiment={name}", *overrides])


@lru_cache(maxsize=64)
def _compose_once(name: str, files: tuple[Stamp, ...], registered: tuple[object, ...]) -> DictConfig:
    """Return the config without any override; files, registered: what it was made of,
    so that it is not kept for longer."""
    return compose("config", [f"experiment={name}"])


def _is_plain(override: Override, folders: Sequence[Path]) -> bool:
    """Return whether an override gives a value to what is no group of configs."""
    key = override.key_or_group
    of_groups = "/" in key or key in ConfigStore.instance().repo or any((folder / key).is_dir() for folder in folders)
    return override.type is OverrideType.CHANGE and override.package is None and not of_groups and key.split(".")[0] != "hydra"


def _stamp(folder: Path) -> Stamp:
    """Return the name, size and time of last change of every file in a folder."""
    found = ((str(path), path.stat()) for path in sorted(folder.rglob("*")))
    return tuple((path, status.st_size, status.st_mtime_ns) for path, status in found)


def _registered() -> tuple[object, ...]:
    """Return what Hydra's store holds: the nodes themselves, which are kept and so cannot become others unseen."""

    def nodes(tree: dict[str, object], at: str) -> list[object]:
        found: list[object] = []
        for name, node in sorted(tree.items()):
            found += nodes(node, f"{at}{name}/") if isinstance(node, dict) else [(f"{at}{name}", _Same(node))]
        return found

    return tuple(nodes(ConfigStore.instance().repo, ""))


class _Same:
    """An object that equals itself alone, whatever its own equality says."""

    def __init__(self, of: object):
        self.of = of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.of is other.of

    def __hash__(self) -> int:
        return id(self.of)
