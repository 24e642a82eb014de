"""What a shell offers when the tab key is pressed: commands, experiments and the names that a field may have from us,
fields from Hydra.

`eval "$(dynamics -sc install=bash)"` (or zsh, or fish) makes the shell call `dynamics -sc query=bash` with the line
typed so far in `COMP_LINE`. Hydra knows the fields of a config; it does not know our commands, it takes the folder of
an experiment's name for a group of its own, and of a field's values it offers the present one alone: where a field
has few values (`describe_fields`), we offer them all, one's own pieces among them.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable

from dynamics.cli.commands import COMMANDS, build_parser
from dynamics.study.folders import map_names

EXPORT_FIELDS = ["experiment=", "to=", "table=records", "table=runs"]


def answer_query(arguments: list[str], run_hydra: Callable[[list[str]], None]) -> bool:
    """Answer a shell's query; False if this is none. No error is shown to somebody who is typing."""
    if arguments[:1] not in (["-sc"], ["--shell-completion"]) or not any(a.startswith("query=") for a in arguments):
        return False
    with contextlib.suppress(Exception, SystemExit), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        line = os.environ.get("COMP_LINE", "")
        words = offered_words(line)
        if words is not None:
            print(("\n" if "query=fish" in arguments else " ").join(words))
        else:
            os.environ["COMP_LINE"] = re.sub(r"^(\s*\S+\s+)export\s", r"\1", line)  # its fields are those of a study
            run_hydra(arguments)
    return True


def offered_words(line: str) -> list[str] | None:
    """Return what may stand where the line ends, None if Hydra knows better."""
    words = line.split()[1:]
    word = words.pop() if words and not line.endswith(" ") else ""
    command = words[0] if words and words[0] in COMMANDS else ""
    experiment = next((w.removeprefix("experiment=") for w in words if w.startswith("experiment=")), "")
    field, given, _ = word.partition("=")
    if given and field in ("experiment", "size", "mode", "reuse", "table"):
        choices = [f"{field}={value}" for value in _values(field, experiment)]
    elif given:
        if field in ("to", "days"):
            return []
        choices = _field_values(word, experiment)
        if choices is None:
            return None
    elif not words:
        choices = [*COMMANDS, "experiment="]
    elif command and command != "export":
        choices = build_parser(command).option_names() if word.startswith("-") or command != "map" else map_names()
    elif command:
        choices = _export_words(experiment, word)
        if choices is None:
            return None
    elif not experiment:
        choices = ["experiment="]
    else:
        return None
    return [choice for choice in choices if choice.startswith(word)]


def _field_values(word: str, experiment: str) -> list[str] | None:
    """Return the word completed by each value that the field may have, None for a field that has more than a few.

    In a list (`measures=[train_loss,`) or a sweep (`model.kind=two_layer,`) it is the last value that is completed.
    """
    from dynamics.core.usage import describe_fields
    from dynamics.study.config import compose

    field, _, given = word.partition("=")
    path = re.sub(r"^\W*(sweep\.|panels\.[^.]+\.)?", "", field)
    described = describe_fields(type(compose(experiment).runs[0])).get(path) if experiment else None
    if described is None:
        return None
    choices = described.allowed.choices
    values = ["false", "true"] if isinstance(described.default, bool) else sorted(choices or ())
    before = re.match(r"(.*[\[,])?", given)
    return [f"{field}={before[0] if before else ''}{value}" for value in values] or None


def _export_words(experiment: str, word: str) -> list[str] | None:
    """Return the words of `dynamics export`, None where a field of the study is meant."""
    choices = [*EXPORT_FIELDS[bool(experiment) :], *build_parser("export").option_names()]
    return choices if not experiment or any(choice.startswith(word) for choice in choices) else None


def _values(field: str, experiment: str) -> list[str]:
    """Return the values of a field that has few."""
    from dynamics.study.config import compose
    from dynamics.study.experiments import experiment_names
    from dynamics.study.request import MODES, REUSES

    if field == "experiment":
        return experiment_names()
    if field == "size":
        return list(compose(experiment).settings.sizes) if experiment else []
    return {"mode": list(MODES), "reuse": list(REUSES)}.get(field, ["records", "runs"])
