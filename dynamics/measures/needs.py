"""What a measure may need of a run, by name: predicates over the run's settings, each with what to set.

The suite's measures and a user's draw on one vocabulary; a new word is `NEEDS.add(name, Need(...))`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from dynamics.core.registry import Registry
from dynamics.data.law import DataSpec
from dynamics.data.targets import TargetSpec
from dynamics.models.losses import LossSpec
from dynamics.models.model_spec import MODELS, ModelKind, ModelSpec
from dynamics.models.parametrization import STANDARD
from dynamics.optimizers.preconditioners import PRECONDITIONERS
from dynamics.optimizers.rules import OptimizerSpec


class MeasuredRun(Protocol):
    """The settings that needs are judged by. A `TrainingSpec` has them; `measure` makes them up for a net of one's own.

    outputs: how many outputs the network has, 0 for a scalar; measure_options: a `MeasureSpec`
    """

    @property
    def data(self) -> DataSpec: ...
    @property
    def target(self) -> TargetSpec: ...
    @property
    def model(self) -> ModelSpec: ...
    @property
    def loss(self) -> LossSpec: ...
    @property
    def optimizer(self) -> OptimizerSpec: ...
    @property
    def outputs(self) -> int: ...
    @property
    def measure_options(self) -> Any: ...


@dataclass(frozen=True)
class Need:
    """A condition on a run.

    is_met(run): whether the run fulfils it
    setting: what to set so that it does, for the message `needs <setting>`; a function where it depends on what is
        registered
    """

    is_met: Callable[[MeasuredRun], bool]
    setting: str | Callable[[], str]

    @property
    def message(self) -> str:
        return self.setting if isinstance(self.setting, str) else self.setting()


def of_models(has: Callable[[ModelKind], bool]) -> Need:
    """The need of a model of whose kind `has` is true."""

    def is_met(run: MeasuredRun) -> bool:
        kind = MODELS.get(run.model.kind)
        return kind is not None and has(kind)

    return Need(is_met, lambda: f"model.kind = {' or '.join(name for name, kind in MODELS.items() if has(kind))}")


TRAINING_SAMPLES = "training_samples"
NEEDS: Registry[Need] = Registry("need")
NEEDS.update(
    {
        "one_hidden_layer": of_models(lambda kind: kind.one_hidden_layer),
        "shared_filters": of_models(lambda kind: kind.one_hidden_layer and kind.shared_filters),
        "single_output": Need(lambda run: run.outputs == 0, "a target.kind of one output"),
        "classes": Need(lambda run: run.outputs > 1, "a target.kind of several outputs, such as one_hot"),
        "squared_loss": Need(lambda run: run.loss.kind == "squared", "loss.kind = squared"),
        "values": Need(
            lambda run: not run.loss.of_classes,
            "a loss of values, such as loss.kind = squared; of classes there are test_loss, accuracy and clean_accuracy",
        ),
        "added_noise": Need(lambda run: run.data.flip_probability == 0, "label noise that is added: data.flip_probability = 0"),
        "relu": Need(lambda run: run.model.activation == "relu", "model.activation = relu: its theory is of kinks"),
        "one_rate": Need(
            lambda run: run.model.parametrization == STANDARD,
            "model.parametrization = standard: its theory is of one learning rate and no multipliers",
        ),
        "clean_labels": Need(lambda run: run.target.kind != "", "labels without noise: a target.kind, or clean=labels"),
        "fresh_samples": Need(lambda run: run.data.num_test > 0, "samples to test on: data.num_test, or test=(inputs, labels)"),
        "preconditioner": Need(
            lambda run: run.optimizer.kind in PRECONDITIONERS,
            lambda: f"a run of optimizer.kind = {' or '.join(PRECONDITIONERS)}, whose own state it is of",
        ),
        "batches": Need(
            lambda run: 0 < (run.measure_options.batch_sharpness_size or run.optimizer.batch_size) <= run.data.num_samples,
            "batches of at most n samples: optimizer.batch_size, or measure_options.batch_sharpness_size",
        ),
        "start": Need(lambda run: hasattr(run, "steps"), "a training run, whose first parameters it compares with"),
        TRAINING_SAMPLES: Need(
            lambda run: not run.optimizer.is_online,
            "samples that are trained on: optimizer.sampling = epoch or replacement; online there is excess_risk",
        ),
        "learning_rate": Need(lambda run: not math.isnan(run.optimizer.learning_rate), "a learning rate: learning_rate=0.1"),
    }
)
