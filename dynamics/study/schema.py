"""The typed config of every system, made known to Hydra as `/system/<name>`.

Integers may be written as floats that are whole, such as 1e3.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, make_dataclass
from functools import lru_cache
from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import DictConfig, IntegerNode, ListConfig, OmegaConf, StringNode, UnionNode
from omegaconf.errors import ValidationError

from dynamics.core.spec import RunSpec
from dynamics.study.request import StudySpec
from dynamics.systems import SYSTEMS


def schema(system: type[RunSpec]) -> DictConfig:
    """Return the typed config of one system: its run's fields and the study's, open to overrides."""
    return _open_config(make_dataclass(f"{system.__name__}Config", [], bases=(system, StudySpec), frozen=True))


def _open_config(kind: type) -> DictConfig:
    """Return the typed config of a dataclass, open to overrides, whose integers may be given as whole floats."""
    node = OmegaConf.structured(kind)
    _thaw(node)
    _take_whole_floats(node)
    return node


class WholeNumberNode(IntegerNode):
    """An integer that may be given as a float that is whole."""

    def _validate_and_convert_impl(self, value: Any) -> int:
        return super()._validate_and_convert_impl(int(value) if _is_whole(value) else value)

    def __deepcopy__(self, memo: dict[int, Any]) -> WholeNumberNode:
        copied = WholeNumberNode()
        self._deepcopy_impl(copied, memo)
        return copied


class SizeNode(StringNode):
    """An integer, which may be given as a float that is whole, or a text such as 4n."""

    def _validate_and_convert_impl(self, value: Any) -> Any:
        if isinstance(value, int | str) and not isinstance(value, bool):
            return value
        if _is_whole(value):
            return int(value)
        raise ValidationError("Value '$VALUE' of type '$VALUE_TYPE' is neither an integer nor a text such as 4n")

    def __deepcopy__(self, memo: dict[int, Any]) -> SizeNode:
        copied = SizeNode()
        self._deepcopy_impl(copied, memo)
        return copied


def _is_whole(value: Any) -> bool:
    """Return whether a value is a float without a fraction; not so for infinity and NaN."""
    return isinstance(value, float) and value.is_integer()


def _take_whole_floats(config: DictConfig) -> None:
    """Replace the nodes of integers, at every level, by such as take whole floats too."""
    for name in config:
        node = config._get_node(name)
        if isinstance(node, DictConfig) and OmegaConf.get_type(node) is not dict:
            _take_whole_floats(node)
        elif isinstance(node, IntegerNode):
            config[name] = WholeNumberNode(node._value(), is_optional=False)
        elif isinstance(node, UnionNode):
            config[name] = SizeNode(config[name], is_optional=False)
        elif isinstance(node, ListConfig) and node._metadata.element_type is int:
            node._metadata.element_type = Any  # its numbers are checked with the run


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
    root = ConfigStore.instance().repo
    root["study.yaml"] = _study_node()
    for name, system in SYSTEMS.items():
        root.setdefault("system", {})[f"{name}.yaml"] = _system_node(name, system, _signature(system()))


class SharedNode(ConfigNode):
    """A node that copies of Hydra's store share.

    Hydra copies its whole store at every composition, and once more the nodes that it loads,
    which is all that is needed.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedNode:
        return self


@lru_cache(maxsize=1)
def _study_node() -> SharedNode:
    return SharedNode("study.yaml", _open_config(StudySpec), group=None, package=None, provider=None)


@lru_cache(maxsize=64)
def _system_node(name: str, system: type[RunSpec], signature: tuple[Any, ...]) -> SharedNode:
    """Return the node of a system, made once for as long as its fields are those of the signature."""
    return SharedNode(f"{name}.yaml", schema(system), group="system", package="_global_", provider=None)


def _signature(spec: Any) -> tuple[Any, ...]:
    """Return the names, types and defaults of a spec's fields, to which pieces of one's own may add."""
    values = ((field, getattr(spec, field.name)) for field in fields(spec))
    return tuple((f.name, str(f.type), _signature(v) if is_dataclass(v) else repr(v)) for f, v in values)
