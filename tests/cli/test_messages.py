"""Results go to stdout, messages through `logging` to stderr, as much of them as the command line asks for."""

import logging
import subprocess
import sys

import pytest

from dynamics.cli.logs import messages_shown, take_level

PLAN = ["experiment=stable_minima/rates", "size=smoke", "mode=plan", "data.num_samples=16", "optimizer.learning_rate=1.0"]


def test_notes_and_warnings_are_messages_and_the_plan_is_a_result(cli, tmp_path):
    code, out, err = cli(*PLAN, f"output={tmp_path}")
    assert code == 0 and "runs to compute" in out
    assert "note: data.num_samples" in err and "warning: optimizer.learning_rate" in err
    assert "note:" not in out and "warning:" not in out


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
@pytest.mark.parametrize("place", [0, 3])
def test_a_quiet_command_prints_results_only(flag, place, cli, tmp_path):
    arguments = [*PLAN, f"output={tmp_path}"]
    arguments.insert(place, flag)
    code, out, err = cli(*arguments)
    assert (code, err) == (0, "") and "runs to compute" in out


def test_a_quiet_command_still_says_what_is_wrong(cli):
    code, out, err = cli("-q", "experiment=atlas/nothing")
    assert (code, out) == (2, "") and err.startswith("error: experiment = ")


def test_a_verbose_command_says_when_and_where(cli, tmp_path):
    _, _, plain = cli(*PLAN, f"output={tmp_path}")
    _, _, err = cli("--verbose", *PLAN, f"output={tmp_path}")
    assert any("dynamics.cli.job_runner: store" in line for line in err.splitlines())
    assert len(err.splitlines()) > len(plain.splitlines())
    assert err.splitlines()[0][:4].isdigit()


def test_nothing_is_left_of_a_command_s_handler(cli):
    before = list(logging.getLogger("dynamics").handlers)
    cli("list")
    assert logging.getLogger("dynamics").handlers == before
    assert logging.getLogger("dynamics").level == logging.NOTSET


@pytest.mark.parametrize(
    ("arguments", "rest", "level"),
    [
        (["list"], ["list"], logging.INFO),
        (["-q", "list"], ["list"], logging.ERROR),
        (["list", "--verbose"], ["list"], logging.DEBUG),
        (["-v", "-m", "a=1", "-q"], ["-m", "a=1"], logging.ERROR),
        (["a=-q", "--quieter"], ["a=-q", "--quieter"], logging.INFO),
    ],
)
def test_flags_of_messages_are_taken_out_before_hydra_sees_the_rest(arguments, rest, level):
    assert take_level(arguments) == (rest, level)


def test_a_block_inside_a_block_shows_each_message_once(capsys):
    log = logging.getLogger("dynamics.tests")
    with messages_shown(logging.ERROR), messages_shown(logging.DEBUG):
        log.error("once")
        log.warning("never")
    log.error("never")
    assert capsys.readouterr().err == "once\n"


def test_a_program_that_uses_the_library_hears_nothing_unless_it_asks():
    program = """
import logging, dynamics
log = logging.getLogger("dynamics.engine")
log.error("silent")
logging.basicConfig(format="%(name)s %(message)s")
log.error("heard")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "dynamics.engine heard\n")
