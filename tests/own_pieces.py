"""Pieces of one's own, one of each kind, registered as a user would: for `test_own_pieces.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dynamics.core.dynamics import Dynamics
from dynamics.core.options import option
from dynamics.core.spec import RunSpec
from dynamics.data.problem import DataSpec
from dynamics.models.base import plain_model
from dynamics.optimizers.update_rule import Rule
from dynamics.systems import register


def own_law() -> None:
    @register.law("skewed", fields={"skew": option(0.5, above=0), "corner": option("none", choices=("none", "cut"))}, pads=True)
    def draw_skewed(key, data, hyper, dtype):
        def draw(key):
            x = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(key, i), (), dtype))(jnp.arange(data.input_dim))
            x = x ** hyper["data.skew"]
            x = jnp.minimum(x, 0.9) if data.corner == "cut" else x
            return jnp.where(jnp.arange(data.input_dim) < hyper["data.input_dim"], x, 0)

        return draw


def own_target() -> None:
    @register.target(fields={"bend": option(2.0, at_least=0), "sign": option(1, choices=None)}, pads=True)
    def bent(key, setting):
        first = setting.target.sign
        return lambda inputs, parts: first * inputs[:, 0] + setting.hyper["target.bend"] * inputs[:, 0] ** 2


def own_views() -> None:
    @register.views(fields={"gap": option(1, at_least=1), "tilt": option(0.5, at_least=0)})
    def spread(frame, rng):
        starts = np.arange(0, frame.pixels - frame.size + 1, frame.options.gap)
        return (starts[:, None] + np.arange(frame.size) + round(frame.options.tilt)) % frame.pixels


def own_model() -> None:
    @register.model(
        "powers", fields={"power": option(2.0, above=0), "centred": option(False)}, pads=("data.num_samples", "data.input_dim")
    )
    def build_powers(spec, grid, dtype, outputs):
        def init(key, hyper):
            drawn = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (), dtype))(jnp.arange(grid[0]))
            return jnp.where(jnp.arange(grid[0]) < hyper["data.input_dim"], drawn, 0)

        def apply(params, inputs):
            seen = jnp.abs(inputs) ** spec.power
            return seen @ params - (jnp.sum(params) / 3 if spec.centred else 0)

        return plain_model(init, apply)


def own_system() -> None:
    @register.system
    @dataclass(frozen=True)
    class Pendulum(RunSpec):
        """A damped pendulum; `size` of them, side by side."""

        damping: float = option(0.1, at_least=0, doc="friction")
        form: str = option("round", choices=("round", "flat"))
        size: int = option(3, at_least=1)
        data: DataSpec = field(default_factory=DataSpec)

        system: ClassVar[str] = "pendulum"
        shape_fields: ClassVar[tuple[str, ...]] = ("size",)

        @property
        def paddable(self) -> tuple[str, ...]:
            return self.shape_fields

        def dynamics(self) -> Dynamics:
            def init(key, hyper):
                used = jnp.arange(self.size) < hyper["size"]
                return hyper, (jnp.where(used, 1.0 + jnp.arange(self.size), 0).astype(self.precision), jnp.zeros(self.size))

            def step(state, hyper, key):
                position, speed = state
                force = position if self.form == "flat" else jnp.sin(position)
                return position + 0.1 * speed, speed - 0.1 * (force + hyper["damping"] * speed)

            return Dynamics(init, step, lambda state, hyper: {"excess_risk": jnp.sum(state[0] ** 2)})


def own_optimizer() -> None:
    @register.optimizer(
        "sluggish", uses=("clip_norm",), pads=True, fields={"drag": option(0.5, at_least=0, below=1), "signed": option(False)}
    )
    def build_sluggish(spec, hyper, mask):
        def update(params, state, gradient, *, step, key):
            change = jax.tree.map(lambda g: jnp.sign(g) if spec.signed else g, gradient(params))
            rate = hyper["optimizer.learning_rate"] * (1 - spec.drag) * (1 + step)
            return jax.tree.map(lambda p, g: p - rate * g, params, change), state

        return Rule(lambda params: (), update)


def own_loss() -> None:
    @register.loss("power", fields={"degree": option(1.5, above=1), "shape": option("even", choices=("even", "steep"))})
    def power_loss(prediction, labels, spec):
        gap = jnp.abs(prediction - labels)
        return gap**spec.degree * jnp.where(prediction > labels, 2.0 if spec.shape == "steep" else 1.0, 1.0)


def own_measure() -> None:
    @register.measure(
        fields={"level": option(0.5, at_least=0), "side": option("both", choices=("both", "over"))}, padding="exact"
    )
    def shrunken_error(view):
        size = jnp.abs(view.residual) if view.options.side == "both" else jnp.maximum(view.residual, 0)
        return {"excess_risk": jnp.sum(view.train.weights * jnp.maximum(size - view.hyper["measure_options.level"], 0))}
