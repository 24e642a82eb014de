"""The losses that networks descend: squared in its two normalisations, cross-entropy, and what is registered.

`mse` is (1/n) sum_i |f(x_i) - y_i|^2, in which the papers' learning rates are given; `half` is half of it, in which
their theorems are. H_mse = 2 H_half, so eta under `mse` is 2 eta under `half`. With one output `mse` is PyTorch's
MSELoss; with C outputs it sums over them and MSELoss is their mean, 1/C of it, which is `mean`:
(1/nC) sum_i |f(x_i) - y_i|^2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dynamics.core.checked_fields import CheckedFields
from dynamics.core.registry import Registry
from dynamics.core.spec import added_field, option
from dynamics.core.usage import fill_in
from dynamics.errors import choose, require
from dynamics.models.base import Batch

FACTORS = {"mse": 1.0, "half": 0.5, "mean": 1.0}  # of the mean over samples of |f - y|^2; `mean` divides by the outputs too


@dataclass(frozen=True)
class Loss:
    """A loss that configs may name, as it is registered.

    each(prediction, labels, weights, spec): its value at every sample, shaped like the weights; where there are several
        outputs prediction and labels have a last axis for them; spec is the `LossSpec`, swept fields of one's own
        as arrays
    uses: the fields of `LossSpec` that it reads; with `normalization` among them the loss is multiplied by its factor
    several_outputs: whether it is for targets of several outputs alone
    of_classes: whether labels must be shares of classes, which sum to 1:
        label noise then is a class that is another one
    """

    each: Callable[[jax.Array, jax.Array, jax.Array, LossSpec], jax.Array]
    uses: tuple[str, ...] = ()
    several_outputs: bool = False
    of_classes: bool = False


LOSSES: Registry[Loss] = Registry("loss", "loss", lambda: LossSpec)


@dataclass(frozen=True)
class LossSpec(CheckedFields):
    """The loss that is descended, and its units; logarithms are natural.

    >>> import dynamics as dyn
    >>> dyn.Loss(normalization="half").factor()  # of the mean square
    0.5
    """

    normalization: str = option(
        "mse",
        choices=tuple(FACTORS),
        doc="of the squared loss, summed over outputs: mse (1/n), half (1/2n); mean (1/nC), PyTorch's MSELoss",
    )
    kind: str = added_field("squared", choices=LOSSES, doc="loss that is descended")

    @property
    def of_classes(self) -> bool:
        """Whether labels must be shares of classes."""
        return LOSSES[self.kind].of_classes

    def factor(self, outputs: int = 0) -> float:
        """Return the factor with so many outputs (0: a scalar):
        the loss is it times the mean over samples of `Loss.each`."""
        if "normalization" not in LOSSES.entry(self.kind).used_fields(self):
            return 1.0
        return FACTORS[self.normalization] / (max(outputs, 1) if self.normalization == "mean" else 1)

    def check(self, outputs: int) -> None:
        """Raise `InputError` for a value that is not allowed with so many outputs (0: a scalar)."""
        choose("loss.normalization", self.normalization, FACTORS)
        meant = self.normalization != "mean" or outputs > 1
        require(meant, "loss.normalization", self.normalization, "is the mean over several outputs; with one choose mse")
        kind = choose("loss.kind", self.kind, LOSSES)
        allowed = f"{self.kind} is for a target.kind of several outputs, such as one_hot"
        require(not kind.several_outputs or outputs > 1, "loss.kind", self.kind, allowed)


def squared_norms(residual: jax.Array, weights: jax.Array) -> jax.Array:
    """Return |f - y|^2 of every sample, shaped like the weights: summed over outputs where there are several."""
    return residual**2 if residual.ndim == weights.ndim else jnp.sum(residual**2, axis=-1)


def squared_error(prediction: jax.Array, labels: jax.Array, weights: jax.Array, spec: LossSpec) -> jax.Array:
    """Return |f - y|^2 of every sample, from predictions and labels."""
    return squared_norms(prediction - labels, weights)


def cross_entropy(prediction: jax.Array, labels: jax.Array, weights: jax.Array, spec: LossSpec) -> jax.Array:
    """Return -sum_c y_c log softmax(f)_c of every sample."""
    return optax.losses.softmax_cross_entropy(prediction, labels)


LOSSES.update(
    {
        "squared": Loss(squared_error, ("normalization",)),
        "cross_entropy": Loss(cross_entropy, several_outputs=True, of_classes=True),
    }
)


def resolve_loss_spec(loss: str | LossSpec, hyper: Any) -> LossSpec:
    """Return the spec of a loss, which may be given by its name, with the run's scalars in its own swept fields."""
    return fill_in(LossSpec(kind=loss) if isinstance(loss, str) else loss, "loss", hyper)


def mean_loss(
    kind: str | LossSpec, factor: float, apply: Callable[[Any, Batch], jax.Array], params: Any, batch: Batch
) -> jax.Array:
    """Return factor * the weighted mean of the loss over the batch."""
    spec = LossSpec(kind=kind) if isinstance(kind, str) else kind
    each = LOSSES[spec.kind].each(apply(params, batch), batch.labels, batch.weights, spec)
    return factor * jnp.sum(batch.weights * each)
