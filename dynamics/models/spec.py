"""Models by name: what a config may ask for, and how it is built."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dynamics.core.spec import added_field
from dynamics.data.views import ViewSpec, shape, views
from dynamics.errors import InputError, choose, require
from dynamics.models.base import Batch, Model
from dynamics.models.linear import linear
from dynamics.models.locally_connected import locally_connected
from dynamics.models.mlp import MLP_ACTIVATIONS, mlp
from dynamics.models.several_outputs import several_outputs
from dynamics.models.two_layer import ACTIVATIONS, INITS, two_layer

__all__ = ["MODELS", "Batch", "Grid", "Model", "ModelKind", "ModelSpec", "resolve_width"]

Grid = tuple[int, ...]  # how a sample's numbers lie: (d,), or (height, width, channels) of an image
PATCH_KINDS = ("convolutional", "locally_connected")


@dataclass(frozen=True)
class ModelSpec:
    """kind: of network; width: a number of neurons, or a multiple of n such as `4n`; gradient: closed_form or autodiff.

    init applies to all but `linear` and `mlp`; depth (hidden layers) to `mlp`; init_scale multiplies every initial parameter.
    views, pooling (`mean` or `sum` over them) belong to `convolutional`, whose filters are shared by all views, and
    `locally_connected`, which has filters of its own for each; their width is a number of filters. readout: of
    `locally_connected`, `shared` or one a `unit`.
    """

    kind: str = "two_layer"
    width: int | str = "4n"
    depth: int = 1
    activation: str = "relu"
    init: str = "torch_default"
    init_scale: float = 1.0
    gradient: str = "closed_form"
    views: ViewSpec = field(default_factory=ViewSpec)
    readout: str = added_field("shared")
    pooling: str = added_field("mean")

    def check(self, grid: Grid, outputs: int = 0) -> None:
        kind = choose("model.kind", self.kind, MODELS)
        allowed = "must be at least 1 and have at most 32 bits"
        require(isinstance(self.width, int) and 1 <= self.width < 2**31, "model.width", self.width, allowed)
        require(1 <= self.depth < 2**31, "model.depth", self.depth, allowed)
        choose("model.gradient", self.gradient, dict.fromkeys(("closed_form", "autodiff")))
        if kind.activations:
            choose("model.activation", self.activation, kind.activations)
        if kind.inits:
            choose("model.init", self.init, kind.inits)
        choose("model.readout", self.readout, dict.fromkeys(("shared", "unit")))
        choose("model.pooling", self.pooling, dict.fromkeys(("mean", "sum")))
        if outputs and self.kind in ("linear", "mlp"):
            raise InputError("model.kind", self.kind, f"has one output, and the target has {outputs}")
        if self.kind in PATCH_KINDS:
            require(
                self.views.scheme != "",
                "model.views.scheme",
                self.views.scheme,
                f"says what filters see; {self.kind} needs one",
            )
            self.views.check("model.views", grid)
        else:
            only = f"is of model.kind = {' or '.join(PATCH_KINDS)}; leave it out"
            for name, default in (("scheme", ""), ("size", 0), ("stride", 1), ("count", 0), ("seed", 0)):
                value = getattr(self.views, name)
                require(value == default, f"model.views.{name}", value, only)
            require(self.pooling == "mean", "model.pooling", self.pooling, only)
        if self.kind != "locally_connected":
            require(self.readout == "shared", "model.readout", self.readout, "unit is for model.kind = locally_connected")

    def rows(self, grid: Grid) -> tuple[int, int]:
        """How many inputs a sample shows to each neuron, and how many numbers they have (without the leading 1)."""
        return shape(self.views, grid) if self.kind in PATCH_KINDS else (1, math.prod(grid))

    def build(self, grid: Grid, dtype: Any, outputs: int = 0) -> Model:
        """The network on samples of this grid; outputs: 0 for a scalar, whose predictions have no axis for them."""
        kind = MODELS[self.kind]
        if not outputs:
            return kind.build(self, grid, dtype)
        seen = views(self.views, grid)
        return several_outputs(
            seen,
            int(self.width),
            outputs,
            self.activation,
            self.init,
            dtype,
            shared_filters=self.kind != "locally_connected",
            readout=self.readout,
            pooling=self.pooling,
            kernels=self.gradient == "closed_form",
        )

    def parameters(self, grid: Grid, outputs: int = 0) -> int:
        """How many parameters there are."""
        if self.kind in ("linear", "mlp"):
            return MODELS[self.kind].parameters(self, math.prod(grid))
        (num_views, size), width = self.rows(grid), int(self.width)
        positions = num_views if self.kind == "locally_connected" else 1
        readouts = positions if self.readout == "unit" else 1
        return width * positions * (size + 1) + max(outputs, 1) * (width * readouts + 1)


@dataclass(frozen=True)
class ModelKind:
    """build(spec, grid, dtype): the network with one output; what its fields may be.

    pads: the sizes in which zeros (samples of no weight, neurons, coordinates) may be appended without changing any number.
    parameters(spec, input_dim): how many, where that is not a matter of filters and readouts
    """

    build: Callable[[ModelSpec, Grid, Any], Model]
    activations: dict | None = None
    inits: dict | None = None
    pads: tuple[str, ...] = ("data.num_samples",)
    parameters: Callable[[ModelSpec, int], int] = lambda m, d: 0


def _shared(m: ModelSpec, seen: np.ndarray | None, size: int, dtype: Any) -> Model:
    kernels = m.gradient == "closed_form"
    return two_layer(size, int(m.width), m.activation, m.init, dtype, kernels=kernels, views=seen, pooling=m.pooling)


def _own(m: ModelSpec, seen: np.ndarray, dtype: Any) -> Model:
    more: dict[str, Any] = {"readout": m.readout, "pooling": m.pooling, "kernels": m.gradient == "closed_form"}
    return locally_connected(seen, int(m.width), m.activation, m.init, dtype, **more)


MODELS: dict[str, ModelKind] = {
    "two_layer": ModelKind(
        lambda m, grid, dtype: _shared(m, None, math.prod(grid), dtype),
        ACTIVATIONS,
        INITS,
        ("data.input_dim", "data.num_samples", "model.width"),
    ),
    "convolutional": ModelKind(
        lambda m, grid, dtype: _shared(m, views(m.views, grid), m.rows(grid)[1], dtype),
        ACTIVATIONS,
        INITS,
        ("data.num_samples", "model.width"),
    ),
    "locally_connected": ModelKind(lambda m, grid, dtype: _own(m, views(m.views, grid), dtype), ACTIVATIONS, INITS),
    "linear": ModelKind(
        lambda m, grid, dtype: linear(math.prod(grid), dtype),
        pads=("data.input_dim", "data.num_samples", "model.width"),
        parameters=lambda m, d: d,
    ),
    "mlp": ModelKind(
        lambda m, grid, dtype: mlp(math.prod(grid), int(m.width), m.depth, m.activation, dtype),
        MLP_ACTIVATIONS,
        parameters=lambda m, d: int(m.width) * (d + 1 + (m.depth - 1) * (int(m.width) + 1) + 1) + 1,
    ),
}


def resolve_width(width: int | str, num_samples: int) -> int:
    """The number of neurons meant by `width`: itself, or so many times n for a string such as `4n` or `0.5n`."""
    text = str(width).strip()
    try:
        value = float(text[:-1] or 1) * num_samples if text.endswith("n") else float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value < math.inf or value != int(value):
        allowed = f"must be a whole number, at least 1, or a multiple of n = {num_samples} such as 4n"
        raise InputError("model.width", width, allowed)
    return int(value)
