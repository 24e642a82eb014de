"""What a shell offers when the tab key is pressed: commands, experiments, sizes and modes from us, fields from Hydra.

`eval "$(dynamics -sc install=bash)"` (or zsh, or fish) makes the shell call `dynamics -sc query=bash` with the line
typed so far in `COMP_LINE`. Hydra knows the fields of a config; it does not know our commands, it takes the folder of
an experiment's name for a group of its own, and of a field's values it offers the present one alone.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable

from dynamics.cli.commands import COMMANDS

OPTIONS = {
    "status": ["--check"],
    "gc": ["--yes", "--unasked", "days="],
    "export": ["experiment=", "to=", "table=records", "table=runs", "--overwrite"],
}


def answer_query(arguments: list[str], hydra: Callable[[list[str]], None]) -> bool:
    """Answer a shell's query; False if this is none. Whatever goes wrong is no news to somebody who is typing."""
    if arguments[:1] not in (["-sc"], ["--shell-completion"]) or not any(a.startswith("query=") for a in arguments):
        return False
    with contextlib.suppress(Exception, SystemExit), open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        line = os.environ.get("COMP_LINE", "")
        words = own_words(line)
        if words is not None:
            print(("\n" if "query=fish" in arguments else " ").join(words))
        else:
            os.environ["COMP_LINE"] = re.sub(r"^(\s*\S+\s+)export\s", r"\1", line)  # its fields are those of a study
            hydra(arguments)
    return True


def own_words(line: str) -> list[str] | None:
    """What may stand where the line ends, None if Hydra knows better."""
    words = line.split()[1:]
    word = words.pop() if words and not line.endswith(" ") else ""
    command = words[0] if words and words[0] in COMMANDS else ""
    name = next((w.removeprefix("experiment=") for w in words if w.startswith("experiment=")), "")
    field, given, _ = word.partition("=")
    if given and field in ("experiment", "size", "mode", "table"):
        choices = [f"{field}={value}" for value in _values(field, name)]
    elif given:
        return [] if field in ("to", "days") else None
    elif not words:
        choices = [*COMMANDS, "experiment="]
    elif command and command != "export":
        choices = OPTIONS.get(command, [])
    elif not name:
        choices = [*OPTIONS["export"]] if command else ["experiment="]
    elif command and (not word or any(option.startswith(word) for option in OPTIONS["export"])):
        choices = OPTIONS["export"][1:]
    else:
        return None
    return [choice for choice in choices if choice.startswith(word)]


def _values(field: str, experiment: str) -> list[str]:
    from dynamics.study import config

    if field == "experiment":
        return config.experiment_names()
    if field == "size":
        return list(config.compose(experiment).settings.sizes) if experiment else []
    return list(config.MODES) if field == "mode" else ["records", "runs"]
