"""`dyn.sweep`: a plain triple against the same runs one by one; a spec, stored by identity."""

import gc
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics as dyn
from dynamics.cli.report import summarize_runs
from dynamics.errors import InputError
from dynamics.store.counts import count_runs
from dynamics.store.store import Store


class Walk(NamedTuple):
    x: jax.Array
    counts: jax.Array


def noisy_decay() -> dyn.Dynamics:
    """x <- (1 - rate) x + noise * normal, with a vector beside it."""

    def step(state, hyper, key):
        return Walk((1 - hyper["rate"]) * state.x + hyper["noise"] * jax.random.normal(key), state.counts + 1)

    return dyn.Dynamics(
        init=lambda key, hyper: (hyper, Walk(jax.random.normal(key), jnp.zeros(2, jnp.int32))),
        step=step,
        observe=lambda state, hyper: {"x": state.x, "counts": state.counts},
    )


def test_a_plain_triple_gives_the_numbers_of_its_runs_one_by_one():
    study = dyn.sweep(noisy_decay(), {"rate": np.array([0.1, 0.5], np.float32), "noise": 0.25}, seeds=3, schedule=(0, 4, 9))
    assert study.values("rate") == [0.1, 0.5] and study.values("seed") == [0, 1, 2]
    for rate in (0.1, 0.5):
        for seed in range(3):
            alone = dyn.simulate(noisy_decay(), seed, {"rate": rate, "noise": 0.25}, (0, 4, 9))
            own = study.select(rate=rate, seed=seed).records.sort("step")
            np.testing.assert_allclose(own["x"], alone.records["x"], rtol=1e-6)
    counts, _ = study.grid("counts", "rate", "seed", "step")
    assert counts.shape == (2, 3, 3, 2) and (counts[0, 0, :, 0] == [0, 4, 9]).all()


def test_a_schedule_without_the_start_records_no_start():
    study = dyn.sweep(noisy_decay(), {"rate": 0.1, "noise": 0.0}, schedule=(2, 5))
    assert study.values("step") == [2, 5]


def test_runs_of_a_triple_that_leave_the_finite_numbers_are_diverged_and_raise_nothing():
    explode = dyn.Dynamics(lambda key, h: (h, jnp.float32(1.0)), lambda x, h, key: h["factor"] * x, lambda x, h: {"x": x})
    square = explode._replace(observe=lambda x, h: {"x": x, "square": x * x})  # overflows before x does
    study = dyn.sweep(square, {"factor": [0.5, 1e5, 1e30]}, schedule=(0, 1, 5))
    assert dict(study.runs.select("factor", "status").iter_rows()) == {0.5: "ok", 1e5: "not_finite", 1e30: "diverged"}
    assert study.select(status="not_finite").runs["not_finite_at"].to_list() == [5]
    assert len(study.select(status="not_finite").records) == 3
    counts = count_runs(Store(study.store.folder))
    assert (counts.done, counts.not_finite, counts.diverged) == (1, 1, 1)
    assert summarize_runs(study.runs).endswith(", 1 diverged, 1 with measures that are not finite")


def test_the_results_of_a_triple_go_with_the_study_and_it_says_so():
    study = dyn.sweep(noisy_decay(), {"rate": 0.1, "noise": 0.0}, schedule=(0, 1))
    folder = study.store.folder
    part = study.select(seed=0)
    del study
    gc.collect()
    assert folder.exists() and "temporary" in repr(part)
    del part
    gc.collect()
    assert not folder.exists()


def test_zip_advances_two_scalars_together():
    study = dyn.sweep(noisy_decay(), {"zip": {"rate": [0.1, 0.2], "noise": [0.0, 0.5]}}, schedule=(0, 1))
    assert study.runs.select("rate", "noise").rows() == [(0.1, 0.0), (0.2, 0.5)]


def test_a_triple_in_double_precision():
    study = dyn.sweep(
        dyn.Dynamics(lambda key, h: (h, h["x0"]), lambda x, h, key: x / 3, lambda x, h: {"x": x}),
        {"x0": [1.0]},
        schedule=(0, 1),
        precision="float64",
    )
    assert study.final["x"].item() == 1 / 3


WRONG = {
    "no schedule": ({"schedule": None}, "schedule"),
    "falling schedule": ({"schedule": (0, 5, 3)}, "must increase"),
    "schedule of fractions": ({"schedule": (0, 1.5)}, "integers"),
    "negative step": ({"schedule": (-1, 5)}, "at least 0"),
    "empty schedule": ({"schedule": ()}, "at least one step"),
    "no steps": ({"schedule": (0,)}, "step 1"),
    "no seeds": ({"seeds": 0}, "seeds"),
    "negative seed": ({"seeds": [-1]}, "seed"),
    "unknown setting": ({"worker_count": 2}, "no such setting"),
    "precision": ({"precision": "float16"}, "float32"),
    "a name": ({"name": "mine"}, "not stored"),
}


@pytest.mark.parametrize("options, told", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_one_line(options, told):
    with pytest.raises(InputError, match=told):
        dyn.sweep(noisy_decay(), {"rate": 0.1, "noise": 0.0}, **{"schedule": (0, 1), **options})


def test_axes_of_a_triple_are_checked():
    with pytest.raises(InputError, match="word of the suite's own"):
        dyn.sweep(noisy_decay(), {"steps": [1.0]}, schedule=(0, 1))
    with pytest.raises(InputError, match="must be a number"):
        dyn.sweep(noisy_decay(), {"rate": ["high"], "noise": 0.0}, schedule=(0, 1))
    with pytest.raises(InputError, match="spec such as"):
        dyn.sweep(lambda x: x, {"rate": [0.1]}, schedule=(0, 1))  # type: ignore[arg-type]


def test_functions_that_do_not_fit_together_are_told_before_anything_is_computed():
    shrinks = dyn.Dynamics(lambda key, h: (h, jnp.zeros(3)), lambda x, h, key: x[:2], lambda x, h: {"x": x})
    with pytest.raises(InputError, match=r"step.*float32\[2\].*float32\[3\]"):
        dyn.sweep(shrinks, {}, schedule=(0, 1))
    clash = dyn.Dynamics(lambda key, h: (h, h["rate"]), lambda x, h, key: x, lambda x, h: {"rate": x})
    with pytest.raises(InputError, match="column that runs have already"):
        dyn.sweep(clash, {"rate": 0.1}, schedule=(0, 1))
    broken = dyn.Dynamics(lambda key, h: (h, h["rate"]), lambda x, h, key: x, lambda x, h: {"x": h["rat"]})
    with pytest.raises(KeyError, match="rat"):
        dyn.sweep(broken, {"rate": 0.1}, schedule=(0, 1))


# ---- specs


@pytest.fixture
def spec() -> dyn.Training:
    return dyn.Training(data=dyn.Data(num_samples=8, num_test=8), model=dyn.Model(width=4), steps=4, measures=["train_loss"])


def test_a_spec_is_stored_by_identity_so_that_only_what_is_new_is_computed(spec, tmp_path):
    first = dyn.sweep(spec, {"learning_rate": (0.1, 0.2)}, schedule=(0, 2, 4), output=tmp_path)
    parts = set((tmp_path / "results/sweeps/training/parts").iterdir())
    again = dyn.sweep(spec, {"optimizer.learning_rate": [0.2, 0.1]}, schedule=(0, 2, 4), output=tmp_path)
    assert set((tmp_path / "results/sweeps/training/parts").iterdir()) == parts
    assert set(again.runs["run"]) == set(first.runs["run"])
    assert again.records.sort("run", "step").equals(first.records.sort("run", "step"), null_equal=True)

    grown = dyn.plan(spec, {"learning_rate": [0.1, 0.2, 0.3]}, schedule=(0, 2, 4), output=tmp_path)
    assert (grown.num_runs, grown.num_stored) == (1, 2)
    opened = dyn.open(spec, {"learning_rate": [0.1]}, schedule=(0, 2, 4), output=tmp_path)
    assert opened.values("learning_rate") == [0.1] and opened.values("step") == [0, 2, 4]
    with pytest.raises(InputError, match=r"lacks 1 of the 2 runs, those with optimizer.learning_rate = 0.3"):
        dyn.open(spec, {"learning_rate": [0.1, 0.3]}, schedule=(0, 2, 4), output=tmp_path)
    with pytest.raises(InputError, match="a sweep has none"):
        opened.figure()


def test_fields_of_a_spec_are_checked_before_anything_is_computed(spec, tmp_path):
    with pytest.raises(InputError, match="did you mean 'learning_rate'"):
        dyn.sweep(spec, {"learning_rat": [0.1]}, output=tmp_path)
    with pytest.raises(InputError, match="must be a number above 0"):
        dyn.sweep(spec, {"learning_rate": [-0.1]}, output=tmp_path)
    with pytest.raises(InputError, match="given twice"):
        dyn.sweep(spec, {"learning_rate": [0.1], "optimizer.learning_rate": [0.2]}, output=tmp_path)
    with pytest.raises(InputError, match="axis already"):
        dyn.sweep(spec, {"seed": range(3)}, seeds=2, output=tmp_path)
    with pytest.raises(InputError, match="name"):
        dyn.sweep(spec, {}, name="../elsewhere", output=tmp_path)
    assert list(tmp_path.iterdir()) == []
