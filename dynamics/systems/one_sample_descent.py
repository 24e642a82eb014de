"""The catapult: gradient descent on a two-layer linear net with one sample, and its exact two-variable map.

Net: f = n^(-1/2) sum_i v_i u_i, loss f^2 / 2, tangent kernel lambda = (|u|^2 + |v|^2) / n. One step of gradient
descent changes the pair (f, lambda) by

    f      <- f (1 - eta lambda + eta^2 f^2 / n)
    lambda <- lambda + (eta f^2 / n) (eta lambda - 4)

(Lewkowycz et al. 2020, arXiv 2003.02218). Dropping both 1/n terms gives the linearised map, the infinite-width limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Cost, Dynamics, Hyper
from dynamics.core.spec import RunSpec
from dynamics.errors import choose, require
from dynamics.systems import register


@register.system
@dataclass(frozen=True)
class CatapultSpec(RunSpec):
    """form: the `net` of the given width, the two-variable `map`, or the `linearized` map.

    The run starts at f = initial_output with lambda = initial_kernel and learning rate edge_ratio / initial_kernel,
    so edge_ratio is eta lambda_0.
    """

    form: str = "map"
    width: int = 200
    edge_ratio: float = 1.5
    initial_output: float = 0.5
    initial_kernel: float = 1.0

    system: ClassVar[str] = "catapult"
    shape_fields: ClassVar[tuple[str, ...]] = ("width",)

    @property
    def paddable(self) -> tuple[str, ...]:
        return self.shape_fields

    def check(self) -> None:
        super().check()
        choose("form", self.form, FORMS)
        require(self.width >= 2, "width", self.width, "must be at least 2")
        require(self.edge_ratio > 0, "edge_ratio", self.edge_ratio, "must be above 0")
        require(self.initial_kernel > 0, "initial_kernel", self.initial_kernel, "must be above 0")
        reach = self.initial_kernel * self.width**0.5 / 2
        allowed = f"must not be 0 (a fixed point) and at most initial_kernel * sqrt(width) / 2 = {reach:g} in size"
        require(0 < abs(self.initial_output) <= reach, "initial_output", self.initial_output, allowed)

    def unused_fields(self) -> dict[str, str]:
        return super().unused_fields() | ({"width": "form"} if self.form == "linearized" else {})

    def dynamics(self) -> Dynamics:
        return FORMS[self.form](self)

    def cost(self) -> Cost:
        width = self.width if self.form == "net" else 2
        return Cost(8.0 * width, 6.0 * width, 32.0 * width, 32.0 * width)


class TwoLayerLinearNet(NamedTuple):
    """A two-layer linear network of width n on one sample: u (n,), v (n,)."""

    u: jax.Array
    v: jax.Array


class OutputAndKernel(NamedTuple):
    """The state of the two-variable map: output f () and kernel lambda ()."""

    output: jax.Array
    kernel: jax.Array


def _observe(pair: OutputAndKernel, hyper: Hyper) -> dict[str, jax.Array]:
    """Return the observables of a state: loss, output, kernel and eta times the kernel (edge)."""
    rate = hyper["edge_ratio"] / hyper["initial_kernel"]
    return {"loss": pair.output**2 / 2, "output": pair.output, "kernel": pair.kernel, "edge": rate * pair.kernel}


def two_layer_linear_dynamics(spec: CatapultSpec) -> Dynamics:
    """Return full-batch gradient descent on (u, v), started at the given f and lambda in a random direction."""
    dtype = jnp.dtype(spec.precision)

    def init(key: jax.Array, hyper: Hyper) -> tuple[Hyper, TwoLayerLinearNet]:
        width = hyper["width"].astype(dtype)
        used = jnp.arange(spec.width) < hyper["width"]
        a, b = (jnp.where(used, jax.random.normal(k, (spec.width,), dtype), 0) for k in (key, jax.random.fold_in(key, 1)))
        a = a / jnp.linalg.norm(a)
        b = b - a * (a @ b)
        b = b / jnp.linalg.norm(b)
        size = jnp.sqrt(width * hyper["initial_kernel"] / 2)  # |u| = |v|
        cosine = hyper["initial_output"] * jnp.sqrt(width) / size**2
        return hyper, TwoLayerLinearNet(size * a, size * (cosine * a + jnp.sqrt(1 - cosine**2) * b))

    def pair(state: TwoLayerLinearNet, hyper: Hyper) -> OutputAndKernel:
        width = hyper["width"].astype(dtype)
        return OutputAndKernel(state.u @ state.v / jnp.sqrt(width), (state.u @ state.u + state.v @ state.v) / width)

    def step(state: TwoLayerLinearNet, hyper: Hyper, key: jax.Array) -> TwoLayerLinearNet:
        rate = hyper["edge_ratio"] / hyper["initial_kernel"]
        slope = rate * pair(state, hyper).output / jnp.sqrt(hyper["width"].astype(dtype))
        return TwoLayerLinearNet(state.u - slope * state.v, state.v - slope * state.u)

    return Dynamics(init, step, lambda state, hyper: _observe(pair(state, hyper), hyper))


def two_variable_map_dynamics(spec: CatapultSpec, *, full: bool = True) -> Dynamics:
    """Return the exact map of (f, lambda), or its linearisation with both 1/n terms dropped."""
    dtype = jnp.dtype(spec.precision)

    def step(state: OutputAndKernel, hyper: Hyper, key: jax.Array) -> OutputAndKernel:
        rate = hyper["edge_ratio"] / hyper["initial_kernel"]
        f, kernel = state
        drift = rate * f**2 / hyper["width"].astype(dtype) if full else jnp.zeros((), dtype)
        return OutputAndKernel(f * (1 - rate * kernel + rate * drift), kernel + drift * (rate * kernel - 4))

    return Dynamics(
        lambda key, hyper: (hyper, OutputAndKernel(hyper["initial_output"], hyper["initial_kernel"])), step, _observe
    )


FORMS = {
    "net": two_layer_linear_dynamics,
    "map": two_variable_map_dynamics,
    "linearized": lambda spec: two_variable_map_dynamics(spec, full=False),
}
