"""Configs that are composed once and kept: the same as Hydra composes anew, for as long as their files are the same."""

import os

import pytest
from omegaconf import OmegaConf

from dynamics.core.options import option
from dynamics.core.spec import run_id
from dynamics.data.targets import TARGETS
from dynamics.study import compositions, config
from dynamics.study.config import compose
from dynamics.systems import register

OVERRIDES = [
    ["seed=0"],
    ["seed=7", "optimizer.learning_rate=1e-3", "size=smoke"],
    ["data={input_dim: 3}", "data.input_dim=2", "model.width=4n"],
    ["measures=[train_loss]", "model.width=${data.input_dim}", "optimizer.clip_norm=inf"],
    ["optimizer.kind=momentum", "optimizer.momentum=0.5", "sweep.seed=[4,5]"],
]


@pytest.fixture
def composed(monkeypatch):
    """`composed(overrides, keep) -> (config, identities of the runs, how often Hydra composed)`."""

    def call(overrides, keep):
        calls, found = [], []
        with monkeypatch.context() as patch:
            hydra, template = compositions.compose, config.template
            patch.setattr(compositions, "compose", lambda *given: (calls.append(given), hydra(*given))[1])
            patch.setattr(config, "template", lambda cfg, *rest: (found.append(cfg), template(cfg, *rest))[1])
            if not keep:
                patch.setattr(compositions, "_is_plain", lambda *_: False)
            request = compose("stable_minima/rates", *overrides)
        return OmegaConf.to_container(found[0]), [run_id(run) for run in request.runs], len(calls)

    return call


@pytest.mark.parametrize("overrides", OVERRIDES)
def test_a_kept_config_with_values_laid_over_it_is_the_one_composed_anew(overrides, composed):
    compose("stable_minima/rates", "steps=11", "data={input_dim: 9}", "record.at=[]")  # of which nothing may stay
    *kept, calls = composed(overrides, keep=True)
    *anew, expected = composed(overrides, keep=False)
    assert kept == anew and (calls, expected) == (0, 1)


def test_a_file_that_has_changed_is_read_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "configs" / "experiment" / "mine" / "own.yaml"
    file.parent.mkdir(parents=True)
    (tmp_path / "configs" / "config.yaml").write_bytes((config.home() / "configs" / "config.yaml").read_bytes())
    for steps in (5, 6):
        file.write_text(f"# @package _global_\ndefaults: [/system/catapult, _self_]\nsteps: {steps}\n")
        os.utime(file, ns=(steps, steps))
        assert [run.steps for run in compose("mine/own").runs] == [steps]


def test_a_piece_registered_anew_has_its_own_default():
    compositions._compose_once.cache_clear()
    try:
        for bend in (2.0, 5.0):
            if "bent" in TARGETS.own_pieces():
                TARGETS.remove("bent")
            register.target("bent", fields={"bend": option(bend)})(lambda key, setting: None)
            request = compose("stable_minima/rates", "size=smoke", "target.kind=bent")
            assert {run.target.bend for run in request.runs} == {bend}
    finally:
        TARGETS.remove("bent")
