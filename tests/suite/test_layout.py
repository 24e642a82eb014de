"""The house in order: few loose modules, files of one idea, no name with two meanings."""

import ast
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 350
MOST_CHARACTERS = 120  # of a line of prose
SUITE = ("benchmarks", "dynamics", "experiments", "hydra_plugins", "tests")


def python_files(*folders: str) -> list[Path]:
    """The Python files below these folders of the checkout."""
    return [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py")) if "__pycache__" not in file.parts]


def count_lines(file: Path) -> int:
    return len(file.read_text().splitlines())


def test_at_most_three_loose_modules():
    loose = [file.name for file in (ROOT / "dynamics").glob("*.py") if file.name != "__init__.py"]
    assert len(loose) <= 3, loose


def test_no_file_is_too_long():
    assert {str(f.relative_to(ROOT)): n for f in python_files(*SUITE) if (n := count_lines(f)) > MOST_LINES} == {}


def list_prose(source: str) -> list[tuple[int, str]]:
    """Return the lines of docstrings and of comments that have a line of their own, with their numbers.

    Not examples and not tables, which have columns that are aligned.
    """
    lines = source.splitlines()
    prose = {n for n, line in enumerate(lines, start=1) if line.lstrip().startswith("# ")}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return [(n, line) for n in sorted(prose) if not is_table(line := lines[n - 1])]


def is_table(line: str) -> bool:
    return "  " in line.strip() or line.lstrip().startswith((">>>", "..."))


def test_lines_of_prose_are_short():
    found, sources = [], {file: file.read_text() for file in python_files(*SUITE)}
    for file, source in sources.items():
        if any(len(line) > MOST_CHARACTERS for line in source.splitlines()):
            found += [f"{file.relative_to(ROOT)}:{n}" for n, line in list_prose(source) if len(line) > MOST_CHARACTERS]
    for file in (ROOT / "configs").rglob("*.yaml"):
        lines = enumerate(file.read_text().splitlines(), start=1)
        comments = [(n, line) for n, line in lines if line.lstrip().startswith("# ") and not is_table(line)]
        found += [f"{file.relative_to(ROOT)}:{n}" for n, line in comments if len(line) > MOST_CHARACTERS]
    assert found == []


def test_no_module_name_has_two_meanings():
    names = Counter(file.stem for file in python_files("dynamics") if file.stem not in ("__init__", "__main__"))
    assert {name: count for name, count in names.items() if count > 1} == {}
    experiments = {file.stem for file in python_files("experiments")}
    assert names.keys() & experiments == set()


def test_the_order_of_the_packages_is_stated_for_every_package():
    """import-linter checks the order in `make lint`; a package that its contract lacks would not be checked."""
    contract = (ROOT / "pyproject.toml").read_text()
    packages = {file.parent.name for file in (ROOT / "dynamics").glob("*/__init__.py")}
    assert {name for name in packages if f'"{name}"' not in contract} == set()


def test_nothing_that_is_ignored_is_tracked():
    tracked = subprocess.run(["git", "ls-files", "-ci", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    assert tracked.stdout == "" or tracked.returncode != 0
