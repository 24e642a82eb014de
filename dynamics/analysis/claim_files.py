"""Files of claims: what a study's claims were made from, and the claims themselves, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dynamics.analysis.bounds import FAILS
from dynamics.analysis.claims import Claim
from dynamics.analysis.controls import NOT_REJECTED, REJECTED
from dynamics.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ClaimSource:
    """The study that claims were made from.

    altered: whether its runs differ from those that the experiment's config asks for at this size
    overrides: what was asked for beyond experiment and size
    code: the commit of the code that made the claims (with `-dirty` if files had changed since), else its version
    runs: how many runs it has; identity: a hash over all of them, panel by panel
    """

    experiment: str
    size: str
    altered: bool
    overrides: tuple[str, ...]
    code: str
    runs: int
    identity: str


class ClaimFile(NamedTuple):
    """The content of a file of claims; `source` is None in files that were written before it was noted."""

    source: ClaimSource | None
    claims: list[Claim]


def write_claims(claims: Sequence[Claim], path: Path, source: ClaimSource) -> None:
    """Write a study's claims and what they were made from as JSON: NaN as null, infinities as "inf" and "-inf"."""
    _write(path, {"source": asdict(source), "claims": [_as_row(claim) for claim in claims]})


def write_claims_table(files: Sequence[ClaimFile], claims: Sequence[Claim], path: Path) -> None:
    """Write the claims of many studies, in the order given, and the source of each study."""
    sources = [asdict(file.source) for file in files if file.source is not None]
    _write(path, {"sources": sources, "claims": [_as_row(claim) for claim in claims]})


def read_claim_file(path: Path) -> ClaimFile:
    """Return the content of a file that `write_claims` made; raises `InputError` if it is none.

    Older files are a list of claims without a source, lack fields that have come since (those are empty), and may have
    a verdict of the control in place of its outcome; what they call `fails` is `rejected`.
    """
    try:
        content = json.loads(path.read_text())
        rows, about = (content, None) if isinstance(content, list) else (content["claims"], content.get("source"))
        source = None if about is None else ClaimSource(**{**about, "overrides": tuple(about["overrides"])})
        return ClaimFile(source, [_as_claim(row) for row in rows])
    except (ValueError, TypeError, AttributeError, KeyError):
        raise InputError("claims", str(path), "is not a file of claims") from None


def read_claims(path: Path) -> list[Claim]:
    """Return the claims of a file, as `read_claim_file` does."""
    return read_claim_file(path).claims


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def _as_row(claim: Claim) -> dict[str, Any]:
    def clean(value: Any) -> Any:
        if not isinstance(value, float) or math.isfinite(value):
            return value
        return None if math.isnan(value) else str(value)  # no JSON has infinities

    return {name: clean(value) for name, value in asdict(claim).items()}


def _as_claim(row: dict[str, Any]) -> Claim:
    names = {None: math.nan, "inf": math.inf, "-inf": -math.inf}
    values: dict[str, Any] = {k: names[v] if v in (None, "inf", "-inf") else v for k, v in row.items()}
    if "control_verdict" in values:
        values["control_outcome"] = REJECTED if values.pop("control_verdict") == FAILS else NOT_REJECTED
    return Claim(**values)
