"""Diverged runs leave their neighbours alone, and a group of nothing else stops early."""

from __future__ import annotations

import jax
import numpy as np
from ensemble_cases import NETWORK, compute, pick
from oracles import assert_trees_close, change, hyper_of, key_of

from dynamics.core.recording import RecordSpec


def diverging(rates, **values):
    base = change(NETWORK, record=RecordSpec(num=0, at=[2, 4, 6, 8, 10, 15, 20, 50, 100]), measures=["train_loss"], **values)
    return [change(base, seed=i, optimizer__learning_rate=float(rate)) for i, rate in enumerate(rates)]


def test_a_diverged_run_leaves_its_neighbours_bit_identical_and_is_told_by_its_first_bad_record():
    tame = diverging([0.1, 0.1, 0.2, 0.05, 0.1, 0.2])
    wild = diverging([0.1, 1e3, 0.2, 0.05, 1e12, 0.2])
    calm, mixed = compute(tame, lanes=2), compute(wild, lanes=2)  # a bad run shares its lane with a good one
    keep = np.array([0, 2, 3, 5])
    np.testing.assert_array_equal(mixed.records["train_loss"][keep], calm.records["train_loss"][keep])
    assert_trees_close(pick(mixed, keep).state, pick(calm, keep).state, rtol=0)
    assert mixed.status.tolist() == ["ok", "diverged", "ok", "ok", "diverged", "ok"]
    assert mixed.diverged_at[keep].tolist() == [-1] * 4
    assert len(mixed.steps) == len(calm.steps)  # the good runs went on to the end
    for i in (1, 4):
        assert mixed.diverged_at[i] == first_record_after_overflow(wild[i], mixed.steps)
    assert mixed.diverged_at[4] < mixed.diverged_at[1]


def first_record_after_overflow(run, steps):
    """Step by step, in a Python loop: the first recorded step at which a parameter is not finite."""
    with jax.enable_x64(True):
        dynamics = run.dynamics()
        fixed, state = jax.jit(dynamics.init)(jax.random.fold_in(key_of(run), 0), hyper_of(run))
        step = jax.jit(dynamics.step)
        for t in range(1, steps[-1] + 1):
            state = step(state, fixed, key_of(run))
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state)):
                return min(s for s in steps if s >= t)
    raise AssertionError("did not diverge")


def test_a_group_of_which_every_run_has_diverged_stops_early():
    """One segment is under way while the last record is looked at, so it ends at most two records after the news."""
    trajectory = compute(diverging([1e50, 1e60, 1e70, 1e80, 1e90, 1e100], steps=10_000_000))
    assert set(trajectory.status) == {"diverged"}
    last = trajectory.steps.tolist().index(trajectory.diverged_at.max())
    assert len(trajectory.steps) <= last + 3 <= 8
    assert trajectory.records["train_loss"].shape == (6, len(trajectory.steps))
