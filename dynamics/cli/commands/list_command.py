"""Print the name of every experiment, one a line, `(own)` behind those of this folder:
`dynamics experiment=<name>` runs it."""

from __future__ import annotations

from argparse import Namespace

from dynamics.cli.arguments import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Declare the arguments: none."""


def run(options: Namespace) -> None:
    """Print the names."""
    from dynamics.study.folders import experiment_names, own_experiment_names

    own = set(own_experiment_names())
    print("\n".join(f"{name}  (own)" if name in own else name for name in experiment_names()))
