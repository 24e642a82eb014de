"""How fast is the engine, on the same problem and machine as PyTorch and plain JAX?

    python benchmarks/run.py                     both problems, under four minutes
    python benchmarks/run.py --quick             the same in under a minute, with shorter repetitions
    python benchmarks/run.py --problem medium
    python benchmarks/run.py --measures          what a record of each measure costs, in about a minute
    python benchmarks/run.py --sweeps            launching ten thousand jobs; scaling over devices and processes

Speed is reported, never asserted; that all compute the same losses is.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import records
import report
import sweeps
from compare import compare
from machine import provenance
from problems import PROBLEMS
from rich.console import Console

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    arguments = parse()
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a log has no width of its own
    about = provenance()
    console.print(f"{about['cpu']}, {about['cores']} cores, load {about['load_before']:.1f}", highlight=False)
    if arguments.measures:
        with console.status("records") as status:
            costs = records.time_records(5 if arguments.quick else 10, status.update)
        records.show(costs, console)
        for file in records.save(costs, about, RESULTS):
            console.print(f"wrote {file}", soft_wrap=True)
        return
    if arguments.sweeps:
        with console.status("sweeps") as status:
            found = sweeps.measure(arguments.quick, status.update)
        sweeps.show(found, console)
        for file in sweeps.save(found, about, RESULTS):
            console.print(f"wrote {file}", soft_wrap=True)
        return
    repetitions, wanted, patience = (3, 0.3, 4.0) if arguments.quick else (5, 1.2, 25.0)
    patience = patience if arguments.patience is None else arguments.patience
    comparisons = []
    for name in arguments.problem:
        with tempfile.TemporaryDirectory() as folder, console.status(name) as status:

            def say(line: str, status=status) -> None:
                status.update(line)

            found = compare(PROBLEMS[name], Path(folder), repetitions, wanted, patience, say)
        report.show(found, console)
        comparisons.append(found)
    for file in report.save(arguments.name or ("quick" if arguments.quick else "full"), comparisons, about, RESULTS):
        console.print(f"wrote {file}", soft_wrap=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter and fewer repetitions")
    parser.add_argument("--problem", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--patience", type=float, help="seconds a problem for taking again what other processes disturbed")
    parser.add_argument("--measures", action="store_true", help="time records instead of steps")
    parser.add_argument("--sweeps", action="store_true", help="time launching and scaling instead of steps")
    parser.add_argument("--name", help="of the result file (quick or full)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
