"""A new experiment in the working folder: a config and a Python file that run at once."""

from __future__ import annotations

import re
from pathlib import Path

from dynamics.errors import InputError, choose, require
from dynamics.study.experiment_template import CONFIG, MODULE
from dynamics.study.folders import experiment_file, experiment_folder, experiment_names, home, names_in

NAME = re.compile(r"[A-Za-z]\w*(/[A-Za-z]\w*)+", re.ASCII)

SYSTEM = re.compile(r"""^\s+system\s*:.*=\s*["'](\w+)["']""", re.MULTILINE)  # of a system that a file registers


def write_experiment(name: str, source: str = "") -> list[str]:
    """Write configs/experiment/<name>.yaml and experiments/<name>.py; returns lines that say what was done and what is
    next.

    source: an experiment whose two files are copied with the name changed; empty: the template. Raises an `InputError`
    for a name that is taken or cannot be a module's, and writes nothing then.
    """
    require(bool(NAME.fullmatch(name)), "name", name, "must be <folder>/<name> of letters, digits and _, such as mine/first")
    reserved = next((part for part in name.split("/") if part.lower() == "hydra"), "")
    require(not reserved, "name", name, "must not have hydra in it, which is the name of Hydra's own configs")
    files = (Path("configs/experiment") / f"{name}.yaml", Path("experiments") / f"{name}.py")
    for file in files:
        require(not file.exists(), "name", name, f"{file} is there already; choose another name or delete it first")
    taken = f"is one of the suite's; to vary it: dynamics new mine/{name.rpartition('/')[2]} --from {name}"
    require(name not in names_in(home()), "name", name, taken)
    texts = _copies(source, name) if source else _templates(name)
    for file, text in zip(files, texts, strict=True):
        _write_new(file, text)
    told = [f"{file}{f'  from {source}' if source else ''}" for file in files]
    told += [f"its system is called {system} here" for system in SYSTEM.findall(texts[1]) if source]
    return [*told, f"next: dynamics experiment={name} size=smoke"]


def _templates(name: str) -> tuple[str, ...]:
    short = name.rpartition("/")[2]
    return tuple(text.replace("NAME", name).replace("SHORT", short) for text in (CONFIG, MODULE))


def _copies(source: str, name: str) -> tuple[str, str]:
    """Return the config and the module of an experiment, which call it by its new name."""
    choose("--from", source, dict.fromkeys(experiment_names()))
    config = experiment_folder(source) / "configs" / "experiment" / f"{source}.yaml"
    texts = [_rename(file.read_text(encoding="utf-8"), source, name) for file in (config, experiment_file(source))]
    for system in SYSTEM.findall(texts[1]):  # two files cannot register one name
        own = name.replace("/", "_")
        texts = [re.sub(rf"(/system/|\bsystem\b.*=\s*[\"']){system}\b", rf"\g<1>{own}", text) for text in texts]
    return texts[0], texts[1]


def _rename(text: str, old: str, new: str) -> str:
    """Whole names, identities of claims (`"rates/..."`) and a constant NAME that begins those."""
    was, now = (name.rpartition("/")[2] for name in (old, new))
    text = re.sub(rf"(?<![\w/]){re.escape(old)}(?![\w/])", new, text)
    text = re.sub(rf"""(?<=["']){re.escape(was)}/""", f"{now}/", text)
    return re.sub(rf"""^(NAME\b.*?=\s*["']){re.escape(was)}(?=["'])""", rf"\g<1>{now}", text, flags=re.MULTILINE)


def _write_new(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise InputError("name", str(file), "was written by another process meanwhile") from None
