"""Bad input in an experiment's own files."""

import re
from collections.abc import Iterator
from pathlib import Path

from bad_arguments import OWN, Case

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


ROOT = (Path(__file__).parents[2] / "configs" / "config.yaml").read_bytes()


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
