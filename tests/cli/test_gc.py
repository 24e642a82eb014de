"""`dynamics gc`: what nothing refers to goes, and only that."""

import json
import os
from pathlib import Path

import polars as pl
import pytest
from command_stores import NAME, ask, ids, make_old, tree
from filelock import FileLock

from dynamics.engine.execute import Executor
from dynamics.engine.plan import make_plan
from dynamics.store.layout import folder_bytes
from dynamics.store.store import Store
from dynamics.study.config import compose


@pytest.fixture
def gc(cli, tmp_path):
    return lambda *arguments: cli("gc", str(tmp_path / "out"), *arguments)


@pytest.fixture(scope="module")
def configured():
    """Runs that the smoke size of the experiment's config asks for."""
    request = compose(NAME, "size=smoke")
    return next(Executor().compute_plan(make_plan(request.panels["check"])))


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
        assert "a process uses" in out
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

    root = Path(__file__).parents[2]
    for name in ("configs", "experiments"):
        shutil.copytree(root / name, name)
    file = Path("configs/experiment/atlas/catapult.yaml")
    file.write_text(file.read_text().replace("width: 200", "widht: 200"))
    part = store.write(good)
    make_old(part)
    code, _, err = gc("--yes", "--unasked")
    assert (code, part.exists(), len(err.splitlines())) == (0, True, 1)
    assert "skipped" in err and "widht" in err
