"""Write an experiment of your own into this folder: a config and a Python file that run at once.

The config goes to configs/experiment/<name>.yaml, the file to experiments/<name>.py; nothing is overwritten. With
--from both are copies of another experiment's, one of yours or of the suite's, under the new name.
"""

from __future__ import annotations

from argparse import Namespace

from dynamics.cli.arguments import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Declare the name and the experiment to copy."""
    parser.add_argument("name", metavar="folder/name", help="what the experiment is called, such as mine/first")
    parser.add_argument("--from", dest="source", metavar="EXPERIMENT", default="", help="the experiment to start from")


def run(options: Namespace) -> None:
    """Write the files; print which, and the command that runs them."""
    from dynamics.study.new_experiment import write_experiment

    print("\n".join(write_experiment(options.name, options.source)))
