"""By which powers of the width one step changes features and output of a deep network, from its parametrisation.

For two hidden layers, h1 = W1 x, h2 = W2 phi(h1), f = v . phi(h2), with the products of multiplier and weight: n^r is
the initial deviation of an entry of v, that of W1 and W2 being 1 and n^(-1/2), and n^(a_1), n^(a_2), n^(a_3) are the
rates of (W1, W2, v). With the gradient (family `sgd`) what comes back to h2 and h1 is of order n^r, inner products of
features are of order n, and v is aligned with the change of h2 that it causes:

    dh1 ~ a_1 + r,   dh2 ~ max(a_2 + r + 1, dh1),   df ~ max(a_3 + 1, r + dh2 + 1)

With signs of the gradient (family `adam`) every entry of an update has the size of its rate:

    dh1 ~ a_1,       dh2 ~ max(a_2 + 1, dh1),       df ~ max(a_3 + 1, r + dh2 + 1)

Derived from the rules of Yang and Hu 2021; leading powers, which finite widths approach slowly.
"""

from __future__ import annotations

from typing import NamedTuple

from dynamics.models.parametrization import ADAM, PARAMETRIZATIONS, SGD, LayerPowers


class StepPowers(NamedTuple):
    """The power of the width in the change of the first and second hidden layer and of the output in one step."""

    first: float
    second: float
    output: float


def predict_step_powers(parametrization: str, family: str, extra_readout: float = 0.0) -> StepPowers:
    """Return the powers for a rule of this family, `sgd` or `adam`.

    extra_readout: a power by which the initial readout is larger than in the parametrisation
    """
    layers = PARAMETRIZATIONS[parametrization][:3]
    rates = [_product_rate(layer, family, has_wide_inputs=i > 0) for i, layer in enumerate(layers)]
    readout = -0.5 + layers[-1].draw + layers[-1].multiplier + extra_readout
    back = readout if family == SGD else 0.0
    first = rates[0] + back
    second = max(rates[1] + back + 1, first)
    return StepPowers(first, second, max(rates[2] + 1, readout + second + 1))


def _product_rate(layer: LayerPowers, family: str, *, has_wide_inputs: bool) -> float:
    """Return the power of the width in the rate of a layer's multiplier times its weights."""
    multiplier = layer.multiplier if has_wide_inputs else 0.0
    return layer.adam + multiplier if family == ADAM else layer.sgd + 2 * multiplier
