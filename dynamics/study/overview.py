"""What a study says of itself: its axes, how its runs ended, what is recorded, where it lies."""

from __future__ import annotations

import html

from dynamics.core import spec as specs
from dynamics.core.show import html_table
from dynamics.core.text import counted, in_bytes
from dynamics.store.layout import folder_bytes
from dynamics.study.contents import StudyContents
from dynamics.study.selection import show_levels


def describe(study: StudyContents) -> dict[str, str]:
    """Return one line on each thing that one wants to know of a study."""
    runs = study.runs.unique("run")
    counts = runs.group_by("status").len().sort("len", descending=True).iter_rows()
    status = ", ".join(f"{count} {name}" for name, count in counts) or "none"
    fields = specs.paths(next(iter(study.specs.values()))) if study.specs else ()
    varied = [c for c in ("panel", *fields) if c in study.runs.columns and study.runs[c].n_unique() > 1]
    axes = {c: f"{show_levels(study.values(c))}" for c in varied}
    recorded = [c for c in study.records.columns if c not in ("panel", "run", "step", *fields)]
    steps = study.values("step")
    folder = getattr(study.store, "place", None) or str(study.store.folder)
    return {
        "runs": f"{counted(len(runs), 'run')} ({status}), {study.seconds:.3g} s of computing",
        **{f"axis {name}": values for name, values in axes.items()},
        "recorded": ", ".join(recorded) or "nothing",
        "steps": f"{counted(len(steps), 'record')} from step {steps[0]} to {steps[-1]}" if steps else "none",
        "store": f"{folder} ({in_bytes(folder_bytes(study.store.folder))})",
    }


def title(study: StudyContents) -> str:
    """Return the study's name, with its size if it is an experiment."""
    return f"{study.name} ({study.size})" if study.is_experiment else study.name


def as_text(study: StudyContents) -> str:
    """Return the overview as lines of text."""
    lines = describe(study)
    width = max(map(len, lines))
    return "\n".join([f"Study {title(study)}", *(f"  {name.ljust(width)}  {text}" for name, text in lines.items())])


def as_html(study: StudyContents) -> str:
    """Return the overview as a small HTML table."""
    rows = [{"": name, " ": text} for name, text in describe(study).items()]
    return f"<div><b>Study {html.escape(title(study))}</b>{html_table(rows, header=False)}</div>"
