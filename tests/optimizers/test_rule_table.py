"""The tables of docs/optimizers.md say what the registered rules are."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.core.options import option_of
from dynamics.core.spec import leaf_fields
from dynamics.optimizers.rules import RULES, OptimizerSpec
from dynamics.systems.training import TrainingSpec

PAGE = (Path(__file__).parents[2] / "docs" / "optimizers.md").read_text()
ROWS = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in PAGE.splitlines() if line.startswith("| `")]
TABLE = {row[0].strip("`"): row for row in ROWS if len(row) == 6}
SIZE = 7


def test_every_rule_of_the_suite_has_its_row():
    assert list(TABLE) == [name for name in RULES if name not in RULES.own_pieces()]


@pytest.mark.parametrize("kind", TABLE)
def test_a_row_says_what_its_rule_reads_asks_for_and_keeps(kind):
    _, _, own, gradients, state, _ = TABLE[kind]
    assert re.findall(r"`(\w+)`", own) == list(RULES[kind].uses)
    assert int(gradients) == RULES[kind].gradients
    hyper = {f"optimizer.{name}": jnp.float32(value) for name, value in vars(OptimizerSpec()).items() if type(value) is float}
    kept = jax.eval_shape(lambda p: OptimizerSpec(kind).rule(hyper, p).init(p), jnp.zeros(SIZE))
    assert int(state) == sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(kept)) // SIZE


@pytest.mark.parametrize("field", ["sampling", "average"])
def test_choices_have_their_rows(field):
    allowed = option_of(leaf_fields(TrainingSpec)[f"optimizer.{field}"]).choices or ()
    named = PAGE.split(f"| {field} |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", named, flags=re.M) == list(allowed)
