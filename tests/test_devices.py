"""Sharpness of many runs a device: once a deadlock.

A batched LAPACK `eigh` waits for the thread pool that it runs on; called by every device of a CPU at once it never came
back (jaxlib 0.10.2: at once with two devices, now and then with four). So no measure may call it.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
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


ENSEMBLE = """
import sys
from dynamics.runtime import prepare
prepare(devices=int(sys.argv[1]))
import jax
import numpy as np
from dynamics import spec as specs
from dynamics.data.problem import DataSpec
from dynamics.models import ModelSpec
from dynamics.schedule import RecordSpec
from dynamics.sweep.execute import Executor
from dynamics.sweep.plan import make_plan
from dynamics.training import TrainingSpec

assert jax.local_device_count() == int(sys.argv[1])
data, model = DataSpec(input_dim=2, num_samples=9), ModelSpec(width=6)
spec = TrainingSpec(steps=200, record=RecordSpec(num=0, at=[50]), precision="float64", data=data, model=model,
                    measures=["train_loss", "excess_risk"])
base = specs.freeze(spec.resolve())
runs = [specs.put(base, {"seed": seed, "optimizer.learning_rate": 0.02 * (1 + seed)}) for seed in range(11)]
(result,) = Executor().results(make_plan(runs))
order = np.argsort([run.seed for run in result.runs])
np.save(sys.argv[2], np.stack([result.trajectory.records[name][order] for name in ("train_loss", "excess_risk")]))
"""


def test_eight_devices_give_the_numbers_of_one(tmp_path):
    """Eleven runs on eight devices: sixteen places, five of them filled up. 64 bits, 200 steps."""
    for devices in (1, 8):
        command = [sys.executable, "-c", ENSEMBLE, str(devices), str(tmp_path / f"{devices}.npy")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
    one, eight = (np.load(tmp_path / f"{devices}.npy") for devices in (1, 8))
    assert one.shape == (2, 11, 3) and len(np.unique(one[0, :, -1])) == 11
    np.testing.assert_allclose(eight, one, rtol=1e-10)


SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
from dynamics.runtime import prepare
prepare(devices=2)
from dynamics import spec as specs
from dynamics.data.problem import DataSpec
from dynamics.interrupt import Interrupt
from dynamics.models import ModelSpec
from dynamics.schedule import RecordSpec
from dynamics.sweep.execute import Executor
from dynamics.sweep.plan import make_plan
from dynamics.sweep.store import Store
from dynamics.sweep.work import Desk, How, work
from dynamics.training import TrainingSpec

class Loud(Desk):
    def tell(self, line):
        print(line)

data, model = DataSpec(input_dim=1, num_samples=4, num_test=2_000_000), ModelSpec(width=2)
base = specs.freeze(TrainingSpec(steps=1, record=RecordSpec(num=0), measures=["train_loss"], data=data, model=model).resolve())
runs = [specs.put(base, {"seed": seed}) for seed in range(16)]  # 16 MB of test data each
list(Executor().results(make_plan(runs[:2])))  # everything is loaded now
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 450_000_000, -1))
store = Store(sys.argv[1])
failures = work(make_plan(runs), store, How(), Interrupt(), Loud(), Executor(1e12))  # told that there is room
print(len(store.finished()), len(failures))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to know how much memory is in use")
def test_a_device_that_runs_out_of_memory_gets_smaller_chunks(tmp_path):
    """For real: the process may not have as much as the chunk needs, whatever it was told."""
    command = [sys.executable, "-c", SHORT_OF_MEMORY, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    *told, last = done.stdout.splitlines()
    assert last == "16 0"
    assert told and all("the device is out of memory" in line and "cut into parts of" in line for line in told)
