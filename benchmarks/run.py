"""Compare the speed of the engine with PyTorch and plain JAX on the same problems and machine.

    python benchmarks/run.py                     every problem, then Figure 2's grid at paper size
    python benchmarks/run.py --quick             three problems in about two minutes, with shorter repetitions
    python benchmarks/run.py --problem medium    one or several of them; figure2 is Figure 2 from the command to the figure
    python benchmarks/run.py --device gpu        the same on a GPU
    python benchmarks/run.py --measures          what a record of each measure costs, in about a minute
    python benchmarks/run.py --growth            cost against ensemble size, width, n, d, steps, devices
    python benchmarks/run.py --sweeps            launching ten thousand jobs; scaling over devices and processes

Speed is reported, never asserted; equality of the losses is asserted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import figure2
import growth
import records
import report
import sweeps
from compare import Effort, compare
from machine import gpu, provenance
from problems import PROBLEMS
from rich.console import Console
from tables import overview

RESULTS = Path(__file__).parent / "results"
QUICK = ("small", "medium", "line")
FULL_EFFORT = Effort(repetitions=5, wanted=0.35, patience=15.0)
QUICK_EFFORT = Effort(repetitions=3, wanted=0.25, patience=4.0, sharpness=False)


def main() -> None:
    """Run the benchmark that the command line asks for."""
    arguments = parse_arguments()
    if arguments.device == "gpu" and gpu() is None:
        print("error: device = 'gpu': JAX finds no GPU here (install jax[cuda12] on a machine that has one)", file=sys.stderr)
        sys.exit(2)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a log has no width of its own
    about = provenance(arguments.device)
    console.print(f"{about['cpu']}, {about['cores']} cores, load {about['load_before']:.1f}", highlight=False)
    if arguments.measures:
        with console.status("records") as status:
            costs = records.time_records(5 if arguments.quick else 10, status.update)
        show_and_save(records, costs, about, console)
    elif arguments.sweeps:
        with console.status("sweeps") as status:
            found = sweeps.measure(arguments.quick, status.update)
        show_and_save(sweeps, found, about, console)
    elif arguments.growth:
        with console.status("growth") as status:
            curves = growth.measure(arguments.quick, arguments.device, status.update)
        show_and_save(growth, curves, about, console)
    else:
        compare_problems(arguments, about, console)


def show_and_save(part: Any, found: Any, about: dict[str, Any], console: Console) -> None:
    """Print the results of a benchmark and write its files."""
    part.show(found, console)
    for file in part.save(found, about, RESULTS):
        console.print(f"wrote {file}", soft_wrap=True)


def compare_problems(arguments: argparse.Namespace, about: dict[str, Any], console: Console) -> None:
    """The comparisons asked for, then Figure 2's grid."""
    effort = QUICK_EFFORT if arguments.quick else FULL_EFFORT
    if arguments.patience is not None:
        effort = replace(effort, patience=arguments.patience)
    comparisons, grid = [], None
    with tempfile.TemporaryDirectory() as folder:
        for name in [n for n in arguments.problem if n != "figure2"]:
            (Path(folder) / name).mkdir()
            with console.status(name) as status:
                found = compare(PROBLEMS[name], arguments.device, Path(folder) / name, effort, status.update)
            report.show(found, console)
            comparisons.append(found)
    if "figure2" in arguments.problem:
        with console.status("figure2") as status:
            grid = figure2.measure("smoke" if arguments.quick else arguments.size, arguments.device, status.update)
        console.print("\n".join(figure2.markdown(grid)), highlight=False, markup=False)
    if comparisons:
        console.print("\n".join(overview(comparisons)), highlight=False, markup=False, soft_wrap=True)
    name = arguments.name or ("quick" if arguments.quick else "full") + "-gpu" * (arguments.device == "gpu")
    for file in report.save(name, comparisons, grid, about, RESULTS):
        console.print(f"wrote {file}", soft_wrap=True)


def parse_arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter and fewer repetitions; figure2 at size smoke")
    parser.add_argument("--problem", nargs="+", choices=[*PROBLEMS, "figure2"])
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="records and sweeps are of CPUs")
    parser.add_argument("--size", choices=["smoke", "laptop", "paper"], default="paper", help="of figure2")
    parser.add_argument("--patience", type=float, help="seconds a problem for taking again what other processes disturbed")
    parser.add_argument("--measures", action="store_true", help="time records instead of steps")
    parser.add_argument("--growth", action="store_true", help="time how cost grows")
    parser.add_argument("--sweeps", action="store_true", help="time launching and scaling instead of steps")
    parser.add_argument("--name", help="of the result file (quick or full, on a GPU with -gpu)")
    arguments = parser.parse_args()
    arguments.problem = arguments.problem or (list(QUICK) if arguments.quick else [*PROBLEMS, "figure2"])
    return arguments


if __name__ == "__main__":
    main()
