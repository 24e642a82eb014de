"""The typed config of every system, made known to Hydra as `/system/<name>`."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, make_dataclass
from functools import lru_cache
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from dynamics.core.spec import RunSpec
from dynamics.study.request import StudySpec
from dynamics.systems import SYSTEMS


def schema(system: type[RunSpec]) -> DictConfig:
    """Return the typed config of one system: its run's fields and the study's, open to overrides."""
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
        node = _schema_while(system, _signature(system()))
        ConfigStore.instance().store(group="system", name=name, node=node, package="_global_")


def _signature(spec: Any) -> tuple[Any, ...]:
    """Return the names, types and defaults of a spec's fields, to which pieces of one's own may add."""
    values = ((field, getattr(spec, field.name)) for field in fields(spec))
    return tuple((f.name, str(f.type), _signature(v) if is_dataclass(v) else repr(v)) for f, v in values)


@lru_cache(maxsize=64)
def _schema_while(system: type[RunSpec], signature: tuple[Any, ...]) -> DictConfig:
    """Return the schema of a system, made once for as long as its fields are those of the signature."""
    return schema(system)
