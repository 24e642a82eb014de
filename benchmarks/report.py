"""What was found: a table on the terminal, a JSON file with every repetition, a Markdown table."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from compare import DISTURBED, RECORDS, Comparison, Entry
from problems import CHECK_STEPS
from rich.console import Console
from rich.table import Table

HEAD = ("competitor", "G neuron-samples/s", "min to max (kept)", "steps/s", "x PyTorch", "x plain JAX")


def title(found: Comparison) -> str:
    p = found.problem
    return f"{p.name}: n {p.num_samples}, width {p.width}, d {p.input_dim}, {p.runs} runs, float32"


def row(found: Comparison, entry: Entry) -> tuple[str, ...]:
    """Rates are medians; a step is one of all runs; ratios are to the best way of PyTorch and of plain JAX."""

    def ratio(competitor: str) -> str:
        best = found.best(competitor)
        return "-" if best is None else f"{entry.rate / best.rate:.2f}"

    rates = [r / 1e9 for r in entry.kept]
    return (
        entry.label + " *" * entry.disturbed,
        f"{median(rates):.3f}",
        f"{min(rates):.3f} to {max(rates):.3f} ({len(rates)})",
        f"{entry.rate / found.problem.neuron_samples:.1f}",
        ratio("torch_eager"),
        ratio("plain_jax"),
    )


def notes(found: Comparison) -> list[str]:
    agreement = "; ".join(
        f"{who} {', '.join(f'{gap:.1e} (clip {clip})' for clip, gap in gaps.items())}"
        for who, gaps in found.differences.items()
    )
    rate, peak = found.engine_flops, found.product_rate
    missing = [] if found.best("torch_eager") else ["PyTorch is not installed (pip install torch): its rows are left out"]
    return [
        *missing,
        f"largest relative difference from our loss after {CHECK_STEPS} steps: {agreement}",
        f"useful work of ours: {rate / 1e9:.0f} GFLOP/s, {100 * rate / peak:.0f} % of the machine's"
        f" float32 matrix product ({peak / 1e9:.0f} GFLOP/s on all cores)",
        f"compiling ours: {found.compile_cold:.1f} s, {found.compile_cached:.1f} s from the cache on disk",
        disturbance(found),
        f"{RECORDS} records of the training loss in {found.entries[0].steps} steps instead of 2:"
        f" {100 * found.record_overhead:+.1f} % time, {found.steps_per_record:.1f} steps a record",
    ]


def disturbance(found: Comparison) -> str:
    """What other processes did to the figures."""
    shares = [share for entry in found.entries for share in entry.foreign]
    busy = sum(share > DISTURBED for share in shares)
    line = (
        f"others used more than {100 * DISTURBED:.0f} % of the cores in {busy} of {len(shares)} repetitions, which are left out"
    )
    if any(entry.disturbed for entry in found.entries):
        line += "; rows with a star were disturbed throughout: do not quote their ratios, run again on a quiet machine"
    return line


def show(found: Comparison, console: Console) -> None:
    table = Table(*HEAD, title=title(found), title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for entry in found.entries:
        table.add_row(*row(found, entry))
    console.print(table)
    for note in notes(found):
        console.print(f"  {note}", highlight=False, soft_wrap=True)


def markdown(comparisons: list[Comparison], provenance: dict[str, Any]) -> str:
    """The same tables, to be put into a document."""
    lines = ["# Speed, against PyTorch and plain JAX", ""]
    versions = ", ".join(f"{name} {v}" for name, v in provenance["versions"].items() if v)
    commit = provenance["git_commit"][:10] + ("+" if provenance["git_dirty"] else "")
    lines += [f"{provenance['cpu']}, {provenance['cores']} cores; {versions}; commit {commit}; {provenance['date']}.", ""]
    lines += ["Medians of interleaved, undisturbed repetitions; ratios are to the best way of each competitor.", ""]
    for found in comparisons:
        lines += [f"## {title(found)}", "", _line(HEAD), _line(["---", *["---:"] * (len(HEAD) - 1)])]
        lines += [_line(row(found, entry)) for entry in found.entries]
        lines += ["", *[f"- {note}" for note in notes(found)], ""]
    return "\n".join(lines)


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def save(name: str, comparisons: list[Comparison], provenance: dict[str, Any], folder: Path) -> list[Path]:
    """`<name>.json` and `latest.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    payload = {**provenance, "problems": [payload_of(found) for found in comparisons]}
    files = [folder / f"{name}.json", folder / "latest.md"]
    files[0].write_text(json.dumps(payload, indent=2) + "\n")
    files[1].write_text(markdown(comparisons, provenance))
    return files


def payload_of(found: Comparison) -> dict[str, Any]:
    """Every repetition of every way, and what follows from them."""
    bests = {who: found.best(who) for who in ("torch_eager", "plain_jax")}
    return {
        "problem": asdict(found.problem),
        "entries": [
            {
                "competitor": e.competitor,
                "label": e.label,
                "steps": e.steps,
                "seconds": e.seconds,
                "foreign_share": e.foreign,
                "disturbed": e.disturbed,
                "neuron_samples_per_second": e.rates,
            }
            for e in found.entries
        ],
        "ratio": {who: found.entries[0].rate / best.rate for who, best in bests.items() if best is not None},
        "loss_differences": found.differences,
        "compile_seconds": {"cold": found.compile_cold, "cached": found.compile_cached},
        "record_overhead": found.record_overhead,
        "steps_per_record": found.steps_per_record,
        "product_flops": found.product_rates,
        "engine_flops": found.engine_flops,
        "share_of_product_rate": found.engine_flops / found.product_rate,
    }
