"""A competitor in a process of its own: JSON lines over pipes, since each needs its own set-up of XLA and threads.

`Worker` is the caller's side. Run as a script, this file is the other side: `worker.py MODULE PROBLEM FOLDER`
builds `competitors.MODULE.Competitor(problem, folder)` and answers calls of its methods until its input closes.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from problems import PROBLEMS, Problem

ROOT = Path(__file__).resolve().parent.parent


class Worker:
    """Starts the process at once; `ready` waits for it; `call` asks and waits; `ask` and `answer` do so apart."""

    def __init__(self, module: str, problem: Problem, folder: Path, environment: dict[str, str] | None = None) -> None:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        # The comparison is one of CPUs, whatever else the machine has.
        own = {"PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu", **(environment or {})}
        self.name = module
        self.process = subprocess.Popen(
            [sys.executable, __file__, module, problem.name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **own},
        )

    def ready(self) -> Worker:
        self.answer()
        return self

    def ask(self, method: str, **arguments: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"method": method, "arguments": arguments}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: the process ended with status {self.process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(f"{self.name}:\n{reply['error']}")
        return reply["value"]

    def call(self, method: str, **arguments: Any) -> Any:
        self.ask(method, **arguments)
        return self.answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def serve(module: str, problem: str, folder: str) -> None:
    """Answer calls; whatever the libraries print goes to the error stream, so the pipe carries answers only."""
    answers, sys.stdout = sys.stdout, sys.stderr

    def reply(**message: Any) -> None:
        print(json.dumps(message), file=answers, flush=True)

    try:
        competitor = importlib.import_module(f"competitors.{module}").Competitor(PROBLEMS[problem], Path(folder))
        reply(value="ready")
        for line in sys.stdin:
            request = json.loads(line)
            reply(value=getattr(competitor, request["method"])(**request["arguments"]))
    except Exception:
        reply(error=traceback.format_exc())


if __name__ == "__main__":
    serve(*sys.argv[1:])
