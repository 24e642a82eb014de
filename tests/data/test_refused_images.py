"""Files of images that are wrong are refused, and it is said what is wrong with them."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from image_formats import (
    BATCHES,
    BINARY,
    PYTHON,
    binary,
    digits_of,
    idx,
    md5,
    packed,
    pickled,
    planes_of,
    put_cifar,
    put_mnist,
    refused,
    text,
)

from dynamics.data import image_files as images
from dynamics.data.image_files import load_image_set
from dynamics.errors import InputError


def brief(value) -> str:
    """A test's name for a parameter: texts as they are, files not."""
    return value if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize(
    "name, home", [("mnist", "yann.lecun.com/exdb/mnist"), ("cifar10", "www.cs.toronto.edu/~kriz/cifar.html")]
)
def test_without_a_folder_or_a_file_it_is_said_what_is_expected_and_where_it_is_to_be_had(tmp_path, monkeypatch, name, home):
    nothing, missing, empty = refused(name, ""), refused(name, tmp_path / "gone"), refused(name, tmp_path)
    assert "DYNAMICS_DATA" in nothing and str(tmp_path / "gone") in missing and "no folder" in missing
    assert "holds no file" in empty and str(tmp_path) in empty
    monkeypatch.setenv("DYNAMICS_DATA", str(tmp_path / "elsewhere"))
    by_environment = refused(name, "")
    assert str(tmp_path / "elsewhere") in by_environment
    for line in (nothing, missing, empty, by_environment):
        assert line.startswith("data.root = ") and home in line
        assert ("idx3" if name == "mnist" else "cifar-10-python.tar.gz") in line


def test_an_unknown_set_is_told_the_nearest_one():
    with pytest.raises(InputError, match="did you mean 'cifar10'"):
        load_image_set("cifar100")
    for ask in (images.image_shape, images.count_classes):
        with pytest.raises(InputError, match="choose one of cifar10, digits, mnist"):
            ask("emnist")


def test_half_a_part_is_refused_by_the_name_of_what_it_lacks(put, monkeypatch, tmp_path):
    put("mnist/train-images-idx3-ubyte", idx(digits_of(1, 2)[0]))
    assert "lacks train-labels-idx1-ubyte" in refused("mnist", tmp_path)
    put_cifar(put, monkeypatch, PYTHON, "folder", batches=[b for b in BATCHES if b != "data_batch_3"])
    told = refused("cifar10", tmp_path)
    assert "lacks data_batch_3" in told and "data_batch_2" in told and "cifar.html" in told
    put_cifar(put, monkeypatch, BINARY, "archive", "packed/", BATCHES[:2])
    assert "lacks data_batch_3.bin" in refused("cifar10", tmp_path / "packed")


def put_each(put, monkeypatch) -> dict[str, Path]:
    """One file of every kind, right as it is."""
    put_mnist(put, "train", 3, 2, "plain/")
    put_mnist(put, "train", 3, 2, "zipped/", zipped=True)
    folders = {
        "python": (PYTHON, "bare"),
        "binary": (BINARY, "bare"),
        "python_tar": (PYTHON, "archive"),
        "binary_tar": (BINARY, "archive"),
    }
    archives = {name: put_cifar(put, monkeypatch, *version, f"{name}/", ["test_batch"]) for name, version in folders.items()}
    root = archives["python_tar"].parents[1]
    return {
        "plain": root / "plain/train-images-idx3-ubyte",
        "zipped": root / "zipped/train-labels-idx1-ubyte.gz",
        "python": root / "python/test_batch",
        "binary": root / "binary/test_batch.bin",
        **{name: archives[name] for name in ("python_tar", "binary_tar")},
    }


@pytest.mark.parametrize("kind", ["plain", "zipped", "python", "binary", "python_tar", "binary_tar"])
def test_a_file_with_another_checksum_is_refused_with_both(put, monkeypatch, kind):
    file = put_each(put, monkeypatch)[kind]
    name = "mnist" if kind in ("plain", "zipped") else "cifar10"
    load_image_set(name, str(file.parent))
    images._load.cache_clear()

    right = file.read_bytes()
    content = gzip.decompress(right) if kind == "zipped" else right
    other = content[:-1] + bytes([content[-1] ^ 1])
    file.write_bytes(gzip.compress(other) if kind == "zipped" else other)
    told = refused(name, file.parent)
    assert told.startswith(f"{file} = ") and f"MD5 {md5(other)}" in told and f"should be MD5 {md5(content)}" in told
    assert "available from" in told and images.SOURCES[name] in told


def test_a_member_of_an_archive_is_checked_too(put, monkeypatch, tmp_path):
    put_cifar(put, monkeypatch, BINARY, "archive", batches=["test_batch"])
    monkeypatch.setitem(images.MD5, "test_batch.bin", "0" * 32)
    assert "cifar-10-binary.tar.gz/cifar-10-batches-bin/test_batch.bin" in refused("cifar10", tmp_path)


def test_a_truncated_or_broken_gz_is_refused(put, tmp_path):
    content = idx(digits_of(3, 2)[1])
    whole = gzip.compress(content)
    broken = {
        "short": whole[:-12],
        "other": b"no gzip",
        "flipped": whole[:-6] + b"\0" + whole[-5:],
        "block": whole[:10] + b"\xff" * 9,
    }
    for folder, packed_wrong in broken.items():
        put(f"{folder}/t10k-labels-idx1-ubyte.gz", content, packed_wrong)
        told = refused("mnist", tmp_path / folder)
        assert "t10k-labels-idx1-ubyte.gz" in told and "should be a whole file" in told and "lecun" in told
    put_mnist(put, "t10k", 3, 2, "right/", zipped=True)
    assert len(load_image_set("mnist", str(tmp_path / "right")).pixels) == 2


PICTURES, LABELS = idx(digits_of(3, 2)[0]), idx(digits_of(3, 2)[1])


@pytest.mark.parametrize(
    "pictures, labels, found, expected",
    [
        (LABELS, LABELS, "magic number 00000801", "should be magic number 00000803"),
        (PICTURES, PICTURES, "magic number 00000803", "should be magic number 00000801"),
        (b"\0\0\x0d\x03" + PICTURES[4:], LABELS, "magic number 00000d03", "00000803"),  # floats
        (b"", LABELS, "magic number '", "00000803"),
        (idx(np.zeros((2, 27, 28))), LABELS, "sizes [2, 27, 28] and 1512 values", "['n', 28, 28]"),
        (idx(np.zeros((2, 56, 14))), LABELS, "sizes [2, 56, 14]", "['n', 28, 28]"),
        (PICTURES[:-1], LABELS, "sizes [2, 28, 28] and 1567 values", "as many values"),
        (PICTURES + b"\0", LABELS, "1569 values", "as many values"),
        (PICTURES[:10], LABELS, "sizes [2, ", "as many values"),
        (b"\0\0\x08\x03" + b"\x10\0\0\x02" + PICTURES[8:], LABELS, "sizes [268435458, 28, 28]", "as many"),  # 1568 in 32 bits
        (b"\0\0\x08\x03" + b"\xff" * 4 + PICTURES[8:], LABELS, "sizes [4294967295, 28, 28]", "as many values"),
        (PICTURES, idx(np.array([3])), "1 labels", "should be 2"),
        (PICTURES, idx(np.array([3, 10])), "label 10", "0 to 9"),
    ],
    ids=brief,
)
def test_idx_files_that_are_not_mnists_are_refused_by_what_is_wrong(put, tmp_path, pictures, labels, found, expected):
    put("t10k-images-idx3-ubyte", pictures)
    put("t10k-labels-idx1-ubyte", labels)
    told = refused("mnist", tmp_path)
    assert "t10k-" in told and found in told and expected in told and "lecun" in told


VALUES, CLASSES = planes_of(3)


@pytest.mark.parametrize(
    "content, found",
    [
        (pickled(VALUES[:, :-1], CLASSES), "data uint8 (2, 3071), labels int64 (2,)"),
        (pickled(VALUES, CLASSES[:1]), "data uint8 (2, 3072), labels int64 (1,)"),
        (pickled(VALUES.astype(np.float32), CLASSES), "data float32"),
        (pickled(VALUES, CLASSES, data=b"]"), "data float64 (0,)"),
        (pickled(VALUES, CLASSES, labels=text(b"12")), "labels |S2 ()"),
        (pickled(VALUES, CLASSES, labels=b"](NNe"), "labels object (2,)"),
        (pickled(VALUES, np.array([1, 10])), "labels 0 to 10"),
        (pickled(VALUES, CLASSES, labels=b"](K\x01J\xff\xff\xff\xffe"), "labels -1 to 1"),
        (pickled(VALUES, CLASSES)[:-100], "should be a pickle"),
        (pickled(VALUES, CLASSES).replace(b"labels", b"babels"), "KeyError"),
        (b"\x80\x02K\x01.", "should be a pickle"),
        (b"", "EOFError"),
    ],
    ids=brief,
)
def test_batches_that_are_not_cifars_are_refused_by_what_is_wrong(put, tmp_path, content, found):
    put("test_batch", content)
    told = refused("cifar10", tmp_path)
    assert found in told and str(tmp_path / "test_batch") in told and "cifar.html" in told


@pytest.mark.parametrize(
    "content, found",
    [
        (binary(VALUES, CLASSES)[:-1], "6145 bytes"),
        (binary(VALUES, CLASSES) + b"\0", "6147 bytes"),
        (binary(VALUES, [3, 10]), "labels 0 to 10"),
    ],
    ids=brief,
)
def test_binary_batches_that_are_not_cifars_are_refused_by_what_is_wrong(put, tmp_path, content, found):
    put("test_batch.bin", content)
    told = refused("cifar10", tmp_path)
    assert found in told and str(tmp_path / "test_batch.bin") in told and "cifar.html" in told


def test_a_broken_archive_is_refused_even_with_the_right_checksum(put, monkeypatch, tmp_path):
    whole = put_cifar(put, monkeypatch, BINARY, "archive", batches=["test_batch"]).read_bytes()
    for number, content in enumerate((whole[: len(whole) // 2], b"no archive", b"", gzip.compress(b"no tar inside" * 100))):
        put(f"{number}/cifar-10-binary.tar.gz", content)
        told = refused("cifar10", tmp_path / str(number))
        assert "cifar-10-binary.tar.gz" in told and "should be a whole tar.gz archive" in told


def test_an_archives_members_are_taken_by_name_and_only_plain_files(put, monkeypatch, tmp_path):
    right = binary(*planes_of(5))
    monkeypatch.setitem(images.MD5, "test_batch.bin", md5(right))
    names = ["../test_batch.bin", "/cifar-10-batches-bin/test_batch.bin", "test_batch.bin", "other/test_batch.bin"]
    put("a/cifar-10-binary.tar.gz", packed(dict.fromkeys(names, right)))
    assert "holds no file" in refused("cifar10", tmp_path / "a")
    put("b/cifar-10-binary.tar.gz", packed({**dict.fromkeys(names, b""), "cifar-10-batches-bin/test_batch.bin": right}))
    assert len(load_image_set("cifar10", str(tmp_path / "b")).pixels) == 2

    (tmp_path / "secret").write_bytes(right)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        archive.addfile(member)
    put("c/cifar-10-binary.tar.gz", buffer.getvalue())
    assert "holds no file" in refused("cifar10", tmp_path / "c")


class Harm:
    """A pickle of it leaves a folder when it is read."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("how", ["bare", "archive"])
def test_a_pickle_that_would_run_something_is_refused_even_with_the_right_checksum(put, monkeypatch, tmp_path, how):
    content = pickle.dumps({b"data": VALUES, b"labels": [1, 2], b"more": Harm(tmp_path / "harm")}, protocol=2)
    pickle.loads(content)
    (tmp_path / "harm").rmdir()  # it does run, elsewhere

    if how == "archive":
        monkeypatch.setitem(images.MD5, "test_batch", md5(content))
        put("cifar-10-python.tar.gz", packed({"cifar-10-batches-py/test_batch": content}))
    else:
        put("test_batch", content)
    assert "asks for" in refused("cifar10", tmp_path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "name", ["builtins\neval", "numpy\nload", "os\nsystem", "numpy.core.multiarray\nscalar", "_codecs\nencode"]
)
def test_a_pickle_may_ask_for_an_array_and_nothing_else(put, tmp_path, name):
    put("test_batch", pickled(VALUES, CLASSES, more=b"c" + name.encode() + b"\n"))
    assert f"asks for {name.replace(chr(10), '.')}" in refused("cifar10", tmp_path)


def test_a_pickle_with_another_checksum_is_not_even_opened(put, monkeypatch, tmp_path):
    put("test_batch", pickled(VALUES, CLASSES))
    monkeypatch.setitem(images.MD5, "test_batch", "0" * 32)
    monkeypatch.setattr(images, "_Unpickler", None)
    assert "should be MD5 " + "0" * 32 in refused("cifar10", tmp_path)
