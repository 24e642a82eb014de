"""Systems of which six runs are computed alone, together, padded and in lanes."""

from __future__ import annotations

from functools import cache

import jax
import numpy as np
from oracles import change, to_numpy

from dynamics.core import spec as specs
from dynamics.core.recording import RecordSpec
from dynamics.core.spec import RunSpec
from dynamics.data.problem import DataSpec
from dynamics.engine.execute import Executor
from dynamics.engine.plan import Group, Machine, make_plan
from dynamics.models.model_spec import ModelSpec
from dynamics.systems.one_sample_descent import CatapultSpec
from dynamics.systems.training import TrainingSpec

MACHINE = Machine("cpu", 4, 2.5e10, 2e-6, 2.0, 1e9, 0)  # one run a lane, unless a test asks for more


RECORD = RecordSpec(num=0, at=[1, 50])


CLOSE = {"rtol": 1e-10, "atol": 1e-13}


NETWORK = TrainingSpec(
    steps=200,
    record=RECORD,
    precision="float64",
    data=DataSpec(input_dim=2, num_samples=10, num_test=5),
    model=ModelSpec(width=6),
    measures=["train_loss", "excess_risk", "activation_statistics"],
)


RATES = (0.02, 0.05, 0.1)


def six(base: RunSpec, **options) -> list[RunSpec]:
    """Two seeds, three values of the named field. Always six runs: equal shapes share compiled programs."""
    ((path, values),) = options.items()
    return [change(base, seed=seed, **{path: value}) for seed in (0, 1) for value in values]


FULL = six(change(NETWORK, data__noise_std=0.7), optimizer__learning_rate=RATES)


SYSTEMS: dict[str, list[RunSpec]] = {
    "full batch": FULL,
    "minibatch": [change(run, optimizer__batch_size=4, measures=["train_loss"]) for run in FULL],
    "adam": [change(run, optimizer__kind="adam", optimizer__weight_decay=0.02, measures=["train_loss"]) for run in FULL],
    "catapult net": six(CatapultSpec(0, 200, RECORD, "float64", form="net", width=12), edge_ratio=(0.5, 1.5, 3.0)),
    "catapult map": six(CatapultSpec(0, 200, RECORD, "float64", width=20), edge_ratio=(0.5, 1.5, 3.0)),
}


PADDED = {"full batch": (3, 13, 9), "minibatch": (3, 13, 9), "adam": (3, 13, 9), "catapult net": (17,), "catapult map": (25,)}


def group_of(runs, padded=None, lanes=None) -> Group:
    """The one group of these runs, built at padded sizes and with so many lanes if asked."""
    (group,) = make_plan([specs.freeze(run.resolve()) for run in runs], MACHINE).groups
    static = specs.static(group.runs[0], padded) if padded else group.static
    return change(group, static=static, lanes=lanes or group.lanes)


def compute(runs, **how):
    return computed(tuple(specs.freeze(run.resolve()) for run in runs), **how)


@cache
def computed(runs, **how):
    group = group_of(runs, **how)
    trajectory = Executor().compute(group, group.runs).trajectory
    return trajectory._replace(state=to_numpy(trajectory.state))


def same_records(actual, desired):
    assert actual.records.keys() == desired.records.keys()
    for name, value in desired.records.items():
        np.testing.assert_allclose(actual.records[name], value, **CLOSE, err_msg=name)
    np.testing.assert_array_equal(actual.finite, desired.finite)
    np.testing.assert_array_equal(actual.steps, desired.steps)


def pick(trajectory, index):
    """The trajectory of some runs of an ensemble."""
    return trajectory._replace(
        records={name: value[index] for name, value in trajectory.records.items()},
        finite=trajectory.finite[index],
        state=jax.tree.map(lambda leaf: np.asarray(leaf)[index], trajectory.state),
    )
