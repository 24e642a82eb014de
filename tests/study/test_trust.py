"""Configs from elsewhere are data: every way in which Hydra would run code for one, or write elsewhere, is closed."""

import pickle
from pathlib import Path

import pytest
import yaml

from dynamics.engine.execute import Executor
from dynamics.errors import InputError
from dynamics.study import trust

ROOT = Path(__file__).parents[2]
STUDY = """# @package _global_
defaults:
  - /system/catapult
  - _self_
steps: 20
"""
MARK = "touched"  # a file that appears if a config could run anything
CALL = f"{{_target_: pathlib.Path.touch, self: {{_target_: pathlib.Path, _args_: [{MARK}]}}}}"


@pytest.fixture
def elsewhere(cli, monkeypatch):
    """`elsewhere(files) -> (exit code, stderr)`: the study `other/study` with these files beside or
    instead of its own."""

    def refuse(*args, **kwargs):
        raise AssertionError("compute started")

    monkeypatch.setattr(Executor, "compute", refuse)

    def call(files: dict[str, str], *arguments: str) -> tuple[int, str]:
        own = {
            "configs/config.yaml": (ROOT / "configs" / "config.yaml").read_text(),
            "configs/experiment/other/study.yaml": STUDY,
            "experiments/other/study.py": "def figure(study): ...\ndef claims(study): ...\n",
        }
        for name, text in (own | files).items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)
        code, _, err = cli("experiment=other/study", "mode=plan", *arguments)
        return code, err

    return call


def test_an_honest_study_from_elsewhere_passes(elsewhere):
    assert elsewhere({}) == (0, "")
    launcher = STUDY.replace("- _self_", "- _self_\n  - override /hydra/launcher: basic")
    assert elsewhere({"configs/experiment/other/study.yaml": launcher}) == (0, "")
    assert elsewhere({"configs/experiment/other/study.yaml": f"{STUDY}seed: ${{steps}}\n"}) == (0, "")


def study(extra: str, old: str = "", new: str = "") -> dict[str, str]:
    return {"configs/experiment/other/study.yaml": STUDY.replace(old, new) + extra}


def root(extra: str) -> dict[str, str]:
    return {"configs/config.yaml": (ROOT / "configs" / "config.yaml").read_text() + extra}


LISTED = "- /system/catapult"
OUTSIDE = {"configs/../outside.yaml": "# @package _global_\nsteps: 30\n"}  # would be read otherwise
GROUP = "configs/hydra/callbacks/a.yaml"
ALIASES = "".join(f"x{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(18))
HOSTILE = {
    "a callback": study(f"hydra: {{callbacks: {{x: {CALL}}}}}\n"),
    "a callback by a package": study(f"x: {CALL}\n", "_global_", "hydra.callbacks"),
    "a callback from a file": study("", LISTED, f"{LISTED}\n  - /evil@hydra.callbacks.x: a") | {"configs/evil/a.yaml": CALL},
    "a callback's group": study("", LISTED, f"{LISTED}\n  - override /hydra/callbacks: a") | {GROUP: CALL},
    "a callback in the root config": root(f"  callbacks: {{x: {CALL}}}\n"),
    "a callback merged in": study(f"<<: {{hydra: {{callbacks: {{x: {CALL}}}}}}}\n"),
    "a callback without the word": study("hydra: {callbacks: {x: \"${oc.create:{_targ: 1}}\"}}\n"),
    "a target of our own": study("sizes: {laptop: {_target_: dynamics.store.files.write_file}}\n"),
    "a target spelt by a resolver": study("sizes: '${oc.create:{a:_target_}}'\n"),
    "a folder for runs": study("hydra: {run: {dir: tmp/new}}\n"),
    "a folder for sweeps": root("  job: {chdir: true}\n"),
    "environment variables": study("hydra: {job: {env_set: {PATH: evil}}}\n"),
    "variables to store": study("hydra: {job: {env_copy: [HOME]}}\n"),
    "a log file": study("hydra: {job_logging: {root: {handlers: [x]}, handlers: {x: {class: logging.FileHandler}}}}\n"),
    "a package in a header": study("set: 1\n", "_global_", "hydra.job.env_set"),
    "a folder called hydra": {"configs/hydra/job_logging/a.yaml": "x: 1\n"},
    "a folder called Hydra": {"configs/Hydra/launcher/a.yaml": "x: 1\n"},
    "another folder of configs": root("  searchpath: [file:///tmp]\n"),
    "a way up": study("", LISTED, f"{LISTED}\n  - ../../../outside") | OUTSIDE,
    "an absolute way": study("", LISTED, f"{LISTED}\n  - //tmp/outside"),
    "a way up in a group": study("", LISTED, f"{LISTED}\n  - /a: ../../outside") | {"configs/a/b.yaml": "{}"} | OUTSIDE,
    "an output folder": study("output: tmp/new\n"),
    "an output folder for a size": study("sizes: {laptop: {output: tmp/new}}\n"),
    "an output folder as an override": study("axis_overrides: ['output=tmp/new']\n"),
    "an output folder in the root config": root("output: tmp/new\n"),
    "a host to ask": study("coordinator: example.org:80\n"),
    "a panel that is a path": study("panels: {../../x: {seed: [1]}}\n"),
    "an object of Python's": study("form: !.python/object/apply:os.system [touch touched]\n"),
    "more than fits": study(f"x0: &a0 [1, 1]\n{ALIASES}"),
    "deep nesting": study(f"x: {'[' * 200}{']' * 200}\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_config_is_refused_in_one_line(name, elsewhere, monkeypatch):
    code, err = elsewhere(HOSTILE[name])
    assert code == 2, err
    assert len(err.splitlines()) == 1, err
    assert not Path(MARK).exists()
    assert {path.name for path in Path().iterdir()} <= {"configs", "experiments", "outside.yaml"}


@pytest.mark.parametrize("text", ["${oc.env:SECRET}", "${${precision}:SECRET}", "a ${oc.env:SECRET} b", "${ oc.env : SECRET }"])
def test_a_config_does_not_read_the_environment(text, elsewhere, monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    code, err = elsewhere(study(f'form: "{text}"\nprecision: oc.env\n'))
    assert code == 2
    assert "resolvers" in err
    assert "s3cret" not in err


def test_a_link_to_a_folder_of_configs_is_refused(elsewhere, tmp_path):
    (tmp_path / "outside").mkdir()
    Path("configs").mkdir()
    Path("configs/experiment").symlink_to(tmp_path / "outside")
    code, err = elsewhere({})
    assert (code, len(err.splitlines())) == (2, 1)
    assert "link" in err


class Touch:
    def __reduce__(self):
        return Path.touch, (Path(MARK),)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--experimental-rerun=config.pickle"],
        ["--experimental-r", "config.pickle"],
        ["--config-path=/tmp"],
        ["--config-name=../other"],
        ["--config-dir=added"],
        [f"+hydra.callbacks.x={CALL}"],
        ["hydra.searchpath=[file:///tmp]"],
        ["+system=../../other"],
    ],
)
def test_a_command_line_that_would_run_a_pickle_or_a_target_is_refused(arguments, cli):
    Path("config.pickle").write_bytes(pickle.dumps(Touch()))
    Path("added/experiment/other").mkdir(parents=True)
    Path("added/experiment/other/x.yaml").write_text(f"# @package _global_\nhydra: {{callbacks: {{x: {CALL}}}}}\n")
    code, _, err = cli("experiment=stable_minima/rates", "mode=plan", *arguments)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert not Path(MARK).exists()


def test_broken_configs_are_in_nobodys_way_until_they_are_asked_for(elsewhere):
    assert elsewhere({"configs/experiment/other/half_written.yaml": "steps: [1,\n"}) == (0, "")
    code, err = elsewhere({}, "experiment=other/half_written")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "half_written" in err


def test_what_a_person_types_is_theirs(elsewhere, monkeypatch):
    monkeypatch.setenv("FORM", "map")
    assert elsewhere({}, "form=${oc.env:FORM}", "output=../x", "+hydra.job.env_set.A=b") == (0, "")


def test_the_suite_s_own_configs_are_read_once_each_by_the_quick_loader(monkeypatch):
    """The slow one takes ten times as long, at every start; `benchmarks/startup.py` has the times."""
    loaders, load = [], yaml.load
    monkeypatch.setattr(trust.yaml, "load", lambda text, loader: loaders.append(loader) or load(text, loader))
    trust._check_text.cache_clear()  # other tests have read them
    trust.check(["experiment=stable_minima/rates"], ROOT)
    trust.check(["experiment=stable_minima/rates"], ROOT)
    assert set(loaders) == {yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader}
    files = [file for file in (ROOT / "configs").rglob("*.yaml") if "hydra" not in file.relative_to(ROOT).parts]
    assert 30 < len(loaders) <= len(files) + 1  # the root config's own block of Hydra's is looked up besides


def test_a_file_too_large_to_look_at_is_not_looked_at(tmp_path):
    (tmp_path / "large.yaml").write_text("#" * (trust.MOST_CHARACTERS + 1))
    with pytest.raises(InputError, match="at most"):
        trust.check_file(tmp_path / "large.yaml")
