"""The bytes that a plan counts against those that the compiler allots."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from dynamics.core.lanes import runs_at_once, step_together
from dynamics.data.problem import DataSpec
from dynamics.data.views import ViewSpec
from dynamics.engine.execute import Executor
from dynamics.engine.plan import detect_machine, make_plan
from dynamics.models import row_streams
from dynamics.models.model_spec import ModelSpec
from dynamics.systems import training_cost
from dynamics.systems.training import TrainingSpec

WINDOWS = ViewSpec("sliding", 20)  # more than runs that are not streamed have kernels for
FILTERS = ModelSpec("convolutional", 300, views=WINDOWS)
CURVED = ["train_loss", "excess_risk", "sharpness"]
OF_SAMPLES = ["train_loss", "excess_risk", "gauss_newton_sharpness"]
CASES = {
    "activations are held": (FILTERS, CURVED, "float32", row_streams.HELD_BYTES),
    "activations are streamed": (FILTERS, CURVED, "float32", 2**18),
    "a wide net in 64 bits": (ModelSpec("two_layer", 3000), OF_SAMPLES, "float64", row_streams.HELD_BYTES),
    "own filters": (ModelSpec("locally_connected", 40, views=WINDOWS), CURVED[:2], "float32", row_streams.HELD_BYTES),
}


def training(model: ModelSpec, measures: list[str], precision: str, seed: int = 0) -> TrainingSpec:
    data = DataSpec(input_dim=60, num_samples=400, num_test=800)
    return TrainingSpec(data=data, model=model, measures=measures, precision=precision, steps=2, seed=seed).resolve()


@pytest.mark.parametrize("name", CASES)
def test_a_plan_counts_half_to_twice_what_its_program_takes(monkeypatch, name):
    """And while the program is traced it is known how many runs step together."""
    model, measures, precision, held = CASES[name]
    monkeypatch.setattr(row_streams, "HELD_BYTES", held)
    group = make_plan([training(model, measures, precision, seed) for seed in range(6)]).groups[0]
    group = replace(group, lanes=2) if name == "own filters" else group
    told, network = set(), TrainingSpec.network

    def tell(spec: TrainingSpec, hyper: Any = None) -> Any:
        told.add(runs_at_once.get())
        return network(spec, hyper)

    executor = Executor()
    with monkeypatch.context() as patched:
        patched.setattr(TrainingSpec, "network", tell)
        assert executor.find_memory_excess(group, group.runs) is None
    assert told == {group.lanes}
    taken = next(iter(executor._programs.values())).result().bytes
    assert 0.5 <= group.estimate_memory(detect_machine()) / taken <= 2


def test_streaming_is_what_the_count_says_that_it_saves(monkeypatch):
    spec = training(FILTERS, CURVED, "float32")
    whole = spec.cost()
    with step_together(100):  # runs share what one may hold
        assert spec.cost().bytes_working < whole.bytes_working / 3
    monkeypatch.setattr(row_streams, "HELD_BYTES", 2**18)
    assert spec.cost().bytes_working < whole.bytes_working / 3
    assert spec.cost().bytes_resident < whole.bytes_resident / 3


def test_runs_that_step_together_share_what_one_may_hold(monkeypatch):
    monkeypatch.setattr(row_streams, "HELD_BYTES", 2**23)
    small = replace(FILTERS, width=100)
    runs = [training(small, ["train_loss"], "float32", seed) for seed in range(6)]
    group = make_plan(runs, detect_machine()._replace(lane_flops=math.inf, devices=1)).groups[0]
    assert group.lanes == 6 and group.cost.bytes_resident < runs[0].cost().bytes_resident / 3


def test_a_step_without_kernels_is_priced_by_its_products_and_its_pass_over_activations():
    """Rates approach that of products as inputs grow, and another activation than ReLU costs more."""

    def speed(d, activation="relu"):
        spec = TrainingSpec(data=DataSpec(input_dim=d, num_samples=512), model=ModelSpec(width=64, activation=activation))
        return spec.cost().speed

    relu, gelu = [speed(d) for d in (50, 128, 500)], [speed(d, "gelu") for d in (5, 50, 500)]
    assert relu == sorted(relu) and gelu == sorted(gelu)
    assert gelu[1] < relu[0] and gelu[0] < 1 < relu[2] < training_cost.PRODUCT_SPEED
