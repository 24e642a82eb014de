"""What a shell offers at the tab key."""

import os
import subprocess
import sys

import pytest
from command_stores import NAME

RATES = "stable_minima/rates"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dynamics ", {"list", "new", "claims", "map", "status", "export", "gc", "experiment="}),
        ("dynamics st", {"status"}),
        ("dynamics experiment=atlas/ca", {"experiment=atlas/catapult"}),
        (f"dynamics experiment={NAME} size=", {"size=smoke", "size=laptop", "size=paper"}),
        (f"dynamics experiment={NAME} mode=p", {"mode=plan"}),
        (f"dynamics experiment={NAME} edge", {"edge_ratio="}),
        (f"dynamics export experiment={NAME} initial_", {"initial_kernel=", "initial_output="}),
        (f"dynamics export experiment={NAME} ta", {"table=records", "table=runs"}),
        ("dynamics map lazy", {"lazy_kernel"}),
        ("dynamics map --", {"--output", "--page", "--help"}),
        ("dynamics gc --", {"--yes", "--days", "--unasked", "--help"}),
        (f"dynamics experiment={RATES} data.law=sp", {"data.law=sphere", "data.law=sphere_patch"}),
        (f"dynamics experiment={RATES} optimizer.kind=gd,adam", {"optimizer.kind=gd,adam", "optimizer.kind=gd,adamw"}),
        (f"dynamics experiment={RATES} sweep.loss.normalization=[h", {"sweep.loss.normalization=[half"}),
        (f"dynamics experiment={RATES} measures=[path_norms,train", {"measures=[path_norms,train_loss"}),
        (f"dynamics experiment={RATES} panels.stable.data.shuffle_parts=t", {"panels.stable.data.shuffle_parts=true"}),
        (f"dynamics experiment={RATES} optimizer.learning_rate=", {"optimizer.learning_rate=0.1"}),
        ("dynamics experiment=nonsense st", set()),
        ("dynamics experiment=nonsense data.law=", set()),
        ("dynamics experiment=nonsense size=", set()),
        ("dynamics what= is thi", set()),
    ],
)
def test_what_the_tab_key_offers(line, words, cli, monkeypatch):
    monkeypatch.setenv("COMP_LINE", line)
    code, out, err = cli("-sc", "query=bash")
    assert (code, set(out.split()), err) == (0, words, "")


def test_bash_completes_through_its_own_mechanics(tmp_path):
    """As a shell does: `eval` what is printed, then call the function that it defines with the line typed so far."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "dynamics").write_text(f"#!{sys.executable}\nfrom dynamics.cli.main import main\nmain()\n")
    (folder / "dynamics").chmod(0o755)
    script = f"""
        eval "$(dynamics -sc install=bash)"
        complete -p dynamics
        COMP_LINE="dynamics experiment={NAME} edge"; COMP_POINT=${{#COMP_LINE}}; COMP_CWORD=2
        hydra_bash_completion
        echo "offers ${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "hydra_bash_completion dynamics" in done.stdout
    assert done.stdout.splitlines()[-1] == "offers edge_ratio="
