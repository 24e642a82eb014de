"""The options of a study's command line: Hydra's own, read before Hydra reads them.

Hydra is handed what was read here, in one order, so it sees nothing that was not checked. Options that would read a
pickle or another root config are refused.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from dynamics.cli.arguments import CommandParser
from dynamics.core.spec import content_hash
from dynamics.errors import require
from dynamics.study.request import EXECUTION_FIELDS

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
FLAGS = {
    "--multirun": ("-m", "run a job for each combination of comma-separated values, folded into few programs"),
    "--run": ("-r", "run one study (the default)"),
    "--resolve": (None, "with --cfg: show what fields that refer to others come to"),
    "--help": ("-h", "show the fields and the config of the study"),
    "--hydra-help": (None, "show Hydra's own help"),
    "--shell-completion": ("-sc", "install=bash, zsh or fish: print what makes that shell complete `dynamics`"),
}
REFUSED = {
    "--experimental-rerun": (None, "would run a pickle"),
    "--config-path": ("-cp", "write configs/ and experiments/ in the working folder, or add a folder with --config-dir"),
    "--config-name": ("-cn", "the root config is config.yaml"),
}
ACTIONS = ("run", "multirun", "cfg", "info", "shell_completion")


def build_parser() -> CommandParser:
    """Return the parser of a study's command line."""
    parser = CommandParser("dynamics", "", add_help=False)
    parser.add_argument("overrides", nargs="*", metavar="field=value")
    for name, (short, text) in FLAGS.items():
        parser.add_argument(*filter(None, (short, name)), action="store_true", help=text)
    parser.add_argument("-c", "--cfg", choices=("job", "hydra", "all"), help="show the config and run nothing")
    parser.add_argument("-p", "--package", help="with --cfg: show only this part")
    parser.add_argument("-i", "--info", nargs="?", const="all", choices=INFO, help="show how Hydra finds its configs")
    parser.add_argument("-cd", "--config-dir", help="a folder of configs to add")
    for name, (short, _) in REFUSED.items():
        parser.add_argument(*filter(None, (short, name)), help=argparse.SUPPRESS)
    return parser


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options and overrides; raise `InputError` for what is refused."""
    options = build_parser().parse(arguments)
    for name, (_, reason) in REFUSED.items():
        value = getattr(options, name[2:].replace("-", "_"))
        require(value is None, name, value, reason)
    line = " ".join(arguments)
    several = sum(bool(getattr(options, action)) for action in ACTIONS) > 1
    require(not several, "command line", line, "choose one of --run, --multirun, --cfg, --info and --shell-completion")
    require(not options.resolve or bool(options.cfg or options.help), "command line", line, "--resolve goes with --cfg")
    if options.config_dir is not None:
        require(Path(options.config_dir).is_dir(), "--config-dir", options.config_dir, "is no folder")
    return options


def write_options(options: argparse.Namespace) -> list[str]:
    """Return the arguments that mean these options and overrides, as Hydra's parser takes them."""
    given = [name for name in FLAGS if getattr(options, name[2:].replace("-", "_"))]
    for name in ("cfg", "package", "info", "config_dir"):
        value = getattr(options, name)
        given += [f"--{name.replace('_', '-')}={value}"] if value is not None else []
    return [*given, *options.overrides]


def sweep_folder(overrides: Sequence[str]) -> str:
    """Return the folder of a sweep's jobs, the same for the same overrides:
    a repeated sweep finds what it has left there.

    Where to write and how to compute make no difference; Hydra's own settings neither.
    """
    named = [o.lstrip("+") for o in overrides if re.match(r"[+]*(output|experiment)=", o)]
    given = {
        o.key_or_group: str(o.value()) for o in OverridesParser.create().parse_overrides(named) if not o.is_sweep_override()
    }
    left_out = rf"[+~]*hydra[./]|-|[+]*(output|{'|'.join(EXECUTION_FIELDS)})="
    own = sorted(o for o in overrides if not re.match(left_out, o))
    name = re.sub(r"[^A-Za-z0-9]+", "_", given.get("experiment", ""))
    return f"{given.get('output', '.')}/multirun/{name}-{content_hash(own)[:8]}"
