"""The public face in a plain script, in a process that it spawns, and where JAX is at work already."""

import subprocess
import sys

SCRIPT = """
import multiprocessing, sys
import jax, jax.numpy as jnp

def compute(rate):
    import dynamics as dyn
    halve = dyn.Dynamics(lambda key, h: (h, h["x0"]), lambda x, h, key: h["rate"] * x, lambda x, h: {"x": x})
    return dyn.sweep(halve, {"rate": [rate, 2 * rate], "x0": 8.0}, schedule=(0, 1)).final["x"].to_list()

if __name__ == "__main__":
    jnp.ones(3).sum().block_until_ready()  # devices are up before dynamics is asked for anything
    before = jax.device_count()
    print(compute(0.5), compute(0.25))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(compute, [0.125]))
    assert jax.device_count() == before and sys.argv == ["script.py", "an argument"]
"""


def test_a_script_and_a_process_that_it_spawns(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", "an argument"], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[4.0, 8.0] [2.0, 4.0]", "[[1.0, 2.0]]"]
    assert list(tmp_path.iterdir()) == [tmp_path / "script.py"]
