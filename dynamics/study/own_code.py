"""Python code that registers pieces (`dynamics.register`), imported before a config is read that may name them.

Such code is in installed packages, which name a module in the entry point group `dynamics.extensions`; in
`extensions.py` beside one's own folder `experiments/`; and in the file of an experiment, if the word `register` is in
it (not in a comment). Files of experiments that were not asked for are not imported, nor are those that register
nothing: they import what draws, which takes longer than planning does.

A file is the module `dynamics.study.experiment_files.<paper>.<name>`, so that its classes can be pickled to other
processes, and `from ..extensions import ...` and `from .other_file import ...` work in it. A file that changed is
imported again, and what it had registered is taken out first.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from threading import RLock
from types import ModuleType

import yaml

from dynamics.core.registry import REGISTRIES
from dynamics.errors import InputError
from dynamics.study.folders import experiment_names, own_folder, search_folders

PACKAGE = "dynamics.study.experiment_files"
ENTRY_POINTS = "dynamics.extensions"
EXTENSIONS = "extensions"
REGISTERS = re.compile(r"^[^#\n]*\bregister\b", re.MULTILINE)  # not in a comment
Stamp = tuple[str, int, int]
_imported: dict[str, Stamp] = {}
_LOCK = RLock()


def import_own_code(names: Iterable[str] = ()) -> None:
    """Import installed extensions, `extensions.py` of the working folder, and these experiments' files that register
    pieces.

    Raises an `InputError` that names file and line for code that does not import.
    """
    for entry in _entry_points(tuple(sys.path)):
        _import_entry_point(entry)
    with _LOCK:
        own = own_folder()
        file = own / f"{EXTENSIONS}.py" if own is not None else None
        if file is not None and file.is_file():
            _import_file(EXTENSIONS, file)
        elif EXTENSIONS in _imported:
            _forget(EXTENSIONS)
        for name in dict.fromkeys(base for asked in names for base in _with_bases(asked)):
            found = next((f for folder in search_folders() if (f := folder / "experiments" / f"{name}.py").is_file()), None)
            if found is not None and REGISTERS.search(found.read_text(encoding="utf-8", errors="replace")):
                _import_file(name, found)


def import_experiment(name: str, file: Path) -> ModuleType:
    """Return the module of an experiment's file, imported again if the file has changed."""
    with _LOCK:
        return _import_file(name, file)


def named_experiments(arguments: Sequence[str]) -> list[str]:
    """Return the experiments that a command line names, those of a sweep and its patterns among them."""
    given = [a.lstrip("+").removeprefix("experiment=") for a in arguments if re.match(r"\+*experiment=", a)]
    words = {word for text in given for word in re.findall(r"[\w./*?+-]+", text)}
    return [name for name in experiment_names() if any(fnmatch(name, word) for word in words)] if words else []


def _with_bases(name: str) -> Iterator[str]:
    """Return the experiment and those whose configs its defaults list builds on, the latter first."""
    todo, found = [name], []
    while todo:
        name = todo.pop()
        if name not in found:
            found.append(name)
            todo += _bases(name)
    return reversed(found)


def _bases(name: str) -> list[str]:
    files = [folder / "configs" / "experiment" / f"{name}.yaml" for folder in search_folders()]
    file = next((file for file in files if file.is_file()), None)
    try:
        config = yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader) if file is not None else None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError):
        return []  # told by whoever composes it
    defaults = config.get("defaults") if isinstance(config, dict) else None
    entries = [e for e in defaults or () if isinstance(e, str) and e != "_self_"] if isinstance(defaults, list) else []
    return [e.removeprefix("/experiment/") for e in entries if e.startswith("/experiment/") or not e.startswith("/")]


@cache
def _entry_points(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return the modules that installed packages name; looked for again when the search path has changed."""
    return tuple(entry_points(group=ENTRY_POINTS))


@cache
def _import_entry_point(entry: EntryPoint) -> None:
    try:
        entry.load()
    except Exception as error:
        told = f"does not import: {type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"entry point of {ENTRY_POINTS}", f"{entry.name} = {entry.value}", told) from error


def _import_file(name: str, file: Path) -> ModuleType:
    """Return the module of a file, imported anew if there is none yet or it was made of another file or an earlier
    version."""
    module_name = f"{PACKAGE}.{name.replace('/', '.')}"
    stat = file.stat()
    stamp = (str(file.resolve()), stat.st_mtime_ns, stat.st_size)
    if _imported.get(name) == stamp and module_name in sys.modules:
        return sys.modules[module_name]
    _forget(name)
    importlib.invalidate_caches()
    importlib.import_module(PACKAGE).__path__[:] = package_path()
    parent = importlib.import_module(module_name.rpartition(".")[0])
    found = importlib.util.spec_from_file_location(module_name, file)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[module_name] = module
    _imported[name] = stamp
    try:
        found.loader.exec_module(module)
    except BaseException as error:
        _forget(name)
        if not isinstance(error, Exception):
            raise
        raise InputError("file", _place(file, error), f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    setattr(parent, module_name.rpartition(".")[2], module)
    return module


def package_path() -> list[str]:
    """Return the folders in which the modules of experiments are found by name, when a pickle asks for one."""
    return [str(folder / "experiments") for folder in search_folders()]


def _forget(name: str) -> None:
    """Take out a module and what it had registered."""
    module_name = f"{PACKAGE}.{name.replace('/', '.')}"
    for registry in REGISTRIES:
        for piece in [piece for piece in registry if registry.entry(piece).origin.module == module_name]:
            registry.remove(piece)
    sys.modules.pop(module_name, None)
    _imported.pop(name, None)


def _place(file: Path, error: Exception) -> str:
    """Return the file and the line of it at which an import failed."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f"{file}, line {frames[-1].lineno}" if frames else str(file)
