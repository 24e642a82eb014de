"""`dynamics status`, `export` and `gc`, and what a shell offers at the tab key, against stores made by hand."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from filelock import FileLock

from dynamics.core import spec as specs
from dynamics.store.layout import folder_bytes
from dynamics.store.store import Store
from dynamics.study.config import compose
from dynamics.study.run import open_study
from dynamics.sweep.axes import expand, parse
from dynamics.sweep.execute import Executor
from dynamics.sweep.plan import make_plan
from dynamics.systems.catapult import CatapultSpec

NAME = "atlas/catapult"
AGO = time.time() - 30 * 86400
OVERRIDES = [
    "size=smoke",
    "record.num=4",
    "record.dense=0",
    "sweep.steps=300",
    "panels={phases: {edge_ratio: 1.5}, line: {edge_ratio: [1.5, 4.39]}, check: {form: net, edge_ratio: [1.5, 4.2]}, "
    "growth: {edge_ratio: 3.0, width: [50, 100], steps: 20}}",
]


def results_of(tree, **base):
    spec = CatapultSpec(**({"steps": 3000, "precision": "float64", "width": 100} | base))
    (result,) = Executor().results(make_plan(expand(spec, parse(tree, spec))))
    return result


@pytest.fixture(scope="module")
def good():
    return results_of({"edge_ratio": [1.0, 1.5]})


@pytest.fixture(scope="module")
def bad():
    """One run that ends well and one that diverges."""
    return results_of({"edge_ratio": [1.2, 4.5]})


def ids(result):
    return [specs.run_id(run) for run in result.runs]


@pytest.fixture
def store(tmp_path):
    (tmp_path / "out").mkdir()
    return Store(tmp_path / "out" / "results" / NAME)


def make_old(path):
    os.utime(path, (AGO, AGO))


def ask(store, runs, *, when="2020-01-01T00:00:00Z", command="python /x/dynamics experiment=atlas/catapult width=7"):
    store.write_asked(runs)
    file = store.folder / "asked" / f"{specs.content_hash(sorted(runs))}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"when": when, "command": command}))
    return file


def tree(folder):
    """Every file and folder with content and time of last change."""
    paths = sorted(folder.rglob("*"))
    return {path: (path.read_bytes() if path.is_file() else None, path.stat().st_mtime_ns) for path in paths}


def row(text, name):
    (line,) = [line for line in text.splitlines() if line.strip("│ ").startswith(name)]
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


# ---- status


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
    #                                   done diverged failed left computing waiting damaged parts
    assert row(out, NAME)[:-1] == list(map(str, [3, 1, 1, 4, 1, 1, 1, 2]))
    assert row(out, "other")[:-1] == list(map(str, [2, 0, 0, 0, 0, 0, 0, 1]))
    assert row(out, "all")[:-1] == list(map(str, [5, 1, 1, 4, 1, 1, 1, 3]))
    assert float(row(out, "all")[-1].split()[0]) == pytest.approx(sum(disk) / 1000, rel=0.01)
    assert str(torn) in err and "runs.parquet" in err


def test_status_looks_at_every_file_only_if_asked(cli, tmp_path, store, good):
    part = store.write(good)
    data = (part / "records.parquet").read_bytes()
    (part / "records.parquet").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    before = tree(tmp_path / "out")
    assert row(cli("status", str(tmp_path / "out"))[1], NAME)[6] == "0"
    _, out, err = cli("status", str(tmp_path / "out"), "--check")
    assert (row(out, NAME)[0], row(out, NAME)[6:8]) == ("0", ["1", "0"])
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
        "import sys; sys.argv = ['dynamics', 'status']; from dynamics.cli import main; main(); assert 'jax' not in sys.modules"
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


# ---- export


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    request = compose(NAME, *OVERRIDES)
    store = Store(folder / "results" / NAME)
    for result in Executor().results(make_plan(request.runs)):
        store.write(result)
    return folder


@pytest.fixture
def study(output):
    return open_study(NAME, *OVERRIDES, f"output={output}")


@pytest.fixture
def export(cli, output):
    def call(*arguments):
        return cli("export", f"experiment={NAME}", *OVERRIDES, f"output={output}", *arguments)

    return call


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_exported_tables_are_the_studys_own(suffix, export, study):
    assert export(f"to=records.{suffix}")[0] == 0
    assert export(f"to=runs.{suffix}", "table=runs")[0] == 0
    read = pl.read_parquet if suffix == "parquet" else lambda file: pl.read_csv(file, infer_schema_length=None)
    runs, records = read(f"runs.{suffix}"), read(f"records.{suffix}")
    status = {row["run"]: row["status"] for row in study.runs.iter_rows(named=True)}
    assert records["status"].to_list() == [status[run] for run in records["run"]]
    for found, own in ((runs, study.runs), (records.drop("status"), study.records)):
        assert set(found.columns) == set(own.columns)
        if suffix == "csv":
            found = found.cast({name: own[name].dtype for name in own.columns})
            own = own.with_columns(pl.col(pl.String).replace("", None))
            found = found.with_columns(pl.col(pl.String).replace("", None))
        assert found.select(own.columns).equals(own)
    assert set(os.listdir()) == {f"records.{suffix}", f"runs.{suffix}"}


def test_an_export_replaces_a_file_only_if_told_to(export):
    Path("x.csv").write_text("mine")
    code, _, err = export("to=x.csv")
    assert (code, Path("x.csv").read_text()) == (2, "mine")
    assert "--overwrite" in err
    assert export("to=x.csv", "--overwrite")[0] == 0
    assert Path("x.csv").read_text().startswith("panel,run,status,")


def test_an_export_that_fails_leaves_nothing(export, monkeypatch):
    def full(self, file):
        Path(file).write_text("half")
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(pl.DataFrame, "write_csv", full)
    assert export("to=x.csv")[0] == 3
    assert os.listdir() == []


def test_vectors_are_kept_in_every_format(study):
    from dynamics.study.export import as_text

    frame = pl.DataFrame({"a": [1, 2, 3], "v": [[1.5, float("nan")], [0.1], None], "m": np.arange(12.0).reshape(3, 2, 2)})
    text = as_text(frame)
    assert text["a"].to_list() == [1, 2, 3]
    assert text["v"].to_list() == ["[1.5, NaN]", "[0.1]", None]
    assert json.loads(text["m"][2]) == [[8.0, 9.0], [10.0, 11.0]]


def test_netcdf_holds_runs_by_steps_with_everything_along_them(export, study):
    xr = pytest.importorskip("xarray")
    pytest.importorskip("netCDF4")
    assert export("to=x.nc")[0] == 0
    with xr.open_dataset("x.nc") as data:
        runs = study.runs.unique("run", maintain_order=True)
        assert data["run"].values.tolist() == runs["run"].to_list()
        assert data["step"].values.tolist() == sorted(set(study.records["step"]))
        for name in ("edge_ratio", "form", "width", "status", "record.num"):
            assert data[name].dims == ("run",) and data[name].values.tolist() == runs[name].to_list()
        np.testing.assert_array_equal(data["diverged_at"], runs["diverged_at"].cast(float).to_numpy())
        records = study.records.unique(["run", "step"])
        assert int(data["loss"].notnull().sum()) == len(records.filter(pl.col("loss").is_not_nan()))
        assert len(records) < data["loss"].size  # growth has another schedule, and a run diverges
        assert set(data["status"].values) == {"ok", "diverged"}
        for record in records.iter_rows(named=True):
            for metric in ("loss", "kernel", "output", "edge"):
                np.testing.assert_equal(data[metric].sel(run=record["run"], step=record["step"]).item(), record[metric])
        for panel in study.values("panel"):
            inside = data["run"][data["in_panel"].sel(panel=panel).values].values
            assert set(inside) == set(study.select(panel=panel).runs["run"])
        assert data.attrs["experiment"] == NAME and data.attrs["version_jax"] and "command" in data.attrs
        grid = data.isel(run=data["in_panel"].sel(panel="growth").values).set_index(run=["width"]).rename(run="width_")
        expected, (widths, steps) = study.select(panel="growth").grid("loss", "width", "step")
        np.testing.assert_array_equal(grid["loss"].sel(step=steps).sortby("width_"), expected)
        assert grid["width_"].values.tolist() == widths


def test_vectors_become_axes_of_their_own(study):
    pytest.importorskip("xarray")
    from dataclasses import replace

    from dynamics.study.labelled import to_dataset

    vectors = [[float(i)] * (1 + i % 3) for i in range(len(study.records))]
    records = study.records.with_columns(pl.Series("spectrum", vectors), pl.col("loss").cast(pl.Float32))
    data = to_dataset(replace(study, records=records))
    assert data["spectrum"].dims == ("run", "step", "spectrum_0") and data.sizes["spectrum_0"] == 3
    assert data["loss"].dtype == np.float32
    for record in records.unique(["run", "step"], keep="first").iter_rows(named=True):
        found = data["spectrum"].sel(run=record["run"], step=record["step"]).values
        np.testing.assert_array_equal(found, record["spectrum"] + [np.nan] * (3 - len(record["spectrum"])))


def test_without_xarray_the_extra_is_named(export, monkeypatch):
    import importlib.util

    there = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "xarray" else there(name, *a))
    code, _, err = export("to=x.nc")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "pip install 'dynamics[xarray]'" in err


# ---- gc


@pytest.fixture
def gc(cli, tmp_path):
    return lambda *arguments: cli("gc", str(tmp_path / "out"), *arguments)


@pytest.fixture(scope="module")
def configured():
    """Runs that the smoke size of the experiment's config asks for."""
    request = compose(NAME, "size=smoke")
    return next(Executor().results(make_plan(request.panels["check"])))


def test_gc_leaves_what_a_config_a_sweep_or_a_command_refers_to(gc, tmp_path, store, configured, good, bad):
    for result in (configured, good, bad):
        make_old(store.write(result))
    ask(store, ids(good))
    sweep = tmp_path / "out" / "multirun" / "mine"
    sweep.mkdir(parents=True)
    pl.DataFrame({"job": [0, 1], "run": ids(bad)}).write_parquet(sweep / "results.parquet")
    before = tree(tmp_path / "out")
    code, out, err = gc("--yes")
    assert (code, err, tree(tmp_path / "out")) == (0, "", before)
    assert "nothing to delete" in out
    assert "2020-01-01  dynamics experiment=atlas/catapult width=7 (2 runs)" in out  # whoever reads this can judge


def test_gc_deletes_runs_that_nothing_refers_to_and_those_only(gc, store, configured, good, bad):
    kept = store.write(configured)
    gone = store.write(good)
    young = store.write(bad)
    make_old(kept)
    make_old(gone)
    size = folder_bytes(gone)
    code, out, _ = gc()
    assert (code, gone.exists()) == (0, True)
    assert "runs that nothing refers to: 2 runs in 1 item" in out and "nothing was deleted" in out and "--yes" in out
    assert "keep 2 runs that nothing refers to, in parts of less than 14 days" in out
    code, out, _ = gc("--yes")
    assert (code, gone.exists(), kept.exists(), young.exists()) == (0, False, True, True)
    assert float(out.splitlines()[-1].split()[1]) == pytest.approx(size / 1000, rel=0.01)
    assert os.listdir(store.folder / "work") == []
    assert Store(store.folder).finished() == {*ids(configured), *ids(bad)}
    assert "nothing to delete" in gc("--yes")[1]
    gc("--yes", "days=0")
    assert Store(store.folder).finished() == set(ids(configured))


def test_gc_keeps_a_part_with_a_run_that_is_still_wanted(gc, store, good):
    part = store.write(good)
    make_old(part)
    ask(store, ids(good)[:1])
    before = tree(part)
    _, out, _ = gc("--yes")
    assert tree(part) == before
    assert "keep 1 run that nothing refers to, in parts with others" in out


@pytest.mark.parametrize("when", ["2999-01-01T00:00:00Z", "who knows"])
def test_old_requests_count_until_told_otherwise(when, gc, store, good, bad):
    for result in (good, bad):
        make_old(store.write(result))
    old = ask(store, [*ids(good), "never"])
    young = ask(store, ids(bad), when=when)
    assert "nothing to delete" in gc("--yes")[1]
    gc("--yes", "--unasked")
    assert (Store(store.folder).finished(), old.exists(), young.exists()) == (set(ids(bad)), False, True)


def test_an_experiment_without_a_config_goes_only_if_told_to(gc, tmp_path, good):
    store = Store(tmp_path / "out" / "results" / "old" / "idea")
    make_old(store.write(good))
    _, out, _ = gc("--yes")
    assert store.finished() == Store(store.folder).finished()
    assert "without a config" in out
    gc("--yes", "--unasked")
    assert not store.folder.exists()


def test_gc_never_takes_what_a_process_has(gc, store, good):
    part = store.write(good)
    make_old(part)
    work = store.folder / "work" / part.name
    work.mkdir(parents=True)
    (work / "checkpoint").write_bytes(b"x")
    leftover = store.parts / f".{part.name}~abc"
    leftover.mkdir()
    make_old(leftover)
    with FileLock(work / "lock"):
        _, out, _ = gc("--yes")
        assert part.exists() and leftover.exists() and (work / "checkpoint").exists()
        assert "a process is at it" in out
    gc("--yes")
    assert not part.exists() and not leftover.exists() and not work.exists()


def test_gc_sweeps_up_leftovers(gc, store, good, bad):
    done = store.write(good)
    ask(store, [*ids(good), "left"])
    gone, stay = [], []
    for name, rubbish in ((done.name, True), ("halfway", False)):
        folder = store.folder / "work" / name
        folder.mkdir(parents=True)
        (folder / "checkpoint").write_bytes(b"x")
        make_old(folder / "checkpoint")
        (gone if rubbish else stay).append(folder / "checkpoint")
    gone.append(store.folder / "work" / "halfway" / "checkpoint.damaged.123")
    gone[-1].touch()
    (store.folder / "damaged" / "part.2020").mkdir(parents=True)
    gone.append(store.folder / "damaged" / "part.2020")
    store.write_failure(good.runs, "no luck")
    gone += list((store.folder / "failed").iterdir())
    store.write_failure(bad.runs, "no luck")
    stay += [file for file in (store.folder / "failed").iterdir() if file not in gone]
    torn = (".store.json~abc", "asked/.x.json~abc", "work/halfway/.checkpoint~abc")
    for name, old in (*((name, True) for name in torn), ("asked/.y.json~abc", False), (".my-own", None)):
        (store.folder / name).touch()
        if old is not False:
            make_old(store.folder / name)
        (gone if old else stay).append(store.folder / name)
    assert all(path.exists() for path in gone + stay)
    code, _, err = gc("--yes")
    assert (code, err) == (0, "")
    assert [path for path in gone if path.exists()] == []
    assert [path for path in stay if not path.exists()] == []
    assert Store(store.folder).finished() == set(ids(good))


def test_a_checkpoint_goes_when_nothing_is_left_and_it_is_old(gc, store, good):
    store.write(good)
    for name in ("old", "young"):
        (store.folder / "work" / name).mkdir(parents=True)
        (store.folder / "work" / name / "checkpoint").touch()
    make_old(store.folder / "work" / "old" / "checkpoint")
    gc("--yes")
    assert os.listdir(store.folder / "work") == ["young"]


@pytest.mark.parametrize("place", ["parts/link", "damaged", "work/link", "failed"])
def test_gc_does_not_follow_links_out_of_the_store(place, gc, tmp_path, store, good):
    make_old(store.write(good))
    outside = tmp_path / "elsewhere"
    (outside / "precious").mkdir(parents=True)
    (outside / "precious" / "data.json").write_text('{"runs": []}')
    (outside / "note.json").write_text('{"runs": []}')
    (store.folder / place).parent.mkdir(exist_ok=True)
    (store.folder / place).symlink_to(outside)
    make_old(Store(outside / "study").write(good))
    Path(tmp_path / "out" / "results" / "linked").symlink_to(outside)
    before = tree(outside)
    assert gc("--yes", "--unasked", "days=0")[0] == 0
    assert tree(outside) == before


@pytest.mark.parametrize(("answer", "there"), [("n", True), ("", True), ("y", False)])
def test_on_a_terminal_gc_asks(answer, there, gc, store, good, monkeypatch):
    part = store.write(good)
    make_old(part)
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda text: (asked.append(text), answer)[1])
    gc()
    assert (part.exists(), len(asked)) == (there, 1)
    assert "[y/N]" in asked[0]


def test_what_came_to_be_wanted_while_gc_asked_is_kept(gc, store, good, monkeypatch):
    part = store.write(good)
    make_old(part)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda text: (ask(store, ids(good)), "y")[1])
    gc()
    assert part.exists()


def test_a_sweep_that_cannot_be_read_stops_gc(gc, tmp_path, store, good):
    part = store.write(good)
    make_old(part)
    sweep = tmp_path / "out" / "multirun" / "mine"
    sweep.mkdir(parents=True)
    (sweep / "results.parquet").write_bytes(b"torn")
    code, _, err = gc("--yes")
    assert (code, part.exists(), len(err.splitlines())) == (2, True, 1)
    (sweep / "results.parquet").unlink()
    (sweep / "0").mkdir()
    (sweep / "0" / "result.json").write_text(json.dumps({"results": [{"run": run} for run in ids(good)]}))
    assert gc("--yes")[0] == 0
    assert part.exists()


def test_a_config_that_cannot_be_read_protects_its_results(gc, store, good):
    import shutil

    root = Path(__file__).parent.parent
    for name in ("configs", "experiments"):
        shutil.copytree(root / name, name)
    file = Path("configs/experiment/atlas/catapult.yaml")
    file.write_text(file.read_text().replace("width: 200", "widht: 200"))
    part = store.write(good)
    make_old(part)
    code, _, err = gc("--yes", "--unasked")
    assert (code, part.exists(), len(err.splitlines())) == (0, True, 1)
    assert "left alone" in err and "widht" in err


# ---- completion


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("dynamics ", {"list", "claims", "status", "export", "gc", "experiment="}),
        ("dynamics st", {"status"}),
        ("dynamics experiment=atlas/", {"experiment=atlas/catapult", "experiment=atlas/edge_of_stability"}),
        (f"dynamics experiment={NAME} size=", {"size=smoke", "size=laptop", "size=paper"}),
        (f"dynamics experiment={NAME} mode=p", {"mode=plan"}),
        (f"dynamics experiment={NAME} edge", {"edge_ratio="}),
        (f"dynamics export experiment={NAME} initial_", {"initial_kernel=", "initial_output="}),
        (f"dynamics export experiment={NAME} ta", {"table=records", "table=runs"}),
        ("dynamics gc --", {"--yes", "--unasked"}),
        ("dynamics experiment=nonsense st", set()),
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
    (folder / "dynamics").write_text(f"#!{sys.executable}\nfrom dynamics.cli import main\nmain()\n")
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
