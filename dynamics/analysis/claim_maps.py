"""Maps of claims: an experiment's claims at every setting of a small grid,
to see where a statement holds and where not.

A map is a file `configs/maps/<name>.yaml`:

    experiment: stable_minima/shattering_dimension
    claims: [alive-grows-with-d]                      # ids, without what stands before their slash
    size: laptop                                      # the default
    overrides: ["sweep.seed={range: [0, 5]}"]         # of every cell
    axes:                                             # one or two
      model.init: [pytorch_linear, kaiming_normal]    # a field and its values ...
      teacher:                                        # ... or a word, and the overrides that each label stands for
        as shipped: []
        none: [target.kind=zero]
    found: One sentence on what the map shows.

Every cell is a study of its own, stored like any other,
so that cells share runs with each other and with the experiment.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dynamics.analysis.claims import Claim
from dynamics.core.text import counted
from dynamics.errors import InputError, choose, require, suggest
from dynamics.study.compute import compute
from dynamics.study.config import compose
from dynamics.study.folders import experiment_names, map_names, search_folders
from dynamics.study.request import Request

MOST_CELLS = 64
Cell = tuple[str, ...]  # a label on each axis


@dataclass(frozen=True, kw_only=True)
class ClaimMap:
    """What a map is of.

    axes: for each of one or two, the overrides that a label stands for; found: a sentence on what it shows
    """

    name: str
    experiment: str
    claims: tuple[str, ...]
    axes: Mapping[str, Mapping[str, tuple[str, ...]]]
    size: str = "laptop"
    overrides: tuple[str, ...] = ()
    found: str = ""

    def __post_init__(self):
        choose("experiment", self.experiment, dict.fromkeys(experiment_names()))
        require(len(self.claims) > 0, "claims", [], "must name at least one claim")
        require(len(self.axes) in (1, 2), "axes", list(self.axes), "must be one or two")
        for axis, settings in self.axes.items():
            require(len(settings) > 1, f"axes.{axis}", list(settings), "must have at least two settings")
        require(len(self.cells) <= MOST_CELLS, "axes", f"{len(self.cells)} cells", f"must make at most {MOST_CELLS}")

    @property
    def cells(self) -> dict[Cell, tuple[str, ...]]:
        """Return the overrides of every cell, row by row."""
        found = {}
        for settings in itertools.product(*(axis.items() for axis in self.axes.values())):
            found[tuple(label for label, _ in settings)] = sum((own for _, own in settings), self.overrides)
        return found


@dataclass(frozen=True)
class JudgedMap:
    """A map with the claims by their ids of every cell that could be judged, and the cell as it is shipped,
    if one is."""

    asked: ClaimMap
    claims: Mapping[Cell, Mapping[str, Claim]]
    shipped: Cell | None


def read_map(name: str) -> ClaimMap:
    """Return the map of this name, one's own before the suite's; an `InputError` says what is wrong with its file."""
    names = map_names()
    require(name in names, "map", name, f"choose one of {', '.join(names)}{suggest(name, names)}")
    files = [folder / "configs" / "maps" / f"{name}.yaml" for folder in search_folders()]
    file = next(file for file in files if file.exists())
    try:
        content = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise InputError("map", name, f"{file} cannot be read: {' '.join(str(error).split())}") from None
    return parse_map(name, content)


def parse_map(name: str, content: Any) -> ClaimMap:
    """Return the map that a file's content describes."""
    words = ("experiment", "claims", "axes", "size", "overrides", "found")
    require(isinstance(content, Mapping), "map", name, f"must be a mapping of {', '.join(words)}")
    for word in content:
        require(word in words, f"{name}.{word}", content[word], f"choose among {', '.join(words)}{suggest(word, words)}")
    for word in words[:3]:
        require(word in content, f"{name}.{word}", None, "is missing")
    require(isinstance(content["axes"], Mapping), f"{name}.axes", content["axes"], "must be a mapping")
    plain = {word: str(content[word]).strip() for word in ("size", "found") if word in content}
    return ClaimMap(
        name=name,
        experiment=str(content["experiment"]),
        claims=_texts(f"{name}.claims", content["claims"]),
        axes={str(axis): _read_axis(f"{name}.axes.{axis}", str(axis), given) for axis, given in content["axes"].items()},
        overrides=_texts(f"{name}.overrides", content.get("overrides", [])),
        **plain,
    )


def _read_axis(where: str, axis: str, given: Any) -> dict[str, tuple[str, ...]]:
    if isinstance(given, list):
        texts = {value if isinstance(value, str) else json.dumps(value): value for value in given}
        require(len(texts) == len(given), where, given, "has a value twice")
        return {text: (f"{axis}={text}",) for text in texts}
    require(isinstance(given, Mapping), where, given, "must be a list of values, or overrides by label")
    return {str(label): _texts(f"{where}.{label}", own) for label, own in given.items()}


def _texts(where: str, given: Any) -> tuple[str, ...]:
    fits = isinstance(given, list) and all(isinstance(text, str) for text in given)
    require(fits, where, given, "must be a list of texts")
    return tuple(given)


def compose_map(asked: ClaimMap, output: Path) -> tuple[dict[Cell, Request], Cell | None]:
    """Return the request of every cell, all of them checked, and the cell that is the experiment as it is shipped.

    That is the first whose runs are those of the map's own overrides alone.
    """
    place = (f"size={asked.size}", f"output={output}")
    plain = set(compose(asked.experiment, *place, *asked.overrides).members)
    found = {cell: compose(asked.experiment, *place, *overrides) for cell, overrides in asked.cells.items()}
    return found, next((cell for cell, request in found.items() if set(request.members) == plain), None)


def judge_map(asked: ClaimMap, output: Path, tell: Callable[[str], None] = lambda line: None) -> JudgedMap:
    """Compute what is missing of every cell and judge its claims; `tell` is given a line for each cell that is done.

    A cell whose claims the experiment's code cannot make is told and left out. Raises `InputError` for a setting that
    is not allowed, before anything is computed, and for a claim that there is not.
    """
    requests, shipped = compose_map(asked, output)
    found: dict[Cell, dict[str, Claim]] = {}
    for cell, request in requests.items():
        study = compute(request)
        try:
            told = {claim.id.partition("/")[2]: claim for claim in study.claims()}
        except Exception as error:  # of an experiment's own code, on settings that it was not written for
            tell(f"{asked.name} {', '.join(cell)}: cannot be judged: {type(error).__name__}: {' '.join(str(error).split())}")
            continue
        for claim in asked.claims:
            choose(f"{asked.name}.claims", claim, dict.fromkeys(told))
        found[cell] = {claim: told[claim] for claim in asked.claims}
        verdicts = ", ".join(f"{claim}: {own.verdict}" for claim, own in found[cell].items())
        tell(f"{asked.name} {', '.join(cell)}: {counted(len(request.runs), 'run')}; {verdicts}")
    require(len(found) > 0, "map", asked.name, f"the claims of {asked.experiment} cannot be made at any of its settings")
    return JudgedMap(asked, found, shipped)
