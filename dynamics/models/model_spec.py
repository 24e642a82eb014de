"""Models by name: what a config may ask for, and what a kind of model is."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from typing import Any

import jax

from dynamics.core.checked_fields import CheckedFields
from dynamics.core.dynamics import Hyper
from dynamics.core.extension import until_registration
from dynamics.core.registry import Registry
from dynamics.core.spec import added_field, check_options, option
from dynamics.core.usage import fill_in
from dynamics.data.views import ViewSpec, view_shape
from dynamics.errors import InputError, choose, require
from dynamics.models.base import Batch, Model
from dynamics.models.diagonal_linear import DIAGONAL_FORMS
from dynamics.models.initial_laws import FLAX_DEFAULT
from dynamics.models.mlp import MLP_INITS
from dynamics.models.parametrization import PARAMETRIZATIONS, STANDARD
from dynamics.models.residual import NORMS, PLACEMENTS

__all__ = ["MODELS", "Batch", "Grid", "Model", "ModelKind", "ModelSpec", "resolve_width"]

Grid = tuple[int, ...]  # the shape of a sample: (d,), or (height, width, channels) of an image


@dataclass(frozen=True)
class ModelKind:
    """A kind of network.

    build(spec, grid, dtype, outputs): the network on samples of this grid; outputs: 0 for a scalar
    activations, inits: the names that `model.activation` and `model.init` may have; None where the kind has no use for
    them
    pads: the sizes in which zeros (samples of no weight, neurons, coordinates) may be appended without changing any
    number; a function of the spec where that depends on it
    parameters(spec, grid, outputs): how many there are; counted from the initialised network where it is None
    flops_per_sample(spec, grid, outputs): of a gradient, for the plan; six a parameter where it is None
    several_outputs: whether it can have more than one
    patches: whether its neurons see views of a sample and not the whole
    one_hidden_layer: whether it is one layer of units with a linear readout (`Model.neurons`, `layout`, `half_spaces`)
    shared_filters: whether each of its neurons looks at all that it sees of a sample with the same weights
    output_bias(spec): whether a constant is added to its output, whose curvature is that of the loss
    """

    build: Callable[[ModelSpec, Grid, Any, int], Model]
    activations: Collection[str] | None = None
    inits: Collection[str] | None = None
    pads: tuple[str, ...] | Callable[[ModelSpec], tuple[str, ...]] = ()
    parameters: Callable[[ModelSpec, Grid, int], int] | None = None
    flops_per_sample: Callable[[ModelSpec, Grid, int], float] | None = None
    several_outputs: bool = False
    patches: bool = False
    one_hidden_layer: bool = False
    shared_filters: bool = False
    output_bias: Callable[[ModelSpec], bool] = lambda spec: True


COMMON = ("gradient", "init_scale")
MODELS: Registry[ModelKind] = Registry("model", "model", lambda: ModelSpec, common=COMMON)  # filled by `dynamics.models`


@dataclass(frozen=True)
class ModelSpec(CheckedFields):
    """The network that is trained, and how its parameters start.

    >>> import dynamics as dyn
    >>> dyn.Model(width=10).parameters((3,))  # 10 neurons of 3 weights, a bias and a readout, and an output bias
    51
    """

    kind: str = option("two_layer", choices=MODELS, doc="kind of network")
    width: int | str = option("4n", doc="number of neurons or filters, or a multiple of n such as 4n")
    depth: int = option(1, at_least=1, doc="number of hidden layers")
    activation: str = option("relu", doc="nonlinearity of the neurons")
    init: str = option("torch_default", doc="law of the initial parameters")
    init_scale: float = option(1.0, doc="factor on every initial parameter")
    gradient: str = option("closed_form", choices=("closed_form", "autodiff"), doc="how the gradient is computed")
    views: ViewSpec = field(default_factory=ViewSpec)
    readout: str = added_field(
        "shared", choices=("shared", "unit"), doc="one readout weight a filter, or one for each position too"
    )
    pooling: str = added_field("mean", choices=("mean", "sum"), doc="over the views of a sample")
    form: str = added_field(
        "difference", choices=DIAGONAL_FORMS, doc="of a diagonal linear network's weights: u^D - v^D or a product of D layers"
    )
    norm: str = added_field("layer_norm", choices=NORMS, doc="normalisation over the units of a residual network")
    placement: str = added_field("pre", choices=PLACEMENTS, doc="of the norms: before each block, around it, or none")
    norm_gain: float = added_field(1.0, at_least=0, doc="initial gain of a residual network's norms")
    branch_scale: float = added_field(1.0, at_least=0, doc="factor on the initial second layer of every residual block")
    layer_init: str = added_field(FLAX_DEFAULT, choices=MLP_INITS, doc="law of a deep network's initial parameters")
    parametrization: str = added_field(
        STANDARD, choices=tuple(PARAMETRIZATIONS), doc="how initial weights, multipliers and learning rates go with the width"
    )
    base_width: int = added_field(1, at_least=1, doc="width at which mup is the standard parametrisation")
    bias: bool = added_field(True, doc="whether the layers of a deep network have biases")
    readout_scale: float = added_field(1.0, at_least=0, doc="factor on the initial parameters of a deep network's last layer")

    def check_names(self) -> None:
        """Refuse a width that is no number and no multiple of n,
        and activations and initialisations that no kind has."""
        factor, _ = _parse_width(self.width)
        allowed = "must be a whole number, at least 1, or a multiple of n such as 4n"
        require(0 < factor < 2**31, "model.width", self.width, allowed)
        for name in ("activation", "init"):
            known = {kind: getattr(MODELS[kind], f"{name}s") for kind in MODELS}
            if not any(getattr(self, name) in (names or ()) for names in known.values()):
                choose(f"model.{name}", getattr(self, name), dict.fromkeys(known[self.kind] or known["two_layer"]))

    def check(self, grid: Grid, outputs: int = 0) -> None:
        """Raise an `InputError` for a value that is not allowed, by itself or on samples of this grid."""
        kind = choose("model.kind", self.kind, MODELS)
        allowed = "must be at least 1 and have at most 32 bits"
        require(isinstance(self.width, int) and 1 <= self.width < 2**31, "model.width", self.width, allowed)
        if kind.activations is not None:
            choose("model.activation", self.activation, dict.fromkeys(kind.activations))
        if kind.inits is not None:
            choose("model.init", self.init, dict.fromkeys(kind.inits))
        if outputs and not kind.several_outputs:
            raise InputError("model.kind", self.kind, f"has one output, and the target has {outputs}")
        self._refuse_fields_of_others()
        check_options(self, "model")
        if kind.patches:
            allowed = f"says what filters see; {self.kind} needs one"
            require(self.views.scheme != "", "model.views.scheme", self.views.scheme, allowed)
            self.views.check("model.views", grid)

    def _refuse_fields_of_others(self) -> None:
        """Raise an `InputError` for a field of patch networks that is set for another kind."""
        used = MODELS.entry(self.kind).used_fields(self)
        for name in {"views", "readout", "pooling"} - used:
            users = [other for other in MODELS if name in MODELS.entry(other).used_fields(self)]
            only = f"is of model.kind = {' or '.join(users)}; leave it out"
            if name == "views":
                for own in fields(ViewSpec):
                    value = getattr(self.views, own.name)
                    require(value == own.default, f"model.views.{own.name}", value, only)
            else:
                value = getattr(self, name)
                require(value == getattr(type(self), name), f"model.{name}", value, only)

    @property
    def pads(self) -> tuple[str, ...]:
        """Return the sizes in which the network may be padded, see `ModelKind.pads`."""
        known = MODELS[self.kind].pads
        return known(self) if callable(known) else known

    def rows(self, grid: Grid) -> tuple[int, int]:
        """Return (views of a sample that each neuron sees, numbers in each without the leading 1)."""
        return view_shape(self.views, grid) if MODELS[self.kind].patches else (1, math.prod(grid))

    def build(self, grid: Grid, dtype: Any, outputs: int = 0, hyper: Hyper | None = None) -> Model:
        """Return the network on samples of this grid; outputs: 0 for a scalar, whose predictions have no axis for them.

        hyper: the run's scalars, where the kind has swept fields of its own: they take the place of the spec's
        """
        spec = self if hyper is None else fill_in(self, "model", hyper)
        return MODELS[self.kind].build(spec, grid, dtype, outputs)

    def parameters(self, grid: Grid, outputs: int = 0) -> int:
        """Return the number of parameters."""
        known = MODELS[self.kind].parameters
        return _count_parameters(self, grid, outputs) if known is None else known(self, grid, outputs)

    def flops_per_sample(self, grid: Grid, outputs: int = 0) -> float:
        """Return the floating-point operations of a gradient on one sample, as the plan estimates them."""
        known = MODELS[self.kind].flops_per_sample
        return 6.0 * self.parameters(grid, outputs) if known is None else known(self, grid, outputs)


@until_registration(maxsize=1024)
def _count_parameters(spec: ModelSpec, grid: Grid, outputs: int) -> int:
    names = {f"model.{f.name}" for f in fields(spec)} | {"data.input_dim", "data.num_samples"}
    scalars = {name: jax.ShapeDtypeStruct((), "float32") for name in names}
    model = spec.build(grid, "float32", outputs)
    params = jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)), scalars)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def resolve_width(width: int | str, num_samples: int) -> int:
    """Return the number of neurons meant by `width`: itself, or so many times n for a string such as `4n` or `0.5n`."""
    factor, is_multiple = _parse_width(width)
    value = factor * num_samples if is_multiple else factor
    if not 1 <= value < math.inf or value != int(value):
        allowed = f"must be a whole number, at least 1, or a multiple of n = {num_samples} such as 4n"
        raise InputError("model.width", width, allowed)
    return int(value)


def _parse_width(width: int | str) -> tuple[float, bool]:
    """Return the number in a width, 0 if it is none, and whether it is a factor of n."""
    text = str(width).strip()
    is_multiple = text.endswith("n")
    try:
        return float((text[:-1] or 1) if is_multiple else text), is_multiple
    except ValueError:
        return 0.0, is_multiple
