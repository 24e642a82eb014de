"""The faults: each ends in the reference's store, and says what it saw."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
from fault_bench import Bench, parts, same_store, small_disk


def kills(bench: Bench, count: int, rng: random.Random, *numbers: signal.Signals) -> dict[str, int]:
    """Kill the sweep at random moments, again and again until it is through; then from the start, until `count` kills.

    numbers: the signals to kill it by, in turn
    """
    seen = {"kills": 0, "sweeps": 0, "during a group": 0, "parts lost": 0, "parts computed twice": 0}
    bench.reference()
    while seen["kills"] < count:
        output, there = bench.root / f"killed {numbers[0].name} {seen['sweeps']}", {}
        while True:
            number = numbers[seen["kills"] % len(numbers)]
            process = bench.start(output)
            try:
                process.communicate(timeout=rng.uniform(1.0, 6.0) if seen["kills"] < count else 600)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                _, err = process.communicate(timeout=600)
                seen["kills"] += 1
                expected = -number if number == signal.SIGKILL else 128 + number
                assert process.returncode in (expected, 0, -number), err
            now = {p.name: p.stat().st_mtime_ns for p in parts(output)}
            seen["parts lost"] += len(there.keys() - now.keys())
            seen["parts computed twice"] += sum(now[name] != made for name, made in there.items() if name in now)
            seen["during a group"] += bool(list(output.rglob("work/*/checkpoint")))
            there = now
            if process.returncode == 0:
                break
        same_store(output, bench.reference())
        shutil.rmtree(output)
        seen["sweeps"] += 1
    assert seen["parts lost"] == seen["parts computed twice"] == 0, seen
    return seen


def damages(bench: Bench, count: int, rng: random.Random) -> dict[str, int]:
    """Truncate, flip a bit of, or delete random files of the store, checkpoints and markers included."""
    seen = {"files": 0, "told": 0, "parts computed again": 0}
    output = bench.root / "damaged"
    shutil.copytree(bench.reference(), output)
    while seen["files"] < count:
        store = output / "results" / "stable_minima" / "rates"
        files = [store / "store.json", *(f for p in parts(output) for f in p.rglob("*") if f.is_file())]
        hurt = rng.sample(files, min(3, count - seen["files"]))
        for file in hurt:
            data = file.read_bytes()
            at = rng.randrange(len(data))
            how = rng.choice(["truncated", "flipped", "deleted"])
            if how == "deleted":
                file.unlink()
            else:
                bit = bytes([data[at] ^ (1 << rng.randrange(8))])
                file.write_bytes(data[:at] if how == "truncated" else data[:at] + bit + data[at + 1 :])
        before = {p.name: p.stat().st_mtime_ns for p in parts(output)}
        told = [line for line in bench.finish(output).splitlines() if line.startswith("damaged: ")]
        hit = {str(f.relative_to(store / "parts")).split("/")[0] for f in hurt if f.name != "store.json"}
        again = {p.name for p in parts(output) if p.stat().st_mtime_ns != before[p.name]}
        assert len(told) == len(hit), (told, hurt)
        assert again == hit, "only what was damaged is computed again"
        seen["files"] += len(hurt)
        seen["told"] += len(told)
        seen["parts computed again"] += len(again)
    shutil.rmtree(output)
    return seen


def damaged_checkpoint(bench: Bench, rng: random.Random) -> dict[str, int]:
    """Tear the checkpoint of a sweep that was stopped, resumed and killed: it is named, and its chunk starts anew."""
    output, seen = bench.root / "torn", {}
    for number, code in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)):
        process, there = bench.start(output), {p.name: p.stat().st_mtime_ns for p in parts(output)}
        while not (found := _list_checkpoints(output)) or found.items() <= seen.items():
            time.sleep(0.02)
            assert process.poll() is None, "the sweep was through before a checkpoint was seen"
        process.send_signal(number)
        _, err = process.communicate()
        assert process.returncode == code, err
        now = {p.name: p.stat().st_mtime_ns for p in parts(output)}
        assert there.items() <= now.items(), "parts that were stored are neither lost nor computed again"
        seen = _list_checkpoints(output)
    for file in seen:
        data = file.read_bytes()
        at = rng.randrange(len(data))
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    told = [line for line in bench.finish(output).splitlines() if line.startswith("damaged: ")]
    assert len(told) == len(seen), told
    shutil.rmtree(output)
    return {"checkpoints": len(seen), "told": len(told)}


def _list_checkpoints(output: Path) -> dict[Path, int]:
    """Return the checkpoints that there are, with the time at which each was written."""
    return {file: file.stat().st_mtime_ns for file in output.rglob("work/*/checkpoint") if file.exists()}


def full_disk(bench: Bench) -> dict[str, int] | str:
    """Too small a disk, in several sizes; then room is made and the same command goes on."""
    seen = {"sizes": 0, "said so in one line": 0}
    for kilobytes in (8, 40, 120, 200, 300):
        with small_disk(kilobytes / 1024) as disk:
            if disk is None:
                return "not tested: no file system may be mounted here"
            output = disk / "out"
            code, err = bench.run(output)
            lines = [line for line in err.splitlines() if line.startswith("error: ")]
            assert code in (2, 3) and len(lines) == 1 and "Traceback" not in err, (code, err)
            seen["said so in one line"] += 1
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            bench.finish(output)
            seen["sizes"] += 1
    return seen


def read_only(bench: Bench, finish: bool = True) -> dict[str, int] | str:
    """A folder that must not be written to: refused in one line before anything is computed.

    finish: run the sweep to its end when it may write again
    """
    output = bench.root / "read only"
    shutil.copytree(bench.reference(), output)
    shutil.rmtree(parts(output)[0])
    as_root = os.geteuid() == 0
    if as_root:
        mounted = subprocess.run(["mount", "--bind", str(output), str(output)], capture_output=True, check=False)
        if mounted.returncode:
            return "not tested: root may write everywhere, and nothing may be mounted here"
        subprocess.run(["mount", "-o", "remount,ro,bind", str(output)], check=True)
    else:
        for folder in [output, *(f for f in output.rglob("*") if f.is_dir())]:
            folder.chmod(0o555)
    try:
        code, err = bench.run(output)
        lines = [line for line in err.splitlines() if not line.startswith("note:")]
        assert code == 2 and len(lines) == 1 and "cannot be written" in lines[0], (code, err)
    finally:
        if as_root:
            subprocess.run(["umount", "-l", str(output)], check=True)
        else:
            for folder in [output, *(f for f in output.rglob("*") if f.is_dir())]:
                folder.chmod(0o755)
    if finish:
        bench.finish(output)
    shutil.rmtree(output)
    return {"refused": 1}


def together(bench: Bench, processes: int, kill: int | None = None, distributed: bool = False) -> dict[str, int]:
    """Several processes with the same command on one store, one of them killed if asked: each group is computed once.

    They share by the store alone, or join through jax.distributed as well.
    """
    output = bench.root / f"together {processes} {kill} {distributed}"
    joined = ["distributed=true", f"coordinator=127.0.0.1:{free_port()}"] if distributed else []
    crowd = [bench.start(output, f"worker={i}", f"workers={processes}", *joined) for i in range(processes)]
    if kill is not None:
        while not parts(output):
            time.sleep(0.05)
            assert crowd[kill].poll() is None, crowd[kill].communicate()
        crowd[kill].kill()
    printed = [process.communicate(timeout=600)[1] for process in crowd]
    codes = [process.returncode for process in crowd]
    assert codes == [-9 if i == kill else 0 for i in range(processes)], (codes, printed)
    own = [sum("done in" in line for line in text.splitlines()) for text in printed]
    if kill is None:
        assert sum(own) >= bench.groups, own
    same_records(output, bench.reference())
    shutil.rmtree(output)
    return {"processes": processes, "killed": int(kill is not None), **{f"groups of {i}": count for i, count in enumerate(own)}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def same_records(output: Path, reference: Path) -> None:
    """A store that several workers made has the same runs and records; its parts may be cut otherwise."""
    tables = []
    for out in (output, reference):
        records = pl.concat([pl.read_parquet(p / "records.parquet") for p in parts(out)], how="diagonal_relaxed")
        assert not records.select("run", "step").is_duplicated().any(), "a run was stored twice"
        tables.append(records.select(sorted(records.columns)).sort("run", "step"))
    own, other = tables
    assert own.select("run", "step").equals(other.select("run", "step"))
    assert own.equals(other), "other records"


SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
from dynamics.core.devices import prepare
prepare(devices=2)
from dynamics.core import spec as specs
from dynamics.data.problem import DataSpec
from dynamics.engine.interrupt import Interrupt
from dynamics.models.model_spec import ModelSpec
from dynamics.core.recording import RecordSpec
from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan
from dynamics.store.store import Store
from dynamics.engine.worker import work_on_plan
from dynamics.engine.worker import ProgressReporter, ExecutionOptions
from dynamics.systems.training import TrainingSpec

class Loud(ProgressReporter):
    def tell(self, line):
        print(line)

data, model = DataSpec(input_dim=1, num_samples=4, num_test=8_000_000), ModelSpec(width=2)
base = specs.freeze(TrainingSpec(steps=1, record=RecordSpec(num=0), measures=["train_loss"], data=data, model=model).resolve())
runs = [specs.put(base, {"seed": seed}) for seed in range(16)]  # 64 MB of test data each
list(Executor().compute_plan(make_plan(runs[:2])))  # everything is loaded now
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 1_500_000_000, -1))
store = Store(sys.argv[1])
failures = work_on_plan(make_plan(runs), store, ExecutionOptions(), Interrupt(), Loud(), Executor(1e12))  # a wrong limit
print(len(store.finished()), len(failures))
"""


def short_of_memory(bench: Bench) -> dict[str, int] | str:
    """A process that may not have as much memory as its chunk needs, whatever it was told: cut until it fits."""
    if not Path("/proc/self/status").exists():
        return "not tested: needs Linux to know how much memory is in use"
    command = [sys.executable, "-c", SHORT_OF_MEMORY, str(bench.root / "short of memory")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    *told, last = done.stdout.splitlines()
    assert last == "16 0", (told, last)
    assert told and all("the device is out of memory" in line and "split into parts of" in line for line in told), told
    return {"runs": 16, "cuts": len(told)}
