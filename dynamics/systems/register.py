"""Pieces of one's own: decorators that put a law, target, model, optimizer, loss, measure, view scheme or system
beside the suite's.

    @dyn.register.law(fields={"skew": dyn.option(0.5, above=0, doc="how far the law leans")}, pads=True)
    def skewed(key, data, hyper, dtype):
        ...

    >>> import dynamics as dyn, jax
    >>> @dyn.register.law("corners_of_a_cube", pads=False)
    ... def corners(key, data, hyper, dtype):
    ...     return lambda key: jax.random.rademacher(key, (data.input_dim,), dtype)
    >>> dyn.Data(law="corners_of_a_cube", input_dim=3).check()

A piece is known by its name (the function's, unless another is given) from then on: `data.law=skewed` on the command
line and in configs. What all decorators have in common:

name: of the piece; a piece of the suite's cannot be replaced, one's own can by the module that registered it
uses: the suite's fields that the piece uses, such as `("alpha",)`; it finds them where it finds its own. To set a
    field that a run's pieces do not use is refused
fields: fields of its own by name, each a `dyn.option` with a default, bounds or choices, and a line of documentation.
    They are set like the suite's (`data.skew=0.3`), checked, completed, and part of a run's identity: in runs of the
    piece always, so that a default may be changed later; in runs of other pieces only if they are set. A `float` is a
    swept scalar: it may be an axis, one program serves all its values, and functions find it as an array in
    `hyper["data.skew"]`. Anything else is a static choice, found in the spec, `data.shape`. Two pieces may share a
    field if they declare it alike.

version: raised by whoever changes what the piece computes. Results that were stored before are kept, are told as made
    by an earlier version, and are computed again unless `reuse=older` is given. Only the version is compared, never
    the code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import jax.numpy as jnp

from dynamics.core.checked_arguments import check_arguments
from dynamics.core.spec import RunSpec
from dynamics.core.system_table import SYSTEMS
from dynamics.errors import InputError
from dynamics.systems.register_training import Fields, loss, measure, optimizer, register_piece, schedule

__all__ = ["law", "loss", "measure", "model", "optimizer", "schedule", "system", "target", "views"]

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=type[RunSpec])


@check_arguments("register.law", decorator=True)
def law(
    name: str | None = None,
    *,
    uses: Sequence[str] | Callable[[Any], Sequence[str]] = (),
    fields: Fields | None = None,
    pads: bool = False,
    check: Callable[[Any], None] = lambda data: None,
    grid: Callable[[Any], tuple[int, ...]] | None = None,
    num_parts: Callable[[Any], int] = lambda data: 1,
    shared_arrays: Callable[[Any], dict[str, Any]] | None = None,
    closed_forms: Callable[[Any], Any] | None = None,
    parts_mean_something: bool = False,
    endless: bool = True,
    version: int = 1,
) -> Callable[[F], F]:
    """Register an input law, `data.law=<name>`.

    The function is called once a run as `law(key, data, hyper, dtype)`: `data` is the `DataSpec` with the shapes and
    choices of the program, `hyper["data.<field>"]` a swept scalar. It returns `draw(key) -> x`, an input of shape
    (data.input_dim,); or, for a law whose samples come in parts (classes, clusters), a `Source`. `draw` is called
    with a key for each sample, so the samples at a smaller n are the first ones of a larger n.

    pads: whether zeros may stand behind the first `hyper["data.input_dim"]` coordinates without changing those; runs
        of several dimensions can then share a program. `draw` must leave coordinates from there on zero. Samples may
        always be padded.
    check(data): raises `dyn.InputError` for fields that do not go together
    grid(data): (d,), or (height, width, channels) of images; num_parts(data), parts_mean_something: of the `Source`
    shared_arrays(data): arrays that all runs share, read and not drawn, by name, found as `hyper["data.<name>"]`
    closed_forms(data): half-space probabilities of an isotropic law
    endless: whether every sample is drawn anew from its key, as `optimizer.sampling = fresh` needs it; not so where a
        `Source` goes by the sample's index

        @dyn.register.law(fields={"skew": dyn.option(0.5, above=0)})
        def skewed(key, data, hyper, dtype):
            def draw(key):
                return jax.random.uniform(key, (data.input_dim,), dtype) ** hyper["data.skew"]
            return draw
    """
    from dynamics.data.law import LAWS, Law, Source

    def make(function: F) -> Law:
        def source(key: Any, data: Any, hyper: Any, dtype: Any) -> Source:
            drawn = function(key, data, hyper, dtype)
            if isinstance(drawn, Source):
                return drawn
            return Source(lambda key, index, num_samples: (drawn(key), jnp.int32(0)))

        shape = grid or (lambda data: (data.input_dim,))
        return Law(source, check, closed_forms, shape, num_parts, shared_arrays, pads, parts_mean_something, endless=endless)

    return register_piece(LAWS, make, name, uses, fields, version)


@check_arguments("register.target", decorator=True)
def target(
    name: str | None = None,
    *,
    uses: Sequence[str] | Callable[[Any], Sequence[str]] = (),
    fields: Fields | None = None,
    pads: bool = False,
    outputs: Callable[[Any], int] = lambda data: 0,
    check: Callable[[Any, Any], None] = lambda target, data: None,
    of_parts: bool = False,
    are_shares: Callable[[Any], bool] = lambda data: False,
    version: int = 1,
) -> Callable[[F], F]:
    """Register a clean target f_0, `target.kind=<name>`.

    The function is called once a run as `target(key, setting)`, where `setting` holds `data` and `target` (the
    specs), `dim` (the true input dimension), `parts`, `dtype` and `hyper`. It returns `f(inputs, parts)`, which maps
    inputs (n, d) and the number of the part of the law that each is from (n,) to labels (n,), or (n, C).

    outputs(data): C, or 0 for a scalar
    pads: whether the target is the same where zeros are appended to the inputs
    check(target, data): raises `dyn.InputError` for specs that do not go together
    of_parts: whether it depends on the part alone (a class), which `data.flip_probability` then exchanges
    are_shares(data): whether its values are shares of classes, as cross-entropy wants them

        @dyn.register.target(fields={"bend": dyn.option(2.0, at_least=0)}, pads=True)
        def bent(key, setting):
            return lambda inputs, parts: inputs[:, 0] + setting.hyper["target.bend"] * inputs[:, 0] ** 2
    """
    from dynamics.data.targets import TARGETS, TargetKind

    def make(function: F) -> TargetKind:
        return TargetKind(function, outputs, pads, check, reads_parts=True, of_parts=of_parts, are_shares=are_shares)

    return register_piece(TARGETS, make, name, uses, fields, version)


@check_arguments("register.views", decorator=True)
def views(
    name: str | None = None,
    *,
    fields: Fields | None = None,
    strides: bool = False,
    usual: str = "",
    most: Callable[[Any], int] | None = None,
    extent: Callable[[Any], tuple[int, ...]] = lambda frame: frame.extent,
    images: bool = False,
    version: int = 1,
) -> Callable[[F], F]:
    """Register a way to choose views, `model.views.scheme=<name>` and `target.views.scheme=<name>`.

    The function is called before a program is compiled as `scheme(frame, rng)`: `frame` has `sides` of the pixels,
    `size`, `stride` and `count`, and `options` with fields of one's own; `rng` is a numpy generator. It returns the
    pixels (L, p) that L views see, p = `frame.seen`, as integers in C order. Since views decide on shapes every field
    is a static choice here; one that is a number may be an axis, at a program for each value.

    strides: whether it heeds the stride; usual: the scheme that has as many views as this one draws where `count` is
    0 (`sliding` or `disjoint`; empty: the count is of no use to it); most(frame): the most views that it can draw;
    extent(frame): the least sides that the frame must have; images: whether it is for images alone

        @dyn.register.views(fields={"gap": dyn.option(1, at_least=1)})
        def spread(frame, rng):
            starts = np.arange(0, frame.pixels - frame.size + 1, frame.options.gap)
            return starts[:, None] + np.arange(frame.size)
    """
    from dynamics.data.view_schemes import Scheme
    from dynamics.data.views import SCHEMES, used_fields

    def make(function: F) -> Scheme:
        return Scheme(function, strides, usual, most, extent, images)

    return register_piece(SCHEMES, make, name, used_fields(make(lambda frame, rng: None)), fields, version)  # type: ignore[arg-type]


@check_arguments("register.model", decorator=True)
def model(
    name: str | None = None,
    *,
    uses: Sequence[str] | Callable[[Any], Sequence[str]] = (),
    fields: Fields | None = None,
    pads: Sequence[str] = (),
    cost: Callable[[Any, tuple[int, ...], int], float] | None = None,
    activations: Collection[str] | None = None,
    inits: Collection[str] | None = None,
    parameters: Callable[[Any, tuple[int, ...], int], int] | None = None,
    several_outputs: bool = False,
    patches: bool = False,
    one_hidden_layer: bool = False,
    shared_filters: bool = False,
    version: int = 1,
) -> Callable[[F], F]:
    """Register a kind of network, `model.kind=<name>`.

    The function is called as `model(spec, grid, dtype, outputs)` and returns a `Model`, for which
    `plain_model(init, apply)` is enough: gradients and curvature then come from automatic differentiation. `spec`
    is the `ModelSpec`, with fields of one's own; swept ones are arrays there. `grid` is the shape of a sample, (d,)
    or (height, width, channels); `outputs` is 0 for a scalar.

    pads: the sizes in which zeros may be appended without changing a number, among `data.num_samples` (true of any
        network whose loss is a weighted mean over samples), `data.input_dim` and `model.width`; none unless it is
        said
    cost(spec, grid, outputs): floating-point operations of a gradient on one sample, for the plan; six a parameter
        unless it is said
    parameters(spec, grid, outputs): how many parameters; counted unless it is said
    activations, inits: the names that `model.activation` and `model.init` may have; a model with none uses neither
    several_outputs, patches, one_hidden_layer, shared_filters: see `ModelKind`

        from dynamics.models.base import plain_model

        @dyn.register.model(fields={"power": dyn.option(2.0, above=0)}, pads=("data.num_samples",))
        def powers(spec, grid, dtype, outputs):
            def init(key, hyper):
                return jax.random.normal(key, (grid[0],), dtype)
            return plain_model(init, lambda params, inputs: jnp.abs(inputs) ** spec.power @ params)
    """
    from dynamics.models.model_spec import MODELS, ModelKind

    def make(function: F) -> ModelKind:
        sizes = ("data.input_dim", "data.num_samples", "model.width")
        for size in pads:
            if size not in sizes:
                raise InputError("pads", size, f"choose among {', '.join(sizes)}")
        return ModelKind(
            function,
            activations,
            inits,
            tuple(pads),
            parameters,
            cost,
            several_outputs,
            patches,
            one_hidden_layer,
            shared_filters,
            output_bias=lambda spec: False,  # none that is known of
        )

    implied = {"width": True, "activation": activations is not None, "init": inits is not None, "views": patches}
    always = tuple(used for used, present in implied.items() if present)
    used: Any = (lambda spec: (*always, *uses(spec))) if callable(uses) else (*always, *uses)
    return register_piece(MODELS, make, name, used, fields, version)


def system(cls: S) -> S:
    """Register a dynamics of one's own, which a config names in its defaults list as `/system/<name>`.

    The class is a frozen dataclass derived from `RunSpec`: its fields (each a `dyn.option`) are those of the run, its
    class variables `system` and `system_version` are the name and the version, `dynamics(self)` returns the `Dynamics`.
    `shape_fields` names the integers that are sizes; `paddable` those of them that may be padded without changing a
    number, by default none.
    `cost(self)` says what a run costs; by default the program is traced and counted. `unused_fields(self)` says which
    fields have no effect where others have some value; to set one of them is then refused.

        @dyn.register.system
        @dataclass(frozen=True)
        class Pendulum(dyn.RunSpec):
            damping: float = dyn.option(0.1, at_least=0)
            system: ClassVar[str] = "pendulum"

            def dynamics(self):
                def step(state, hyper, key):
                    position, speed = state
                    return position + 0.01 * speed, speed - 0.01 * (position + hyper["damping"] * speed)
                start = lambda key, hyper: (hyper, (jnp.ones(()), jnp.zeros(())))
                return dyn.Dynamics(start, step, lambda state, hyper: {"position": state[0]})
    """
    allowed = "must be a frozen dataclass derived from RunSpec, with a class variable `system` that names it"
    known = isinstance(cls, type) and issubclass(cls, RunSpec) and "__dataclass_fields__" in cls.__dict__
    if not known or not cls.__dataclass_params__.frozen or not cls.system:  # type: ignore[attr-defined]
        raise InputError("register.system", getattr(cls, "__name__", cls), allowed)
    SYSTEMS.add(cls.system, cls, version=cls.system_version)
    return cls
