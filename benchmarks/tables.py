"""Format measurements as text and rows: one table per problem, and an overview for inclusion in documents."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from check import TOLERANCE
from compare import Comparison
from entry import DISTURBED, Entry
from variants import DEFAULT, OURS, PLAIN, RECORDS, TORCH

HEAD = (
    "competitor",
    "G neuron-samples/s",
    "min to max (kept)",
    "steps/s",
    "GFLOP/s",
    "share of product",
    "x PyTorch eager",
    "x best PyTorch",
    "x best plain JAX",
    "peak MB",
    "compile s (cached)",
    "ms a run beyond steps",
)
NONE = "-"


def table_line(cells: Iterable[str]) -> str:
    """Return one line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def markdown_table(head: tuple[str, ...], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the lines of a Markdown table; all columns but the first are right-aligned."""
    return [table_line(head), table_line(["---", *["---:"] * (len(head) - 1)]), *(table_line(row) for row in rows)]


def title(found: Comparison) -> str:
    """Return the title of the table of a problem."""
    p = found.problem
    patches = f" in windows of {p.patch_size} with stride {p.stride}, mean pooling" if p.patch_size else ""
    runs = f"{p.runs} run{'s' * (p.runs > 1)}"
    return f"{p.name}: n {p.num_samples}, width {p.width}, d {p.input_dim}{patches}, {runs}, float32"


def row(found: Comparison, entry: Entry) -> tuple[str, ...]:
    """Return the table row of a variant; rates are medians, and a step is one step of all runs."""
    rates, flops = [r / 1e9 for r in entry.kept], entry.rate * found.problem.flops
    cold, cached = entry.compile_seconds
    return (
        entry.way.label + " *" * entry.disturbed,
        f"{median(rates):.3f}",
        f"{min(rates):.3f} to {max(rates):.3f} ({len(rates)})",
        f"{1 / entry.step_seconds:.4g}",
        f"{flops / 1e9:.1f}",
        f"{100 * flops / found.product_rate:.1f} %",
        *(speed_ratio(entry, other) for other in (found.entry(DEFAULT), found.best(TORCH), found.best(PLAIN))),
        f"{entry.peak / 1e6:.0f}",
        NONE if cold is None else f"{cold:.1f}" + ("" if cached is None else f" ({cached:.1f})"),
        f"{1e3 * entry.overhead:.2g}",
    )


def speed_ratio(entry: Entry | None, other: Entry | None) -> str:
    """Return the ratio of two rates as text, or a dash."""
    return NONE if entry is None or other is None else f"{entry.rate / other.rate:.2f}"


def notes(found: Comparison) -> list[str]:
    """Return the notes below the table of a problem."""
    best = [(who, found.best(who)) for who in (TORCH, PLAIN)]
    return [
        *(f"{label}: {reason}" if label not in reason else reason for label, reason in found.left_out.items()),
        *(
            []
            if found.best(TORCH) or found.left_out
            else ["PyTorch is not installed (pip install torch): its rows are left out"]
        ),
        "; ".join(f"best {who} is {e.way.label.removeprefix(who).strip(', ')}" for who, e in best if e is not None)
        + ("" if found.threads is None or found.device == "gpu" else f"; all threads are {found.threads}"),
        describe_agreement(found),
        f"ceilings in the same run: float32 matrix product {found.product_rate / 1e9:.0f} GFLOP/s,"
        f" copy {found.copy_rate / 1e9:.1f} GB/s read and written",
        *describe_records(found),
        describe_disturbance(found),
    ]


def describe_agreement(found: Comparison) -> str:
    """Return a line on how closely the losses of all variants agree."""
    worst = max((off for offs in found.differences.values() for off in offs.values()), default=0.0)
    return (
        f"all {len(found.entries)} variants reach the same losses: after {found.problem.check_steps} steps, with and without"
        f" clipping that bites, they differ by at most {worst:.1e} relative (allowed {TOLERANCE:g})"
    )


def describe_records(found: Comparison) -> list[str]:
    """Return lines on the cost of records in our variant."""
    ours, recorded = found.ours, found.recorded
    if ours is None or recorded is None:
        return []
    share, count = ours.rate / recorded.rate - 1, min(RECORDS, ours.steps + 1)
    lines = []
    if count > 2:
        lines.append(
            f"{count} records of the training loss in {ours.steps} steps instead of 2: {100 * share:+.1f} % time,"
            f" {share * ours.steps / (count - 2):.1f} steps a record"
        )
    for measure, cost in found.sharpness.items():
        told = f"not measured ({cost})" if isinstance(cost, str) else f"{cost / ours.step_seconds:.1f} steps a record"
        lines.append(f"{measure}: {told}" + ("" if isinstance(cost, str) else f" ({1e3 * cost:.1f} ms for all runs)"))
    return lines


def describe_disturbance(found: Comparison) -> str:
    """Return a line on how many repetitions other processes disturbed."""
    shares = [share for entry in found.entries for share in entry.foreign]
    busy = sum(share > DISTURBED for share in shares)
    told = (
        f"others used more than {100 * DISTURBED:.0f} % of the cores in {busy} of {len(shares)} repetitions, which are left out"
    )
    if any(entry.disturbed for entry in found.entries):
        told += "; rows with a star were disturbed throughout: do not quote their ratios, run again on a quiet machine"
    return told


def overview(comparisons: list[Comparison]) -> list[str]:
    """Return the lines of the overview table: rates of every variant on every problem, and our speed-ups."""
    head = ("", *(c.problem.name for c in comparisons))
    labels = list(dict.fromkeys(e.way.label for c in comparisons for e in c.entries if not e.way.arguments.get("records")))
    labels.sort(key=lambda label: (label != OURS, not label.startswith(PLAIN)))

    def rate(entry: Entry | None) -> str:
        return NONE if entry is None else f"{entry.rate / 1e9:.3f}" + " *" * entry.disturbed

    def best(found: Comparison) -> str:
        other = found.best(TORCH)
        name = "" if other is None else f" ({other.way.label.removeprefix(TORCH).strip()})"
        return speed_ratio(found.ours, other) + name * (found.ours is not None)

    rows = [[label, *(rate(c.entry(label)) for c in comparisons)] for label in labels]
    rows.append([f"**ours / {DEFAULT}**", *(speed_ratio(c.ours, c.entry(DEFAULT)) for c in comparisons)])
    rows.append(["**ours / best PyTorch**", *map(best, comparisons)])
    rows.append(["**ours / best plain JAX**", *(speed_ratio(c.ours, c.best(PLAIN)) for c in comparisons)])
    share = [NONE if c.ours is None else f"{100 * c.ours.rate * c.problem.flops / c.product_rate:.0f} %" for c in comparisons]
    rows.append(["ours, useful FLOPs of the matrix product's", *share])
    return markdown_table(head, rows)
