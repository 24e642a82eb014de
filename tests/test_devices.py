"""Sharpness of many runs a device: once a deadlock.

A batched LAPACK `eigh` waits for the thread pool that it runs on; called by every device of a CPU at once it never came
back (jaxlib 0.10.2: at once with two devices, now and then with four). So no measure may call it.
"""

import subprocess
import sys

import pytest

PROGRAM = """
from dynamics.runtime import prepare
prepare(devices={devices})
import jax
from dynamics import spec as specs
from dynamics.sweep.execute import Executor
from dynamics.sweep.plan import make_plan
from dynamics.training import DataSpec, ModelSpec, TrainingSpec

data, model = DataSpec(num_samples=8, num_test=8), ModelSpec(width=4)
base = specs.freeze(TrainingSpec(steps=20, measures=["sharpness", "gauss_newton_sharpness"], data=data, model=model)).resolve()
plan = make_plan([specs.put(base, {{"seed": seed}}) for seed in range(16)])
assert plan.groups[0].lanes > 1 and jax.local_device_count() == {devices}
for result in Executor().results(plan):
    assert result.trajectory.records["sharpness_converged"].all()
print("done")
"""


@pytest.mark.parametrize("devices", [2, 3])
def test_sharpness_of_many_runs_on_several_devices_comes_back(devices):
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(devices=devices)], capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "done", done.stderr
