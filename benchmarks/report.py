"""Report comparisons: a table on the terminal, a JSON file with every repetition, `latest.md` with all tables."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import figure2
from compare import Comparison
from entry import Entry
from machine import describe_environment
from rich.console import Console
from rich.table import Table
from tables import HEAD, markdown_table, notes, overview, row, title
from variants import DEFAULT, PLAIN, TORCH

SAYS = (
    "G neuron-samples/s: medians of interleaved, undisturbed repetitions; a star marks rows disturbed throughout."
    " A neuron-sample is a neuron looking at a sample (with patches, at a position of one) in a step of full-batch descent"
    " with clipping, float32."
    f" `{DEFAULT}` is the usual loop with nothing set; `best PyTorch` the fastest of all its rows, named in the cell."
    " Useful FLOPs count 4 (d + 1) + 4 a neuron-sample whether or not they are done: a method that needs fewer may pass 100 %."
    " Peak memory is that of a way's processes, libraries included; `PyTorch eager, 1 thread` is one process."
)


def show(found: Comparison, console: Console) -> None:
    """Print the table of a problem and its notes."""
    table = Table(*HEAD, title=title(found), title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for entry in found.entries:
        table.add_row(*row(found, entry))
    console.print(table)
    for note in notes(found):
        console.print(f"  {note}", highlight=False, soft_wrap=True, markup=False)


def markdown(comparisons: list[Comparison], grid: figure2.Figure2 | None, about: dict[str, Any]) -> str:
    """Return the report as lines of Markdown; the part between the two comments can be included elsewhere as it is."""
    lines = ["# Speed, against PyTorch and plain JAX", "", f"{describe_environment(about)}.", ""]
    if comparisons:
        lines += ["<!-- overview -->", *overview(comparisons), "<!-- /overview -->", "", SAYS, ""]
    if grid is not None:
        lines += ["## figure2: Figure 2's whole grid, from the command to the figure", "", *figure2.markdown(grid), ""]
    for found in comparisons:
        lines += [f"## {title(found)}", "", *markdown_table(HEAD, [row(found, entry) for entry in found.entries])]
        lines += ["", *[f"- {note}" for note in notes(found)], ""]
    return "\n".join(lines)


def save(
    name: str, comparisons: list[Comparison], grid: figure2.Figure2 | None, about: dict[str, Any], folder: Path
) -> list[Path]:
    """`<name>.json` and `<name>.md`; that of the full run is called `latest.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    payload = {**about, "problems": [payload_of(found) for found in comparisons]}
    if grid is not None:
        payload["figure2"] = figure2.payload(grid)
    files = [folder / f"{name}.json", folder / ("latest.md" if name == "full" else f"{name}.md")]
    files[0].write_text(json.dumps(payload, indent=1) + "\n")
    files[1].write_text(markdown(comparisons, grid, about))
    return files


def payload_of(found: Comparison) -> dict[str, Any]:
    """Return every repetition of every variant, and derived quantities, for JSON."""
    ours, others = found.ours, {"eager": found.entry(DEFAULT), TORCH: found.best(TORCH), PLAIN: found.best(PLAIN)}
    return {
        "problem": {**asdict(found.problem), "neuron_samples": found.problem.neuron_samples, "flops": found.problem.flops},
        "entries": [payload_of_entry(entry) for entry in found.entries],
        "ratio": {} if ours is None else {who: ours.rate / e.rate for who, e in others.items() if e is not None},
        "best": {who: e.way.label for who, e in others.items() if e is not None},
        "loss_differences": found.differences,
        "left_out": found.left_out,
        "product_flops": found.products,
        "copy_bytes": found.copies,
        "sharpness_seconds_a_record": found.sharpness,
        "torch_threads": found.threads,
    }


def payload_of_entry(e: Entry) -> dict[str, Any]:
    """Return the measurements of one variant for JSON."""
    cold, cached = e.compile_seconds
    return {
        "competitor": e.way.competitor,
        "label": e.way.label,
        "steps": e.steps,
        "seconds": e.seconds,
        "single_step_seconds": e.single,
        "foreign_share": e.foreign,
        "disturbed": e.disturbed,
        "neuron_samples_per_second": e.rates,
        "median": e.rate,
        "flops": e.rate * e.problem.flops,
        "peak_bytes": e.peak,
        "compile_seconds": {"cold": cold, "cached": cached},
        "run_seconds_beyond_steps": e.overhead,
    }
