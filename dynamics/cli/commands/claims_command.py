"""Gather the claims of every experiment that was run in one table.

Reads the files *.claims.json below the folder, prints the table, writes it to claims.json in the folder and, if a page
is named, to that page as Markdown. Only the studies that the experiments' configs ask for now count, at one size:
claims of altered studies, of other sizes, of unknown origin and of a config that has changed since are left out, and a
line says how many.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from dynamics.cli.arguments import CommandParser
from dynamics.core.text import counted
from dynamics.errors import InputError

if TYPE_CHECKING:
    from dynamics.analysis.claim_files import ClaimFile


def add_arguments(parser: CommandParser) -> None:
    """Declare the folder to read, the page to write and the size of the studies."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path("figures"), help="where figures are (default: figures)")
    parser.add_argument("page", nargs="?", type=Path, help="a Markdown page to write, such as claims.md")
    parser.add_argument("--size", default="laptop", help="the size of the studies (default: laptop)")


def run(options: Namespace) -> None:
    """Print and write the table."""
    from rich.console import Console

    from dynamics.analysis.claim_files import read_claim_file, write_claims_table
    from dynamics.analysis.claim_pages import format_markdown
    from dynamics.analysis.claims import sort_by_paper
    from dynamics.cli.report import print_claims

    folder = options.folder
    files = [read_claim_file(path) for path in sorted(folder.rglob("*.claims.json"))]
    reasons = [why_left_out(file, options.size) for file in files]
    taken = [file for file, reason in zip(files, reasons, strict=True) if not reason]
    left_out = ", ".join(f"{counted(count, 'file')} {reason}" for reason, count in Counter(filter(None, reasons)).items())
    if not taken:
        found = f"left out: {left_out}" if left_out else "run an experiment first"
        raise InputError("folder", str(folder), f"holds no claims of a study at size={options.size}; {found}")
    claims = sort_by_paper([claim for file in taken for claim in file.claims])
    print_claims(Console(width=None if sys.stdout.isatty() else 160), claims)
    write_claims_table(taken, claims, folder / "claims.json")
    print(folder / "claims.json")
    if options.page is not None:
        options.page.write_text(format_markdown(claims))
        print(options.page)
    codes = {file.source.code for file in taken if file.source is not None}
    print(f"{counted(len(taken), 'experiment')} at size={options.size}, judged by the code of {', '.join(sorted(codes))}")
    if left_out:
        print(f"left out: {left_out}")


def why_left_out(file: ClaimFile, size: str) -> str:
    """Return in words why a file of claims does not count in the table of this size; nothing if it does.

    An experiment that is not seen from here is taken at its word.
    """
    from dynamics.study.alterations import shipped_identity

    if file.source is None:
        return "that does not say of which study (mode=figure writes it anew)"
    if file.source.altered:
        return "of altered studies"
    if file.source.size != size:
        return f"of size={file.source.size}"
    now = shipped_identity(file.source.experiment, size)
    return "of runs that the config asks for no longer" if now and now != file.source.identity else ""
