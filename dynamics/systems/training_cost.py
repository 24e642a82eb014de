"""What a training run costs, for the plan: operations, and the bytes that its arrays take, counted from its shapes.

The bytes are those of the compiled program: what a run keeps, and beside it a copy of what its steps read, the
activations of the pass that holds most of them and, where a record looks at curvature, the basis of Lanczos.
`benchmarks/memory.py` compares them with what the compiler allots.
"""

from __future__ import annotations

from typing import Protocol

import jax

from dynamics.core.dynamics import Cost
from dynamics.kernels import gates
from dynamics.measures.needs import MeasuredRun
from dynamics.measures.table import GAUSS_NEWTON, distinct_work, keeps_start
from dynamics.models.model_spec import MODELS
from dynamics.models.row_streams import BLOCK_BYTES, are_too_many, block_bytes, needs_stream
from dynamics.optimizers.averaging import NO_AVERAGE
from dynamics.optimizers.rules import RULES

DRAWN = 1.6  # what drawing the data takes beside them, in multiples of them: 0.6 for one run at once, 2 to 3 for several
BASIS = 65  # vectors that Lanczos keeps
STATES = 2  # arrays like the parameters that a run keeps: these, and what a rule remembers
KERNEL_SPEED, STREAMED_KERNEL_SPEED = 8.0, 5.0  # of steps by the kernels, in multiples of a machine's plain rate
PRODUCT_SPEED = 3.4  # of products of matrices by XLA
PASS_FLOPS = {True: 20.0, False: 52.0}  # what a ReLU's pass over the activations takes as long as, and another's
STEPS = 15  # further arrays like the parameters while a curvature is computed


class PricedRun(MeasuredRun, Protocol):
    """What is counted of a training run's settings: a `TrainingSpec` has them. measured: the measures by name."""

    @property
    def precision(self) -> str: ...
    @property
    def measured(self) -> tuple[str, ...]: ...


def estimate_cost(spec: PricedRun) -> Cost:
    """Return the cost of one run: products only, of which a two-layer step takes about n K (4 (d + 1) + 4)."""
    n, t, k = spec.data.num_samples, spec.data.num_test, int(spec.model.width)
    size = spec.optimizer.batch_size or n
    parameters = spec.model.parameters(spec.data.grid, spec.outputs)
    views, seen = spec.model.rows(spec.data.grid)
    shared = MODELS[spec.model.kind].shared_filters
    per_sample = views * k * (4 * (seen + 1) + 4) if shared else 6 * parameters
    works, speed = distinct_work(spec.measured, spec), estimate_speed(spec, size)
    record = (n + t) * per_sample / 3 + sum(work.passes * n * per_sample for work in works)
    record *= 1 + averages(spec)
    resident, working = count_bytes(spec)
    return Cost(RULES[spec.optimizer.kind].gradients * size * per_sample, record, resident, working, speed)


def averages(spec: PricedRun) -> bool:
    """Return whether an average of the parameters is kept and measured too."""
    return spec.optimizer.average != NO_AVERAGE


def count_bytes(spec: PricedRun) -> tuple[float, float]:
    """Return the bytes that one run keeps, and those of its temporary arrays."""
    n, t, d, itemsize = spec.data.num_samples, spec.data.num_test, spec.data.input_dim, _itemsize(spec)
    parameters = spec.model.parameters(spec.data.grid, spec.outputs)
    views, seen = spec.model.rows(spec.data.grid)
    labels, states = max(spec.outputs, 1), STATES + 2 * averages(spec)  # the average and what rounding took from it
    laid_out = sum(count * (d if lies_plain(spec, count) else views * (seen + 1)) for count in (n, t))
    drawn = (n + t) * (d + 2 * labels + 1) + laid_out + (n + t) * (labels + 1) + n * labels
    read = laid_out + (n + t) * (labels + 1) + states * parameters
    works = distinct_work(spec.measured, spec)
    curvature = 0.0
    if any(work.holds_products for work in works):
        basis = max(work.vectors for work in works if work.holds_products)
        curvature = (basis + STEPS) * parameters
    elif GAUSS_NEWTON in works:
        curvature = BASIS * n + STEPS / 2 * parameters
    held = sum(work.numbers for work in works)
    steps = itemsize * (read + curvature + held) + activation_bytes(spec)
    states += keeps_start(spec.measured)
    return itemsize * (drawn + states * parameters), max(itemsize * DRAWN * drawn, steps)


def activation_bytes(spec: PricedRun) -> float:
    """Return the bytes of activations, or of gates, that the pass which holds most of them holds at once."""
    n, t, itemsize, kind = spec.data.num_samples, spec.data.num_test, _itemsize(spec), MODELS[spec.model.kind]
    views, seen = spec.model.rows(spec.data.grid)
    width = int(spec.model.width) if "width" in MODELS.entry(spec.model.kind).used_fields(spec.model) else 1
    works = distinct_work(spec.measured, spec)
    holds = any(work.holds_products for work in works)
    if spec.outputs and kind.patches:
        passed = n * (seen + 1) * width * itemsize
        return 3 * max(BLOCK_BYTES, views * width * itemsize) + (0 if are_too_many(1, passed) else passed)
    if not kind.one_hidden_layer:
        return itemsize * max(n, t) * width * max(spec.model.depth, 1) * (6 if holds else 3)
    fused, quick = has_kernels(spec), has_kernels(spec, streamed=True)
    block = block_bytes(width, seen + 1, itemsize, quick, jax.default_backend()) * (1 if quick else 3)
    sums = 4 * (n + t) * views * itemsize  # of every row, before they are pooled
    if fused:
        return sums + sum(block if is_streamed(spec, count) else count * views * width / 8 for count in (n, t))
    if is_streamed(spec, n):
        return sums + block
    kinds = 4 if spec.model.activation != "relu" else 3 if kind.patches else 2  # phi, phi', phi'' and what is pooled
    autodiff = spec.model.gradient != "closed_form" or spec.loss.kind != "squared"
    held = kinds * (holds or GAUSS_NEWTON in works) + 2 * autodiff
    activations = n * views * width * itemsize
    return sums + 3 * min(BLOCK_BYTES, activations) + held * activations


def lies_plain(spec: PricedRun, count: int) -> bool:
    """Return whether so many samples are kept as they are, without a copy of each view."""
    views, seen = spec.model.rows(spec.data.grid)
    if not MODELS[spec.model.kind].patches:
        return True
    if spec.outputs:
        return are_too_many(count * views, (seen + 1) * _itemsize(spec))
    return is_streamed(spec, count)


def is_streamed(spec: PricedRun, count: int) -> bool:
    """Return whether what one hidden layer makes of so many samples is taken block by block,
    as `Model.prepare` decides."""
    views, seen = spec.model.rows(spec.data.grid)
    return needs_stream(count, views, int(spec.model.width), seen + 1, _itemsize(spec), has_kernels(spec))


def has_kernels(spec: PricedRun, *, streamed: bool = False) -> bool:
    """Return whether the kernels of gates take the passes of this run; streamed: where its samples are streamed."""
    _, seen = spec.model.rows(spec.data.grid)
    of_gates = (
        MODELS[spec.model.kind].one_hidden_layer
        and not spec.outputs
        and spec.model.activation == "relu"
        and spec.model.gradient == "closed_form"
    )
    return of_gates and gates.has_kernels(seen + 1, spec.precision, streamed=streamed)


def estimate_speed(spec: PricedRun, size: int) -> float:
    """Return `Cost.speed` of steps on `size` samples, as measured on two cores (`benchmarks/prices.py`).

    Where there are no kernels a step is products of matrices and a pass over the activations, which weighs the more the
    fewer the inputs are.
    """
    kind, (_, seen) = MODELS[spec.model.kind], spec.model.rows(spec.data.grid)
    if not kind.one_hidden_layer or spec.outputs:
        return 1.0
    if has_kernels(spec):
        if seen > 1:
            return KERNEL_SPEED
        width = int(spec.model.width)  # sorted samples cost n + K where products cost 12 n K; views are not sorted
        return size * width * 12 / (150.0 * (size + width)) if spec.model.kind == "two_layer" else 1.0
    if is_streamed(spec, size):
        return STREAMED_KERNEL_SPEED if has_kernels(spec, streamed=True) else 1.0
    flops = 4 * (seen + 1) + 4
    return flops / (flops / PRODUCT_SPEED + PASS_FLOPS[spec.model.activation == "relu"])


def _itemsize(spec: PricedRun) -> int:
    return 8 if spec.precision == "float64" else 4
