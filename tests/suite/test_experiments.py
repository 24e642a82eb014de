"""Every experiment composes at its larger sizes; `make smoke` runs them, and `tests/smoke.py` holds them to their contract."""

from pathlib import Path

import pytest

from dynamics.engine.execute import Executor
from dynamics.study.experiments import experiment_module, experiment_names

NAMES = experiment_names()


def test_configs_and_experiments_come_in_pairs():
    from dynamics.study.experiments import home

    files = {str(f.relative_to(home() / "experiments").with_suffix("")) for f in (home() / "experiments").rglob("*.py")}
    assert files == set(NAMES)


@pytest.mark.parametrize("size", ["laptop", "paper"])  # smoke is run
@pytest.mark.parametrize("name", NAMES)
def test_every_config_composes_at_its_larger_sizes(name, size, cli, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("compute started")

    monkeypatch.setattr(Executor, "compute", refuse)
    code, out, err = cli(f"experiment={name}", f"size={size}", "mode=plan", f"output={tmp_path}")
    assert (code, err) == (0, "")
    assert "runs to compute" in out


@pytest.mark.parametrize("name", NAMES)
def test_experiments_hold_no_training_loop(name):
    source = Path(experiment_module(name).__file__).read_text()
    for word in ("jax.grad", "fori_loop", "lax.scan", "rcParams", "savefig", "pyplot"):
        assert word not in source
