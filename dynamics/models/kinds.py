"""The suite's kinds of network: how each is built and counted, and which fields of `ModelSpec` it uses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from dynamics.data.views import list_views
from dynamics.models.activations import ACTIVATIONS
from dynamics.models.base import Model
from dynamics.models.diagonal_linear import build_diagonal_linear
from dynamics.models.initial_laws import FLAX_DEFAULT, INITS, ORTHOGONAL
from dynamics.models.linear import build_linear_model
from dynamics.models.locally_connected import build_locally_connected
from dynamics.models.mlp import DenseLayer, build_mlp
from dynamics.models.model_spec import MODELS, Grid, ModelKind, ModelSpec
from dynamics.models.parametrization import PARAMETRIZATIONS, STANDARD, parametrize_layers, parametrize_two_layer
from dynamics.models.residual import build_residual, count_norms
from dynamics.models.several_outputs import SeveralOutputs, build_several_outputs
from dynamics.models.two_layer import TwoLayer, build_two_layer

ALL_SIZES = ("data.input_dim", "data.num_samples", "model.width")


def build_shared(spec: ModelSpec, grid: Grid, dtype: Any, outputs: int) -> Model:
    """Return the network of shared filters, which all views of a sample use; without views the sample is one view."""
    if outputs:
        return _build_several(spec, grid, dtype, outputs, shared_filters=True)
    patches = MODELS[spec.kind].patches
    seen, size = list_views(spec.views, grid) if patches else None, spec.rows(grid)[1]
    kernels = spec.gradient == "closed_form"
    return build_two_layer(
        size, int(spec.width), spec.activation, spec.init, dtype, kernels=kernels, views=seen, pooling=spec.pooling
    )


def build_flat(spec: ModelSpec, grid: Grid, dtype: Any, outputs: int) -> Model:
    """Return the two-layer network that sees a whole sample, in the parametrisation of the config."""
    model = build_shared(spec, grid, dtype, outputs)
    if spec.parametrization == STANDARD:
        return model
    sizes = math.prod(grid), int(spec.width), spec.base_width
    return parametrize_two_layer(model, spec.parametrization, SeveralOutputs if outputs else TwoLayer, *sizes, dtype)


def build_unshared(spec: ModelSpec, grid: Grid, dtype: Any, outputs: int) -> Model:
    """Return a network with filters of its own for each view."""
    if outputs:
        return _build_several(spec, grid, dtype, outputs, shared_filters=False)
    more: dict[str, Any] = {"readout": spec.readout, "pooling": spec.pooling, "kernels": spec.gradient == "closed_form"}
    return build_locally_connected(list_views(spec.views, grid), int(spec.width), spec.activation, spec.init, dtype, **more)


def _build_several(spec: ModelSpec, grid: Grid, dtype: Any, outputs: int, shared_filters: bool) -> Model:
    """Return a patch network with several outputs."""
    return build_several_outputs(
        list_views(spec.views, grid),
        int(spec.width),
        outputs,
        spec.activation,
        spec.init,
        dtype,
        shared_filters=shared_filters,
        readout=spec.readout,
        pooling=spec.pooling,
        kernels=spec.gradient == "closed_form",
    )


def count_one_hidden_layer_parameters(spec: ModelSpec, grid: Grid, outputs: int) -> int:
    """Return the number of parameters of a network with one hidden layer: filters with biases, readouts, offsets."""
    (num_views, size), width = spec.rows(grid), int(spec.width)
    positions = 1 if MODELS[spec.kind].shared_filters else num_views
    readouts = positions if spec.readout == "unit" else 1
    return width * positions * (size + 1) + max(outputs, 1) * (width * readouts + 1)


def count_mlp_parameters(spec: ModelSpec, grid: Grid, outputs: int) -> int:
    """Return the number of parameters of a fully connected network of `depth` hidden layers."""
    width, bias = int(spec.width), int(spec.bias)
    hidden = width * (math.prod(grid) + bias + (spec.depth - 1) * (width + bias))
    return hidden + max(outputs, 1) * (width + bias)


def list_mlp_paddings(spec: ModelSpec) -> tuple[str, ...]:
    """Return the sizes in which zeros may be appended to a fully connected network: all if it is drawn unit by unit."""
    exact = spec.layer_init in (FLAX_DEFAULT, ORTHOGONAL)
    return ("data.num_samples",) if exact else list_two_layer_paddings(spec)


def count_residual_parameters(spec: ModelSpec, grid: Grid, outputs: int) -> int:
    """Return the number of parameters of a residual network: two layers a block, a gain and a shift a unit and norm."""
    as_mlp = count_mlp_parameters(replace(spec, depth=2 * spec.depth + 1), grid, outputs)
    own = int(spec.width) * (1 + (spec.bias and spec.norm == "layer_norm"))
    return as_mlp + own * count_norms(spec.depth, spec.placement)


def build_residual_network(spec: ModelSpec, grid: Grid, dtype: Any, outputs: int) -> Model:
    """Return the residual network of a config."""
    more: dict[str, Any] = {"outputs": outputs, "init": spec.layer_init, "bias": spec.bias}
    more |= {"norm": spec.norm, "placement": spec.placement}
    return build_residual(math.prod(grid), int(spec.width), spec.depth, spec.activation, dtype, **more)


def list_two_layer_paddings(spec: ModelSpec) -> tuple[str, ...]:
    """Return the sizes in which zeros may be appended:
    samples alone where factors of the parametrisation go with sizes."""
    return ALL_SIZES if spec.parametrization == STANDARD else ("data.num_samples",)


def list_parametrization_fields(spec: ModelSpec) -> tuple[str, ...]:
    """Return the fields that a parametrisation uses."""
    return ("parametrization", "base_width") if PARAMETRIZATIONS[spec.parametrization].has_base else ("parametrization",)


def build_fully_connected(spec: ModelSpec, grid: Grid, dtype: Any, outputs: int) -> Model:
    """Return the fully connected network of a config."""
    more: dict[str, Any] = {"outputs": outputs, "init": spec.layer_init, "bias": spec.bias}
    size, width = math.prod(grid), int(spec.width)
    model = build_mlp(size, width, spec.depth, spec.activation, dtype, **more)
    if spec.parametrization == STANDARD:
        return model
    fan_ins = (size, *(width,) * spec.depth)
    return parametrize_layers(model, spec.parametrization, DenseLayer, fan_ins, width, spec.base_width, spec.bias)


def shared_filter_flops(spec: ModelSpec, grid: Grid, outputs: int) -> float:
    """Return the operations of a gradient on one sample: every filter times every view, forth and back."""
    num_views, size = spec.rows(grid)
    return num_views * int(spec.width) * (4 * (size + 1) + 4)


SHARED = {
    "activations": ACTIVATIONS,
    "inits": INITS,
    "parameters": count_one_hidden_layer_parameters,
    "flops_per_sample": shared_filter_flops,
    "several_outputs": True,
    "one_hidden_layer": True,
    "shared_filters": True,
}
MODELS.add(
    "two_layer",
    ModelKind(build_flat, pads=list_two_layer_paddings, **SHARED),
    uses=lambda spec: ("width", "activation", "init", *list_parametrization_fields(spec)),
)
MODELS.add(
    "convolutional",
    ModelKind(build_shared, pads=("data.num_samples", "model.width"), patches=True, **SHARED),
    uses=("width", "activation", "init", "views", "pooling"),
)
MODELS.add(
    "locally_connected",
    ModelKind(
        build_unshared,
        ACTIVATIONS,
        INITS,
        pads=("data.num_samples",),
        parameters=count_one_hidden_layer_parameters,
        several_outputs=True,
        patches=True,
        one_hidden_layer=True,
    ),
    uses=("width", "activation", "init", "views", "pooling", "readout"),
)
MODELS.add(
    "linear",
    ModelKind(
        lambda spec, grid, dtype, outputs: build_linear_model(math.prod(grid), dtype),
        pads=ALL_SIZES,
        parameters=lambda spec, grid, outputs: math.prod(grid),
        output_bias=lambda spec: False,
    ),
)
MODELS.add(
    "diagonal_linear",
    ModelKind(
        lambda spec, grid, dtype, outputs: build_diagonal_linear(math.prod(grid), spec.depth, spec.form, dtype),
        pads=ALL_SIZES,
        parameters=lambda spec, grid, outputs: math.prod(grid) * (2 if spec.form == "difference" else spec.depth + 1),
        output_bias=lambda spec: False,
    ),
    uses=("depth", "form"),
)
MODELS.add(
    "residual",
    ModelKind(
        build_residual_network,
        ACTIVATIONS,
        pads=("data.num_samples",),
        parameters=count_residual_parameters,
        several_outputs=True,
        output_bias=lambda spec: spec.bias,
    ),
    uses=lambda spec: (
        *("width", "activation", "depth", "layer_init", "bias", "readout_scale", "branch_scale", "placement"),
        *(() if spec.placement == "none" else ("norm", "norm_gain")),
    ),
)
MODELS.add(
    "mlp",
    ModelKind(
        build_fully_connected,
        ACTIVATIONS,
        pads=list_mlp_paddings,
        parameters=count_mlp_parameters,
        several_outputs=True,
        output_bias=lambda spec: spec.bias,
    ),
    uses=lambda spec: (
        *("width", "activation", "depth", "layer_init", "bias", "readout_scale"),
        *list_parametrization_fields(spec),
    ),
)
