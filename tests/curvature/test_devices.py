"""Sharpness of many runs a device: once a deadlock.

A batched LAPACK `eigh` waits for the thread pool that it runs on; called by every device of a CPU at once it never came
back (jaxlib 0.10.2: at once with two devices, now and then with four). So no measure may call it.
"""

import subprocess
import sys

import numpy as np
import pytest

PROGRAM = """
from dynamics.core.devices import prepare
prepare(devices={devices})
import jax
from dynamics.core import spec as specs
from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan
from dynamics.systems.training import DataSpec, ModelSpec, TrainingSpec

data, model = DataSpec(num_samples=8, num_test=8), ModelSpec(width=4)
base = specs.freeze(TrainingSpec(steps=20, measures=["sharpness", "gauss_newton_sharpness"], data=data, model=model)).resolve()
plan = make_plan([specs.put(base, {{"seed": seed}}) for seed in range(16)])
assert plan.groups[0].lanes > 1 and jax.local_device_count() == {devices}
for result in Executor().compute_plan(plan):
    assert result.trajectory.records["sharpness_converged"].all()
print("done")
"""


@pytest.mark.parametrize("devices", [2, 3])
def test_sharpness_of_many_runs_on_several_devices_comes_back(devices):
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(devices=devices)], capture_output=True, text=True, timeout=900)
    assert done.stdout.strip() == "done", done.stderr


ENSEMBLE = """
import sys
from dynamics.core.devices import prepare
prepare(devices=int(sys.argv[1]))
import jax
import numpy as np
from dynamics.core import spec as specs
from dynamics.data.problem import DataSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.core.recording import RecordSpec
from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan
from dynamics.systems.training import TrainingSpec

assert jax.local_device_count() == int(sys.argv[1])
data, model = DataSpec(input_dim=2, num_samples=9), ModelSpec(width=6)
spec = TrainingSpec(steps=200, record=RecordSpec(num=0, at=[50]), precision="float64", data=data, model=model,
                    measures=["train_loss", "excess_risk"])
base = specs.freeze(spec.resolve())
runs = [specs.put(base, {"seed": seed, "optimizer.learning_rate": 0.02 * (1 + seed)}) for seed in range(11)]
(result,) = Executor().compute_plan(make_plan(runs))
order = np.argsort([run.seed for run in result.runs])
np.save(sys.argv[2], np.stack([result.trajectory.records[name][order] for name in ("train_loss", "excess_risk")]))
"""


def test_eight_devices_give_the_numbers_of_one(tmp_path):
    """Eleven runs on eight devices: sixteen places, five of them filled up. 64 bits, 200 steps."""
    for devices in (1, 8):
        command = [sys.executable, "-c", ENSEMBLE, str(devices), str(tmp_path / f"{devices}.npy")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
    one, eight = (np.load(tmp_path / f"{devices}.npy") for devices in (1, 8))
    assert one.shape == (2, 11, 3) and len(np.unique(one[0, :, -1])) == 11
    np.testing.assert_allclose(eight, one, rtol=1e-10)
