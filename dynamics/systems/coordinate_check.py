"""A coordinate check: by how much one step changes the features of a network, in several parametrisations at once.

A network of two hidden ReLU layers, h1 = W1 x, h2 = W2 relu(h1), f = v . relu(h2), starts once and takes each step in
every case of `CASES` by every rule of `RULES` (Yang et al. 2022, appendix D.1). What is expected of it is computed by
`dynamics.theory.width_scaling`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from dynamics.core.dynamics import Dynamics, Hyper
from dynamics.core.spec import RunSpec, option
from dynamics.models.mlp import DenseLayer, Layers, build_mlp
from dynamics.models.parametrization import LayerFactors, scale_layers
from dynamics.optimizers.layer_rates import FAMILIES
from dynamics.optimizers.rules import OptimizerSpec
from dynamics.systems import register

DIM, SAMPLES = 16, 8
RULES = ("gd", "signgd")  # sign descent is Adam's first step
PARTS = ("first", "second", "output")


class Case(NamedTuple):
    """A parametrisation, and the power of the width by which its initial readout is enlarged."""

    parametrization: str
    readout_power: float = 0.0


CASES = {"standard": Case("standard"), "mup": Case("mup"), "unscaled": Case("mup", 0.5)}


def scale_case(case: str, width: Any) -> list[LayerFactors]:
    """Return the factors of the three layers of a net of this width, which may be traced."""
    return scale_layers(CASES[case].parametrization, (DIM, width, width), width)


def pass_layers(params: Layers, factors: list[LayerFactors], x: jax.Array) -> list[jax.Array]:
    """Return h1, h2 and f, each (n, units), of inputs (n, d)."""
    h, seen = x, []
    for layer, factor in zip(params, factors, strict=True):
        seen.append(factor.multiplier * h @ layer.weight)
        h = jnp.where(seen[-1] > 0, seen[-1], 0)
    return seen


@register.system
@dataclass(frozen=True)
class CoordinateCheckSpec(RunSpec):
    """One start of a network of this width, from which every case and rule takes steps of its own.

    The loss is -mean(y f) on Gaussian data, whose slope in f is the same at every width. Records: the mean absolute
    change of h1, h2 and f since the start, `<case>_<rule>_<part>`.
    """

    width: int = option(64, at_least=1, doc="units of either hidden layer")
    learning_rate: float = option(0.05, above=0, doc="step size, which each layer multiplies by its factor")

    system: ClassVar[str] = "coordinate_check"
    shape_fields: ClassVar[tuple[str, ...]] = ("width",)

    @property
    def paddable(self) -> tuple[str, ...]:
        return self.shape_fields

    def dynamics(self) -> Dynamics:
        dtype = jnp.dtype(self.precision)
        model = build_mlp(DIM, self.width, 2, "relu", dtype, init="kaiming_lecun", bias=False)

        def init(key: jax.Array, hyper: Hyper):
            data, label, net = (jax.random.fold_in(key, i) for i in range(3))
            x, y = jax.random.normal(data, (SAMPLES, DIM), dtype), jax.random.normal(label, (SAMPLES,), dtype)
            scalars = {"data.input_dim": jnp.int32(DIM), "model.width": hyper["width"]}
            drawn = model.init(net, {**scalars, "model.init_scale": jnp.ones(()), "model.readout_scale": jnp.ones(())})
            n, starts = hyper["width"].astype(dtype), {}
            for case, (_, power) in CASES.items():
                draws: list[Any] = [factor.draw for factor in scale_case(case, n)]
                draws[-1] = draws[-1] * n**power
                starts[case] = tuple(DenseLayer(None, f * w) for f, (_, w) in zip(draws, drawn, strict=True))
            return (hyper, x, y, starts), {f"{case}_{rule}": starts[case] for case in CASES for rule in RULES}

        def step(state, fixed, key: jax.Array):
            (hyper, x, y, _), moved = fixed, {}
            scalars = {"optimizer.weight_decay": jnp.zeros((), dtype), "optimizer.clip_norm": jnp.asarray(jnp.inf, dtype)}
            scalars["optimizer.learning_rate"] = hyper["learning_rate"]
            for case in CASES:
                factors = scale_case(case, hyper["width"].astype(dtype))
                loss_slope = jax.grad(lambda p: -jnp.mean(y * pass_layers(p, factors, x)[-1][:, 0]))
                for rule in RULES:
                    params = state[f"{case}_{rule}"]
                    rates = tuple(DenseLayer(None, getattr(factor, FAMILIES[rule])) for factor in factors)
                    update = OptimizerSpec(rule).rule(scalars, jax.tree.map(jnp.ones_like, params), rates)
                    new, _ = update.update(params, update.init(params), loss_slope, step=jnp.int32(0), key=key)
                    moved[f"{case}_{rule}"] = new
            return moved

        def observe(state, fixed) -> dict[str, jax.Array]:
            (hyper, x, _, starts), seen = fixed, {}
            n = hyper["width"].astype(dtype)
            for case in CASES:
                start = pass_layers(starts[case], scale_case(case, n), x)
                for rule in RULES:
                    now = pass_layers(state[f"{case}_{rule}"], scale_case(case, n), x)
                    for part, a, b in zip(PARTS, now, start, strict=True):
                        units = 1 if part == "output" else n  # of a padded layer those beyond do not move
                        seen[f"{case}_{rule}_{part}"] = jnp.sum(jnp.abs(a - b)) / (SAMPLES * units)
            return seen

        return Dynamics(init, step, observe)
