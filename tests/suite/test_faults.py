"""A short form of `make faults`: a few of its faults, on a sweep of two groups."""

import random
import shutil

import fault_bench
import faults
import pytest


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    bench = faults.Bench(folder, steps=20_000, activations="relu", kinds="gd,adam", checkpoint_seconds=0.05)
    bench.reference()
    return bench


def test_damaged_files_are_told_and_only_their_parts_computed_again(bench):
    seen = faults.damages(bench, 3, random.Random(2))
    assert seen["files"] == 3 and seen["told"] == seen["parts computed again"] > 0


def test_stopped_resumed_and_killed_with_a_torn_checkpoint_it_comes_to_the_same_store(bench):
    assert faults.damaged_checkpoint(bench, random.Random(3))["told"] >= 1


def test_a_folder_that_must_not_be_written_to_is_refused(bench):
    seen = faults.read_only(bench, finish=False)
    if isinstance(seen, str):
        pytest.skip(seen)
    assert seen == {"refused": 1}


def test_of_three_processes_joined_one_may_die(bench):
    faults.together(bench, 3, kill=2, distributed=True)


def test_the_comparison_sees_a_bit(bench, tmp_path):
    """A control: stores that differ in one bit of one final state are not the same."""
    output = tmp_path / "other"
    shutil.copytree(bench.reference(), output)
    fault_bench.same_store(output, bench.reference())
    file = next(fault_bench.parts(output)[0].rglob("*.npy"))
    file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1]))
    with pytest.raises(AssertionError, match="another final state"):
        fault_bench.same_store(output, bench.reference())
