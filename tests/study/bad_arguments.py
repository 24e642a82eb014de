"""Bad input on the command line, made from the schema."""

import random
from collections.abc import Iterator
from dataclasses import fields
from itertools import cycle
from typing import NamedTuple

from dynamics.core import spec as specs
from dynamics.study.request import StudySpec
from dynamics.systems import SYSTEMS

EXPERIMENTS = {
    "training": "stable_minima/rates",
    "caps": "stable_minima/empty_caps",
    "catapult": "atlas/catapult",
    "concentration": "stable_minima/concentration",
    "coordinate_check": "atlas/curvature/mup_coordinate_check",
    "depth": "data_geometry/depth",
    "flat_search": "stable_minima/tightness",
    "interpolation": "data_geometry/flat_interpolation",
}


RATES = EXPERIMENTS["training"]


EITHER_SIGN = {"margin", "initial_output", "model.init_scale"}


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
    yield of("training", "coordinator=127.0.0.1:80", word="coordinator")
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
    """Ranges that are none, axes without values, of other types, of fields that are not there;
    panels and sizes likewise."""
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
    yield of("training", "steps=1,2", word="steps = '1,2'")


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
