"""Run a competitor in its own process, controlled by JSON lines over pipes; each needs its own XLA and thread settings.

`Worker` is the caller's side. Run as a script, this file is the other side: `worker.py MODULE PROBLEM FOLDER DEVICE`,
the problem as JSON, builds `competitors.MODULE.Competitor(problem, folder, device)` and answers calls of its methods
until its input closes.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from problems import Problem

ROOT = Path(__file__).resolve().parent.parent


class WorkerError(RuntimeError):
    """A competitor's method failed; the process goes on. The last line of the message says why."""

    @property
    def reason(self) -> str:
        """Return the last line of the traceback."""
        lines = [line for line in str(self).splitlines() if line and not line[0].isspace()]
        return lines[-1] if lines else "unknown"


class Worker:
    """Starts the process at once; `ready` waits for it; `call` asks and waits; `ask` and `answer` do so apart.

    threads: of PyTorch and what lies below it; None leaves the library its own choice
    """

    def __init__(
        self, module: str, problem: Problem, folder: Path, device: str = "cpu", threads: int | None = None, **more: str
    ) -> None:
        self.name = module
        self.process = subprocess.Popen(
            [sys.executable, __file__, module, json.dumps(asdict(problem)), str(folder), device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment(folder, device, threads), **more},
        )
        self.waits = True

    def ready(self) -> Worker:
        """Wait until the process has started and return the worker."""
        if self.waits:
            self.waits = False
            self.answer()
        return self

    def ask(self, method: str, **arguments: Any) -> None:
        """Send a method call without waiting for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"method": method, "arguments": arguments}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """Wait for the answer to the oldest call and return it; raises `WorkerError`."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"{self.name}: the process ended with status {self.process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(f"{self.name}:\n{reply['error']}")
        return reply["value"]

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method and return its answer; raises `WorkerError`."""
        self.ask(method, **arguments)
        return self.answer()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def environment(folder: Path, device: str, threads: int | None) -> dict[str, str]:
    """Return the environment variables of a competitor's process; on a shared GPU none may reserve all memory."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    found = {
        "PYTHONPATH": os.pathsep.join(paths),
        "JAX_PLATFORMS": "cuda" if device == "gpu" else "cpu",
        # shared by all problems, as precompiled headers are, but not by numbers of threads,
        # which are written into the code
        "TORCHINDUCTOR_CACHE_DIR": str(folder.parent / f"inductor-{threads or 'all'}"),
    }
    if device == "gpu":
        found["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if threads is not None:
        found |= {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return found


def serve(module: str, problem: str, folder: str, device: str) -> None:
    """Answer method calls until the input closes; output of libraries goes to the error stream."""
    answers, sys.stdout = sys.stdout, sys.stderr

    def reply(**message: Any) -> None:
        print(json.dumps(message), file=answers, flush=True)

    try:
        competitor = importlib.import_module(f"competitors.{module}").Competitor(
            Problem(**json.loads(problem)), Path(folder), device
        )
    except Exception:
        reply(error=traceback.format_exc())
        return
    reply(value="ready")
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply(value=getattr(competitor, request["method"])(**request["arguments"]))
        except Exception:
            reply(error=traceback.format_exc())


if __name__ == "__main__":
    serve(*sys.argv[1:])
