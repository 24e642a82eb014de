"""Whether a request is the study that an experiment's config asks for or an altered one, and where its figures go.

An altered study has a folder of its own, so that its figure and claims never replace those of the study itself.
"""

from __future__ import annotations

from pathlib import Path

from dynamics.core import spec as specs
from dynamics.errors import InputError
from dynamics.study.config import compose, override_path
from dynamics.study.folders import experiment_names
from dynamics.study.request import Request

USUAL_SIZE = "laptop"


def is_altered(request: Request) -> bool:
    """Return whether the runs differ from those that the experiment's config asks for at this size.

    Overrides that leave every run what it was (the folder of one's images, an axis written out again) alter nothing.
    """
    unhashed = specs.marked(type(request.runs[0]), "unhashed")
    kept = [override for override in request.overrides if override_path(override) in unhashed]
    if len(kept) == len(request.overrides):
        return False
    try:
        plain = compose(request.name, f"size={request.settings.size}", *kept)
    except InputError:
        return True
    return set(plain.members) != set(request.members)


def runs_identity(request: Request) -> str:
    """Return a hash over the runs of a request, panel by panel, in whatever order they were asked for."""
    return specs.content_hash(sorted(set(request.members)))


def shipped_identity(name: str, size: str) -> str:
    """Return the `runs_identity` of an experiment as its config stands now, or nothing where there is no such study."""
    if name not in experiment_names():
        return ""
    try:
        return runs_identity(compose(name, f"size={size}"))
    except InputError:
        return ""


def figures_folder(request: Request) -> Path:
    """Return where the figure and claims of a request are written.

    `figures/<paper>` for the size laptop, `figures/<size>/<paper>` for the others; those of an altered study lie below,
    in `<name>/altered-<hash of its runs>`.
    """
    size, name = request.settings.size, Path(request.name)
    root = Path(request.settings.output) / "figures"
    folder = (root if size == USUAL_SIZE else root / size) / name.parent
    return folder / name.name / f"altered-{runs_identity(request)[:8]}" if is_altered(request) else folder
