"""`dynamics status`: what it counts, and that it changes nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from command_stores import NAME, ask, ids, results_of, row, tree
from filelock import FileLock

from dynamics.store.layout import folder_bytes
from dynamics.store.store import Store
from dynamics.systems.one_sample_descent import CatapultSpec


def test_status_counts_what_is_there_and_changes_nothing(cli, tmp_path, store, good, bad):
    store.write(good)
    store.write(bad)
    torn = store.write(results_of({"edge_ratio": [1.1]}))
    (torn / "runs.parquet").write_bytes(b"PAR1")
    store.write_failure([CatapultSpec(seed=5), good.runs[0]], "no luck")  # the second has been computed since
    ask(store, [*ids(good), "never-1", "never-2", "never-3"])
    ask(store, ["never-3", "never-4"])
    for chunk in ("asleep", "awake"):
        (store.folder / "work" / chunk).mkdir(parents=True)
        (store.folder / "work" / chunk / "checkpoint").write_bytes(b"x")
    (store.folder / "work" / "asleep" / "lock").touch()
    (store.folder / "work" / "only-a-lock").mkdir()
    (store.folder / "work" / "only-a-lock" / "lock").touch()
    lone = Store(tmp_path / "out" / "results" / "other")
    lone.write(good)
    disk = folder_bytes(store.folder), folder_bytes(lone.folder)
    with FileLock(store.folder / "work" / "awake" / "lock"):
        before = tree(tmp_path / "out")
        code, out, err = cli("status", str(tmp_path / "out"))
        assert tree(tmp_path / "out") == before
    assert code == 0
    #                                   done reached diverged not_finite failed left computing waiting damaged parts
    assert row(out, NAME)[:-1] == list(map(str, [3, 0, 1, 0, 1, 4, 1, 1, 1, 2]))
    assert row(out, "other")[:-1] == list(map(str, [2, 0, 0, 0, 0, 0, 0, 0, 0, 1]))
    assert row(out, "all")[:-1] == list(map(str, [5, 0, 1, 0, 1, 4, 1, 1, 1, 3]))
    assert float(row(out, "all")[-1].split()[0]) == pytest.approx(sum(disk) / 1000, rel=0.01)
    assert str(torn) in err and "runs.parquet" in err


def test_status_looks_at_every_file_only_if_asked(cli, tmp_path, store, good):
    part = store.write(good)
    data = (part / "records.parquet").read_bytes()
    (part / "records.parquet").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    before = tree(tmp_path / "out")
    assert row(cli("status", str(tmp_path / "out"))[1], NAME)[8] == "0"
    _, out, err = cli("status", str(tmp_path / "out"), "--check")
    assert (row(out, NAME)[0], row(out, NAME)[8:10]) == ("0", ["1", "0"])
    assert "records.parquet does not match its checksum" in err
    assert tree(tmp_path / "out") == before


def test_status_of_a_store_that_cannot_be_read_tells_of_the_others(cli, tmp_path, store, good):
    store.write(good)
    newer = tmp_path / "out" / "results" / "newer"
    newer.mkdir()
    (newer / "store.json").write_text('{"format": 99}')
    code, out, err = cli("status", str(tmp_path / "out"))
    assert (code, row(out, NAME)[0], len(err.splitlines())) == (0, "2", 1)
    assert "format 99" in err


def test_status_needs_no_jax(tmp_path, store, good):
    store.write(good)
    program = (
        "import sys; sys.argv = ['dynamics', 'status']; from dynamics.cli.main import main; main(); "
        "assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path / "out", capture_output=True, text=True)
    assert (done.returncode, row(done.stdout, NAME)[0]) == (0, "2"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status"], ["folder", "no results"]),
        (["status", "nowhere"], ["nowhere"]),
        (["status", ".", "--chek"], ["--chek", "did you mean '--check'"]),
        (["status", ".", "too", "many"], ["many", "at most"]),
        (["staus"], ["staus", "did you mean 'status'"]),
        (["gc"], ["folder", "no results"]),
        (["gc", "--force"], ["--force", "--yes"]),
        (["gc", "days=-1"], ["days", "-1"]),
        (["export", f"experiment={NAME}"], ["to", ".csv, .parquet, .nc"]),
        (["export", f"experiment={NAME}", "to=x.xls"], ["x.xls", ".csv, .parquet, .nc"]),
        (["export", f"experiment={NAME}", "to=x.csv", "table=run"], ["table", "did you mean 'runs'"]),
        (["export", f"experiment={NAME}", "to=x.nc", "table=runs"], ["table", "netCDF"]),
        (["export", f"experiment={NAME}", "to=x.csv", "--replace"], ["--replace", "--overwrite"]),
        (["export", f"experiment={NAME}", "to=x.csv", "size=smoke"], ["experiment", "runs are not in", "run it first"]),
        (["export", "to=x.csv"], ["experiment", NAME]),
        (["export", f"experiment={NAME}", "to=x.csv", "widht=3"], ["widht", "did you mean 'width'"]),
        (["export", f"experiment={NAME}", "to=x.csv", "+a._target_=os.system"], ["_target_"]),
        (["list", "all"], ["all"]),
    ],
)
def test_bad_input_is_told_in_one_line(arguments, words, cli):
    code, out, err = cli(*arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert all(word in err for word in words), err
    assert not list(Path().iterdir())
