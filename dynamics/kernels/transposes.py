"""Define JAX primitives that are linear in their last argument, from a kernel and the kernel of its transpose.

Forward and reverse derivatives of any order and `vmap` follow from the pair.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def transposed_pair(forth: Callable[..., jax.Array], back: Callable[..., jax.Array]) -> tuple[Callable, Callable]:
    """Return two primitives `f(*held, v, **static)`, linear in v and transposes of each other.

    forth, back: the kernels; they must accept arrays with any number of leading ensemble axes, the same for all
    arguments, and the same `static` keywords. Derivatives in `held` raise `NotImplementedError`.
    """
    first, second = Primitive(f"dynamics_{forth.__name__}"), Primitive(f"dynamics_{back.__name__}")
    _define(first, forth, second)
    _define(second, back, first)
    return first.bind, second.bind


def _define(primitive: Primitive, function: Callable[..., jax.Array], other: Primitive) -> None:
    def shape(*arguments: Any, **static: Any) -> Any:
        seen = jax.eval_shape(lambda *a: function(*a, **static), *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arguments))
        return ShapedArray(seen.shape, seen.dtype)

    def derivative(primals: tuple, tangents: tuple, **static: Any) -> tuple[Any, Any]:
        if any(not isinstance(t, ad.Zero) and t.dtype != jax.dtypes.float0 for t in tangents[:-1]):
            raise NotImplementedError(f"{primitive.name}: not differentiable in any argument but the last")
        *held, along = (*primals[:-1], ad.instantiate_zeros(tangents[-1]))
        return primitive.bind(*primals, **static), primitive.bind(*held, along, **static)

    def transpose(cotangent: Any, *arguments: Any, **static: Any) -> list[Any]:
        *held, _ = arguments
        return [*(None for _ in held), other.bind(*held, ad.instantiate_zeros(cotangent), **static)]

    def batch(arguments: tuple, axes: tuple, **static: Any) -> tuple[Any, int]:
        size = next(a.shape[axis] for a, axis in zip(arguments, axes, strict=True) if axis is not None)
        front = [
            jnp.broadcast_to(a, (size, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
            for a, axis in zip(arguments, axes, strict=True)
        ]
        return primitive.bind(*front, **static), 0

    @cache
    def compiled(**static: Any) -> Callable[..., jax.Array]:
        return jax.jit(partial(function, **static))

    primitive.def_impl(lambda *arguments, **static: compiled(**static)(*arguments))
    primitive.def_abstract_eval(shape)
    ad.primitive_jvps[primitive] = derivative
    ad.primitive_transposes[primitive] = transpose
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
