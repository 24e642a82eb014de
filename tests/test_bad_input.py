"""Bad input of every kind, made from the schema: told in one line that names it, before anything is computed or written.

Each generator below yields cases; what it leaves out it leaves out because it is legal. Nothing here is drawn anew: the
same cases come every time.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import fields
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import pytest

from dynamics.core import spec as specs
from dynamics.study import config
from dynamics.study.request import StudySpec
from dynamics.sweep.execute import Executor
from dynamics.systems import SYSTEMS

EXPERIMENTS = {
    "training": "stable_minima/rates",
    "caps": "stable_minima/empty_caps",
    "catapult": "atlas/catapult",
    "concentration": "stable_minima/concentration",
    "depth": "data_geometry/depth",
    "flat_search": "stable_minima/tightness",
    "interpolation": "data_geometry/flat_interpolation",
}
RATES = EXPERIMENTS["training"]
EITHER_SIGN = {"initial_output", "model.init_scale"}
NO_CHOICE = {"model.width", "data.root"}  # text, but not one of a table
OWN = "own/study"  # an experiment in a folder of the user's own


class Case(NamedTuple):
    """arguments: of the command line; word: what the message must name; files: the user's own, by path."""

    arguments: list[str]
    word: str
    files: tuple[tuple[str, bytes], ...] = ()


def of(system: str, *arguments: str, word: str) -> Case:
    return Case([f"experiment={EXPERIMENTS[system]}", "size=smoke", *arguments], word)


def sweep(*arguments: str, word: str) -> Case:
    return Case(["--multirun", f"experiment={RATES}", "size=smoke", *arguments], word)


def leaves(kind: type) -> list[tuple[str, str]]:
    """(system, path) of every field of this type, each path once."""
    found = {path: name for name, system in SYSTEMS.items() for path, v in specs.flatten(system()).items() if type(v) is kind}
    return [(name, path) for path, name in found.items()]


def misspelt_fields() -> Iterator[Case]:
    """A letter of a field's name doubled."""
    rng = random.Random(1)
    for name, system in SYSTEMS.items():
        for path in rng.sample(specs.leaf_paths(system), k=2):
            at = rng.randrange(path.rfind(".") + 1, len(path))
            wrong = path[:at] + path[at] + path[at:]
            yield of(name, f"{'sweep.' * rng.randrange(2)}{wrong}=[1]", word=wrong)
    names = {field.name for field in fields(StudySpec)}
    for name in sorted(names):
        if f"{name}s" not in names and name.startswith(("s", "w")):
            yield of("training", f"{name}s=1", word=f"{name}s")


def suggestions() -> Iterator[Case]:
    """Mistakes that are near to something, which the message names."""
    near = {
        "optimizr.learning_rate=1": "optimizer",
        "sweep.data.num_sample=[8]": "data.num_samples",
        "+data.noise=1": "data.noise_std",
        "model.kind=tow_layer": "two_layer",
        "model.activation=rellu": "relu",
        "data.law=uniform_bal": "uniform_ball",
        "optimizer.kind=adammw": "adamw",
        "measures=[train_los]": "train_loss",
        "mode=plant": "plan",
    }
    for text, meant in near.items():
        yield of("training", text, word=f"did you mean '{meant}'")


WRONG = {
    float: ("abc", "[1.0]", "{a: 1}", "null", "nan"),
    int: ("abc", "1.5", "[1]", "{a: 1}", "null", "1e99"),
    str: ("[a]", "{a: b}", "null"),
    bool: ("maybe", "[true]", "null"),
    list: ("3", "{a: 1}", "null", "[[1]]"),
    dict: ("3", "[1]", "null"),
}


def wrong_types() -> Iterator[Case]:
    """A value of another type, for every sixth field of the systems and for all of the study's."""
    for kind, values in WRONG.items():
        wrong = cycle(values)
        for system, path in leaves(kind)[::6]:
            yield of(system, f"{path}={next(wrong)}", word=path)
    for field in fields(StudySpec):
        value = getattr(StudySpec(), field.name)
        yield of("training", f"{field.name}={WRONG[type(value)][0]}", word=field.name)


def out_of_range() -> Iterator[Case]:
    """Below zero, beyond 32 bits, infinite: none of these is a size, a rate or a scale."""
    for i, (system, path) in enumerate(leaves(int)[::2]):
        yield of(system, f"{path}={-1 if i % 3 else 2**31}", word=path)
    for i, (system, path) in enumerate(leaves(float)[::2]):
        if path not in EITHER_SIGN:
            yield of(system, f"{path}={-0.5 if i % 3 or path == 'optimizer.clip_norm' else 'inf'}", word=path)
    for field, value in {"worker": 1, "workers": 0, "memory": "inf", "checkpoint_seconds": -1, "output": "x" * 300}.items():
        yield of("training", f"{field}={value}", word=field)
    for word, value in {"record.at": "[999999]", "steps": "0", "optimizer.batch_size": "4000", "record.dense": "201"}.items():
        yield of("training", f"{word}={value}", word=word)


def unknown_names() -> Iterator[Case]:
    """A word that is in no table."""
    for system, path in leaves(str)[::2]:
        if path not in NO_CHOICE:
            yield of(system, f"{path}=no_such_{path[-2:]}", word=path)
    for value in ("n4", "0n", "-4n", "0.3n", "4 n n", "true", "1e30"):
        yield of("training", f"model.width={value}", word="model.width")
    for field in ("size", "mode"):
        yield of("training", f"{field}=no_such", word=field)
    yield of("training", "measures=[train_loss,train_los]", word="train_los")
    yield of("training", "measures=[]", word="measures")


EXPRESSIONS = (
    "[]",
    "{range: [2, 2]}",
    "{range: [0, 5, 0]}",
    "{range: [0, 1, 2, 3]}",
    "{range: 1.5}",
    "{range: [a, b]}",
    "{range: true}",
    "{range: [0, 99999999999]}",
    "{linspace: [0, 1]}",
    "{linspace: [0, 1, 0]}",
    "{linspace: [0, 1, 2.5]}",
    "{linspace: [0, inf, 3]}",
    "{linspace: [0, 1, nan]}",
    "{logspace: [0, 1, 3]}",
    "{logspace: [1, 2, 9999999]}",
    "{logspce: [1, 2, 3]}",
    "{}",
    "[null]",
    "[abc]",
    "[[1]]",
    "[{a: 1}]",
)


def wrong_axes() -> Iterator[Case]:
    """Ranges that are none, axes without values, of other types, of fields that are not there; panels and sizes likewise."""
    axes = cycle(path for path in specs.leaf_paths(SYSTEMS["training"]) if path in ("seed", "steps", "data.noise_std"))
    for expression in EXPRESSIONS:
        path = next(axes)
        word = path if expression != "{}" else "sweep"
        yield of("training", f"sweep.{path}={{linspace: [1, 2, 2]}}", f"sweep={{{path}: {expression}}}", word=word)
    trees = ("sweep", "panels", "panels.stable", "sweep.zip", "sizes.smoke")
    for tree, value in zip(trees * 2, cycle(("3", "[1]", "abc")), strict=False):
        yield of("training", f"{tree}={value}", word=tree)
    yield of("training", "panels={'a/b': {}}", word="a/b")
    yield of("training", "panels={1: {}}", word="panels")
    yield of("training", "~sweep.steps", word="sweep.steps")
    yield of("training", "sweep={data: {noise_std: {range: 2000}}, seed: {range: 1000}}", word="sweep")
    yield of("training", "sweep.measures=[train_loss]", word="measures")
    yield of("training", "sweep.record.at=[3]", word="record.at")
    yield of("training", "sweep.data=[1]", word="sweep.data")


def wrong_zips() -> Iterator[Case]:
    """Axes that cannot advance together."""
    rng = random.Random(2)
    for _ in range(3):
        one, other = rng.sample(range(1, 6), 2)
        zipped = f"sweep.zip=[{{seed: {[*range(one)]}, data.noise_std: {[*range(other)]}}}]"
        yield of("training", zipped, word="sweep.zip")
    yield of("training", "sweep.zip=[{seeds: [1], steps: [20]}]", word="seeds")
    yield of("training", "sweep.zip={seed: {range: 3}, steps: []}", word="steps")


def broken_syntax() -> Iterator[Case]:
    """An override that ends too early, or that is none."""
    rng = random.Random(3)
    whole = [
        "sweep.seed=[0,1,{a:2}]",
        "record={at:[1,2]}",
        "data.law='uniform_ball'",
        "measures=[a,[b]]",
        'target.kind="linear"',
    ]
    for text in whole:
        cut = rng.randrange(text.index("=") + 2, len(text) - 1)
        yield of("training", text[:cut] if text[cut - 1] in "[{'\",:" else text[:-1], word=text.partition("=")[0])
    for text in ("steps", "=3", "steps==3", "a b=3", "sweep..seed=[1]", "+++steps=3", "steps=foo(1)", "é=1", "steps=int(abc)"):
        yield of("training", text, word=text.strip("="))
    yield of("training", "steps=" + "9" * 5000, word="999")
    yield of("training", "steps=" + "[" * 500, word="[[[")
    yield of("training", "a." * 500 + "b=1", word="a.a.a")
    yield of("training", "steps=${no.such}", word="no.such")
    yield of("training", "steps=${steps}", word="ecursive")
    yield of("training", "steps=${no_resolver:1}", word="no_resolver")
    yield of("training", "steps=1,2", word="steps=1,2")


def unknown_groups() -> Iterator[Case]:
    """Experiments, groups and options that are not there."""
    for name in (
        "stable_minima/rate",
        "stable_minima",
        "nothing",
        "/etc/passwd",
        "../config",
        "rates.yaml",
        "''",
        "null",
        "3",
        "x" * 400,
    ):
        yield Case([f"experiment={name}", "size=smoke"], name.strip("'"))
    yield Case(["size=smoke"], "stable_minima/rates")
    for group in ("hydra/launcher", "hydra/sweeper", "+system", "model@x"):
        yield of("training", f"{group}=no_such", word=group.strip("+"))
    yield of("training", "+system=caps", word="system")
    for option in (
        "--no-such",
        "--cfg=no",
        "--info=no",
        "--resolve",
        "--config-dir=no",
        "--config-dir",
        "--config-path=.",
        "-cn=x",
    ):
        yield of("training", option, word=option.strip("-").partition("=")[0].replace("cn", "config-name"))
    yield of("training", "--run", "--cfg=job", word="--cfg")
    yield of("training", "output=/dev/null", word="/dev/null")
    yield of("training", "mode=figure", word="24 of 24")


def bad_jobs() -> Iterator[Case]:
    """Sweeps in which one job of several is wrong: none of them starts."""
    rng = random.Random(4)
    wrong = {
        "seed": -1,
        "steps": 1.5,
        "data.num_samples": 0,
        "data.noise_std": -0.5,
        "data.law": "cube",
        "model.width": "0n",
        "optimizer.kind": "adamm",
        "optimizer.learning_rate": 0,
        "precision": "float16",
        "record.dense": 999,
    }
    good = {"data.law": "sphere", "model.width": "2n", "optimizer.kind": "gd", "precision": "float32", "steps": "150"}
    for path, value in wrong.items():
        values = [good.get(path, "1")] * 3
        values[rng.randrange(3)] = str(value)
        yield sweep(f"{path}={','.join(values)}", "seed=1,2" if path != "seed" else "steps=150,200", word=path)
    yield sweep("seed=1,2", "sweep.data.num_samples=[8],[a]", word="data.num_samples")
    yield sweep("seed=1,2", "hydra.run.dir=a,b", word="hydra.run.dir")
    yield sweep("seed=range(1", word="seed=range(1")


STUDY = """# @package _global_
defaults:
  - /system/training
  - _self_

data: {law: uniform_ball, num_samples: 16}
model: {kind: two_layer, width: 4n}
optimizer: {learning_rate: 0.1}
steps: 20
record: {num: 3}
measures:
  - train_loss

sweep:
  seed: {range: [0, 2]}
panels:
  one: {data: {input_dim: 2}}
sizes:
  smoke:
    steps: 10
"""
ROOT = (Path(__file__).parents[1] / "configs" / "config.yaml").read_bytes()


def own_study(content: bytes | str, word: str) -> Case:
    """A study of the user's own: `configs/` and `experiments/` in the working folder come first."""
    data = content.encode() if isinstance(content, str) else content
    file = f"configs/experiment/{OWN}.yaml"
    files = (("configs/config.yaml", ROOT), (file, data), (f"experiments/{OWN}.py", b"raise SystemExit"))
    return Case([f"experiment={OWN}", "size=smoke"], word, files)


def edited(old: str, new: str, word: str) -> Case:
    assert STUDY.count(old) == 1, old
    return own_study(STUDY.replace(old, new), word)


def misspelt_in_files() -> Iterator[Case]:
    """Every key of the file in turn, a letter of it doubled."""
    for found in re.finditer(r"\b([a-z_]+):(?= |\n)", STUDY):
        key, end = found[1], found.end(1)
        if key in ("defaults", "range", "one", "smoke"):  # a panel is called as one likes; the others are below
            continue
        yield own_study(STUDY[:end] + STUDY[end - 1] + STUDY[end:], key + key[-1])


def broken_files() -> Iterator[Case]:
    """Files that are no YAML, or no config."""
    file = f"{OWN}.yaml"
    yield edited("smoke:", "smok:", "size")
    yield edited("range: [0, 2]", "rangee: [0, 2]", "rangee")
    yield edited("steps: 20", "steps: 20\nsteps: 30", file)  # twice
    yield edited("steps: 20", "steps: [20", file)
    yield edited("steps: 20", "\tsteps: 20", file)
    yield edited("steps: 20", "steps: : 20", file)
    yield edited("steps: 20", "steps: *missing", file)
    yield edited("steps: 20", "steps: 'a", file)
    yield edited("steps: 20", "steps: !.python/name:os.system", file)
    yield edited("steps: 20", "steps: !!int abc", file)
    yield edited("steps: 20", "steps: many", "steps")
    yield edited("steps: 20", "steps:", "steps")
    yield edited("steps: 20", "steps: {a: 1}", "steps")
    yield edited("steps: 20", "20", file)
    yield edited("steps: 20", "? [a, b]\n: 3", file)
    yield edited("  - train_loss", "  - train_loss: 1", "measures")
    yield edited("  - train_loss", "  - train_los", "train_los")
    yield edited("one: {data", "a/b: {data", "a/b")
    yield edited("one: {data: {input_dim: 2}}", "one: 3", "one")
    yield edited("    steps: 10", "    stepss: 10", "stepss")
    yield edited("    steps: 10", "    - 10", "sizes.smoke")
    yield edited("/system/training", "/system/trainin", "trainin")
    yield edited("  - /system/training\n", "", "/system/training")
    yield edited("  - _self_", "  - ../../other", "../../other")
    yield edited("@package _global_", "@package model", "model")
    yield edited("@package _global_", "@package a b", "a b")
    yield own_study("", "/system/training")
    yield own_study("- a\n", "/system/training")
    for text in ("3\n", "steps: 3\n---\nsteps: 4\n"):
        yield own_study(text, OWN)
    yield own_study(STUDY.encode() + b"\xff\xfe\n", file)
    yield own_study(STUDY.encode() + b"# \x00\n", file)
    yield own_study(b"\x89PNG\r\n\x1a\n" + bytes(range(256)), file)
    yield own_study(STUDY + "x: " + "[" * 2000 + "]" * 2000, file)
    yield own_study(
        STUDY + "x: &a [1]\n" + "".join(f"x{i}: &b{i} [{f'*b{i - 1}, ' * 9 if i else '*a'}]\n" for i in range(9)), file
    )


GENERATORS = (
    misspelt_fields,
    suggestions,
    wrong_types,
    out_of_range,
    unknown_names,
    wrong_axes,
    wrong_zips,
    broken_syntax,
    unknown_groups,
    bad_jobs,
    misspelt_in_files,
    broken_files,
)
CASES = [pytest.param(case, id=f"{make.__name__}-{i}") for make in GENERATORS for i, case in enumerate(make())]


def test_there_are_enough():
    assert len(CASES) >= 200


@pytest.fixture(scope="module")
def registered_once():
    """The schemas stay known for the length of a process; to make them for every case would take most of the time."""
    config.register()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "register", lambda: None)
        yield


@pytest.mark.usefixtures("registered_once")
@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_told_in_one_line_before_anything_is_done(case, cli, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("compute started")

    monkeypatch.setattr(Executor, "compute", refuse)
    for name, content in case.files:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    there = sorted(Path().rglob("*"))
    before = [] if any(a.startswith("output=") for a in case.arguments) else ["output=tmp/new"]
    if case.arguments[0] == "--multirun":
        before = ["--multirun", *before]
    code, out, err = cli(*before, *case.arguments[before[:1] == ["--multirun"] :])
    lines = [line for line in err.splitlines() if not line.startswith(("note:", "warning:"))]
    assert "Traceback" not in err + out
    assert code == 2, (case.arguments, err)
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert case.word in lines[0]
    assert sorted(Path().rglob("*")) == there  # neither tmp/new, nor outputs, nor multirun
