"""A store from elsewhere is data: nothing in it leads us to read, write, move or delete beside it."""

import hashlib
import io
import json
from pathlib import Path

import polars as pl
import pytest

from dynamics.errors import InputError
from dynamics.store.store import Store

SECRET = b"not yours"


def write_part(folder: Path, manifest: dict | None, table: pl.DataFrame) -> None:
    folder.mkdir(parents=True)
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    data = buffer.getvalue()
    files = {}
    for name in ("runs.parquet", "records.parquet"):
        (folder / name).write_bytes(data)
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if manifest is not None:
        (folder / "checksums.json").write_text(json.dumps({"files": files | manifest}))


GOOD = pl.DataFrame({"run": ["a"], "has_final": [False], "step": [0]})


def up(store: Path, outside: Path) -> None:
    entry = {"bytes": len(SECRET), "sha256": hashlib.sha256(SECRET).hexdigest()}
    write_part(store / "parts" / "p", {"../../../outside/secret": entry}, GOOD)


def absolute(store: Path, outside: Path) -> None:
    entry = {"bytes": len(SECRET), "sha256": hashlib.sha256(SECRET).hexdigest()}
    write_part(store / "parts" / "p", {str(outside / "secret"): entry}, GOOD)


def linked_file(store: Path, outside: Path) -> None:
    write_part(store / "parts" / "p", {}, GOOD)
    (store / "parts" / "p" / "runs.parquet").rename(outside / "runs.parquet")
    (store / "parts" / "p" / "runs.parquet").symlink_to(outside / "runs.parquet")


def linked_part(store: Path, outside: Path) -> None:
    write_part(outside / "p", None, GOOD)
    (store / "parts").mkdir()
    (store / "parts" / "p").symlink_to(outside / "p")
    (store / "store.json").write_text('{"format": 1}')  # whose parts get their checksums written


def linked_manifest(store: Path, outside: Path) -> None:
    write_part(store / "parts" / "p", None, GOOD)
    (store / "parts" / "p" / "checksums.json").symlink_to(outside / "new")
    (store / "store.json").write_text('{"format": 1}')


def no_columns(store: Path, outside: Path) -> None:
    write_part(store / "parts" / "p", {}, pl.DataFrame({"x": [1]}))


def linked_parts(store: Path, outside: Path) -> None:
    write_part(outside / "p", None, GOOD)
    (store / "parts").symlink_to(outside)


def linked_damaged(store: Path, outside: Path) -> None:
    up(store, outside)
    (store / "damaged").symlink_to(outside)


def linked_work(store: Path, outside: Path) -> None:
    (outside / ".checkpoint-x").mkdir()
    (store / "work").symlink_to(outside)


def linked_chunk(store: Path, outside: Path) -> None:
    (outside / ".checkpoint-x").mkdir()
    (store / "work").mkdir()
    (store / "work" / "chunk").symlink_to(outside)


def use(folder: Path) -> Store:
    store = Store(folder)
    store.repair()
    with store.claim("chunk"):
        pass
    return store


@pytest.fixture
def places(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(SECRET)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text('{"format": 2}')
    return tmp_path / "store", tmp_path / "outside"


@pytest.mark.parametrize("make", [up, absolute, linked_file, linked_part, linked_manifest, no_columns])
def test_a_part_that_leads_out_of_the_store_is_damaged(make, places):
    store, outside = places
    make(store, outside)
    before = sorted(outside.rglob("*"))
    assert use(store).finished() == set()
    assert sorted(outside.rglob("*")) == before
    assert len(list((store / "damaged").iterdir())) == 1


@pytest.mark.parametrize("make", [linked_parts, linked_damaged, linked_work, linked_chunk])
def test_a_store_whose_folders_are_links_is_refused(make, places):
    store, outside = places
    make(store, outside)
    before = sorted(outside.rglob("*"))
    with pytest.raises(InputError, match="link"):
        use(store)
    assert sorted(outside.rglob("*")) == before
