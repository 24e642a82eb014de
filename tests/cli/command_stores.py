"""Stores made by hand for the tests of commands that read or clean them."""

import json
import os
import time

from dynamics.core import spec as specs
from dynamics.engine.axes import expand_runs, parse_axes
from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan
from dynamics.systems.one_sample_descent import CatapultSpec

NAME = "atlas/catapult"


AGO = time.time() - 30 * 86400


OVERRIDES = [
    "size=smoke",
    "record.num=4",
    "record.dense=0",
    "sweep.steps=300",
    "panels={phases: {edge_ratio: 1.5}, line: {edge_ratio: [1.5, 4.39]}, check: {form: net, edge_ratio: [1.5, 4.2]}, "
    "growth: {edge_ratio: 3.0, width: [50, 100], steps: 20}}",
]


def results_of(tree, **base):
    spec = CatapultSpec(**({"steps": 3000, "precision": "float64", "width": 100} | base))
    (result,) = Executor().compute_plan(make_plan(expand_runs(spec, parse_axes(tree, spec))))
    return result


def ids(result):
    return [specs.run_id(run) for run in result.runs]


def make_old(path):
    os.utime(path, (AGO, AGO))


def ask(store, runs, *, when="2020-01-01T00:00:00Z", command="python /x/dynamics experiment=atlas/catapult width=7"):
    store.write_request(runs)
    file = store.folder / "asked" / f"{specs.content_hash(sorted(runs))}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"when": when, "command": command}))
    return file


def tree(folder):
    """Every file and folder with content and time of last change."""
    paths = sorted(folder.rglob("*"))
    return {path: (path.read_bytes() if path.is_file() else None, path.stat().st_mtime_ns) for path in paths}


def row(text, name):
    (line,) = [line for line in text.splitlines() if line.strip("│ ").startswith(name)]
    return [cell.strip() for cell in line.strip("│").split("│")][1:]
