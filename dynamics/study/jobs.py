"""The jobs of a Hydra sweep: each a study of its own, composed together so that ten thousand take seconds.

Hydra composes a config in about 50 ms. Jobs that differ only in the values of run fields have all else in common, so
the first of them is composed by Hydra, and the others are that one with other values: in the run, and in the text of
the files that Hydra writes to a job's folder.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from dynamics.core import spec as specs
from dynamics.core.extension import until_registration
from dynamics.errors import InputError
from dynamics.study.config import alterations, split_axes, template
from dynamics.study.request import Request
from dynamics.systems import SYSTEMS

INTEGER = re.compile(r"[-+]?\d+")


@dataclass(frozen=True)
class Job:
    """A study to run and, if it is a job of a sweep, its number, overrides and folders there.

    sweep: the sweep's folder; folder: the job's own,
        for its result and for Hydra's files (`files()`: texts by path in it)
    """

    request: Request
    in_sweep: bool = False
    number: int = 0
    overrides: tuple[str, ...] = ()
    sweep: Path = Path()
    folder: Path = Path()
    files: Callable[[], dict[str, str]] = dict


def compose_jobs(compose: Callable[[list[str]], DictConfig], batch: Sequence[Sequence[str]], first: int) -> list[Job]:
    """Return the jobs of a batch of overrides, all checked; numbered from `first`.

    compose: returns Hydra's config of one job. Raises an `InputError` that names the job if there is more than one.
    """
    families: dict[tuple[str, ...], JobFamily] = {}
    jobs = []
    for number, overrides in enumerate(batch, first):
        values = _plain_values(overrides)
        key = tuple(o if o.partition("=")[0] not in values else o.partition("=")[0] for o in overrides)
        try:
            family = families.get(key)
            if family is None or family.interpolates:
                family = families[key] = JobFamily(compose(list(overrides)), list(overrides), tuple(values))
            jobs.append(family.job(number, tuple(overrides), values))
        except InputError as error:
            if len(batch) == 1:
                raise
            allowed = f"{error.allowed} (job {number} of {len(batch)}: {' '.join(overrides)})"
            raise InputError(error.field, error.value, allowed) from None
    return jobs


@until_registration
def _run_fields() -> frozenset[str]:
    """Return the dotted path of every field of every system."""
    return frozenset(path for system in SYSTEMS.values() for path in specs.leaf_paths(system))


@until_registration
def _plain_value(override: str) -> tuple[str, str] | None:
    """Return (path, text) of an override that gives a field of the run one number, word or flag; None for any other."""
    path, _, text = override.partition("=")
    if path not in _run_fields():
        return None
    if INTEGER.fullmatch(text) is None:
        parsed = _parse(override)
        value = parsed.value()
        if parsed.type is not OverrideType.CHANGE or not isinstance(value, int | float | str) or "${" in text:
            return None
    return path, text


def _plain_values(overrides: Sequence[str]) -> dict[str, str]:
    """Return the run fields with a plain value by path, without those inside another override,
    whose order would matter."""
    others = [o.lstrip("+~").partition("=")[0] for o in overrides if _plain_value(o) is None]
    found = dict(filter(None, map(_plain_value, overrides)))
    return {path: text for path, text in found.items() if not any(path.startswith(f"{key}.") for key in others)}


@cache
def _parse(override: str) -> Override:
    """Return an override as Hydra's grammar reads it."""
    return OverridesParser.create().parse_override(override)


class JobFamily:
    """Jobs that differ in the values of the same run fields: the first is composed, the others are made from it.

    interpolates: whether a field refers to another (`${...}`), which may then differ too;
        such jobs are composed one by one
    """

    def __init__(self, cfg: DictConfig, overrides: list[str], paths: tuple[str, ...]):
        self.hydra = OmegaConf.masked_copy(cfg, ["hydra"])
        self.task = cfg.copy()
        with open_dict(self.task):
            del self.task["hydra"]
        name = cfg.hydra.runtime.choices["experiment"]
        self.template = template(self.task, name, _task_overrides(overrides))
        self.axes = split_axes(list(self.template.overrides))[1]
        self.interpolates = "${" in OmegaConf.to_yaml(self.task)
        self.config_text = _with_placeholders(self.task, paths)
        self.hydra_text = _with_placeholders(self.hydra, HYDRA_FIELDS)
        own = self.hydra.hydra
        self.sweep, self.subdir = Path(own.sweep.dir), str(OmegaConf.to_container(own.sweep, resolve=False)["subdir"])  # type: ignore[index]
        self.subfolder: str | None = own.output_subdir
        self.dirname = OmegaConf.to_container(own.job.config.override_dirname)
        self.scratch = self.task.copy()
        self.values: dict[tuple[str, str], Any] = {}

    def job(self, number: int, overrides: tuple[str, ...], texts: dict[str, str]) -> Job:
        """Return the job with these overrides, of which `texts` are the values of this family's fields."""
        values = {path: self.value(path, text) for path, text in texts.items()}
        own = _task_overrides(overrides)
        style: dict[str, Any] = self.dirname  # type: ignore[assignment]
        kept = sorted(o for o in own if o.partition("=")[0] not in style["exclude_keys"])
        dirname = style["item_sep"].join(kept).replace("=", style["kv_sep"])
        job = {"id": str(number), "num": number, "override_dirname": dirname}
        folder = self.folder(job, values)
        place = {**{f"hydra.job.{name}": v for name, v in job.items()}, "hydra.runtime.output_dir": str(folder.absolute())}

        def files() -> dict[str, str]:
            texts = {
                "config.yaml": _fill(self.config_text, values),
                "hydra.yaml": _fill(self.hydra_text, {**place, "hydra.overrides.task": own}),
                "overrides.yaml": "".join(f"- {yaml_scalar(o)}\n" for o in own),
            }
            return {f"{self.subfolder}/{name}": text for name, text in texts.items()} if self.subfolder else {}

        request = replace(self.template.request(values), overrides=(*alterations(own), *self.axes))
        return Job(request, True, number, tuple(own), self.sweep, folder, files)

    def value(self, path: str, text: str) -> Any:
        """Return the value that `text` means for a field, converted to the type in its schema;
        each text is read once."""
        if (path, text) not in self.values:
            value = int(text) if INTEGER.fullmatch(text) else _parse(f"{path}={text}").value()
            try:
                OmegaConf.update(self.scratch, path, value, merge=True)
            except OmegaConfBaseException as error:
                raise InputError(path, value, str(error).splitlines()[0]) from None
            self.values[path, text] = OmegaConf.select(self.scratch, path)
        return self.values[path, text]

    def folder(self, job: dict[str, Any], values: dict[str, Any]) -> Path:
        """Return `hydra.sweep.dir`/`hydra.sweep.subdir` of a job; a subdir may be made of anything in the config."""
        if self.subdir == "${hydra.job.num}":
            return self.sweep / str(job["num"])
        plain = [OmegaConf.to_container(part, resolve=False, enum_to_str=True) for part in (self.task, self.hydra)]
        whole = OmegaConf.create({**plain[0], **plain[1]})  # type: ignore[dict-item]
        for path, value in [*((f"hydra.job.{name}", v) for name, v in job.items()), *values.items()]:
            OmegaConf.update(whole, path, value)
        subdir = Path(str(OmegaConf.select(whole, "hydra.sweep.subdir")))
        if subdir.is_absolute() or ".." in subdir.parts:
            raise InputError("hydra.sweep.subdir", str(subdir), "must be a folder inside hydra.sweep.dir")
        return self.sweep / subdir


HYDRA_FIELDS = (
    "hydra.job.id",
    "hydra.job.num",
    "hydra.job.override_dirname",
    "hydra.runtime.output_dir",
    "hydra.overrides.task",
)


def _task_overrides(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that are not of Hydra's own settings."""
    return [o for o in overrides if not re.match(r"[+~]*hydra[./]", o)]


def _placeholder(path: str) -> str:
    """Return the text that stands for a field's value until it is known."""
    return f"VALUE_OF_{path.replace('.', '_DOT_')}_HERE"


def _with_placeholders(cfg: DictConfig, paths: Sequence[str]) -> str:
    """Return the config as YAML with a placeholder for the value of each of these fields."""
    tree = OmegaConf.create(OmegaConf.to_container(cfg, resolve=False, enum_to_str=True))  # type: ignore[arg-type]
    for path in paths:
        OmegaConf.update(tree, path, _placeholder(path), merge=False, force_add=True)
    return OmegaConf.to_yaml(tree)


def _fill(text: str, values: dict[str, Any]) -> str:
    """Return the text with the values in place of their placeholders."""
    for path, value in values.items():
        text = text.replace(_placeholder(path), yaml_scalar(value))
    return text


def yaml_scalar(value: Any) -> str:
    """Return a value as JSON, which YAML reads too, or as YAML where JSON has no such number."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = json.dumps(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "e" in text and "." not in text else text
