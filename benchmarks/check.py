"""Do all compute the same? Losses of every run after a few steps, with a clip norm that does nothing and one that bites."""

from __future__ import annotations

import math

from entry import Entry
from problems import CLIP_NORM, Problem

TOLERANCE = 1e-4

Losses = dict[float, list[float]]


def losses(entry: Entry) -> Losses:
    """By clip norm."""
    return {clip: entry.losses(clip) for clip in (CLIP_NORM, entry.problem.biting_clip)}


def gap(ones: list[float], others: list[float]) -> float:
    """Largest relative difference of a run's loss; infinite where one is not finite."""
    pairs = list(zip(ones, others, strict=True))
    return max(abs(a - b) / abs(a) if math.isfinite(a) and math.isfinite(b) else math.inf for a, b in pairs)


def can_tell(problem: Problem, reference: Losses) -> None:
    """Stop where clipping changes nothing, for then the check of it is empty."""
    if gap(reference[CLIP_NORM], reference[problem.biting_clip]) < 100 * TOLERANCE:
        raise SystemExit(f"{problem.name}: clipping to {problem.biting_clip:g} changes no loss, so the check of it is empty")


def differences(reference: Losses, entry: Entry) -> dict[str, float]:
    """The gaps of this way to the reference, by clip norm; stops where something else is computed."""
    found = {f"{clip:g}": gap(reference[clip], own) for clip, own in losses(entry).items()}
    wrong = ", ".join(f"{off:.2e} at clip norm {clip}" for clip, off in found.items() if not off <= TOLERANCE)
    if wrong:
        raise SystemExit(
            f"{entry.problem.name}: losses of {entry.way.label} after {entry.problem.check_steps} steps differ by more than"
            f" {TOLERANCE:g} relative ({wrong}): not the same computation, so nothing is timed"
        )
    return found
