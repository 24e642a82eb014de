"""A study's figure and claims, part by part where it has axes that the experiment does not know."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import polars as pl

from dynamics.core.spec import RunSpec
from dynamics.study.analysis_needs import AnalysisNeeds, split_parts
from dynamics.study.contents import StudyContents


def panels_of(study: StudyContents) -> dict[str, list[RunSpec]]:
    """Return the runs of a study by panel."""
    found: dict[str, list[RunSpec]] = {}
    for panel, run in study.runs.select("panel", "run").iter_rows():
        found.setdefault(panel, []).append(study.specs[run])
    return found


def split_study(study: StudyContents) -> dict[str, StudyContents]:
    """Return the parts of a study that its experiment can draw, each by its label;
    a study that needs no parting is unnamed."""
    needs = study.needs or AnalysisNeeds()
    needs.require_met(study.name, panels_of(study))
    parts = split_parts(study.name, panels_of(study), needs)
    if list(parts) == [""]:
        return {"": study}
    identities = {id(spec): run for run, spec in study.specs.items()}
    found = {}
    for label, panels in parts.items():
        members = [(panel, identities[id(spec)]) for panel, runs in panels.items() for spec in runs]
        own = pl.DataFrame(members, schema={"panel": pl.String, "run": pl.String}, orient="row")
        runs, records = (
            table.join(own, on=["panel", "run"], how="semi", maintain_order="left") for table in (study.runs, study.records)
        )
        found[label] = replace(study, runs=runs, records=records)
    return found


def make_page(study: StudyContents, module: ModuleType) -> Any:
    """Return the page of an experiment's figure; of a study in parts, their pages below one another."""
    pages = {label: module.figure(part) for label, part in split_study(study).items()}
    first = next(iter(pages.values()))
    return first.stack(pages) if len(pages) > 1 else first


def make_claims(study: StudyContents, module: ModuleType) -> list[Any]:
    """Return an experiment's claims, those of each part of the study with its label."""
    return [
        replace(claim, seconds=study.seconds, **_labelled(claim, label))
        for label, part in split_study(study).items()
        for claim in module.claims(part)
    ]


def _labelled(claim: Any, label: str) -> dict[str, str]:
    if not label:
        return {}
    return {"id": f"{claim.id}[{label.replace(' ', '')}]", "statement": f"{claim.statement} ({label})"}
