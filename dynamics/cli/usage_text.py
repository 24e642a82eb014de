"""`dynamics --help`: the ways to call the command line, on one page."""

from __future__ import annotations

from dynamics.cli.commands import COMMANDS

PAGE = """\
usage: dynamics experiment=<paper>/<name> [size=smoke|laptop|paper] [mode=run|plan|figure] [field=value ...]
       dynamics -m experiment=<paper>/<name> field=value,value ...     (a sweep: a job for each combination)
       dynamics <command> [arguments]

commands (dynamics <command> --help says more):
{commands}

studies:
  size=smoke         seconds; laptop (the default): minutes; paper: the paper's own grid
  mode=plan          show what would run, and start nothing; figure: draw from stored results alone
  field=value        any field of the study, such as optimizer.learning_rate=0.1 or 'sweep.seed=[0,1,2]'
  output=<folder>    where results/, figures/ and multirun/ are (default: this folder)

options:
  -q, --quiet        print results and errors only
  -v, --verbose      print details, each with its time and where it comes from
  -m, --multirun     run a sweep
  -c, --cfg job      show a study's config; experiment=<name> --help shows its fields
  --version          print the versions of the suite, Python and JAX, and the device
  -h, --help         print this page

completion in this shell: eval "$(dynamics -sc install=bash)" (or zsh; fish: dynamics -sc install=fish | source)
exit codes: 0 done; 2 bad input; 3 some runs failed, diverged or recorded what is not finite, or the disk is full;
            130, 143 stopped, results saved"""


def usage() -> str:
    """Return the page."""
    width = max(map(len, COMMANDS)) + 2
    return PAGE.format(commands="\n".join(f"  {name:{width}}{command.summary}" for name, command in COMMANDS.items()))
