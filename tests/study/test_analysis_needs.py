"""What figures and claims need is told before computing, and axes that they do not know make pages of their own.

What each experiment declares is looked at in `tests/suite/test_experiments.py`.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from fake_studies import fake_study

from dynamics.core import spec as specs
from dynamics.engine.execute import Executor
from dynamics.errors import InputError
from dynamics.study.analysis_needs import read_needs, split_parts
from dynamics.study.config import compose
from dynamics.study.experiments import experiment_module

RATES = "stable_minima/rates"
STORE = Path(__file__).parents[1] / "fixtures" / "store_of_november"
NOISE = {0.5: 1.0, 1.0: 0.25, 2.0: 0.75}  # the slope of the fake errors


@pytest.fixture
def no_compute(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("compute started")

    monkeypatch.setattr(Executor, "compute", refuse)


REFUSED = {
    "a measure": (["measures=[train_loss,sharpness]"], "measures = ['train_loss', 'sharpness']", "need the measures"),
    "a panel": (["~panels.stable"], "panels = ['low_norm']", "need the panel stable"),
    "a panel of one part": (
        ["panels.stable.data.noise_std=[0.5,1.0]", "panels.low_norm.data.noise_std=[1.0,2.0]"],
        "panels = ['stable']",
        "need the panel low_norm for data.noise_std = 0.5",
    ),
    "as many pages": (["sweep.data.noise_std={linspace: [0.1, 1, 25]}"], "data.noise_std = '0.1", "has 25 values"),
    "needs that are none": (["needs={}"], "needs = {}", "is for a config to say"),
    "needs of one's own": (["needs.measures=[]"], "needs.measures = []", "is for a config to say"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_figure_lacks_is_told_in_one_line_before_computing(name, cli, tmp_path, no_compute):
    overrides, value, missing = REFUSED[name]
    code, out, err = cli(f"experiment={RATES}", "size=smoke", f"output={tmp_path}", *overrides)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"error: {value}") and missing in err
    assert ("mode=compute computes and stores without" in err) == ("config to say" not in missing)


def test_a_plan_says_what_a_figure_would_lack(cli, tmp_path, no_compute):
    code, out, err = cli(f"experiment={RATES}", "size=smoke", "mode=plan", f"output={tmp_path}", "~panels.stable")
    assert code == 0 and "12 runs to compute" in out
    assert err.startswith("warning: panels = ['low_norm']") and len(err.splitlines()) == 1


def test_needs_may_be_seeds_and_axes_and_have_no_other_words():
    request = compose(RATES, "size=smoke", "data.num_samples=16")
    assert request.needs is not None
    for field, wanted, missing in (
        ("seed", {"seeds": 3}, "need at least 3 seeds in panel stable"),
        ("data.num_samples", {"axes": ("data.num_samples",)}, "need at least two values of it"),
    ):
        with pytest.raises(InputError, match=missing) as error:
            replace(request.needs, **wanted).require_met(RATES, request.panels)
        assert error.value.field == field
    with pytest.raises(InputError, match="did you mean 'measures'"):
        read_needs({"measure": ["train_loss"]}, [])


PARTS = {
    "an axis": (["sweep.data.noise_std=[0.5,1.0]"], ["data.noise_std = 0.5", "data.noise_std = 1"]),
    "in whatever order": (["sweep.data.noise_std=[1.0,0.5]"], ["data.noise_std = 0.5", "data.noise_std = 1"]),
    "an axis that seeds follow": (
        ["sweep.zip=[{data.noise_std: [0.5,1.0,2.0], seed: [0,1,2]}]"],
        ["data.noise_std = 0.5", "data.noise_std = 1", "data.noise_std = 2"],
    ),
    "an axis of one panel": (
        ["panels.stable.optimizer.learning_rate=[0.1,0.2]"],
        ["optimizer.learning_rate = 0.1", "optimizer.learning_rate = 0.2"],
    ),
    "two axes": (
        ["sweep.data.noise_std=[0.5,1.0]", "sweep.model.init=[torch_default,kaiming_normal]"],
        [
            f"data.noise_std = {noise}, model.init = {init}"
            for noise in ("0.5", "1")
            for init in ("kaiming_normal", "torch_default")
        ],
    ),
    "what follows a known axis": (["sweep.zip=[{data.num_samples: [16, 32], model.width: [64, 100]}]"], [""]),
    "one value": (["data.noise_std=0.5"], [""]),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_study_is_parted_by_the_axes_that_its_figure_does_not_know(name):
    overrides, labels = PARTS[name]
    request = compose(RATES, "size=smoke", *overrides)
    assert request.needs is not None
    parts = split_parts(RATES, request.panels, request.needs)
    assert sorted(parts) == sorted(labels)
    assert {specs.run_id(run) for part in parts.values() for runs in part.values() for run in runs} == {
        specs.run_id(run) for run in request.runs
    }


def error_of(run, step):
    return run.data.num_samples ** -NOISE[run.data.noise_std] * (1 + 0.1 * run.seed)


COLUMNS = {
    "train_loss": error_of,
    "clean_train_error": error_of,
    "excess_risk": error_of,
    "generalization_gap": error_of,
    "gauss_newton_sharpness": lambda run, step: 2 / run.optimizer.learning_rate,
}


def test_each_value_of_an_unknown_axis_has_the_page_and_the_claims_of_its_own_study():
    both = fake_study(RATES, "size=smoke", "sweep.data.noise_std=[1.0,0.5]", columns=COLUMNS)
    page, claims = both.figure(), both.claims()
    slopes = page.tables["slopes"].filter(metric="clean_train_error").group_by("part").agg(pl.col("slope").mean())
    assert {part: round(-slope, 6) for part, slope in slopes.iter_rows()} == {
        f"data.noise_std = {noise:g}": NOISE[noise] for noise in (0.5, 1.0)
    }
    assert page.caption.startswith("data.noise_std = 0.5: ") and "\n\ndata.noise_std = 1: " in page.caption
    assert len(page.further) == 1 and page.figure.get_suptitle() == "data.noise_std = 0.5"
    for noise in (0.5, 1.0):
        alone = fake_study(RATES, "size=smoke", f"data.noise_std={noise}", columns=COLUMNS)
        own = {claim.id: claim.measured for claim in alone.claims()}
        label = f"[data.noise_std={noise:g}]"
        found = {claim.id.removesuffix(label): claim.measured for claim in claims if claim.id.endswith(label)}
        assert str(found) == str(own) and own  # NaN is NaN
    assert len(claims) == 2 * len(own)


def test_a_page_of_parts_is_written_whole(tmp_path):
    import matplotlib.image

    from dynamics.analysis.figures import Page, new_axes, write_page

    def page(height: float) -> Page:
        return Page(new_axes(1, 1, (3, height))[0], f"of {height}", {"t": pl.DataFrame({"x": [height]})})

    stacked = page(2.0).stack({"a = 1": (one := page(2.0)), "a = 2": (two := page(3.0))})
    for name, each in (("one", one), ("two", two), ("both", stacked), ("again", stacked)):
        write_page(each, tmp_path, name)
    heights = {name: matplotlib.image.imread(tmp_path / f"{name}.png").shape[0] for name in ("one", "two", "both")}
    assert heights["both"] == heights["one"] + heights["two"]
    assert (tmp_path / "both.pdf").read_bytes().count(b"/Type /Page ") == 2
    assert (tmp_path / "both.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert (tmp_path / "t.csv").read_text().splitlines() == ["part,x", "a = 1,2.0", "a = 2,3.0"]


@pytest.fixture
def stored(tmp_path) -> Path:
    shutil.copytree(STORE, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_an_error_of_a_figure_loses_neither_results_nor_claims(cli, stored, monkeypatch):
    def broken(study):
        raise KeyError("path\nnorm")

    monkeypatch.setattr(experiment_module(RATES), "figure", broken)
    command = [f"experiment={RATES}", "size=smoke", f"output={stored}", "reuse=older"]
    code, out, err = cli(*command)
    (line,) = [line for line in err.splitlines() if line.startswith("error")]
    assert code == 1 and f"the figure of {RATES} cannot be made: KeyError: 'path\\nnorm' (" in line
    assert "the results are stored, draw again by: dynamics experiment=stable_minima/rates size=smoke" in line
    claims = stored / "figures" / "smoke" / "stable_minima" / "rates.claims.json"
    assert len(json.loads(claims.read_text())["claims"]) > 3 and "verdict" in out
    monkeypatch.setenv("DYNAMICS_DEBUG", "1")
    with pytest.raises(KeyError):
        cli(*command)


def test_a_study_may_be_computed_without_figure_and_claims(cli, stored):
    command = [f"experiment={RATES}", "size=smoke", f"output={stored}", "reuse=older"]
    code, out, _ = cli(*command, "mode=compute", "~panels.stable")
    assert (code, out) == (0, "") and not (stored / "figures").exists()
