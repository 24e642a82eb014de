"""`import dynamics as dyn`: lazy, complete, and explained."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import dynamics as dyn

HEAVY = ("jax", "numpy", "polars", "hydra", "matplotlib", "scipy", "flax")


def test_importing_the_package_imports_nothing_heavy_and_starts_no_device():
    code = f"import sys, dynamics as dyn; dir(dyn); print([m for m in {HEAVY} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_names_are_listed_and_a_wrong_one_is_an_attribute_error():
    assert set(dyn.__all__) <= set(dir(dyn))
    assert sorted(dyn.__all__) == dyn.__all__
    with pytest.raises(AttributeError, match="no attribute 'swep'"):
        dyn.swep  # noqa: B018


def test_no_public_name_is_hidden_by_a_package_or_module_of_the_same_name():
    folder = Path(dyn.__file__).parent
    inside = {p.stem for p in folder.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert not inside & set(dyn.__all__)


@pytest.mark.parametrize("name", dyn.__all__)
def test_every_public_name_has_a_docstring_with_an_example(name):
    value = getattr(dyn, name)
    assert value.__doc__ and len(value.__doc__.splitlines()[0]) > 20
    examples = [example for test in doctest.DocTestFinder(recurse=False).find(value, name) for example in test.examples]
    assert examples, f"dyn.{name} has no example"


def test_types_are_announced_to_type_checkers():
    assert (Path(dyn.__file__).parent / "py.typed").exists()
