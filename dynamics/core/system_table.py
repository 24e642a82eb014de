"""The table of systems: every dynamics that a config may name, by its `RunSpec`."""

from __future__ import annotations

from dynamics.core.registry import Registry
from dynamics.core.spec import RunSpec

SYSTEMS: Registry[type[RunSpec]] = Registry("system")  # filled by `dynamics.systems`
