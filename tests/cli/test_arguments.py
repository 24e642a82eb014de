"""Commands read their arguments by argparse: help for each, options in any place, older forms,
one line for a mistake."""

import platform

import jax
import pytest

from dynamics.cli.commands import COMMANDS, build_parser
from dynamics.cli.commands.gc_command import modernize
from dynamics.cli.hydra_options import build_parser as build_study_parser
from dynamics.cli.hydra_options import read_options, write_options
from dynamics.errors import InputError


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("form", ["{} --help", "{} -h", "help {}"])
def test_every_command_has_a_help_page_of_its_own(name, form, cli):
    code, out, err = cli(*form.format(name).split())
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: dynamics {name}")
    assert all(option in out for option in build_parser(name).option_names())


@pytest.mark.parametrize("form", ["--help", "-h", "help"])
def test_the_page_of_the_whole_names_every_command(form, cli):
    code, out, err = cli(form)
    assert (code, err) == (0, "")
    assert all(f"\n  {name} " in out and command.summary in out for name, command in COMMANDS.items())
    assert max(map(len, out.splitlines())) <= 120


def test_without_arguments_the_page_is_an_error(cli):
    code, out, err = cli()
    assert (code, out) == (2, "") and err.startswith("usage: dynamics")


def test_versions_are_ours(cli):
    code, out, err = cli("--version")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("learning-dynamics ") and lines[1] == f"Python {platform.python_version()}"
    assert lines[2].startswith(f"JAX {jax.__version__}, jaxlib ")
    assert lines[3] == f"device: {jax.local_device_count()} x {jax.local_devices()[0].device_kind} ({jax.default_backend()})"


def test_options_are_typed_and_stand_anywhere():
    options = build_parser("gc").parse(["--yes", "out", "--days", "7"])
    assert (options.yes, str(options.folder), options.days, options.unasked) == (True, "out", 7, False)
    options = build_parser("export").parse(["experiment=a/b", "--to", "x.csv", "seed=1", "--overwrite", "~panels.c"])
    assert (options.overrides, options.to, options.overwrite) == (["experiment=a/b", "seed=1", "~panels.c"], "x.csv", True)


def test_older_forms_are_read_as_options():
    assert build_parser("gc").parse(modernize(["days=3", "out"])).days == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gc", "--days"], ["dynamics gc", "--days", "expected one argument"]),
        (["gc", "--days", "soon"], ["--days = 'soon'", "whole number"]),
        (["gc", "--days=1.5"], ["--days = '1.5'", "whole number"]),
        (["gc", "--day=3"], ["--day", "did you mean '--days'"]),
        (["export", "experiment=a/b", "--tabel=runs"], ["--tabel", "did you mean '--table'"]),
        (["help", "lsit"], ["lsit", "did you mean 'list'"]),
        (["experiment=atlas/catapult", "--multi", "seed=0,1"], ["--multi", "did you mean '--multirun'"]),
        (["experiment=atlas/catapult", "--cfg"], ["--cfg", "expected one argument"]),
        (["experiment=atlas/catapult", "--cfg=al"], ["al", "job", "all"]),
        (["experiment=atlas/catapult", "-m", "--cfg=job"], ["choose one of --run, --multirun, --cfg"]),
        (["experiment=atlas/catapult", "--resolve"], ["--resolve goes with --cfg"]),
        (["experiment=atlas/catapult", "--config-dir=nowhere"], ["--config-dir", "nowhere", "is no folder"]),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments, words, cli):
    code, out, err = cli(*arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert all(word in err for word in words), err


# ---- what Hydra is handed


def hydra_parser():
    """Hydra's own parser, as its `main` uses it; only here, to compare with ours."""
    import importlib

    return importlib.import_module("hydra.main").get_args_parser()


def test_our_options_are_hydra_s_options():
    def table(parser):
        return {tuple(sorted(a.option_strings)): (a.nargs, a.const) for a in parser._actions if a.option_strings}

    theirs = table(hydra_parser())
    theirs.pop(("--version",))  # ours is of the suite
    assert table(build_study_parser()) == theirs


@pytest.mark.parametrize(
    "arguments",
    [
        ["experiment=a/b", "-m", "seed=0,1", "~panels.c", "+x.y=-1"],
        ["--multirun", "experiment=a/b", "hydra/launcher=basic"],
        ["experiment=a/b", "-c", "job", "--resolve", "-p", "data"],
        ["experiment=a/b", "--info"],
        ["experiment=a/b", "-i", "plugins"],
        ["-sc", "query=bash"],
        ["-h", "experiment=a/b"],
    ],
)
def test_hydra_reads_what_we_have_read(arguments):
    ours = vars(read_options(arguments))
    theirs = vars(hydra_parser().parse_args(write_options(read_options(arguments))))
    assert ours == theirs


@pytest.mark.parametrize("option", ["--experimental-rerun=x", "-cp=/tmp", "--config-name=x", "-cn"])
def test_what_would_run_a_pickle_or_read_another_root_is_refused(option):
    with pytest.raises(InputError):
        read_options(["experiment=a/b", option])
