"""What a GPU gives, in ten minutes: which way of stepping wins, Figure 2 at paper size, an eager loop,
two paper-size shapes.

    python benchmarks/gpu.py                          # on a machine with a GPU: into benchmarks/results/gpu
    python benchmarks/gpu.py --sections steps --tune  # some of it; with other block sizes
    python benchmarks/gpu.py --dry-run                # anywhere, at tiny sizes: whether it runs, not how fast

It needs JAX, flax, optax and numpy, for the eager loop PyTorch; neither Hydra nor a store. Each section writes its own
file as it ends, so that a time limit takes nothing that was measured; none begins once `--seconds` have passed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import variants
from machine import cores, provenance
from problems import PROBLEMS, draw
from worker import Worker, WorkerError

from dynamics.core.devices import prepare

RESULTS = Path(__file__).parent / "results" / "gpu"
RATIO_SECONDS = 2.0  # of each variant's steps, for the ratio


@dataclass(frozen=True)
class Setting:
    """What a section is told. ceilings: the rates of `measure_ceilings`; tiny: a dry run."""

    ceilings: dict[str, float]
    tiny: bool
    tune: bool

    @property
    def product_flops(self) -> float:
        """Return the FLOP/s of a float32 matrix product."""
        return self.ceilings["product_flops"]


def measure_steps(setting: Setting) -> list[dict[str, Any]]:
    """Return the time of a step by shape and way of stepping, and how far from 64 bits 100 of them end."""
    import gpu_steps

    return gpu_steps.compare_all(setting.product_flops, tiny=setting.tiny, tune=setting.tune)


def measure_figure_2(setting: Setting) -> list[dict[str, Any]]:
    """Return what Figure 2 at paper size takes, cold and warm."""
    import gpu_studies

    runs = gpu_studies.list_figure_2()
    if setting.tiny:
        runs = [replace(run, steps=10, record=replace(run.record, at=[5])) for run in gpu_studies.list_figure_2((1,), (32,), 1)]
    return [gpu_studies.time_plan("Figure 2", runs, setting.product_flops)]


def measure_paper_shapes(setting: Setting) -> list[dict[str, Any]]:
    """Return what one paper-size shape of X1 and of X3 takes."""
    import gpu_studies

    if setting.tiny:
        lists = {
            "X1": gpu_studies.list_generalization(20, 8, 4, steps=2),
            "X3": gpu_studies.list_images(6, 8, 4, steps=2),
        }
    else:
        lists = {"X1": gpu_studies.list_generalization(), "X3": gpu_studies.list_images()}
    return [gpu_studies.time_plan(name, runs, setting.product_flops) for name, runs in lists.items()]


def measure_ratios(setting: Setting) -> list[dict[str, Any]]:
    """Return the seconds of a step of every variant of `variants.py` on its problems, and the ratio of ours to each."""
    rows = []
    device = "cpu" if setting.tiny else "gpu"
    for problem in [replace(PROBLEMS["small"], num_samples=8, width=4, runs=2)] if setting.tiny else PROBLEMS.values():
        with tempfile.TemporaryDirectory() as folder:
            draw(problem).save(Path(folder) / f"{problem.name}.npz")
            own = []
            for variant in variants.list_variants(problem, device, cores()):
                if variant.processes == 1 and not (setting.tiny and variant.competitor == variants.TORCH):
                    own.append(
                        {"problem": problem.name, "variant": variant.label, **time_variant(variant, problem, folder, device)}
                    )
        ours = own[0].get("step_seconds")
        for row in own:
            if ours and "step_seconds" in row:
                row["ours_is_faster_by"] = row["step_seconds"] / ours
            told = f"{row['step_seconds'] * 1e6:12.1f} us a step" if "step_seconds" in row else f"failed: {row['error'][:70]}"
            print(
                f"{row['problem']:<10} {row['variant']:<40} {told} {row.get('ours_is_faster_by', float('nan')):8.2f}",
                flush=True,
            )
        rows += own
    return rows


def time_variant(variant: variants.Variant, problem: Any, folder: str, device: str) -> dict[str, Any]:
    """Return the seconds of a step of a variant in a process of its own, or why there are none."""
    worker = Worker(variant.module, problem, Path(folder), device, variant.threads)
    try:
        worker.ready().call("compile_seconds", **variant.arguments)
        steps = 16
        while (taken := worker.call("seconds", steps=steps, **variant.arguments)) < RATIO_SECONDS / 4 and steps < 10**6:
            steps *= 4
        return {"step_seconds": min(taken, worker.call("seconds", steps=steps, **variant.arguments)) / steps}
    except WorkerError as error:
        return {"error": error.reason}
    finally:
        worker.close()


SECTIONS: dict[str, Callable[[Setting], list[dict[str, Any]]]] = {
    "steps": measure_steps,
    "figure_2": measure_figure_2,
    "paper_shapes": measure_paper_shapes,
    "ratios": measure_ratios,
}


def main(arguments: list[str] | None = None) -> None:
    """Measure the sections, print their tables and write a JSON file of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), help="which (default: all)")
    parser.add_argument("--seconds", type=float, default=540.0, help="none begins after so many (default 540)")
    parser.add_argument("--tune", action="store_true", help="time other block sizes too")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, the kernels run as plain JAX, on any device")
    parser.add_argument(
        "--output", type=Path, help="folder of the JSON files (default benchmarks/results/gpu; a dry run: none)"
    )
    options = parser.parse_args(arguments)

    prepare()
    import gpu_steps
    import jax

    if jax.default_backend() != "gpu" and not options.dry_run:
        parser.error("JAX sees no GPU; --dry-run runs anywhere")
    output = options.output or (None if options.dry_run else RESULTS)
    begun = time.monotonic()
    ceilings, device = gpu_steps.measure_ceilings(options.dry_run), jax.devices()[0].device_kind
    print(f"{device}: {ceilings['product_flops']:.3g} FLOP/s in a product, {ceilings['copy_bytes']:.3g} bytes/s in a copy")
    about = {**provenance(), "device": device, "ceilings": ceilings}
    setting = Setting(ceilings, options.dry_run, options.tune)
    for name in options.sections:
        if time.monotonic() - begun > options.seconds:
            print(f"{name}: left out, {options.seconds:g} s have passed", flush=True)
            continue
        print(f"\n{name}", flush=True)
        rows = SECTIONS[name](setting)
        print(f"{name}: done after {time.monotonic() - begun:.0f} s", flush=True)
        if output:
            output.mkdir(parents=True, exist_ok=True)
            (output / f"{name}.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
