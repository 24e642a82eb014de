"""Fields that a run's pieces make nothing of: refused wherever they are given,
and rightly said to be without effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import key_of

import dynamics as dyn
from dynamics.core import spec as specs
from dynamics.core.simulate import start
from dynamics.core.usage import default_values, unused_fields
from dynamics.data.law import LAWS
from dynamics.data.problem import draw_problem
from dynamics.data.targets import TARGETS
from dynamics.data.view_schemes import LINE_SCHEMES
from dynamics.data.views import SCHEMES, ViewSpec, list_views
from dynamics.models.base import Batch
from dynamics.models.losses import LOSSES, mean_loss
from dynamics.models.model_spec import MODELS
from dynamics.optimizers.rules import RULES
from dynamics.optimizers.schedules import SCHEDULES, scheduled_rate
from dynamics.study.config import checked_request
from dynamics.study.request import StudySpec
from dynamics.systems import SYSTEMS

RUN = {
    "data.input_dim": 4,
    "data.num_samples": 3,
    "data.num_test": 2,
    "model.width": 2,
    "steps": 9,
    "measures": ("train_loss",),
    "record.num": 1,
}
NEEDED = {  # what a piece cannot do without
    "sphere_patch": {"data.ambient_dim": 7},
    "patch_spheres": {"data.patch_dim": 2},
    "tiled": {"data.patch_dim": 2},
    "vocabulary": {"data.patch_dim": 2, "data.components": 3},
    "cone_clusters": {"data.patch_dim": 2, "data.components": 3},
    "subspace_balls": {"data.intrinsic_dim": 2, "data.components": 3},
    "dead_leaves": {"data.input_dim": 16},
    "modular_addition": {"data.input_dim": 6},
    "parts": {"data.law": "vocabulary", "data.patch_dim": 2, "data.components": 3},
    "part_index": {"data.law": "vocabulary", "data.patch_dim": 2, "data.components": 3},
    "one_hot": {"data.law": "vocabulary", "data.patch_dim": 2, "data.components": 3},
    "cross_entropy": {
        "target.kind": "one_hot",
        "data.law": "vocabulary",
        "data.patch_dim": 2,
        "data.components": 3,
        "data.noise_std": 0.0,
    },
    "convolutional": {"model.views.scheme": "sliding", "model.views.size": 2},
    "locally_connected": {"model.views.scheme": "sliding", "model.views.size": 2},
    "warmup": {"optimizer.schedule.warmup_steps": 3.0},
    "linear": {"model.width": "4n"},
    "diagonal_linear": {"model.width": "4n"},
    "gradient_flow": {"optimizer.weight_decay": 0.5},
    "adaptive_flow": {"optimizer.weight_decay": 0.5},
    "stiff_flow": {"optimizer.weight_decay": 0.5},
}
OTHER = {  # another value than the default, where adding to it would not do
    "data.normalization": "cifar10",
    "data.patch_dim": 4,
    "data.stand_in": "shuffled",
    "optimizer.clip_norm": 5.0,
    "model.init": "kaiming_normal",
    "model.activation": "gelu",
    "model.gradient": "autodiff",
    "model.readout": "unit",
    "model.pooling": "sum",
    "model.form": "product",
    "model.norm": "rms_norm",
    "model.placement": "peri",
    "model.layer_init": "orthogonal",
    "model.bias": False,
    "model.parametrization": "mup",
    "model.views.scheme": "disjoint",
    "loss.normalization": "half",
    "optimizer.decay": "weights",
    "optimizer.sampling": "replacement",
    "optimizer.average": "uniform",
    "record.spacing": "linear",
    "labels": "linear",
}
NUMBERS_STAY = {"data.shuffle_parts", "optimizer.decay"}  # without a use they change the program, and none of its numbers
OTHERS_USE = {"model.gradient", "optimizer.batch_size", "optimizer.sampling"}  # how the step is put together
SKIPPED = {
    "data.root",
    "data.file",
    "data.digest",
    "data.stand_in",
    "target.views.scheme",
    "data.num_test",
    "data.flip_probability",
}  # need files, or other fields; flipping is refused where labels are no classes
TABLES = {
    "data.law": [name for name in LAWS if name not in ("mnist", "cifar10", "fashion", "digits", "images", "arrays")],
    "target.kind": [name for name in TARGETS if name != "labels"],
    "model.kind": list(MODELS),
    "model.views.scheme": list(LINE_SCHEMES),
    "loss.kind": list(LOSSES),
    "optimizer.kind": list(RULES),
    "optimizer.schedule.kind": list(SCHEDULES),
}
PIECES = [(selector, name) for selector, names in TABLES.items() for name in names]
SYSTEM_RUNS = [
    ("depth", {"data.num_samples": 4, "data.num_test": 2, "steps": 1, "directions_per_step": 2}),
    ("flat_search", {"start": "caps", "data.num_samples": 4, "data.num_test": 4, "model.width": 4, "ascent_steps": 1}),
    ("flat_search", {"start": "random", "data.num_samples": 4, "data.num_test": 4, "model.width": 4, "ascent_steps": 1}),
    ("interpolation", {"data.num_samples": 4, "labels": "random"}),
    ("interpolation", {"data.num_samples": 4, "labels": "linear"}),
    ("catapult", {"form": "linearized"}),
]


def run_of(selector: str, name: str) -> dyn.RunSpec:
    """A small run with this piece."""
    views = {"model.kind": "convolutional", "model.views.size": 2} if selector == "model.views.scheme" else {}
    values = {**RUN, **views, selector: name, **NEEDED.get(name, {})}
    return specs.put(specs.freeze(dyn.Training()), values)


def other_value(path: str, run: dyn.RunSpec):
    """A value that the field may have and has not."""
    value, default = specs.get(run, path), default_values(type(run))[path]
    if path in OTHER:
        return OTHER[path] if value != OTHER[path] else default
    if path == "model.width":
        return 7
    if path in ("optimizer.schedule.warmup_steps", "model.views.count"):
        return type(value)(2)
    return (
        value / 2
        if isinstance(value, float) and value
        else type(value)(value + 1)
        if not isinstance(value, bool)
        else not value
    )


def traced(function: Callable, *arguments: Any) -> tuple[str, list[bytes]]:
    """A function as a program with its numbers written into it: equal ones compute the same."""
    closed = jax.make_jaxpr(function)(*arguments)
    return str(closed.jaxpr), [np.asarray(constant).tobytes() for constant in closed.consts]


def program_of(run: dyn.RunSpec, level: str) -> tuple[str, list[bytes]]:
    """What the fields of one level of a training run have a say in; the whole of another system's run."""
    run, key = run.resolve(), key_of(run)
    hyper: Any = {
        path: np.asarray(value, np.int32 if path in run.shape_fields else run.precision)
        for path, value in specs.hyper(run).items()
    }
    if not isinstance(run, dyn.Training):
        dynamics = specs.static(run).dynamics()

        def whole(key):
            fixed, state = start(dynamics, key, {path: jnp.asarray(value) for path, value in hyper.items()})
            return dynamics.observe(dynamics.step(state, fixed, key), fixed)

        return traced(whole, key)
    if level in ("data", "target"):
        return traced(lambda key: draw_problem(run.data, run.target, key, hyper, jnp.float32), key)
    params, inputs = {"w": jnp.ones(3)}, jnp.ones((5, 4))
    if level == "model":
        model = run.network(hyper)
        batch = model.prepare(inputs, jnp.ones(5), jnp.ones(5))
        return traced(lambda key: model.apply(model.init(key, hyper), batch), key)
    if level == "loss":
        batch = Batch(inputs, inputs, jnp.ones(5))
        return traced(lambda f: mean_loss(run.loss, run.loss.factor(4), lambda _, batch: f, params, batch), inputs)

    def step(params, time, key):
        rate = scheduled_rate(run.optimizer.schedule.kind, hyper, time, run.steps)
        rule = run.optimizer.rule({**hyper, "optimizer.learning_rate": rate}, {"w": jnp.ones(3)})

        def gradient(p, relabel=None):
            return jax.tree.map(lambda leaf: (relabel or jnp.asarray)(jnp.sin(leaf)), p)

        return rule.update(params, rule.init(params), gradient, step=time, key=key)

    return traced(step, params, jnp.int32(5), key)


def refusal(run: dyn.RunSpec) -> str:
    """What is said of a study of this run; empty if nothing is wrong with it."""
    try:
        checked_request("study", StudySpec(), {"main": [run]})
    except dyn.InputError as error:
        return str(error)
    return ""


def declared(run: dyn.RunSpec) -> list[str]:
    return [path for path in unused_fields(run) if path not in SKIPPED and path.partition(".")[0] != "measure_options"]


@pytest.mark.parametrize(("selector", "name"), PIECES)
def test_a_field_that_a_piece_does_not_use_is_refused(selector, name):
    run = run_of(selector, name)
    assert refusal(run) == ""
    level = selector.rpartition(".")[0]
    for path in declared(run):
        if path.startswith(f"{level}."):
            told = refusal(specs.put(run, {path: other_value(path, run)}))
            assert told.startswith(f"{path} = ") and (
                "has no effect" in told or "is of" in told or "is for" in told or "not used" in told
            ), (path, told)


@pytest.mark.parametrize(
    ("selector", "name"), [case for case in PIECES if case[1] not in ("mlp", "dead_leaves") and "scheme" not in case[0]]
)
def test_what_a_piece_declares_of_its_fields_is_true_of_its_program(selector, name):
    """A field without a use leaves the program what it was; each of the others changes it."""
    run = run_of(selector, name)
    level, left_out = selector.rpartition(".")[0], {*SKIPPED, *NUMBERS_STAY, *OTHERS_USE, selector, *run.shape_fields}
    own = [path for path in specs.paths(run) if path.rpartition(".")[0] == level and path not in left_out]
    others = {path: specs.put(run, {path: other_value(path, run)}) for path in own}
    unused, plain = [path for path in own if path in unused_fields(others[path])], program_of(run, level)
    assert program_of(specs.put(run, {path: specs.get(others[path], path) for path in unused}), level) == plain, unused
    for path in set(own) - set(unused):
        assert program_of(others[path], level) != plain, path


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_of_views_that_draws_is_one_whose_seed_makes_a_difference(name):
    spec, grid = ViewSpec(name, 2, stride=2 if SCHEMES[name].strides else 1), (6, 6, 1)
    drawn = [list_views(replace(spec, seed=seed), grid).tolist() for seed in range(4)]
    assert any(views != drawn[0] for views in drawn) == SCHEMES[name].random


@pytest.mark.parametrize(("system", "values"), SYSTEM_RUNS)
def test_a_field_that_a_system_does_not_use_is_refused_and_leaves_its_program(system, values):
    run = specs.put(specs.freeze(SYSTEMS[system]()), {"record.num": 1, **values})
    assert refusal(run) == ""
    own = [path for path in unused_fields(run) if path in run.unused_fields()]
    assert own
    for path in own:
        told = refusal(specs.put(run, {path: other_value(path, run)}))
        assert told.startswith(f"{path} = ") and "has no effect in runs" in told
    if system != "flat_search":  # takes seconds to trace
        changed = specs.put(run, {path: other_value(path, run) for path in own if path not in NUMBERS_STAY})
        assert program_of(changed, "") == program_of(run, "")
