"""Sharpness of many runs a device: once a deadlock.

A batched LAPACK `eigh` waits for the thread pool that it runs on; called by every device of a CPU at once it never came
back (jaxlib 0.10.2: at once with two devices, now and then with four). So no measure may call it.
"""

import subprocess
import sys

import jax
import numpy as np

from dynamics.core import spec as specs
from dynamics.core.recording import RecordSpec
from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan
from dynamics.systems.training import DataSpec, ModelSpec, TrainingSpec

PROGRAM = """
from dynamics.core.devices import prepare
prepare(devices=2)
import jax
from dynamics.core import spec as specs
from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan
from dynamics.systems.training import DataSpec, ModelSpec, TrainingSpec

data, model = DataSpec(num_samples=8, num_test=8), ModelSpec(width=4)
base = specs.freeze(TrainingSpec(steps=20, measures=["sharpness", "gauss_newton_sharpness"], data=data, model=model)).resolve()
plan = make_plan([specs.put(base, {"seed": seed}) for seed in range(16)])
assert plan.groups[0].lanes > 1 and jax.local_device_count() == 2
for result in Executor().compute_plan(plan):
    assert result.trajectory.records["sharpness_converged"].all()
print("done")
"""


def test_sharpness_of_many_runs_on_several_devices_comes_back():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=900)
    assert done.stdout.strip() == "done", done.stderr


def test_four_devices_give_the_numbers_of_one(monkeypatch):
    """Nine runs on four devices: twelve places, three of them filled up. 64 bits, 200 steps."""
    data, model = DataSpec(input_dim=2, num_samples=9), ModelSpec(width=6)
    measures, record = ["train_loss", "excess_risk"], RecordSpec(num=0, at=[50])
    spec = TrainingSpec(steps=200, record=record, precision="float64", data=data, model=model, measures=measures)
    base = specs.freeze(spec.resolve())
    runs = [specs.put(base, {"seed": seed, "optimizer.learning_rate": 0.02 * (1 + seed)}) for seed in range(9)]

    def compute() -> np.ndarray:
        (result,) = Executor().compute_plan(make_plan(runs))
        order = np.argsort([run.seed for run in result.runs])
        return np.stack([result.trajectory.records[name][order] for name in measures])

    four, devices = compute(), jax.local_devices()
    assert len(devices) == 4
    monkeypatch.setattr(jax, "local_devices", lambda: devices[:1])
    one = compute()
    assert make_plan(runs).machine.devices == 1
    assert one.shape == (2, 9, 3) and len(np.unique(one[0, :, -1])) == 9
    np.testing.assert_allclose(four, one, rtol=1e-10)
