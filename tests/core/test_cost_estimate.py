"""The cost of a system that states none, against what its functions do counted by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from dynamics.core import spec as specs
from dynamics.core.cost_estimate import count_flops, peak_bytes
from dynamics.core.dynamics import Dynamics
from dynamics.core.options import option
from dynamics.core.spec import RunSpec
from dynamics.engine.plan import Machine, make_plan

A, B, X = jnp.ones((3, 5)), jnp.ones((5, 7)), jnp.ones(10)


@pytest.mark.parametrize(
    "function, arguments, flops",
    [
        (jnp.matmul, (A, B), 2 * 3 * 5 * 7),
        (lambda a, b: a @ b + 1, (A, B), 2 * 3 * 5 * 7 + 21),
        (lambda x: 2 * x + 1, (X,), 20),
        (jnp.sum, (X,), 10),
        (lambda x: lax.scan(lambda c, _: (c * 2, None), x, None, length=6)[0], (X,), 60),
        (lambda x: lax.cond(x[0] > 0, lambda y: y * 2 + 1, lambda y: y, x), (X,), 20 + 3),  # and the index, the comparison
        (jax.jit(lambda x: x * x), (X,), 10),
        (jax.vmap(lambda row, b: row @ b, in_axes=(0, None)), (A, B), 2 * 3 * 5 * 7),
        (
            lambda image, kernel: lax.conv(image, kernel, (1, 1), "VALID"),
            (jnp.ones((1, 2, 6, 6)), jnp.ones((4, 2, 3, 3))),
            2 * (4 * 4 * 4) * (2 * 3 * 3),
        ),
        (lambda x: x.reshape(2, 5).T, (X,), 1),
    ],
)
def test_operations_are_counted(function, arguments, flops):
    assert count_flops(jax.make_jaxpr(function)(*arguments).jaxpr) == pytest.approx(flops, abs=3)


def test_the_most_that_is_alive_at_once():
    """Two arrays of 4 * 1000 bytes are alive while the second is made of the first;
    the first dies before the third is made."""

    def chain(x):
        first = jnp.sin(x)
        second = jnp.cos(first)
        return jnp.sum(jnp.tan(second))

    assert peak_bytes(jax.make_jaxpr(chain)(jnp.ones(1000)).jaxpr) == 8000
    kept = jax.make_jaxpr(lambda x: (jnp.sin(x), jnp.cos(x), jnp.tan(x)))(jnp.ones(1000)).jaxpr
    assert peak_bytes(kept) == 12000


@dataclass(frozen=True)
class Walk(RunSpec):
    """A random walk in `dim` dimensions; `cost` is not stated."""

    dim: int = option(100, at_least=1)
    pull: float = option(0.5, at_least=0)

    system: ClassVar[str] = "walk of test_cost_estimate"

    def dynamics(self) -> Dynamics:
        def init(key, hyper):
            return hyper, jnp.zeros(self.dim, self.precision)

        def step(state, hyper, key):
            return state - hyper["pull"] * state

        return Dynamics(init, step, lambda state, hyper: {"radius": jnp.sqrt(jnp.sum(state**2))})


def test_a_system_without_a_cost_of_its_own():
    cost = specs.freeze(Walk()).cost()
    assert cost.flops_per_step == 200 and cost.flops_per_record == 201 and cost.speed == 1
    assert cost.bytes_resident == 4 * 101 and cost.bytes_working == 800
    wide = specs.freeze(Walk(dim=1000, precision="float64")).cost()
    assert wide.flops_per_step == 2000 and wide.bytes_resident == 8 * 1001


def test_the_plan_works_with_it():
    runs = [specs.freeze(Walk(seed=seed, dim=dim)) for seed in range(3) for dim in (10, 100)]
    plan = make_plan(runs, Machine("cpu", 1, 1e9, 1e-6, 1.0, 1e9, 1e5))
    assert sorted((len(group.runs), group.static.dim) for group in plan.groups) == [(3, 10), (3, 100)]  # type: ignore[attr-defined]
    assert all(group.seconds > 1 for group in plan.groups)
