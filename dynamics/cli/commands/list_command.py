"""Print the name of every experiment, one a line: `dynamics experiment=<name>` runs it."""

from __future__ import annotations

from argparse import Namespace

from dynamics.cli.arguments import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Declare the arguments: none."""


def run(options: Namespace) -> None:
    """Print the names."""
    from dynamics.study.experiments import experiment_names

    print("\n".join(experiment_names()))
