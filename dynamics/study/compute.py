"""Compute what is missing of a request, quietly, and return its study."""

from __future__ import annotations

import logging
import warnings

from dynamics.core import spec as specs
from dynamics.core.text import counted
from dynamics.engine.interrupt import Interrupt
from dynamics.engine.worker import ProgressReporter
from dynamics.store.store import Store
from dynamics.study.bar import ProgressBar
from dynamics.study.request import Request
from dynamics.study.run import load_what_is_there, open_store, plan_study, run_study, tell_what_is_outdated
from dynamics.study.tables import Study

LOG = logging.getLogger("dynamics")


def compute(request: Request, store: Store | None = None, *, progress: bool = False, is_experiment: bool = True) -> Study:
    """Compute and store what is missing of a request and return it all.

    A first Ctrl-C stops at the next record with everything saved; the same call resumes from there.
    """
    for line in request.notices:
        if line.startswith("warning: "):
            warnings.warn(line.removeprefix("warning: "), UserWarning, stacklevel=3)
        else:
            LOG.info(line)
    store = store or open_store(request)
    store.check_writable()
    store.repair(LOG.warning)
    tell_what_is_outdated(request.runs, request.settings, store)
    todo = plan_study(request, store)
    store.write_request(map(specs.run_id, request.runs), size=request.settings.size)
    if todo.groups:
        bar = ProgressBar(todo) if progress else None
        with Interrupt() as interrupt:
            failures = run_study(todo, store, request.settings, bar or ProgressReporter(), interrupt)
        if bar is not None:
            bar.close()
        if failures:
            count = sum(len(failure.runs) for failure in failures)
            told = f"{counted(count, 'run')} could not be computed ({failures[0].reason}); see study.runs['reason']"
            warnings.warn(told, RuntimeWarning, stacklevel=3)
    return load_what_is_there(request, store, is_experiment=is_experiment, older=request.settings.reuse == "older")
