"""Image sets from files in their real formats, written here byte by byte, and what is said of files that are wrong."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dynamics.data import image_files as images
from dynamics.data.image_files import ImageSet, channel_statistics, load, standardized
from dynamics.errors import InputError

REAL = os.environ.get("DYNAMICS_DATA", "")
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    monkeypatch.delenv("DYNAMICS_DATA", raising=False)


@pytest.fixture
def put(tmp_path, monkeypatch):
    """`put("cifar10/test_batch", content)`: a file, whose content (unzipped for MNIST) is from now on the right one."""

    def call(name: str, content: bytes, packed: bytes | None = None) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if packed is None else packed)
        monkeypatch.setitem(images.MD5, file.name if packed is None else file.name.removesuffix(".gz"), md5(content))
        return file

    return call


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def brief(value) -> str:
    """A test's name for a parameter: texts as they are, files not."""
    return value if isinstance(value, str) else type(value).__name__


def refused(name: str, folder: Path | str) -> str:
    """The one line that says why."""
    with pytest.raises(InputError) as told:
        load(name, str(folder))
    assert "\n" not in str(told.value)
    return str(told.value)


# The formats


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def digits_of(label: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 28, 28), the i-th with the value 100 + i at row 3, column 20, and one label for all."""
    pictures = np.zeros((count, 28, 28), np.uint8)
    pictures[:, 3, 20] = 100 + np.arange(count)
    return pictures, np.full(count, label)


def put_mnist(put, part: str, label: int, count: int, folder="", zipped=False) -> None:
    for kind, array in zip(("images-idx3", "labels-idx1"), digits_of(label, count), strict=True):
        name, content = f"{folder}{part}-{kind}-ubyte", idx(array)
        put(f"{name}.gz", content, gzip.compress(content)) if zipped else put(name, content)


def planes_of(number: int, count: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Values (count, 3072): all of red 200, green 77 at row 2, column 5, blue the batch's number; labels count up from it."""
    planes = np.zeros((count, 3, 1024), np.uint8)
    planes[:, 0], planes[:, 1, 2 * 32 + 5], planes[:, 2] = 200, 77, number
    return planes.reshape(count, 3072), np.arange(number, number + count)


def text(value: bytes) -> bytes:
    """A string of Python 2, in which CIFAR's pickles were written."""
    return b"T" + len(value).to_bytes(4, "little") + value


def pickled_array(array: np.ndarray) -> bytes:
    whole = [b"M" + size.to_bytes(2, "little") for size in array.shape]
    kind = text(array.dtype.str[1:].encode()) + b"K\x00K\x01\x87"
    state = b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR"
    return (
        start
        + b"(K\x01("
        + b"".join(whole)
        + b"tcnumpy\ndtype\n"
        + kind
        + b"R"
        + state
        + b"\x89"
        + text(array.tobytes())
        + b"tb"
    )


def pickled(values: np.ndarray, classes: np.ndarray, /, **more: bytes) -> bytes:
    """Protocol 2, byte keys."""
    fields = {
        "batch_label": text(b"training batch 1 of 5"),
        "labels": b"](" + b"".join(b"K" + bytes([label]) for label in classes) + b"e",
        "data": pickled_array(values),
        "filenames": b"](" + b"".join(text(b"a_%d.png" % i) for i in range(len(classes))) + b"e",
        **more,
    }
    return b"\x80\x02}(" + b"".join(text(key.encode()) + value for key, value in fields.items()) + b"u."


def binary(values: np.ndarray, labels: np.ndarray) -> bytes:
    return b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, values, strict=True))


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


PYTHON, BINARY = (
    ("cifar-10-batches-py", "cifar-10-python.tar.gz", ""),
    ("cifar-10-batches-bin", "cifar-10-binary.tar.gz", ".bin"),
)


def put_cifar(put, monkeypatch, version, how: str, place="", batches=BATCHES) -> Path:
    """The version's batches, numbered from 0, unpacked in their `folder`, `bare` or in an `archive`."""
    folder, archive, ending = version
    files = {
        f"{name}{ending}": (binary if ending else pickled)(*planes_of(BATCHES.index(name)))
        for name in reversed(batches)  # an archive's order is its own
    }
    if how == "archive":
        for name, content in files.items():
            monkeypatch.setitem(images.MD5, name, md5(content))
        return put(place + archive, packed({f"{folder}/{name}": content for name, content in files.items()}))
    for name, content in files.items():
        put(f"{place}{folder}/{name}" if how == "folder" else place + name, content)
    return Path()


def check_cifar(found: ImageSet) -> None:
    assert found.pixels.shape == (10, 32, 32, 3) and found.pixels.dtype == np.uint8 and found.highest == 255
    assert found.test_pixels is not None and found.test_classes is not None and found.test_pixels.shape == (2, 32, 32, 3)
    for pixels in (found.pixels, found.test_pixels):
        assert pixels.flags.c_contiguous
        assert (pixels[..., 0] == 200).all()
        green = np.zeros((32, 32), int)
        green[2, 5] = 77
        assert (pixels[..., 1] == green).all()
    np.testing.assert_array_equal(found.pixels[:, 9, 9, 2], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    np.testing.assert_array_equal(found.classes, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5])
    np.testing.assert_array_equal(found.test_pixels[:, 9, 9, 2], [5, 5])
    np.testing.assert_array_equal(found.test_classes, [5, 6])
    assert found.classes.dtype == found.test_classes.dtype == np.int32


# What is found


def test_digits_are_the_1797_bundled_ones():
    found = load("digits")
    assert found.pixels.shape == (1797, 8, 8, 1) and found.pixels.dtype == np.uint8
    assert found.classes.shape == (1797,) and found.classes.dtype == np.int32
    assert found.highest == found.pixels.max() == 16 and found.pixels.min() == 0
    np.testing.assert_array_equal(np.bincount(found.classes), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    np.testing.assert_array_equal(found.pixels[0, 0, :, 0], [0, 0, 5, 13, 9, 1, 0, 0])  # the first zero's upper edge
    np.testing.assert_array_equal(found.classes[:10], range(10))
    assert found.test_pixels is found.test_classes is None


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("place", ["", "mnist/"])
def test_mnist_is_read_from_idx_files_zipped_or_not(put, tmp_path, place, zipped):
    put_mnist(put, "train", 3, 5, place, zipped)
    put_mnist(put, "t10k", 8, 2, place, zipped)
    found = load("mnist", str(tmp_path))
    assert found.pixels.shape == (5, 28, 28, 1) and found.pixels.dtype == np.uint8 and found.highest == 255
    assert found.classes.dtype == np.int32 and found.classes.tolist() == [3] * 5
    np.testing.assert_array_equal(found.pixels[:, 3, 20, 0], 100 + np.arange(5))
    assert found.pixels.sum() == (100 + np.arange(5)).sum()
    assert found.test_pixels is not None and found.test_classes is not None
    assert found.test_pixels.shape == (2, 28, 28, 1) and found.test_classes.tolist() == [8, 8]


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_one_pair_of_mnist_is_the_pool_and_there_is_no_test_part(put, tmp_path, part):
    put_mnist(put, part, 7, 3)
    found = load("mnist", str(tmp_path))
    assert found.pixels.shape == (3, 28, 28, 1) and found.classes.tolist() == [7, 7, 7]
    assert found.test_pixels is found.test_classes is None


@pytest.mark.parametrize("place", ["", "cifar10/"])
@pytest.mark.parametrize("how", ["folder", "bare", "archive"])
@pytest.mark.parametrize("version", [PYTHON, BINARY], ids=["python", "binary"])
def test_cifar_has_its_colours_on_the_last_axis_and_its_batches_in_order(put, monkeypatch, tmp_path, version, how, place):
    put_cifar(put, monkeypatch, version, how, place)
    before = sorted(tmp_path.rglob("*"))
    check_cifar(load("cifar10", str(tmp_path)))
    assert sorted(tmp_path.rglob("*")) == before  # an archive is read where it is


@pytest.mark.parametrize("version", [PYTHON, BINARY], ids=["python", "binary"])
def test_one_part_of_cifar_is_the_pool_and_there_is_no_test_part(put, monkeypatch, tmp_path, version):
    for part, size in ((BATCHES[:5], 10), (BATCHES[5:], 2)):
        folder = f"{size}/"
        put_cifar(put, monkeypatch, version, "archive", folder, part)
        found = load("cifar10", str(tmp_path / folder))
        assert found.pixels.shape == (size, 32, 32, 3) and found.test_pixels is found.test_classes is None


def test_the_python_version_goes_before_the_binary_one(put, monkeypatch, tmp_path):
    put_cifar(put, monkeypatch, BINARY, "bare", batches=["test_batch"])
    assert len(load("cifar10", str(tmp_path)).pixels) == 2
    images._load.cache_clear()
    put_cifar(put, monkeypatch, PYTHON, "archive")
    assert len(load("cifar10", str(tmp_path)).pixels) == 10


def test_a_set_is_read_once_and_nobody_can_change_it(put, tmp_path, monkeypatch):
    put_mnist(put, "t10k", 7, 3)
    found = load("mnist", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert load("mnist", ".") is found and load("digits") is load("digits", "elsewhere")
    for array in (found.pixels, found.classes, load("digits").pixels, load("digits").classes):
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_folder_is_the_configs_or_else_the_environments(put, tmp_path, monkeypatch):
    put_mnist(put, "t10k", 7, 3, "here/")
    put_mnist(put, "t10k", 7, 3, "there/")
    monkeypatch.setenv("DYNAMICS_DATA", str(tmp_path / "here"))
    assert load("mnist") is load("mnist", str(tmp_path / "here"))
    assert load("mnist", str(tmp_path / "there")) is not load("mnist")


@pytest.mark.parametrize("name, expected", [("digits", (8, 8, 1)), ("mnist", (28, 28, 1)), ("cifar10", (32, 32, 3))])
def test_sizes_are_known_without_a_file(name, expected):
    assert images.shape(name) == expected and images.classes(name) == 10


def test_scikit_learn_is_not_imported_with_the_module():
    code = "import sys, dynamics.data.images; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# What is refused


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
        load("cifar100")
    for ask in (images.shape, images.classes):
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
    load(name, str(file.parent))
    images._load.cache_clear()

    right = file.read_bytes()
    content = gzip.decompress(right) if kind == "zipped" else right
    other = content[:-1] + bytes([content[-1] ^ 1])
    file.write_bytes(gzip.compress(other) if kind == "zipped" else other)
    told = refused(name, file.parent)
    assert told.startswith(f"{file} = ") and f"MD5 {md5(other)}" in told and f"should be MD5 {md5(content)}" in told
    assert "to be had" in told and images.SOURCES[name] in told


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
    assert len(load("mnist", str(tmp_path / "right")).pixels) == 2


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
    assert len(load("cifar10", str(tmp_path / "b")).pixels) == 2

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


# Numbers


def test_statistics_are_those_of_each_channel(rng):
    pixels = rng.integers(0, 256, (50, 4, 3, 2), np.uint8) // np.array([1, 3], np.uint8)
    mean, std = channel_statistics(pixels, 255)
    assert mean.shape == std.shape == (2,) and mean[0] > 2 * mean[1]
    np.testing.assert_allclose(mean, (pixels / 255).mean((0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(std, (pixels / 255).std((0, 1, 2)), rtol=1e-14)
    constant = np.full((9, 2, 2, 1), 200, np.uint8)
    assert channel_statistics(constant, 255)[1] == 0


def test_standardized_pixels_by_hand_row_by_row_with_the_channels_last():
    pixels = np.arange(2 * 2 * 3 * 2, dtype=np.uint8).reshape(2, 2, 3, 2)
    found = standardized(pixels, 4, (1.0, 2.0), (0.5, 4.0))
    assert found.shape == (2, 12) and found.dtype == np.float32
    np.testing.assert_allclose(found[0, :4], [(0 / 4 - 1) / 0.5, (1 / 4 - 2) / 4, (2 / 4 - 1) / 0.5, (3 / 4 - 2) / 4])
    np.testing.assert_allclose(found[1, 11], (23 / 4 - 2) / 4)
    assert pixels.max() == 23  # they are left as they are


def test_digits_standardized_by_their_own_statistics_have_mean_zero_and_deviation_one():
    found = load("digits")
    own = standardized(found.pixels, 16, *channel_statistics(found.pixels, 16))
    assert own.shape == (1797, 64) and abs(own.mean()) < 1e-5 and abs(own.std() - 1) < 1e-5
    other = standardized(found.pixels, 255, *channel_statistics(found.pixels, 16))
    assert abs(other.std() - 1) > 0.5


@pytest.mark.parametrize("name, std", [("cifar10", (0.2470, 0.2435, 0.2616)), ("cifar10_2023", (0.2023, 0.1994, 0.2010))])
def test_named_normalizations_are_those_of_papers(name, std):
    white = standardized(np.full((1, 1, 1, 3), 255, np.uint8), 255, *images.NORMALIZATIONS[name])
    np.testing.assert_allclose(white[0], [(1 - 0.4914) / std[0], (1 - 0.4822) / std[1], (1 - 0.4465) / std[2]], rtol=1e-6)


def test_every_file_of_every_version_has_a_checksum_of_its_own():
    expected = {name for version in sum(images.VERSIONS.values(), ()) for part in version.parts for name in part}
    expected |= {version.archive for version in images.VERSIONS["cifar10"]}
    assert images.MD5.keys() == expected and len(expected) == 4 + 2 * 7
    assert len(set(images.MD5.values())) == len(expected)
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in images.MD5.values())


@pytest.fixture
def real_mnist() -> ImageSet:
    if not REAL or not any(list(place.glob("t10k-*-ubyte*")) for place in (Path(REAL), Path(REAL, "mnist"))):
        pytest.skip("DYNAMICS_DATA has no MNIST")
    return load("mnist", REAL)


def test_the_real_mnist_has_its_known_test_part(real_mnist):
    pixels = real_mnist.pixels if real_mnist.test_pixels is None else real_mnist.test_pixels
    classes = real_mnist.classes if real_mnist.test_classes is None else real_mnist.test_classes
    assert pixels.shape == (10000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(classes), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    mean, _ = channel_statistics(pixels, 255)
    assert abs(mean[0] - 0.1325) < 1e-4
