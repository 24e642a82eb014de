"""One's own arrays: what files may hold, what becomes of it in a run, and that everything else is told in one line."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import polars as pl
import pytest

from dynamics.core import spec as specs
from dynamics.data import array_files
from dynamics.data.problem import DataSpec, TargetSpec, draw_problem
from dynamics.errors import InputError
from dynamics.models.model_spec import ModelSpec
from dynamics.systems.training import TrainingSpec

X = np.random.default_rng(0).normal(size=(20, 3))
Y = X @ [1.0, -2.0, 0.5]
CLASSES = np.repeat([-1, 1], 10)


def training(file, target: str = "labels", **data) -> TrainingSpec:
    """A resolved run on a file, without noise."""
    data = {"num_samples": 12, "num_test": 8, "input_dim": 0, "noise_std": 0.0, **data}
    spec = TrainingSpec(
        data=DataSpec("arrays", file=str(file), **data),
        target=TargetSpec(target),
        model=ModelSpec(width=4),
        precision="float64",
    )
    return specs.freeze(spec).resolve()


def problem_of(spec: TrainingSpec):
    hyper = {**specs.hyper(spec), **spec.shared_arrays()}
    with jax.enable_x64(True):
        draw = jax.jit(partial(draw_problem, spec.data, spec.target, dtype="float64"))
        return jax.tree.map(np.asarray, draw(jax.random.key(spec.seed), hyper))


def rows_in(pool: np.ndarray, some: np.ndarray) -> list[int]:
    """Which rows of the pool these are, each exactly one."""
    (found,) = [np.flatnonzero((pool == row).all(axis=1)) for row in some[:1]]
    assert len(found) == 1
    return [int(np.flatnonzero((pool == row).all(axis=1))[0]) for row in some]


def test_samples_are_rows_of_the_file_each_once_with_their_labels(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=X, labels=Y)
    spec = training(tmp_path / "a.npz")
    spec.check()
    problem = problem_of(spec)
    train, test = rows_in(X, problem.train.inputs), rows_in(X, problem.test.inputs)
    assert sorted(train + test) == list(range(20))
    np.testing.assert_array_equal(problem.train.labels, Y[train])
    np.testing.assert_array_equal(problem.test.labels, Y[test])
    other = problem_of(replace(spec, seed=1))
    assert rows_in(X, other.train.inputs) != train


def test_a_test_part_is_tested_on(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=X[:15], y_train=Y[:15], x_test=X[15:], y_test=Y[15:])
    spec = training(tmp_path / "a.npz", num_samples=15, num_test=5)
    spec.check()
    problem = problem_of(spec)
    assert sorted(rows_in(X, problem.train.inputs)) == list(range(15))
    test = rows_in(X, problem.test.inputs)
    assert sorted(test) == list(range(15, 20))
    np.testing.assert_array_equal(problem.test.labels, Y[test])
    with pytest.raises(InputError, match="has 5 test samples"):
        training(tmp_path / "a.npz", num_samples=15, num_test=6).check()


@pytest.mark.parametrize("target", ["labels", "part_index", "one_hot"])
def test_whole_numbers_are_classes(target, tmp_path):
    np.savez(tmp_path / "a.npz", inputs=X, labels=CLASSES)
    spec = training(tmp_path / "a.npz", target)
    spec.check()
    problem = problem_of(spec)
    train = rows_in(X, problem.train.inputs)
    expected = {"labels": CLASSES, "part_index": CLASSES > 0, "one_hot": np.eye(2)[(CLASSES > 0).astype(int)]}[target]
    np.testing.assert_array_equal(problem.train.labels, expected[train])


def test_labels_of_several_numbers_are_as_many_outputs(tmp_path):
    both = np.stack([Y, -Y], axis=1)
    np.savez(tmp_path / "a.npz", inputs=X, labels=both)
    spec = training(tmp_path / "a.npz")
    spec.check()
    assert spec.outputs == 2
    problem = problem_of(spec)
    np.testing.assert_array_equal(problem.train.labels, both[rows_in(X, problem.train.inputs)])


def test_shuffled_labels_say_nothing_and_are_labels_of_the_file(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=X, labels=Y)
    spec = training(tmp_path / "a.npz", shuffle_parts=True)
    spec.check()
    problem = problem_of(spec)
    assert set(problem.train.labels) <= set(Y)
    assert (problem.train.labels != Y[rows_in(X, problem.train.inputs)]).sum() > 6
    assert len(set(problem.train.labels)) > 4


def test_without_labels_a_target_of_the_suite_draws_them(tmp_path):
    np.save(tmp_path / "a.npy", X.astype(np.float32))
    spec = training(tmp_path / "a.npy", "linear")
    spec.check()
    problem = problem_of(spec)
    np.testing.assert_array_equal(problem.train.labels, problem.train.inputs[:, 0])


def table(**columns) -> pl.DataFrame:
    return pl.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], **columns})


def test_all_formats_of_one_content_are_the_same_run(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=X, labels=Y)
    table(y=Y).write_csv(tmp_path / "a.csv")
    table(y=Y).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"inputs": X.tolist(), "y": Y}).write_parquet(tmp_path / "lists.parquet")
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "b.csv").write_bytes((tmp_path / "a.csv").read_bytes())
    names = ("a.npz", "a.csv", "a.parquet", "lists.parquet", "moved/b.csv")
    assert len({specs.run_id(training(tmp_path / name)) for name in names}) == 1


def test_another_content_is_another_run(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=X, labels=Y)
    before = specs.run_id(training(tmp_path / "a.npz"))
    np.savez(tmp_path / "a.npz", inputs=X, labels=Y + 1e-12)
    after = specs.run_id(training(tmp_path / "a.npz"))
    np.savez(tmp_path / "a.npz", inputs=X.reshape(20, 3, 1), labels=Y)
    assert len({before, after, specs.run_id(training(tmp_path / "a.npz"))}) == 3


def test_a_table_may_say_what_is_for_testing(tmp_path):
    split = ["train", "test"] * 10
    table(label=["cat", "dog"] * 9 + ["cat", "cat"], split=split).write_csv(tmp_path / "a.csv")
    with pytest.raises(InputError, match="dog, a class without training samples"):
        training(tmp_path / "a.csv")
    table(label=["cat", "cat", "dog", "dog"] * 5, split=split).write_csv(tmp_path / "b.csv")
    pool = array_files.load_array_file(str(tmp_path / "b.csv"))
    assert pool.classes == 2 and pool.test_inputs is not None
    np.testing.assert_array_equal(pool.inputs, X[::2])
    np.testing.assert_array_equal(pool.test_inputs, X[1::2])
    with pytest.raises(InputError, match="for words use one_hot"):
        training(tmp_path / "b.csv", num_samples=4, num_test=4).check()


def test_images_keep_their_grid_and_bytes_stay_bytes(tmp_path):
    pixels = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
    np.savez(tmp_path / "a.npz", inputs=pixels)
    spec = training(tmp_path / "a.npz", "zero", num_samples=2, num_test=2)
    spec.check()
    assert spec.data.grid == (5, 6, 1) and spec.data.input_dim == 30
    assert spec.shared_arrays()["data.pool"].dtype == np.uint8


def with_nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[-1] = np.nan
    return array


REFUSED = {
    "NaN": ({"inputs": with_nan(X), "labels": Y}, "the first is row"),
    "NaN labels": ({"inputs": X, "labels": with_nan(Y)}, "labels has NaN"),
    "a wrong shape": ({"inputs": Y}, r"shape \(20,\)"),
    "labels of another length": ({"inputs": X, "labels": Y[:5]}, "there are 20 samples"),
    "one sample": ({"inputs": X[:1]}, "to train and test takes 2"),
    "no samples": ({"inputs": X[:0]}, "to train and test takes 2"),
    "a pickle": ({"inputs": X, "labels": np.array([{}] * 20, dtype=object)}, "Python objects"),
    "words as inputs": ({"inputs": X.astype(str)}, "must be numbers"),
    "another name": ({"inputs": X, "lables": Y}, "lables"),
    "no inputs": ({"labels": Y}, "no array `inputs`"),
    "test labels without inputs": ({"inputs": X, "labels": Y, "test_labels": Y}, "without inputs"),
    "test inputs of another shape": ({"inputs": X, "test_inputs": X[:, :2]}, "of one shape"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_on_is_told_in_one_line(name, tmp_path):
    arrays, told = REFUSED[name]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=told) as error:
        training(tmp_path / "a.npz").check()
    assert error.value.field == "data.file" and len(str(error.value).splitlines()) == 1


def test_broken_and_missing_files_are_told_in_one_line(tmp_path):
    np.savez(tmp_path / "cut.npz", inputs=X)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:300])
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "head.csv").write_text("0.1,0.2\n0.3,0.4\n0.5,0.6\n")
    (tmp_path / "hole.csv").write_text("a,b\n1,2\n3,\n")
    (tmp_path / "word.csv").write_text("a,b\n1,2\n3,x\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "no.parquet").write_text("no table")
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object))
    for name in (
        "cut.npz",
        "text.npy",
        "head.csv",
        "hole.csv",
        "word.csv",
        "empty.csv",
        "no.parquet",
        "pickled.npy",
        "none.npz",
        "a.txt",
        "",
    ):
        with pytest.raises(InputError) as error:
            training(tmp_path / name if name else "").check()
        assert error.value.field == "data.file" and len(str(error.value).splitlines()) == 1, name


def test_sizes_targets_and_digests_that_do_not_fit_are_told(tmp_path):
    np.savez(tmp_path / "a.npz", inputs=X, labels=Y)
    file = tmp_path / "a.npz"
    for spec, field in (
        (partial(training, file, num_samples=13), "data.num_samples"),
        (partial(training, file, input_dim=4), "data.input_dim"),
        (partial(training, file, "one_hot"), "target.kind"),
        (partial(training, file, digest="0" * 16), "data.digest"),
    ):
        with pytest.raises(InputError) as error:
            spec().check()
        assert error.value.field == field
    with pytest.raises(InputError, match=r"target\.kind"):
        TrainingSpec(target=TargetSpec("labels")).check()
    with pytest.raises(InputError, match=r"data\.file"):
        TrainingSpec(data=DataSpec(file=str(file))).check()
