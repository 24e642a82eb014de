"""Captions list every value of a setting, not that of the first run."""

import polars as pl
import pytest
from fake_studies import fake_study

from dynamics.analysis.captions import Settings
from dynamics.analysis.curves import measure_band
from dynamics.analysis.rate_pages import describe_setup
from dynamics.errors import InputError

RUNS = pl.DataFrame(
    {
        "noise": [0.5, 1.0, 0.5],
        "law": ["ball", "ball", "sphere"],
        "steps": [20, 20, 20],
        "n": [32, 64, 128],
        "kept": [True, False, True],
        "bound": [None, 1.5, 2.0],
    }
)


@pytest.mark.parametrize(
    "text, printed",
    [
        ("{0[noise]:g}", "0.5, 1"),
        ("{0[noise]:.2f}", "0.50, 1.00"),
        ("{0[law]}", "ball, sphere"),
        ("{0[steps]}", "20"),
        ("{0[n]}", "32, 64, 128"),
        ("{0[kept]}", "True, False"),
        ("{0[bound]}", "None, 1.5, 2.0"),
    ],
)
def test_a_setting_prints_all_of_its_values(text, printed):
    settings = Settings(RUNS)
    assert text.format(settings) == printed
    assert str(settings["noise"]) == "0.5, 1.0" and settings["noise"] * 2 == 1.0 and settings["steps"] == 20


def test_many_values_are_cut_short():
    assert f"{Settings(pl.DataFrame({'n': list(range(40))}))['n']}" == "0, 1, 2, 3, ..., 39 (40 values)"


def test_the_caption_of_rates_names_the_noise_of_every_panel():
    columns = {"clean_train_error": lambda run, step: 1.0}
    both = fake_study("stable_minima/rates", "size=smoke", "panels.stable.data.noise_std=0.5", columns=columns)
    assert "noise 0.5, 1, " in describe_setup(both)
    assert "noise 1, " in describe_setup(both.select(panel="low_norm"))


def test_a_band_over_seeds_pools_nothing_else():
    columns = {"clean_train_error": lambda run, step: run.data.noise_std}
    study = fake_study("stable_minima/rates", "size=smoke", "sweep.data.noise_std=[0.5,1.0]", columns=columns)
    part = study.select(panel="stable", input_dim=1, num_samples=16)
    with pytest.raises(InputError, match=r"has 2 runs; select one value of: data.noise_std \(0.5, 1\)"):
        measure_band(part, "clean_train_error")
    assert set(measure_band(part.select(noise_std=0.5), "clean_train_error").high) == {0.5}
