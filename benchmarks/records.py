"""Measure the cost of a record: the paper-size run of Figure 3 (Liang et al. 2025) observed by each measure
and by all of them.

CPU time of this process, so that a busy machine disturbs it little; repetitions are interleaved and the median is
taken. A record's own cost is that beyond a record of the training loss, which every run has.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

SIZES = {"num_samples": 512, "input_dim": 10, "width": 2048}
STEPS, RECORDS = 20_000, 40  # of the whole run
LEARNING_RATE, CLIP_NORM = 0.9, 50.0
STARTS = (0, 300)  # steps taken before the records that are timed: at the start, and near the edge of stability
SEGMENT = 100  # steps that are timed
BASE = "train_loss"
MEASURES = (
    "clean_train_error",
    "excess_risk",
    "generalization_gap",
    "gradient_norm",
    "weight_norm",
    "gauss_newton_sharpness",
    "sharpness",
    "residual_sharpness",
    "activation_statistics",
    "path_norms",
    "stability_checks",
)


@dataclass(frozen=True)
class Cost:
    """The extra cost of a record of some measures over one of the training loss: CPU milliseconds, equivalent steps."""

    measures: str
    milliseconds: float
    steps: float

    @property
    def overhead(self) -> float:
        """Return the relative time that `RECORDS` records add to a run of `STEPS` steps."""
        return RECORDS * self.steps / STEPS


@dataclass(frozen=True)
class Records:
    """The milliseconds of a step and the cost of a record by measure."""

    step_milliseconds: float
    costs: list[Cost]

    @property
    def overhead(self) -> float:
        """Return the overhead of all measures together."""
        return self.costs[0].overhead


def time_records(repetitions: int, say: Callable[[str], None]) -> Records:
    """Time every measure alone and all together; quantities shared by several measures are counted for each."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from dynamics.core.devices import prepare

    prepare(devices=1)
    import jax
    import numpy as np

    programs: dict[str, Any] = {}
    for name, measures in {BASE: [BASE], "all": [BASE, *MEASURES], **{m: [BASE, m] for m in MEASURES}}.items():
        say(f"compiling {name}")
        programs[name], fixed, begin = compile_program(measures)

    def observed(name: str, state: Any, steps: int = 0) -> float:
        begun = time.process_time()
        jax.block_until_ready(programs[name](state, fixed, np.int32(0), np.int32(steps)))
        return time.process_time() - begun

    taken: dict[str, list[float]] = {name: [] for name in (*programs, "segment")}
    for start in STARTS:
        state = programs[BASE](begin, fixed, np.int32(0), np.int32(start))[0]
        for repetition in range(repetitions):
            say(f"repetition {repetition + 1} of {repetitions} after {start} steps")
            taken["segment"].append(observed(BASE, state, SEGMENT))
            for name in programs:
                taken[name].append(observed(name, state))
    middle = {name: median(seconds) for name, seconds in taken.items()}
    step = (middle["segment"] - middle[BASE]) / SEGMENT
    own = {name: middle[name] - middle[BASE] for name in ("all", *MEASURES)}
    return Records(1e3 * step, [Cost(name, 1e3 * seconds, seconds / step) for name, seconds in own.items()])


def compile_program(measures: list[str]) -> tuple[Any, Any, Any]:
    """Return a warm program (state, fixed, begin, end) -> (state, record), with the fixed data and initial state."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from dynamics.core import spec as specs
    from dynamics.core.simulate import advance, start
    from dynamics.data.problem import DataSpec
    from dynamics.models.model_spec import ModelSpec
    from dynamics.optimizers.rules import OptimizerSpec
    from dynamics.systems.training import TrainingSpec

    spec = TrainingSpec(
        data=DataSpec(input_dim=SIZES["input_dim"], num_samples=SIZES["num_samples"], noise_std=1.0),
        model=ModelSpec(width=SIZES["width"]),
        optimizer=OptimizerSpec(learning_rate=LEARNING_RATE, clip_norm=CLIP_NORM),
        measures=measures,
    )
    spec.check()
    dynamics, key = specs.static(spec).dynamics(), jax.random.key(0)
    hyper = {k: jnp.asarray(v, jnp.int32 if k in spec.shape_fields else spec.precision) for k, v in specs.hyper(spec).items()}
    fixed, state = jax.jit(lambda: start(dynamics, key, hyper))()
    program = jax.jit(lambda state, fixed, begin, end: advance(dynamics, key, fixed, state, begin, end))
    jax.block_until_ready(program(state, fixed, np.int32(0), np.int32(1)))
    return program, fixed, state


HEAD = ("record of", "CPU ms", "as many steps", f"{RECORDS} in {STEPS} steps")


def rows(found: Records) -> list[tuple[str, ...]]:
    """Return one table row per measure."""
    return [(c.measures, f"{c.milliseconds:.1f}", f"{c.steps:.1f}", f"{100 * c.overhead:+.1f} %") for c in found.costs]


def title(found: Records) -> str:
    """Return the title of the table."""
    sizes = ", ".join(f"{name} {size}" for name, size in SIZES.items())
    return f"Records of a run ({sizes}; {found.step_milliseconds:.2f} CPU ms a step), beyond the training loss"


def show(found: Records, console: Console) -> None:
    """Print the table of costs."""
    table = Table(*HEAD, title=title(found), title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows(found):
        table.add_row(*row)
    console.print(table)


def save(found: Records, about: dict[str, Any], folder: Path) -> list[Path]:
    """`records.json` and `records.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    costs = [{**asdict(cost), "overhead": cost.overhead} for cost in found.costs]
    payload = {**about, **SIZES, "step_milliseconds": found.step_milliseconds, "costs": costs}
    lines = ["# Cost of records", "", f"{about['cpu']}, {about['cores']} cores; {about['date']}. {title(found)}.", ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (HEAD, ("---", "---:", "---:", "---:"), *rows(found))]
    files = [folder / "records.json", folder / "records.md"]
    files[0].write_text(json.dumps(payload, indent=2) + "\n")
    files[1].write_text("\n".join(lines) + "\n")
    return files
