"""Gather the claims of every experiment that was run in one table.

Reads the files *.claims.json below the folder (those of smoke runs are left out), prints the table, writes it to
claims.json in the folder and, if a page is named, to that page as Markdown.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from dynamics.cli.arguments import CommandParser
from dynamics.errors import InputError


def add_arguments(parser: CommandParser) -> None:
    """Declare the folder to read and the page to write."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path("figures"), help="where figures are (default: figures)")
    parser.add_argument("page", nargs="?", type=Path, help="a Markdown page to write, such as claims.md")


def run(options: Namespace) -> None:
    """Print and write the table."""
    from rich.console import Console

    from dynamics.analysis.claim_pages import format_markdown
    from dynamics.analysis.claims import read_claims, sort_by_paper, write_claims
    from dynamics.cli.report import print_claims

    folder = options.folder
    files = [file for file in sorted(folder.rglob("*.claims.json")) if "smoke" not in file.relative_to(folder).parts]
    if not files:
        raise InputError("folder", str(folder), "holds no claims; run an experiment first")
    claims = sort_by_paper([claim for file in files for claim in read_claims(file)])
    print_claims(Console(width=None if sys.stdout.isatty() else 160), claims)
    write_claims(claims, folder / "claims.json")
    print(folder / "claims.json")
    if options.page is not None:
        options.page.write_text(format_markdown(claims))
        print(options.page)
