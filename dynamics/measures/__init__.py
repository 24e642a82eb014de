"""What can be seen of a training run: measures by name, each with what it needs and what it costs."""

from dynamics.measures import (
    activation,
    balance,
    classes,
    degeneracy,
    eigenvalues,
    kernels_of_training,
    norms,
    optimizer_curvature,
    risk,
    spectrum,
    stability_checks,
)

__all__ = [
    "activation",
    "balance",
    "classes",
    "degeneracy",
    "eigenvalues",
    "kernels_of_training",
    "norms",
    "optimizer_curvature",
    "risk",
    "spectrum",
    "stability_checks",
]
