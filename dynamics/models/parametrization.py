"""How initial weights, forward multipliers and learning rates of a layer go with its width: one table for all networks.

A layer of fan-in m in a net of width n is multiplier * W, where W is drawn by the law of the standard parametrisation
(whose deviation is of order m^(-1/2)) times `draw`, and takes steps of the learning rate times `sgd` or `adam`:

                                        first layer, biases    between                  readout
    standard    draw, multiplier        1, 1                   1, 1                     1, 1
                sgd, adam               1, 1                   1, 1                     1, 1
    ntk         draw, multiplier        m^(1/2), m^(-1/2)      m^(1/2), m^(-1/2)        m^(1/2), m^(-1/2)
                sgd, adam               1, n^(-1/2)            1, 1/n                   1, n^(-1/2)
    mean_field  draw, multiplier        1, 1                   m^(1/2), m^(-1/2)        m^(1/2), 1/m
                sgd, adam               n, 1                   n, n^(-1/2)              n, 1
    mup         draw, multiplier        1, 1                   1, 1                     r^(1/2), 1/r
                sgd, adam               r, 1                   1, 1/r                   r, 1

with r = n / n_0 and n_0 = `model.base_width`, at which `mup` is the standard parametrisation. Biases are drawn without
a factor, have no multiplier and take the rates of the first layer, but for the output's, whose factor is 1. `sgd` is
meant for rules whose update is proportional to the gradient, `adam` for those whose update does not depend on its size.

Sources. ntk: Jacot et al. 2018, section 3; its rates under Adam are those at which the output moves by order 1 and
features by n^(-1/2) (derived; checked in `tests/models/test_parametrization.py`). mean_field: Mei et al. 2018 and
Chizat and Bach 2018 for one hidden layer, Bordelon and Pehlevan 2022 for more, with gamma_0 = 1. mup: Yang and Hu 2021,
in the form of Table 8 of Yang et al. 2022. Whatever multiplies a layer may be moved between draw, multiplier and rate
(Yang and Hu 2021, section 3), so under SGD mean_field is mup of base width 1. Weight decay acts on W, before the rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dynamics.models.base import Batch, Model, Neurons

STANDARD = "standard"
SGD, ADAM = "sgd", "adam"  # families of rules, by how an update goes with the size of the gradient


class LayerPowers(NamedTuple):
    """Powers of a layer's fan-in (draw, multiplier) and of the net's width (sgd, adam), each over the base width."""

    draw: float = 0.0
    multiplier: float = 0.0
    sgd: float = 0.0
    adam: float = 0.0


class Parametrization(NamedTuple):
    """The powers of the first layer, of layers between two hidden ones, and of the readout.

    has_base: whether they are powers of a width over the base width
    """

    first: LayerPowers
    between: LayerPowers
    readout: LayerPowers
    has_base: bool = False


PARAMETRIZATIONS = {
    STANDARD: Parametrization(LayerPowers(), LayerPowers(), LayerPowers()),
    "ntk": Parametrization(
        LayerPowers(0.5, -0.5, 0, -0.5),
        LayerPowers(0.5, -0.5, 0, -1),
        LayerPowers(0.5, -0.5, 0, -0.5),
    ),
    "mean_field": Parametrization(
        LayerPowers(0, 0, 1, 0),
        LayerPowers(0.5, -0.5, 1, -0.5),
        LayerPowers(0.5, -1, 1, 0),
    ),
    "mup": Parametrization(
        LayerPowers(0, 0, 1, 0),
        LayerPowers(0, 0, 0, -1),
        LayerPowers(0.5, -1, 1, 0),
        has_base=True,
    ),
}


class LayerFactors(NamedTuple):
    """The numbers of one layer: of its weights as in `LayerPowers`, and of its biases' rates under either family."""

    draw: float
    multiplier: float
    sgd: float
    adam: float
    bias_sgd: float
    bias_adam: float


def scale_layers(name: str, fan_ins: Sequence[int], width: int, base_width: int = 1) -> list[LayerFactors]:
    """Return the factors of each layer of a net of this width, the last one the readout."""
    found, last = PARAMETRIZATIONS[name], len(fan_ins) - 1
    base = base_width if found.has_base else 1
    layers = []
    for i, fan_in in enumerate(fan_ins):
        powers = found.readout if i == last else found.first if i == 0 else found.between
        of_fan, of_width = (fan_in / base), (width / base)
        bias = LayerPowers() if i == last else found.first
        layers.append(
            LayerFactors(
                of_fan**powers.draw,
                of_fan**powers.multiplier,
                of_width**powers.sgd,
                of_width**powers.adam,
                of_width**bias.sgd,
                of_width**bias.adam,
            )
        )
    return layers


class ParameterFactors(NamedTuple):
    """Factors that broadcast to a network's parameters, as trees of their structure; rates:
    for each family of rules."""

    draw: Any
    multiplier: Any
    rates: dict[str, Any]


def parametrize(model: Model, factors: ParameterFactors) -> Model:
    """Return the network whose parameters are those of `model` over their multipliers, drawn and stepped as these say.

    Closed forms are kept where they are of the function alone; the Gauss-Newton kernel is left to automatic
    differentiation. Units (`neurons`, `half_spaces`) are those of the function, multipliers included.
    """

    def effective(params: Any) -> Any:
        return jax.tree.map(lambda m, p: m * p, factors.multiplier, params)

    def init(key: jax.Array, hyper: Any) -> Any:
        return jax.tree.map(lambda f, p: f * p, factors.draw, model.init(key, hyper))

    def apply(params: Any, batch: Batch) -> jax.Array:
        return model.apply(effective(params), batch)

    closed, sides, units = model.squared_gradient, model.half_spaces, model.neurons

    def squared_gradient(params: Any, batch: Batch, factor: float) -> Any:
        assert closed is not None
        return jax.tree.map(lambda m, g: m * g, factors.multiplier, closed(effective(params), batch, factor))

    def half_spaces(params: Any, batch: Batch, coefficients: jax.Array) -> jax.Array:
        assert sides is not None
        return sides(effective(params), batch, coefficients)

    def neurons(params: Any) -> Neurons:
        assert units is not None
        return units(effective(params))

    return model._replace(
        init=init,
        apply=apply,
        squared_gradient=None if closed is None else squared_gradient,
        gauss_newton=None,
        half_spaces=None if sides is None else half_spaces,
        neurons=None if units is None else neurons,
        layer_rates=factors.rates,
    )


Arrange = Callable[[Callable[[LayerFactors], float], Callable[[LayerFactors], float]], Any]


def _factors_of(arrange: Arrange) -> ParameterFactors:
    """Return the factors of a network; arrange(of_weight, of_bias):
    the tree of its parameters with a number in each."""
    return ParameterFactors(
        arrange(lambda layer: layer.draw, lambda layer: 1.0),
        arrange(lambda layer: layer.multiplier, lambda layer: 1.0),
        {
            SGD: arrange(lambda layer: layer.sgd, lambda layer: layer.bias_sgd),
            ADAM: arrange(lambda layer: layer.adam, lambda layer: layer.bias_adam),
        },
    )


def parametrize_layers(
    model: Model, name: str, layer: type, fan_ins: Sequence[int], width: int, base: int, bias: bool
) -> Model:
    """Return a network whose parameters are layers (bias, weight), the first to the readout,
    in this parametrisation."""
    layers = scale_layers(name, fan_ins, width, base)
    return parametrize(model, _factors_of(lambda w, b: tuple(layer(b(own) if bias else None, w(own)) for own in layers)))


def parametrize_two_layer(model: Model, name: str, net: type, input_dim: int, width: int, base: int, dtype: Any) -> Model:
    """Return a network of parameters net(hidden, readout, offset) in this parametrisation;
    row 0 of hidden are biases."""
    first, last = scale_layers(name, (input_dim, width), width, base)
    is_bias = jnp.arange(input_dim + 1)[:, None] == 0

    def arrange(of_weight: Callable[[LayerFactors], float], of_bias: Callable[[LayerFactors], float]) -> Any:
        hidden = jnp.where(is_bias, of_bias(first), of_weight(first)).astype(dtype)
        return net(hidden, of_weight(last), of_bias(last))

    return parametrize(model, _factors_of(arrange))
