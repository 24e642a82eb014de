"""Where experiments are found: a config and a Python file of the same name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from dynamics.errors import InputError, require


def home() -> Path:
    """The folder with `configs/` and `experiments/`: the working folder if it has them, else the suite's own."""
    package = Path(__file__).resolve().parents[1]
    for folder in (Path.cwd(), package.parent, package / "suite"):
        if (folder / "configs" / "config.yaml").exists() and (folder / "experiments").exists():
            return folder
    raise InputError("working folder", str(Path.cwd()), "has no configs/ and experiments/, nor has the installation")


def experiment_names() -> list[str]:
    """Every experiment that has a config, such as `stable_minima/rates`."""
    root = home() / "configs" / "experiment"
    return sorted(str(file.relative_to(root).with_suffix("")) for file in root.rglob("*.yaml"))


def experiment_file(name: str) -> Path:
    """experiments/<name>.py, where the experiment's `figure` and `claims` are."""
    file = home() / "experiments" / f"{name}.py"
    require(file.exists(), "experiment", name, f"has a config but no {file}")
    return file


def experiment_module(name: str) -> ModuleType:
    """The experiment's `figure` and `claims`; what draws takes a second to import, so ask for it only to draw."""
    file = experiment_file(name)
    module_name = f"experiments.{name.replace('/', '.')}"
    found = importlib.util.spec_from_file_location(module_name, file)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[module_name] = module
    found.loader.exec_module(module)
    for function in ("figure", "claims"):
        require(hasattr(module, function), "experiment", name, f"{file} must define {function}(study)")
    return module
