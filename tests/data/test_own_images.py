"""One's own images: folders and zip files by class, whose content is the identity; broken ones told in one line."""

import io
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynamics.core import spec as specs
from dynamics.data import image_cache, own_images
from dynamics.data.law import LAWS
from dynamics.data.problem import DataSpec, TargetSpec
from dynamics.errors import InputError
from dynamics.models.model_spec import ModelSpec
from dynamics.systems.training import TrainingSpec


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def picture(seed: int, shape: tuple[int, ...] = (4, 5, 3), kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def pack(folder: Path, target: Path, around: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, around + file.relative_to(folder).as_posix())
    return target


def animals(count: int = 3) -> dict[str, bytes]:
    return {f"{name}/{i}.png": picture(10 * c + i) for c, name in enumerate(("cat", "dog")) for i in range(count)}


def training(root, target: str = "one_hot", **data) -> TrainingSpec:
    data = {"num_samples": 4, "num_test": 2, "input_dim": 0, "noise_std": 0.0, **data}
    spec = TrainingSpec(data=DataSpec("images", root=str(root), **data), target=TargetSpec(target), model=ModelSpec(width=4))
    return specs.freeze(spec).resolve()


def test_images_are_read_in_the_order_of_their_names_and_numbered_by_class(tmp_path):
    folder = write(tmp_path / "a", {**animals(), ".hidden/x.png": b"", "cat/notes.txt": b"", "README": b""})
    found = own_images.load_own_images(str(folder))
    assert found.num_classes == 2
    assert found.images.pixels.shape == (6, 4, 5, 3)
    assert found.images.classes.tolist() == [0, 0, 0, 1, 1, 1]
    expected = np.random.default_rng(11).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(found.images.pixels[4], expected)
    spec = training(folder)
    spec.check()
    assert (spec.data.input_dim, spec.data.grid, spec.outputs) == (60, (4, 5, 3), 2)


def test_a_zip_of_a_folder_and_the_folder_elsewhere_are_the_same_run(tmp_path):
    folder = write(tmp_path / "a", animals())
    places = [folder, shutil.copytree(folder, tmp_path / "b" / "c")]
    places += [pack(folder, tmp_path / "plain.zip"), pack(folder, tmp_path / "around.zip", around="x/y/")]
    assert len({specs.run_id(training(place)) for place in places}) == 1


def test_another_image_another_order_or_another_class_is_another_run(tmp_path):
    files = animals()
    first = files["cat/0.png"]
    others = [
        files,
        {**files, "cat/0.png": picture(99)},
        {**files, "cat/0.png": files["cat/1.png"], "cat/1.png": first},
        {**{name: content for name, content in files.items() if name != "cat/0.png"}, "dog/9.png": first},
    ]
    found = [specs.run_id(training(write(tmp_path / str(i), own))) for i, own in enumerate(others)]
    assert len(set(found)) == 4


def test_train_and_test_folders_are_the_parts(tmp_path):
    files = {f"{part}/{name}": content for part in ("train", "test") for name, content in animals(2).items()}
    spec = training(write(tmp_path / "a", files), num_samples=4, num_test=4)
    spec.check()
    arrays = spec.shared_arrays()
    assert arrays["data.test_pool"].shape == (4, 60) and arrays["data.test_pool_parts"].tolist() == [0, 0, 1, 1]
    assert all(array.dtype in (np.uint8, np.int32) for array in arrays.values())
    with pytest.raises(InputError, match="4 test images"):
        training(tmp_path / "a", num_test=5).check()


def test_grey_images_have_one_channel_unless_others_have_colours(tmp_path):
    grey = {f"{name}/{i}.png": picture(i, (4, 5)) for name in "ab" for i in range(2)}
    assert own_images.load_own_images(str(write(tmp_path / "grey", grey))).images.pixels.shape == (4, 4, 5, 1)
    mixed = own_images.load_own_images(
        str(write(tmp_path / "mixed", {**grey, "b/9.jpg": picture(0, kind="JPEG")}))
    ).images.pixels
    assert mixed.shape == (5, 4, 5, 3)
    assert (mixed[0, ..., 0] == mixed[0, ..., 2]).all()


def test_files_that_change_while_the_process_runs_are_read_anew(tmp_path):
    folder = write(tmp_path / "a", animals())
    before = training(folder).data.digest
    write(folder, {"cat/7.png": picture(3)})
    assert training(folder).data.digest != before


def test_what_took_long_is_kept_and_a_broken_cache_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr(own_images, "KEPT_AFTER_SECONDS", -1.0)
    folder = write(tmp_path / "a", animals())
    found = own_images.load_own_images(str(folder))
    assert len(list(image_cache.cache_folder().iterdir())) == 2
    own_images._load.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(own_images, "_decode_all", lambda *args: pytest.fail("decoded again"))
        patch.setattr(own_images, "content_digest", lambda *args: pytest.fail("read again"))
        again = own_images.load_own_images(str(folder))
    np.testing.assert_array_equal(again.images.pixels, found.images.pixels)
    (kept,) = image_cache.cache_folder().glob("*.npz")
    content = bytearray(kept.read_bytes())
    content[300] ^= 1
    kept.write_bytes(content)
    own_images._load.cache_clear()
    np.testing.assert_array_equal(own_images.load_own_images(str(folder)).images.pixels, found.images.pixels)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    monkeypatch.setattr(own_images, "KEPT_AFTER_SECONDS", -1.0)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert own_images.load_own_images(str(write(tmp_path / "a", animals()))).num_classes == 2


@pytest.mark.parametrize("stand_in", ["", "shuffled", "covariance", "gaussian"])
def test_own_images_have_the_stand_ins_of_the_suite_s(stand_in, tmp_path):
    spec = training(write(tmp_path / "a", animals()), "linear", stand_in=stand_in)
    spec.check()
    assert LAWS["images"].num_parts(spec.data) == (1 if stand_in in ("covariance", "gaussian") else 2)


REFUSED = {
    "no class folders": ({"0.png": picture(0), "1.png": picture(1)}, r"holds 0\.png"),
    "too deep": ({"a/b/c/0.png": picture(0), "a/1.png": picture(1)}, "it should hold"),
    "no images": ({"a/x.txt": b""}, "no png or jpeg"),
    "an empty class": ({**animals(), "mouse/x.txt": b""}, "class mouse holds no png or jpeg"),
    "an empty class of a part": ({"train/a/0.png": picture(0), "test/a/0.png": picture(1), "train/b/x": b""}, "class train/b"),
    "a class without test images": (
        {"train/a/0.png": picture(0), "train/b/0.png": picture(1), "test/a/0.png": picture(1)},
        "b has",
    ),
    "a class without training images": (
        {"test/a/0.png": picture(0), "test/b/0.png": picture(1), "train/a/0.png": picture(1)},
        "b has",
    ),
    "one image": ({"a/0.png": picture(0)}, "to train and test takes 2"),
    "a broken image": ({**animals(), "dog/8.png": picture(0)[:60]}, r"dog/8\.png.*cannot be read"),
    "no image at all": ({**animals(), "dog/8.png": b"GIF89a"}, "is no png or jpeg"),
    "another size": ({**animals(), "dog/8.png": picture(0, (5, 4, 3))}, "5 x 4 pixels where cat/0.png is 4 x 5"),
    "transparency": ({**animals(), "dog/8.png": picture(0, (4, 5, 4))}, "transparency"),
    "one colour": ({f"{name}/0.png": picture(0, (4, 5)) for name in "ab"} | {"a/0.png": b"", "b/0.png": b""}, "cannot be read"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_on_is_told_in_one_line(name, packed, tmp_path):
    files, told = REFUSED[name]
    root = write(tmp_path / "a", files)
    with pytest.raises(InputError, match=told) as error:
        training(pack(root, tmp_path / "a.zip") if packed else root).check()
    assert len(str(error.value).splitlines()) == 1


def test_places_and_digests_that_are_wrong_are_told(tmp_path):
    folder = write(tmp_path / "a", animals())
    (tmp_path / "a.tar").write_bytes(b"")
    (tmp_path / "cut.zip").write_bytes(pack(folder, tmp_path / "a.zip").read_bytes()[:200])
    black = {f"{name}/0.png": picture(0, (1, 1)) for name in "ab"}
    places = [(tmp_path / "none", "data.root"), (tmp_path / "a.tar", "data.root"), (tmp_path / "cut.zip", "data.root")]
    for root, field in [*places, ("", "data.root"), (write(tmp_path / "black", black), "data.root")]:
        with pytest.raises(InputError) as error:
            training(root, num_samples=1, num_test=1).check()
        assert error.value.field == field and len(str(error.value).splitlines()) == 1
    with pytest.raises(InputError, match=r"data\.digest"):
        training(folder, digest="0" * 16)
    other = replace(training(folder), data=replace(training(folder).data, input_dim=3))
    with pytest.raises(InputError, match=r"data\.input_dim"):
        other.check()
