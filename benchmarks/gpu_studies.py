"""Whole computations of the papers at their own size on a GPU, through the engine: Figure 2,
and one shape of X1 and X3.

They need neither the store nor the command line. A plan is computed twice by one executor, so that the second time has
all programs compiled; what it took is compared with the useful operations that the plan counts.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import Any

import jax

import dynamics as dyn
from dynamics.core import spec as specs
from dynamics.engine.execute import Executor
from dynamics.engine.plan import Plan, make_plan

MEASURES = [
    "train_loss",
    "clean_train_error",
    "excess_risk",
    "generalization_gap",
    "weight_norm",
    "gauss_newton_sharpness",
    "sharpness",
    "residual_sharpness",
    "activation_statistics",
    "path_norms",
    "stability_checks",
]


def list_figure_2(dims=(1, 2, 3, 4, 5), samples=(32, 64, 128, 256, 512), seeds: int = 20) -> list[dyn.Training]:
    """Return the runs of Figure 2 at paper size, those of `stable_minima/rates`."""
    base = dyn.Training(
        data=dyn.Data(law="uniform_ball", noise_std=1.0),
        target=dyn.Target(kind="linear"),
        model=dyn.Model(kind="two_layer", activation="relu", init="torch_default"),
        loss=dyn.Loss(normalization="mse"),
        steps=20000,
        record=dyn.Record(num=0, at=[100, 300, 1000, 2000, 5000, 10000, 15000]),
        measures=MEASURES,
    )
    panels = ({"learning_rate": 0.2, "weight_decay": 0.0}, {"learning_rate": 0.01, "weight_decay": 0.1})
    found = []
    for panel, d, n, seed in itertools.product(panels, dims, samples, range(seeds)):
        run = replace(
            base,
            seed=seed,
            data=replace(base.data, input_dim=d, num_samples=n),
            model=replace(base.model, width=4 * n),
            optimizer=dyn.Optimizer(kind="gd", clip_norm=50.0, **panel),
        )
        run.check()
        found.append(specs.freeze(run.resolve()))
    return found


def list_generalization(
    input_dim: int = 400, num_samples: int = 1024, width: int = 1024, steps: int = 2000
) -> list[dyn.Training]:
    """Return five seeds of X1's largest shape, shared filters, for some of its 500000 steps."""
    views = dyn.Views("sliding", 10, 10)
    return _seeds(
        5,
        dyn.Training(
            data=dyn.Data(law="sphere", input_dim=input_dim, num_samples=num_samples),
            target=dyn.Target(kind="teacher", units=50, views=views),
            model=dyn.Model(kind="convolutional", width=width, init="kaiming_lecun", views=views),
            optimizer=dyn.Optimizer(kind="gd", learning_rate=0.2, clip_norm=100.0),
            **_bare(steps),
        ),
    )


def list_images(side: int = 32, num_samples: int = 1024, width: int = 1024, steps: int = 20) -> list[dyn.Training]:
    """Return one run of X3's patch net, windows of 3 x 3 in three colours, on dead leaves of the size of CIFAR-10."""
    views = dyn.Views("sliding", 3)
    return _seeds(
        1,
        dyn.Training(
            data=dyn.Data(law="dead_leaves", input_dim=3 * side**2, channels=3, num_samples=num_samples, num_test=side),
            target=dyn.Target(kind="scaled_teacher", units=20, views=views),
            model=dyn.Model(kind="convolutional", width=width, init="kaiming_normal", views=views),
            optimizer=dyn.Optimizer(kind="gd", learning_rate=0.2, clip_norm=2.0),
            **_bare(steps),
        ),
    )


def _bare(steps: int) -> dict[str, Any]:
    """Return the settings of runs that are timed for their steps alone."""
    return {
        "loss": dyn.Loss(normalization="mse"),
        "steps": steps,
        "record": dyn.Record(num=0),
        "measures": ["train_loss"],
    }


def _seeds(count: int, base: dyn.Training) -> list[dyn.Training]:
    runs = [replace(base, seed=seed) for seed in range(count)]
    for run in runs:
        run.check()
    return [specs.freeze(run.resolve()) for run in runs]


def time_plan(name: str, runs: list[dyn.Training], product_flops: float) -> dict[str, Any]:
    """Compute the runs twice, print what it took and return it; an error is told and returned, too."""
    plan, executor = make_plan(runs), Executor()
    try:
        cold, cold_ends = _compute(executor, plan)
        warm, _ = _compute(executor, plan)
    except Exception as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(f"{name}: failed: {line[:100]}", flush=True)
        return {"name": name, "runs": len(runs), "error": str(error)[:2000]}
    flops = sum(g.cost.flops_per_step * g.schedule[-1] * len(g.runs) for g in plan.groups)
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    found = {
        "name": name,
        "runs": len(runs),
        "groups": len(plan.groups),
        "steps": max(g.schedule[-1] for g in plan.groups),
        "cold_seconds": cold,
        "warm_seconds": warm,
        "waited_for_compiling": cold_ends,
        "useful_flops": flops,
        "product_share": flops / warm / product_flops,
        "planned_bytes": max(g.estimate_memory(plan.machine) for g in plan.groups),
        "peak_bytes_of_process": peak,
    }
    told = f"{len(runs)} runs in {len(plan.groups)} groups, {cold:.1f} s, again {warm:.1f} s"
    print(f"{name}: {told}, {found['product_share']:.1%} of the product's rate", flush=True)
    return found


def _compute(executor: Executor, plan: Plan) -> tuple[float, float]:
    """Return the wall seconds of the plan and those that were spent waiting for programs."""
    begun = time.perf_counter()
    waited = sum(result.compile_seconds for result in executor.compute_plan(plan))
    return time.perf_counter() - begun, waited
