"""What people type finds what they mean."""

import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import dynamics as dyn
from dynamics.errors import InputError


@pytest.fixture(scope="module")
def study() -> dyn.Study:
    grow = dyn.Dynamics(lambda key, h: (h, h["x0"]), lambda x, h, key: x + h["rate"], lambda x, h: {"x": x})
    axes = {"rate": [0.1, 0.2, 0.30000000000000004], "x0": [1.0, 1000000.0, 1000001.0]}
    return dyn.sweep(grow, axes, seeds=4, schedule=(0, 1, 10))


FOUND = {
    "float": (0.2, [0.2]),
    "rounded": (0.3, [0.30000000000000004]),
    "float32": (np.float32(0.2), [0.2]),
    "float16": (np.float16(0.2), [0.2]),
    "jax": (jnp.float32(0.2), [0.2]),
    "list": ([0.1, 0.2], [0.1, 0.2]),
    "tuple": ((0.1, 0.2), [0.1, 0.2]),
    "set": ({0.1, 0.2}, [0.1, 0.2]),
    "array": (np.array([0.1, 0.2], np.float32), [0.1, 0.2]),
    "jax array": (jnp.array([0.1, 0.2]), [0.1, 0.2]),
    "polars column": (pl.Series([0.1, 0.2]), [0.1, 0.2]),
    "some are there": ([0.1, 0.7], [0.1]),
    "slice": (slice(0.15, None), [0.2, 0.30000000000000004]),
    "both ends": (slice(0.1, 0.2), [0.1, 0.2]),
}


@pytest.mark.parametrize("asked, found", FOUND.values(), ids=FOUND)
def test_numbers_of_any_precision_and_collection(study, asked, found):
    assert study.select(rate=asked).values("rate") == found
    assert set(study.select(rate=asked).records["rate"]) == set(found)


def test_whole_numbers_are_found_as_floats_and_in_ranges(study):
    assert study.select(seed=2.0).values("seed") == [2]
    assert study.select(seed=range(1, 10)).values("seed") == [1, 2, 3]
    assert study.select(seed=np.int64(1)).values("seed") == [1]
    assert study.select(x0=1).values("x0") == [1.0]
    assert study.select(x0=1000001).values("x0") == [1000001.0]
    assert study.select(x0=1000000).values("x0") == [1000000.0]


def test_steps(study):
    part = study.select(step=10, seed=0)
    assert part.values("step") == [10] and len(part.records) == 9 and len(part.runs) == 9
    assert study.select(step=[0, 1]).values("step") == [0, 1]
    with pytest.raises(InputError, match=r"step = 5.*0, 1, 10"):
        study.select(step=5)


def test_nothing_found_says_which_values_there_are(study):
    with pytest.raises(InputError, match=r"rate = 0.7: no such value in dynamics; there are 0.1, 0.2, 0.3$"):
        study.select(rate=0.7)
    with pytest.raises(InputError, match="no such value"):
        study.select(rate="0.1")
    with pytest.raises(InputError, match="no such value"):
        study.select(seed=True)
    with pytest.raises(InputError, match=r"seed = 0.5.*0, 1, 2, 3"):
        study.select(seed=0.5)
    with pytest.raises(InputError, match="did you mean 'rate'"):
        study.select(rates=0.1)


def test_a_grid_has_one_record_a_cell_and_names_the_axis_that_is_missing(study):
    with pytest.raises(InputError, match=r"3 records fall into one cell.*step \(0, 1, 10\)"):
        study.grid("x", "rate", "x0", "seed")
    with pytest.raises(InputError, match=r"seed \(0, 1, 2, 3\)"):
        study.select(step=10).grid("x", "rate", "x0")
    values, (rates, starts) = study.select(step=10, seed=0).grid("x", "rate", "x0")
    np.testing.assert_allclose(values, np.add.outer(10 * np.array(rates), starts), rtol=1e-6)
    assert study.select(step=10, seed=0, rate=0.1, x0=1.0).grid("x")[0] == pytest.approx(2.0)
    with pytest.raises(InputError, match="no such record"):
        study.grid("y", "rate")


def test_a_study_shows_its_axes_status_records_and_folder(study):
    text, page = repr(study), study._repr_html_()
    for told in ("36 runs (36 ok)", "0.1, 0.2, 0.3", "0, 1, 2, 3", "x", "3 records from step 0 to 10", "temporary"):
        assert told in text and told in page


def test_tables_for_pandas_and_xarray(study):
    frame = study.to_pandas()
    assert list(frame.columns) == study.records.columns and len(frame) == len(study.records)
    assert frame[(frame.rate == 0.2) & (frame.seed == 0) & (frame.x0 == 1.0)].x.tolist() == pytest.approx([1.0, 1.2, 3.0])
    assert len(study.to_pandas("runs")) == 36
    dataset = study.to_xarray()
    assert dict(dataset.sizes) == {"run": 36, "step": 3, "panel": 1}
    with pytest.raises(InputError, match="choose one of"):
        study.to_pandas("run")
