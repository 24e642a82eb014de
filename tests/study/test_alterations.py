"""A request that differs from what the experiment's config asks for has a place of its own for figure and claims."""

import json
import shutil
from pathlib import Path

import pytest

from dynamics.analysis.figures import Page, new_figure
from dynamics.study.alterations import figures_folder, is_altered, runs_identity
from dynamics.study.config import compose
from dynamics.study.experiments import experiment_module
from dynamics.study.request import Request

RATES = "stable_minima/rates"
STORE = Path(__file__).parents[1] / "fixtures" / "store_of_november"
SAME = {
    "nothing": [],
    "how it is computed": ["save_final=true", "memory=2", "worker=1", "workers=2", "output=elsewhere", "mode=figure"],
    "an axis as it is": ["sweep.seed={range: [0, 2]}", "data.noise_std=1"],
}
OTHER = {
    "a field": ["data.noise_std=0.5"],
    "fewer seeds": ["sweep.seed=[0]"],
    "a panel of another name": ["+panels.other={optimizer: {learning_rate: 0.2, weight_decay: 0.0}}"],
}


def asked(*overrides: str) -> Request:
    return compose(RATES, "size=smoke", *overrides)


@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_what_has_other_runs_is_altered(name):
    request = asked(*{**SAME, **OTHER}[name])
    assert is_altered(request) == (name in OTHER)
    assert (runs_identity(request) != runs_identity(asked())) == (name in OTHER)
    folder = figures_folder(request).relative_to(request.settings.output)
    shipped, own = Path("figures/smoke/stable_minima"), f"rates/altered-{runs_identity(request)[:8]}"
    assert folder == (shipped / own if name in OTHER else shipped)


def test_where_images_lie_alters_nothing(tmp_path):
    asked_for = compose("convolution/images", "size=smoke", f"data.root={tmp_path}")
    assert asked_for.overrides and not is_altered(asked_for)
    assert is_altered(compose("convolution/images", "size=smoke", f"data.root={tmp_path}", "data.noise_std=0.5"))


def test_sizes_do_not_replace_one_another():
    folders = [figures_folder(compose(RATES, f"size={size}")) for size in ("smoke", "laptop", "paper")]
    assert [str(folder) for folder in folders] == [f"figures/{s}stable_minima" for s in ("smoke/", "", "paper/")]


def test_an_altered_study_leaves_the_figure_and_claims_of_the_study_alone(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment_module(RATES), "figure", lambda study: Page(new_figure(2, 2), "A page."))
    shutil.copytree(STORE, tmp_path, dirs_exist_ok=True)
    command = [f"experiment={RATES}", "size=smoke", "mode=figure", f"output={tmp_path}"]
    assert cli(*command)[0] == 0
    shipped = {file: file.read_bytes() for file in (tmp_path / "figures").rglob("*") if file.is_file()}
    code, out, err = cli(*command, "sweep.data.num_samples=[16,32]")
    assert code == 0, err
    assert {file: file.read_bytes() for file in shipped} == shipped
    (claims,) = (tmp_path / "figures").rglob("altered-*/rates.claims.json")
    assert str(claims.parent / "rates.png") in out.replace("\n", "")
    source, plain = (json.loads(f.read_text())["source"] for f in (claims, *[f for f in shipped if ".claims" in f.name]))
    assert source["altered"] and source["overrides"] == ["sweep.data.num_samples=[16,32]"] and source["runs"] == 16
    assert not plain["altered"] and plain["overrides"] == [] and plain["runs"] == 24
    assert plain["size"] == "smoke" and plain["code"] and plain["identity"] == runs_identity(asked()) != source["identity"]
