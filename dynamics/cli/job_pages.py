"""What the command line does with a study that is stored: its figure, tables and claims, written and printed."""

from __future__ import annotations

import logging
import os
import shlex
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from rich.console import Console

from dynamics.cli.report import print_claims, print_frame, summarize_runs
from dynamics.core.provenance import code_version
from dynamics.errors import InputError
from dynamics.store.store import Store
from dynamics.study.alterations import figures_folder, is_altered, runs_identity
from dynamics.study.analysis_parts import make_claims, make_page
from dynamics.study.jobs import Job
from dynamics.study.request import Request
from dynamics.study.run import load_study

if TYPE_CHECKING:
    from dynamics.analysis.claim_files import ClaimSource

log = logging.getLogger(__name__)


def draw(job: Job, store: Store, module: ModuleType, out: Console) -> bool:
    """Write the figure, tables and claims of a study to its figures folder or to the job's own.

    Return whether both could be made: an error in one of them is told in a line, and the other is made all the same.
    """
    import matplotlib

    from dynamics.analysis.claim_files import write_claims
    from dynamics.analysis.figures import style, write_page

    matplotlib.use("Agg")  # the command line writes files and opens no window
    request, written = job.request, []
    study = load_study(request, store)
    print(f"{request.name} ({request.settings.size}): {summarize_runs(study.runs)}")
    folder, name = job.folder if job.in_sweep else figures_folder(request), Path(request.name).name
    with drawing("figure", request) as figure, style():
        page = make_page(study, module)
        written = write_page(page, folder, name)
        for title, frame in page.shown.items() if not job.in_sweep else ():
            print_frame(out, title, frame)
    with drawing("claims", request) as judged:
        claims = make_claims(study, module)
        folder.mkdir(parents=True, exist_ok=True)
        write_claims(claims, folder / f"{name}.claims.json", claim_source(request))
        if not job.in_sweep:
            print_claims(out, claims)
    for path in written:
        print(path)
    return figure.fine and judged.fine


@dataclass
class Drawing:
    """Whether what was to be drawn could be."""

    fine: bool = True


@contextmanager
def drawing(what: str, request: Request) -> Iterator[Drawing]:
    """Tell an error of an experiment's own code in one line: where it is, and that no result is lost."""
    state = Drawing()
    try:
        yield state
    except OSError:
        raise
    except Exception as error:
        if "DYNAMICS_DEBUG" in os.environ:
            raise
        state.fine = False
        told = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {' '.join(str(error).split())}"
        again = ["dynamics", f"experiment={request.name}", f"size={request.settings.size}", *request.overrides]
        again += [f"output={request.settings.output}"] if request.settings.output != "." else []
        log.error(
            f"error: the {what} of {request.name} cannot be made: {told} ({_last_place(error)}); the results are stored, "
            f"draw again by: {shlex.join([*again, 'mode=figure'])} (DYNAMICS_DEBUG=1 shows more)"
        )


def _last_place(error: Exception) -> str:
    """Return the file and line of the experiment's code in which an error arose, else of whatever code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "experiments" in Path(frame.filename).parts]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}"


def claim_source(request: Request) -> ClaimSource:
    """Return what a file of this study's claims says they were made from."""
    from dynamics.analysis.claim_files import ClaimSource

    return ClaimSource(
        experiment=request.name,
        size=request.settings.size,
        altered=is_altered(request),
        overrides=request.overrides,
        code=code_version(),
        runs=len(request.runs),
        identity=runs_identity(request),
    )
