"""Check that all variants reach the same losses after a few steps, with an inactive and an active clip norm."""

from __future__ import annotations

import math

from entry import Entry
from problems import CLIP_NORM, Problem

TOLERANCE = 1e-4

Losses = dict[float, list[float]]


def losses_by_clip_norm(entry: Entry) -> Losses:
    """Return the losses of every run after a few steps, by clip norm."""
    return {clip: entry.losses(clip) for clip in (CLIP_NORM, entry.problem.biting_clip)}


def largest_relative_difference(ones: list[float], others: list[float]) -> float:
    """Return the largest relative difference between the losses of a run; infinite if one is not finite."""
    pairs = list(zip(ones, others, strict=True))
    return max(abs(a - b) / abs(a) if math.isfinite(a) and math.isfinite(b) else math.inf for a, b in pairs)


def require_effect_of_clipping(problem: Problem, reference: Losses) -> None:
    """Exit if clipping changes no loss, because the check of clipping would then be empty."""
    if largest_relative_difference(reference[CLIP_NORM], reference[problem.biting_clip]) < 100 * TOLERANCE:
        raise SystemExit(f"{problem.name}: clipping to {problem.biting_clip:g} changes no loss, so the check of it is empty")


def check_losses(reference: Losses, entry: Entry) -> dict[str, float]:
    """Return the differences from the reference by clip norm; exits if the variant computes something else."""
    found = {f"{clip:g}": largest_relative_difference(reference[clip], own) for clip, own in losses_by_clip_norm(entry).items()}
    wrong = ", ".join(f"{off:.2e} at clip norm {clip}" for clip, off in found.items() if not off <= TOLERANCE)
    if wrong:
        raise SystemExit(
            f"{entry.problem.name}: losses of {entry.way.label} after {entry.problem.check_steps} steps differ by more than"
            f" {TOLERANCE:g} relative ({wrong}): not the same computation, so nothing is timed"
        )
    return found
