"""Configs from elsewhere are data: checked before Hydra reads them, so that none can run code or write outside.

A config says numbers and names. What Hydra would let it do beyond that is refused here, in one line:

* call something: a `_target_` (Hydra calls those of `hydra.callbacks`), anywhere, or one spelt out by a resolver;
* change Hydra's own settings (folders, environment, logging, launcher commands): a key `hydra`, a group `hydra/`, a
  package or a defaults list that leads there. The suite's own files under `configs/hydra/` and the `hydra` block of its
  root config pass, unchanged in a copy too; an experiment may choose among launchers and sweepers by
  `override /hydra/launcher:`.
  What a person types is theirs: `hydra.*` on the command line is as Hydra has it, so settings of a cluster go there;
* look elsewhere: `..` and absolute paths in defaults lists, links to folders, `hydra.searchpath`;
* read the environment, whose secrets would be stored with the results: `${oc.env:...}` and every other resolver. Plain
  interpolations (`${data.num_samples}`) are fine; so are resolvers on the command line;
* use up the memory: a megabyte of text, or aliases of aliases that unfold to more than a hundred thousand values.

`dynamics/study/config.py` takes `output` and `coordinator` from the command line alone and checks names that become
files. `dynamics/cli/hydra_options.py` refuses those of Hydra's options that read a pickle or another root config.

What stays, because it is code by nature: `experiments/<name>.py` beside a config is run with the study, and before the
config is read if it registers pieces, as is `extensions.py` of the folder; so running an experiment from elsewhere, if
only for a plan, runs its Python: read it first. The same holds for installed plugins and modules on Python's path
(a working folder's own under `python -m`), for the compile cache, and for the pickles of the submitit launcher.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from dynamics.errors import InputError, require
from dynamics.study.folders import home, search_folders

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_CHARACTERS, MOST_VALUES, MOST_LEVELS, MOST_NAME = 1_000_000, 100_000, 50, 200
RESOLVER = re.compile(r"\$\{[^}]*[:$]")  # ${name:...}, also with a name that is itself interpolated
CHOICE = r"[\w-][\w.-]*(/[\w-][\w.-]*)*"
ENTRY = re.compile(rf"((override|optional) )?/?{CHOICE}")
HYDRA_GROUPS = ("launcher", "sweeper", "job_logging", "hydra_logging")
HYDRA_ENTRY = re.compile(rf"override /?hydra/({'|'.join(HYDRA_GROUPS)})")


def check(overrides: Sequence[str], *roots: Path, added: str | Path | None = None) -> None:
    """Raise `InputError` for what is refused in these overrides or in the configs that they may read.

    roots: the folders whose `configs/` these are, by default one's own and the suite's; added: one more folder of
    configs
    """
    for override in overrides:
        check_override(override)
    for root in roots or search_folders():
        check_folder(root / "configs")
    if added is not None:
        check_folder(Path(added))


def check_override(override: str) -> None:
    """Raise `InputError` for an override that would call something or lead out of the config folder."""
    key, _, value = override.lstrip("+~").partition("=")
    require("_target_" not in override, key, value, "no config calls anything by _target_")
    require(key.strip() != "hydra.searchpath", key, value, "add a folder with --config-dir")
    require(key not in ("hydra.run", "hydra.sweep") or value[:1] == "{", key, value, "has fields: give dir, or subdir")
    sought = override if key == "experiment" or "/" in key else key  # what Hydra looks for a file of
    require(len(sought) <= MOST_NAME, sought, value, f"a name has at most {MOST_NAME} characters")
    outside = "../" in value or "../" in key
    require(key == "output" or key.startswith("hydra.") or not outside, key, value, "must not lead out of the config folder")


def check_folder(folder: Path) -> None:
    """Raise `InputError` for what is refused in any config under this folder."""
    for path in sorted(folder.rglob("*")):
        where = str(path)
        if path.is_symlink() and path.is_dir():
            raise InputError(where, str(path.readlink()), "a config folder holds its files itself, no links to folders")
        if path.suffix == ".yaml" and path.is_file():
            inside = path.relative_to(folder)
            if "hydra" not in [part.lower() for part in inside.parts[:-1]]:
                check_file(path, is_root=inside == Path("config.yaml"))
            elif not _is_of_suite(path, inside):
                raise InputError(where, "hydra", "settings of Hydra's are given on the command line")


def check_file(file: Path, *, is_root: bool = False) -> None:
    """Raise `InputError` for what is refused in one config."""
    _check_text(file, _text(file), is_root)


@lru_cache(maxsize=1000)
def _check_text(file: Path, text: str, is_root: bool) -> None:
    """Do so for its text, read once as long as it stays the same."""
    _check_header(file, text)
    found, data = _read(file, text)
    if not found:
        return
    if isinstance(data, dict):
        data = dict(data)
        for entry in _entries(data.pop("defaults", None)):
            _check_entry(file, entry)
        if is_root and data.get("hydra") == _suite_hydra():
            data.pop("hydra", None)
    _check_values(file, data)


def _suite_hydra() -> Any:
    """Return the `hydra` block of the suite's own root config."""
    return yaml.load((home() / "configs" / "config.yaml").read_text(), LOADER)["hydra"]


def _is_of_suite(file: Path, inside: Path) -> bool:
    """Return whether the suite has this very file at the same place."""
    there = home() / "configs" / inside
    return there.is_file() and there.read_bytes() == file.read_bytes()


def _text(file: Path) -> str:
    require(file.stat().st_size <= MOST_CHARACTERS, str(file), f"{file.stat().st_size} bytes", f"at most {MOST_CHARACTERS}")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(str(file), f"byte {error.start}", "is not UTF-8 text") from None


def _check_header(file: Path, text: str) -> None:
    """Return the lines `# @package ...` at the top, read as Hydra reads them."""
    for line in filter(None, map(str.strip, text[:512].splitlines())):
        if not re.match(r"#\s*@", line):
            return
        known = line.split() in (["#", "@package", "_global_"], ["#", "@package", "_group_"])
        require(known, str(file), line, "the header is `# @package _global_` or none")


def _read(file: Path, text: str) -> tuple[bool, Any]:
    """(whether it is YAML, its content). Hydra itself tells of broken YAML, where it is asked for it."""
    for loader in (LOADER, yaml.SafeLoader):  # the second is what Hydra's is made from
        try:
            return True, yaml.load(text, loader)
        except yaml.YAMLError:
            continue
        except (ValueError, RecursionError) as error:
            raise InputError(str(file), type(error).__name__, f"cannot be read: {error}") from None
    return False, None


def _entries(defaults: Any) -> Iterator[tuple[str, Any]]:
    """(config or group, choice) of every entry of a defaults list; the choice of a plain config is empty."""
    for entry in defaults if isinstance(defaults, list) else []:
        yield from entry.items() if isinstance(entry, dict) else [(entry, [])]


def _check_entry(file: Path, entry: tuple[Any, Any]) -> None:
    group, choice = str(entry[0]), entry[1]
    allowed = "a defaults list names configs of this folder, /system/... or `override /hydra/launcher: ...`"
    plain = ENTRY.fullmatch(group) and "hydra" not in re.split(r"[ /]", group)
    require(bool(plain or HYDRA_ENTRY.fullmatch(group)), f"{file}: defaults", group, allowed)
    for name in choice if isinstance(choice, list) else [choice]:
        fits = name is None or name == "???" or re.fullmatch(CHOICE, str(name))
        require(bool(fits), f"{file}: defaults", f"{group}: {name}", allowed)


def _check_values(file: Path, data: Any) -> None:
    """Walk a config's keys and values, those of aliases as often as they would unfold."""
    count = 0
    todo: list[tuple[Any, int]] = [(data, 0)]
    while todo:
        node, level = todo.pop()
        count += 1
        require(count <= MOST_VALUES and level <= MOST_LEVELS, str(file), f"{count} values, {level} levels", "is too large")
        if isinstance(node, dict):
            for key in node:
                require(key != "hydra", str(file), "hydra", "settings of Hydra's are given on the command line")
            todo += [(part, level + 1) for pair in node.items() for part in pair]
        elif isinstance(node, list | tuple | set):
            todo += [(part, level + 1) for part in node]
        elif isinstance(node, str):
            require("_target_" not in node, str(file), node, "no config calls anything by _target_")
            require(not RESOLVER.search(node), str(file), node, "may refer to fields of the config, not call resolvers")
