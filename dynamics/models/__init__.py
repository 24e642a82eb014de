"""Models by name: what a config may ask for, and how it is built."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dynamics.errors import InputError, choose, require
from dynamics.models.base import Batch, Model
from dynamics.models.linear import linear
from dynamics.models.mlp import MLP_ACTIVATIONS, mlp
from dynamics.models.two_layer import ACTIVATIONS, INITS, two_layer, windows
from dynamics.spec import later

__all__ = ["MODELS", "Batch", "Model", "ModelKind", "ModelSpec", "resolve_width"]


@dataclass(frozen=True)
class ModelSpec:
    """kind: of network; width: a number of neurons, or a multiple of n such as `4n`; gradient: closed_form or autodiff.

    init applies to `two_layer` and `convolutional`; depth (hidden layers) to `mlp`; patch_size and stride to `convolutional`,
    whose width is its number of filters; init_scale multiplies every initial parameter.
    """

    kind: str = "two_layer"
    width: int | str = "4n"
    depth: int = 1
    activation: str = "relu"
    init: str = "torch_default"
    init_scale: float = 1.0
    gradient: str = "closed_form"
    patch_size: int = later(0)
    stride: int = later(1)

    def check(self, input_dim: int) -> None:
        kind = choose("model.kind", self.kind, MODELS)
        allowed = "must be at least 1 and have at most 32 bits"
        require(isinstance(self.width, int) and 1 <= self.width < 2**31, "model.width", self.width, allowed)
        require(self.depth >= 1, "model.depth", self.depth, "must be at least 1")
        choose("model.gradient", self.gradient, dict.fromkeys(("closed_form", "autodiff")))
        if kind.activations:
            choose("model.activation", self.activation, kind.activations)
        if kind.inits:
            choose("model.init", self.init, kind.inits)
        if self.kind == "convolutional":
            allowed = f"must be from 1 to data.input_dim = {input_dim}"
            require(1 <= self.patch_size <= input_dim, "model.patch_size", self.patch_size, allowed)
            require(self.stride >= 1, "model.stride", self.stride, "must be at least 1")
        else:
            only = "is of model.kind = convolutional; leave it out"
            require(self.patch_size == 0, "model.patch_size", self.patch_size, only)
            require(self.stride == 1, "model.stride", self.stride, only)

    def rows(self, input_dim: int) -> tuple[int, int]:
        """How many inputs a sample shows to each neuron, and how many numbers they have (without the leading 1)."""
        return windows(input_dim, self.patch_size, self.stride).shape if self.kind == "convolutional" else (1, input_dim)


@dataclass(frozen=True)
class ModelKind:
    """build(spec, input_dim, dtype): the model; parameters(spec, input_dim): how many; what its fields may be.

    pads: the sizes in which zeros (samples of no weight, neurons, coordinates) may be appended without changing any number.
    """

    build: Callable[[ModelSpec, int, object], Model]
    parameters: Callable[[ModelSpec, int], int]
    activations: dict | None = None
    inits: dict | None = None
    pads: tuple[str, ...] = ("data.num_samples",)


MODELS: dict[str, ModelKind] = {
    "two_layer": ModelKind(
        build=lambda m, d, dtype: two_layer(d, int(m.width), m.activation, m.init, dtype, kernels=m.gradient == "closed_form"),
        parameters=lambda m, d: int(m.width) * (d + 2) + 1,
        activations=ACTIVATIONS,
        inits=INITS,
        pads=("data.input_dim", "data.num_samples", "model.width"),
    ),
    "convolutional": ModelKind(
        build=lambda m, d, dtype: two_layer(
            m.patch_size,
            int(m.width),
            m.activation,
            m.init,
            dtype,
            kernels=m.gradient == "closed_form",
            views=windows(d, m.patch_size, m.stride),
        ),
        parameters=lambda m, d: int(m.width) * (m.patch_size + 2) + 1,
        activations=ACTIVATIONS,
        inits=INITS,
        pads=("data.num_samples", "model.width"),
    ),
    "linear": ModelKind(
        build=lambda m, d, dtype: linear(d, dtype),
        parameters=lambda m, d: d,
        pads=("data.input_dim", "data.num_samples", "model.width"),
    ),
    "mlp": ModelKind(
        build=lambda m, d, dtype: mlp(d, int(m.width), m.depth, m.activation, dtype),
        parameters=lambda m, d: int(m.width) * (d + 1 + (m.depth - 1) * (int(m.width) + 1) + 1) + 1,
        activations=MLP_ACTIVATIONS,
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
