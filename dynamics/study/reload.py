"""Finished runs looked at again: final parameters from the store, the problem drawn anew from the run's seed.

A question that comes up after training is asked here, without training again (`save_final: true` keeps the parameters).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core import spec as specs
from dynamics.core.extension import until_registration
from dynamics.core.simulate import start
from dynamics.core.spec import RunSpec
from dynamics.measures.view import View
from dynamics.study.tables import Study
from dynamics.systems.training import TrainingSpec


@until_registration
def _starter(static: RunSpec):
    dynamics = static.dynamics()
    return jax.jit(lambda key, hyper: start(dynamics, key, hyper))


def restart(spec: RunSpec) -> tuple[Any, Any]:
    """Return what the run keeps and the state it began with, as they were drawn in the study."""
    sizes = set(spec.shape_fields)
    with jax.enable_x64(spec.precision == "float64"):
        hyper = {k: jnp.asarray(v, jnp.int32 if k in sizes else spec.precision) for k, v in specs.hyper(spec).items()}
        return _starter(specs.static(spec))(jax.random.key(np.uint32(spec.seed)), {**hyper, **spec.shared_arrays()})


def final_state(study: Study, run: str) -> tuple[Any, Any]:
    """Return what a run keeps and its final state, padding cut off."""
    fixed, state = restart(study.specs[run])
    saved = study.store.final(run)

    def fill(path, leaf):
        value = saved[jax.tree_util.keystr(path, simple=True, separator="/")]
        return jnp.asarray(value[tuple(slice(size) for size in leaf.shape)])

    with jax.enable_x64(study.specs[run].precision == "float64"):
        return fixed, jax.tree_util.tree_map_with_path(fill, state)


def views(study: Study, *, initial: bool = False) -> Iterator[tuple[str, View]]:
    """(run, view of its final parameters, or initial ones) for every training run of the study, each run once."""
    for run in study.runs["run"].unique(maintain_order=True):
        spec = study.specs[run]
        assert isinstance(spec, TrainingSpec)
        with jax.enable_x64(spec.precision == "float64"):
            fixed, state = restart(spec) if initial else final_state(study, run)
            yield run, spec.view(state, fixed)
