"""Names that the field uses for our fields lead to ours, wherever a name is unknown."""

import pytest

from dynamics.core.spec import leaf_paths
from dynamics.errors import ABBREVIATIONS, InputError, suggest
from dynamics.systems import SYSTEMS
from dynamics.systems.training import TrainingSpec

FIELDS = leaf_paths(TrainingSpec)
MEANT = {
    "lr": "optimizer.learning_rate",
    "eta": "optimizer.learning_rate",
    "wd": "optimizer.weight_decay",
    "bs": "optimizer.batch_size",
    "n": "data.num_samples",
    "d": "data.input_dim",
    "sigma": "data.noise_std",
    "hidden_size": "model.width",
    "layers": "model.depth",
    "epochs": "steps",
    "opt": "optimizer.kind",
    "dataset": "data.law",
    "rng": "seed",
}


@pytest.mark.parametrize("name", MEANT)
def test_an_abbreviation_leads_to_its_field(name):
    for written in (name, name.upper(), f"optimizer.{name}"):
        assert suggest(written, FIELDS) == f" (did you mean {MEANT[name]!r}?)"


def test_every_abbreviation_means_a_field_there_is_and_is_none_itself():
    known = {path for system in SYSTEMS.values() for path in leaf_paths(system)}
    for name, field in ABBREVIATIONS.items():
        assert any(path == field or path.endswith(f".{field}") for path in known), (name, field)
        assert name not in known


def test_the_last_part_of_a_field_leads_to_the_whole():
    assert "'optimizer.learning_rate'" in suggest("learning_rate", FIELDS)
    assert "'optimizer.learning_rate'" in suggest("data.learning_rate", FIELDS)
    assert "'target.views.size'" in suggest("target.size", FIELDS)


def test_the_group_that_is_named_comes_first():
    known = ["model.views.size", "target.views.size", "batch_size", "optimizer.batch_size"]
    assert "'optimizer.batch_size'" in suggest("optimizer.bs", known)
    assert "'batch_size'" in suggest("bs", known)


def test_spelling_comes_last_and_nonsense_suggests_nothing():
    assert "'optimizer.momentum'" in suggest("optimizer.momentun", FIELDS)
    assert suggest("xyzzy", FIELDS) == ""


@pytest.mark.parametrize("override", ["{}=0.1", "+{}=0.1", "optimizer.{}=0.1", "sweep.{}=[0.1]", "panels.stable.{}=0.1"])
@pytest.mark.parametrize("name", ["lr", "wd"])
def test_the_command_line_suggests_what_was_meant(override, name, cli):
    code, _, err = cli("experiment=stable_minima/rates", "size=smoke", "mode=plan", override.format(name))
    assert (code, len(err.splitlines())) == (2, 1), err
    assert f"did you mean {MEANT[name]!r}" in err


def test_the_suggestion_is_a_field_of_the_experiment_s_own_system(cli):
    """The searches have fields `learning_rate` and `num_samples` at the top level; training has them in groups."""
    for name in ("n", "lr"):
        _, _, err = cli("experiment=stable_minima/rates", "size=smoke", "mode=plan", f"{name}=1")
        assert f"did you mean {MEANT[name]!r}" in err


def test_the_library_suggests_too():
    import polars as pl

    import dynamics as dyn
    from dynamics.study.contents import StudyContents

    with pytest.raises(InputError, match=r"did you mean '.*learning_rate'"):
        dyn.plan("stable_minima/rates", size="smoke", lr=0.1)
    columns = pl.DataFrame({"run": ["a"], "optimizer.learning_rate": [0.1], "data.input_dim": [2]})
    study = StudyContents("a", "smoke", columns, columns, None, {})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"did you mean '.*input_dim'"):
        study.column("d")
