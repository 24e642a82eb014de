"""Whether the functions of a `Dynamics` fit together, found out by tracing them: nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Dynamics
from dynamics.core.segments import FINITE, STOPPED_AT
from dynamics.errors import InputError, require


def check_triple(dynamics: Any, key: Any, hyper: Mapping[str, Any]) -> dict[str, Any]:
    """Return shape and type of what the functions observe by name; raises `InputError` where these do not fit together.

    key, hyper: arrays, or their shapes and types. Whatever the functions raise themselves comes through as it is, but
    for a scalar that they ask for and that is not there.
    """
    require(isinstance(dynamics, Dynamics), "dynamics", type(dynamics).__name__, "must be a dyn.Dynamics")
    for name, function in dynamics._asdict().items():
        if name == "undefined":
            continue
        fits = callable(function) or (name == "leap" and function is None)
        require(fits, f"dynamics.{name}", function, "must be a function")
    try:
        begun = jax.eval_shape(lambda k, h: dynamics.init(jax.random.fold_in(k, 0), h), key, hyper)
    except KeyError as error:
        asked = error.args[0] if error.args else ""
        if not isinstance(asked, str) or asked in hyper:
            raise
        raise InputError("hyper", sorted(hyper), f"init asks for {asked!r}, which is not among them") from error
    pair = isinstance(begun, tuple) and len(begun) == 2
    require(pair, "init", type(begun).__name__, "must return (fixed, state)")
    fixed, state = begun
    before, after = _describe(state), _describe(jax.eval_shape(dynamics.step, state, fixed, key))
    require(before == after, "step", after, f"must return a state of the shapes and types that init returns, {before}")
    floats = any(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(state))
    require(floats, "init", before, "must return a state with at least one array of floats")
    observed = jax.eval_shape(dynamics.observe, state, fixed)
    require(isinstance(observed, Mapping), "observe", type(observed).__name__, "must return a dict of arrays by name")
    for name in observed:
        fits = isinstance(name, str) and name not in (FINITE, STOPPED_AT)
        require(fits, "observe", name, f"must be a name other than `{FINITE}` and `{STOPPED_AT}`")
    unknown = [name for name in dynamics.undefined if name not in observed]
    require(not unknown, "dynamics.undefined", unknown, f"must be among what observe returns: {', '.join(observed)}")
    return dict(observed)


def unused_scalars(dynamics: Dynamics, key: Any, hyper: Mapping[str, Any]) -> list[str]:
    """Return the names of the scalars on which nothing depends that a run computes."""

    def run(hyper: Mapping[str, Any], key: jax.Array) -> Any:
        fixed, state = dynamics.init(jax.random.fold_in(key, 0), hyper)
        leap = dynamics.leap(state, fixed, jnp.int32(1)) if dynamics.leap is not None else ()
        return dynamics.step(state, fixed, key), dynamics.observe(state, fixed), leap

    program = jax.make_jaxpr(run)(dict(hyper), key).jaxpr
    used = {id(v) for equation in program.eqns for v in equation.invars} | {id(v) for v in program.outvars}
    return [name for name, variable in zip(sorted(hyper), program.invars, strict=False) if id(variable) not in used]


def _describe(tree: Any) -> str:
    """Return shape and type of every leaf in words, by its place."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return ", ".join(f"{jax.tree_util.keystr(path) or 'state'}: {leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves)
