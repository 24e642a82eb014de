"""Write a study's tables to one file for other programs.

The overrides name a study as they do when it is run; all its runs must be stored. Runs and metrics go to CSV or Parquet
one table a file, to netCDF (for xarray) together. The file is written whole or not at all. The older forms `to=FILE`
and `table=NAME` are read too.
"""

from __future__ import annotations

from argparse import Namespace

from dynamics.cli.arguments import CommandParser, modernize_fields


def add_arguments(parser: CommandParser) -> None:
    """Declare the study and the file."""
    parser.add_argument("overrides", nargs="*", metavar="field=value", help="experiment=<paper>/<name> and its overrides")
    parser.add_argument("--to", metavar="FILE", default="", help="the file to write: *.csv, *.parquet or *.nc")
    parser.add_argument("--table", metavar="NAME", help="records (the metrics; the default) or runs; not for netCDF")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def modernize(arguments: list[str]) -> list[str]:
    """Return the arguments with the older forms as options."""
    return modernize_fields(arguments, "to", "table")


def run(options: Namespace) -> None:
    """Write the file and say which."""
    from dynamics.core import devices
    from dynamics.core.text import counted
    from dynamics.study.export import export

    devices.prepare()
    given = {o.partition("=")[0]: o.partition("=")[2] for o in options.overrides}
    overrides = [o for o in options.overrides if not o.startswith("experiment=")]
    runs = export(given.get("experiment", ""), overrides, options.to, table=options.table, overwrite=options.overwrite)
    print(f"{options.to}: {counted(runs, 'run')}")
