"""Every experiment at size=smoke, from nothing: many in a process, two processes, each with a log of its own.

    make smoke                                    all of them, into build/smoke
    make smoke ARGS="precision=float64"           with other values of a field
    python tests/smoke.py --only convolution/     those whose name contains this

An experiment passes if its command ends well and keeps the contract: a figure as PDF and PNG with a caption; claims
with ids that occur once and stand in the table, a known verdict, and a negative control of which it is said what came
of it. Failures are listed at the end, with exit code 1. A worker frees its programs between experiments, and is
replaced by a new one when it has come to hold more than a gigabyte or when an experiment brought it down.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import shutil
import sys
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from quick_compiling import QUICK_TO_COMPILE

ROOT = Path(__file__).parents[1]
LONGEST = ("data_geometry/shatterability",)  # begun first, so that nobody waits for it at the end
ROOM = 1000  # MB of memory that a worker may hold when it begins an experiment


@dataclass
class Outcome:
    """What came of an experiment: seconds, those of a core (on a busy machine they are fewer), MB its worker held at
    most until then, and what is wrong, if anything.
    """

    name: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory: float = 0.0
    complaints: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="experiments whose name contains this")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "smoke")
    parser.add_argument("--workers", type=int, default=2, help="compiling keeps one core busy")
    parser.add_argument("overrides", nargs="*", metavar="field=value", help="for every experiment")
    chosen = parser.parse_args()
    meant = [name for name in experiment_names() if chosen.only in name]
    names = deque(sorted(meant, key=lambda name: name not in LONGEST))
    shutil.rmtree(chosen.output, ignore_errors=True)
    chosen.output.mkdir(parents=True)
    begun, outcomes = time.monotonic(), []
    threads = [
        threading.Thread(target=attend, args=(names, chosen.output.resolve(), chosen.overrides, outcomes))
        for _ in range(chosen.workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = [outcome for outcome in outcomes if outcome.complaints]
    print(f"{len(outcomes)} experiments in {time.monotonic() - begun:.0f} s, {len(failed)} failed")
    for outcome in failed:
        print(f"\n{outcome.name}: see {chosen.output / outcome.name}.log", *outcome.complaints, sep="\n    ")
    sys.exit(1 if failed or not outcomes else 0)


def experiment_names() -> list[str]:
    folder = ROOT / "configs" / "experiment"
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.yaml"))


def attend(names: deque[str], output: Path, overrides: list[str], outcomes: list[Outcome]) -> None:
    """Give one worker at a time an experiment after the other, until none is left."""
    worker = None
    while names:
        try:
            name = names.popleft()
        except IndexError:
            break
        worker = worker or Worker(output, overrides)
        outcome = worker.run(name)
        outcomes.append(outcome)
        mark = "FAILED" if outcome.complaints else "ok"
        taken = f"{outcome.seconds:6.1f} s {outcome.cpu_seconds:6.1f} s of a core {outcome.memory:6.0f} MB"
        print(f"{name:45s} {mark:6s} {taken}", flush=True)
        if not worker.may_go_on:
            worker.stop()
            worker = None
    if worker:
        worker.stop()


class Worker:
    """A process that runs experiments in turn. `may_go_on`: it is alive and has given its memory back."""

    def __init__(self, output: Path, overrides: list[str]):
        self.output, self.may_go_on = output, True
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, output, overrides), daemon=True)
        self.process.start()
        theirs.close()

    def run(self, name: str) -> Outcome:
        begun = time.monotonic()
        try:
            self.connection.send(name)
            outcome, held = self.connection.recv()
            self.may_go_on = held < ROOM
        except (EOFError, ConnectionError):
            self.process.join()
            outcome = Outcome(name, complaints=[f"its process ended with {self.process.exitcode}"])
            self.may_go_on = False
        outcome.seconds = time.monotonic() - begun
        return outcome

    def stop(self) -> None:
        self.connection.close()
        self.process.join()


def serve(connection, output: Path, overrides: list[str]) -> None:
    """A worker's life: what is asked of it, one by one, with what it prints in the experiment's log."""
    # programs that run for a moment are not worth optimising
    os.environ["XLA_FLAGS"] = f"{QUICK_TO_COMPILE} {os.environ.get('XLA_FLAGS', '')}"
    os.environ["MPLBACKEND"] = "agg"
    from housekeeping import read_memory  # imports JAX, so the flags come first

    while True:
        try:
            name = connection.recv()
        except EOFError:
            return
        begun = time.process_time()
        outcome = run_experiment(name, output, overrides)
        outcome.cpu_seconds = time.process_time() - begun
        free()
        outcome.memory = read_memory("VmHWM")
        connection.send((outcome, read_memory("VmRSS")))


def run_experiment(name: str, output: Path, overrides: list[str]) -> Outcome:
    """Run the command of an experiment in this process, and hold what it leaves against the contract."""
    from hydra.core.global_hydra import GlobalHydra

    from dynamics.cli.main import main as command

    log = output / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    GlobalHydra.instance().clear()
    sys.argv = ["dynamics", f"experiment={name}", "size=smoke", f"output={output}", *overrides]
    try:
        command()
    except SystemExit as stop:
        if stop.code:
            return Outcome(name, complaints=[f"exit code {stop.code}", *log.read_text().splitlines()[-10:]])
    except Exception:
        traceback.print_exc()
        return Outcome(name, complaints=traceback.format_exc().splitlines()[-10:])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    complaints = broken_contract(name, output, log.read_text())
    return Outcome(name, complaints=complaints or undeclared_needs(name, output, overrides))


def broken_contract(name: str, output: Path, printed: str) -> list[str]:
    """What an experiment that has run lacks: files, claims, controls; nothing if all is there."""
    from dynamics.analysis.bounds import FAILS, HOLDS, INCONCLUSIVE
    from dynamics.analysis.claim_files import read_claims
    from dynamics.analysis.controls import NOT_REJECTED, REJECTED, SAYS_NOTHING

    folder = output / "figures" / "smoke" / name
    altered = sorted(folder.glob("altered-*"))  # with overrides
    stem, complaints = altered[0] / folder.name if altered else folder, []
    for suffix in (".pdf", ".png", ".caption.txt", ".claims.json"):
        file = stem.with_name(stem.name + suffix)
        if not file.exists() or not file.stat().st_size:
            complaints.append(f"{file} is missing or empty")
    progress = re.compile(r"group |\d+ of \d+ runs \(")  # the groups, and runs of them that did not end well
    lines = [line for line in printed.splitlines() if not progress.match(line)]
    if not lines or not lines[0].startswith(f"{name} (smoke)"):
        complaints.append(f"printed first: {lines[:1]}")
    if complaints:
        return complaints
    claims = read_claims(stem.with_name(stem.name + ".claims.json"))
    rows = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    first_column = "".join(rows)  # long ids are folded
    if not claims or len({claim.id for claim in claims}) < len(claims):
        complaints.append("no claims, or two of one id")
    for claim in claims:
        if claim.verdict not in (HOLDS, FAILS, INCONCLUSIVE):
            complaints.append(f"{claim.id}: the verdict is {claim.verdict}")
        if not claim.control or not claim.control_kind:
            complaints.append(f"{claim.id} has no negative control of a stated kind")
        if claim.id not in first_column:
            complaints.append(f"{claim.id} is not in the table that is printed")
        if claim.control_outcome not in (REJECTED, NOT_REJECTED, SAYS_NOTHING):
            complaints.append(f"{claim.id}: its control is {claim.control_outcome}")
        pairs = ((claim.measured, claim.control_measured), (claim.low, claim.control_low), (claim.high, claim.control_high))
        if all(own == controls for own, controls in pairs):  # NaN, of what could not be measured, equals nothing
            complaints.append(f"{claim.id}: its control gives the very numbers that the claim gives")
        if claim.verdict == HOLDS and claim.control_outcome != REJECTED:
            complaints.append(f"{claim.id} holds though its control is {claim.control_outcome}")
    return complaints


def undeclared_needs(name: str, output: Path, overrides: list[str]) -> list[str]:
    """What figure and claims say when all that the config does not declare as needed is taken away;
    nothing if they bear it."""
    from dynamics.study.run import open_study

    study = strip_undeclared(open_study(name, "size=smoke", f"output={output}", *overrides))
    for make in (study.figure, study.claims):
        try:
            make()
        except Exception as error:
            told = " ".join(str(error).split())[:200]
            return [f"needs more than its config declares under `needs`: {make.__name__}: {type(error).__name__}: {told}"]
    return []


def strip_undeclared(study):
    """The study without the panels (but for one) and the measures of all panels that its config does not
    declare as needed."""
    from dataclasses import replace

    needs = study.needs
    panels = list(needs.panels) or study.runs["panel"].unique(maintain_order=True).to_list()[:1]
    study = study.select(panel=panels)
    spec = study.specs[study.runs["run"][0]]
    if not hasattr(spec, "measures"):
        return study
    declared = set(observed_columns(spec, needs.measures))
    recorded = [set(observed_columns(run, tuple(run.measures))) for run in first_runs(study)]
    gone = set.intersection(*recorded) - declared  # what one panel alone records is not declared
    return replace(study, records=study.records.drop(column for column in study.records.columns if column in gone))


def first_runs(study) -> list:
    """The spec of the first run of every panel."""
    firsts = study.runs.unique("panel", keep="first", maintain_order=True)["run"]
    return [study.specs[run] for run in firsts]


def observed_columns(spec, measures: tuple[str, ...]) -> list[str]:
    """The columns that a run records with these measures; it is traced, not computed."""
    import jax
    import jax.numpy as jnp

    from dynamics.core import spec as specs
    from dynamics.core.simulate import start

    dynamics = specs.static(specs.put(spec, {"measures": measures})).dynamics()
    with jax.enable_x64(spec.precision == "float64"):
        numbers = {path: jnp.int32 if path in spec.shape_fields else jnp.dtype(spec.precision) for path in specs.hyper(spec)}
        scalars = {path: jax.ShapeDtypeStruct((), kind) for path, kind in numbers.items()}
        shared = {path: jnp.asarray(array) for path, array in spec.shared_arrays().items()}
        key = jax.eval_shape(lambda: jax.random.key(0))
        fixed, state = jax.eval_shape(lambda key, hyper: start(dynamics, key, {**hyper, **shared}), key, scalars)
        return list(jax.eval_shape(dynamics.observe, state, fixed))


def free() -> None:
    """Let go of every program and table of the last experiment."""
    from housekeeping import free_programs

    for name, module in list(sys.modules.items()):
        if name.startswith(("dynamics.study.reload", "dynamics.analysis.")):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
    free_programs()


if __name__ == "__main__":
    main()
