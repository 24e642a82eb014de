"""Where experiments are found: a config and a Python file of the same name, in one's own folder or in the suite's.

One's own folder is the working folder if it has `configs/experiment/`; it is searched first, so an experiment of one's
own with the name of one of the suite's takes its place, and a notice says so. This module imports nothing heavy: a
plugin of Hydra's asks it at every start.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dynamics.errors import InputError, require, suggest


def home() -> Path:
    """Return the suite's own folder, which has its `configs/` and `experiments/`."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parent, package / "suite"):
        if (folder / "configs" / "config.yaml").exists() and (folder / "experiments").exists():
            return folder
    raise InputError("installation", str(package), "has no configs/ and experiments/; install it again")


def own_folder() -> Path | None:
    """Return the working folder if it has experiments of its own, None if it has not or is the suite's folder."""
    try:
        folder = Path.cwd()
    except FileNotFoundError:  # it was deleted
        return None
    return folder if (folder / "configs" / "experiment").is_dir() and not folder.samefile(home()) else None


def search_folders() -> list[Path]:
    """Return the folders with `configs/` and `experiments/`, one's own before the suite's."""
    own = own_folder()
    return [home()] if own is None else [own, home()]


def names_in(folder: Path) -> list[str]:
    """Return the experiments that have a config in this folder, such as `stable_minima/rates`."""
    root = folder / "configs" / "experiment"
    return sorted(file.relative_to(root).with_suffix("").as_posix() for file in root.rglob("*.yaml"))


def experiment_names() -> list[str]:
    """Return every experiment that has a config, one's own and the suite's."""
    return sorted({name for folder in search_folders() for name in names_in(folder)})


def map_names() -> list[str]:
    """Return every map of claims that has a file, one's own and the suite's."""
    return sorted({file.stem for folder in search_folders() for file in (folder / "configs" / "maps").glob("*.yaml")})


def own_experiment_names() -> list[str]:
    """Return one's own experiments."""
    folder = own_folder()
    return [] if folder is None else names_in(folder)


def experiment_folder(name: str) -> Path:
    """Return the folder whose config of this name counts; an `InputError` lists the experiments if there is none."""
    for folder in search_folders():
        if (folder / "configs" / "experiment" / f"{name}.yaml").is_file():
            return folder
    names = experiment_names()
    raise InputError("experiment", name, f"choose one of {', '.join(names)}{suggest(name, names)}")


def shadow_notices(name: str) -> Iterator[str]:
    """Yield a notice if a user's experiment hides the suite's experiment of the same name."""
    if name in own_experiment_names() and name in names_in(home()):
        yield f"note: {name} is that of {own_folder()}; the suite's experiment of this name is not seen from here"


def experiment_file(name: str) -> Path:
    """Return experiments/<name>.py, where the experiment's `figure` and `claims` are."""
    file = experiment_folder(name) / "experiments" / f"{name}.py"
    require(file.exists(), "experiment", name, f"has a config but no {file}")
    return file
