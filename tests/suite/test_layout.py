"""The house in order: few loose modules, files of one idea, no name with two meanings."""

import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 350
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
