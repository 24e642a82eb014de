"""Every experiment composes at its larger sizes, runs at smoke, and keeps its contract."""

from pathlib import Path

import pytest

from dynamics.analysis.bounds import FAILS, HOLDS, INCONCLUSIVE
from dynamics.analysis.claims import NOT_REJECTED, REJECTED, read_claims
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


def smoke(name: str, cli, folder: Path) -> tuple[Path, str]:
    """Output folder and what was printed: what `make smoke` has left, if nothing has changed since, else run here."""
    root = Path(__file__).parents[2]
    told = root / "build" / "smoke" / f"{name}.log"
    files = [f for place in ("dynamics", "configs", "experiments") for f in (root / place).rglob("*")]
    changed = max(f.stat().st_mtime for f in files if f.suffix in (".py", ".yaml"))
    if told.exists() and told.stat().st_mtime > changed:
        return root / "build" / "smoke", told.read_text()
    code, out, err = cli(f"experiment={name}", "size=smoke", f"output={folder}")
    assert code == 0
    return folder, err + out


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_runs_at_smoke(name, cli, tmp_path):
    folder, out = smoke(name, cli, tmp_path)
    stem = folder / "figures" / "smoke" / name
    for suffix in (".pdf", ".png", ".caption.txt"):
        assert stem.with_suffix(suffix).stat().st_size > 0
    claims = read_claims(stem.with_suffix(".claims.json"))
    assert claims
    told = [line for line in out.splitlines() if not line.startswith("group ")]
    assert told[0].startswith(f"{name} (smoke)")  # and not with a warning
    first_column = "".join(line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│"))  # ids are folded
    assert len({c.id for c in claims}) == len(claims)
    for claim in claims:
        assert claim.verdict in (HOLDS, FAILS, INCONCLUSIVE)
        assert claim.control, f"{claim.id} has no negative control"
        assert claim.id in first_column
        assert claim.control_outcome in (REJECTED, NOT_REJECTED)


@pytest.mark.parametrize("name", NAMES)
def test_experiments_hold_no_training_loop(name):
    source = Path(experiment_module(name).__file__).read_text()
    for word in ("jax.grad", "fori_loop", "lax.scan", "rcParams", "savefig", "pyplot"):
        assert word not in source
