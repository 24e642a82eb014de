"""Principal components and half-space depth of image patches, by the scheme that cuts them (X5 of Liang et al. 2026b)."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from dynamics.analysis.bootstrap import Estimate, over_seeds
from dynamics.analysis.claims import Claim, Finding, exact, judge, within
from dynamics.analysis.depth_curves import (
    count_for,
    draw_curve,
    energy,
    frame_curves,
    mean_over_seeds,
    samples,
    saved_curves,
    view_covariance,
)
from dynamics.analysis.figures import COLORS, Page
from dynamics.analysis.rate_figures import label_only
from dynamics.data.views import views
from dynamics.stability.half_space_depth import THRESHOLDS
from dynamics.study.tables import Study
from dynamics.systems.depth_search import DepthSpec

SOURCE = "Liang et al. 2026b, X5"
DRAWN = ("sliding", "random_placement", "random_local", "shuffle", "")  # with lines of their own; the others are in the table
LOCAL = ("sliding", "random_placement", "jittered_grid", "hexagonal")
NAMES = {"": "whole image"}
LEAST = 1e-3  # what is drawn of Psi
PAPER = {"sliding": (4, 0.0344), "shuffle": (41, 0.0104), "": (100, 0.0085)}  # elbow and area on CIFAR-10


class Scheme(NamedTuple):
    """The runs of one scheme of one panel, one a seed."""

    panel: str
    scheme: str
    part: Study

    @property
    def specs(self) -> list[DepthSpec]:
        """In the order of seeds."""
        found = [self.part.specs[run] for run in self.part.runs.sort("seed")["run"]]
        assert all(isinstance(spec, DepthSpec) for spec in found)
        return found  # type: ignore[return-value]

    @property
    def name(self) -> str:
        return NAMES.get(self.scheme, self.scheme.replace("_", " "))

    @property
    def energies(self) -> np.ndarray:
        """Cumulative shares of the variance, (S, m)."""
        return np.array([view_energy(spec) for spec in self.specs])

    @property
    def elbows(self) -> np.ndarray:
        """Principal components for 90 % of the variance, (S,)."""
        return np.array([count_for(e) for e in self.energies])

    @property
    def areas(self) -> np.ndarray:
        """Areas of Psi, (S,)."""
        return self.part.final.sort("seed")["area"].to_numpy()


@cache
def view_energy(spec: DepthSpec) -> np.ndarray:
    """Of all views of all the samples of a run."""
    return energy(view_covariance(samples(spec), views(spec.views, spec.data.grid)))


def schemes(study: Study, *panels: str) -> list[Scheme]:
    """One for each scheme of these panels, in their order."""
    made = []
    for panel in panels:
        part = study.select(panel=panel)
        names = part.runs["views.scheme"].unique(maintain_order=True).to_list()
        made += [Scheme(panel, name, part.select(scheme=name)) for name in names]
    return made


def pair(study: Study, panel: str) -> tuple[Scheme, Scheme]:
    """Sliding windows and shuffled ones of a panel."""
    found = {s.scheme: s for s in schemes(study, panel)}
    return found["sliding"], found["shuffle"]


def figure(study: Study) -> Page:
    """Cumulative energy and Psi(T) of the base law's schemes and of the controls; elbow against area of every scheme."""
    fig, axes = plt.subplots(2, 3, figsize=(12, 7))
    own, others = schemes(study, "schemes", "unstrided"), schemes(study, "leaves", "white")
    law = own[0].specs[0].data.law
    shown = [s for name in DRAWN for s in own if s.scheme == name]
    draw_energy(axes[0, 0], shown, f"principal components, {law}")
    draw_psi(axes[0, 1], shown, f"half-space depth, {law}")
    draw_table(axes[0, 2], own)
    draw_energy(axes[1, 0], others, "principal components, controls")
    draw_psi(axes[1, 1], others, "half-space depth, controls")
    draw_ratios(axes[1, 2], study)
    table = scheme_table(study)
    tables, shown = {"patch_geometry": table}, {"elbow and area": table}
    if law == "cifar10":
        tables["patch_geometry_paper"] = shown["paper"] = paper_table(own)
    return Page(fig, caption(study), tables, shown)


def looks(listed: list[Scheme]) -> list[tuple[Scheme, str, str, str]]:
    """(scheme, label, colour, line) of each; a panel of pictures has a colour, its schemes lines."""
    kinds = {"leaves": (COLORS[2], "dead leaves"), "white": (COLORS[6], "white noise")}
    made = []
    for i, s in enumerate(listed):
        color, prefix = kinds.get(s.panel, (COLORS[i % len(COLORS)], ""))
        line = ("-" if s.scheme == "sliding" else "--") if prefix else ("-", "--", "-", "--", "-")[i % 5]
        made.append((s, f"{prefix} {s.name}".strip(), color, line))
    return made


def draw_energy(ax, listed: list[Scheme], title: str) -> None:
    for s, label, color, line in looks(listed):
        middle = np.median(s.energies, axis=0)
        ax.plot(np.arange(1, len(middle) + 1), middle, line, marker=".", color=color, label=f"{label}: {np.median(s.elbows):g}")
    ax.axhline(0.9, color="0.6", lw=0.8, ls=":")
    ax.set(title=title, xlabel="components", xscale="log", ylabel="share of the variance", ylim=(0, 1.02))
    label_only(ax, [t for t in (1, 3, 10, 30, 100, 1000) if t <= ax.get_xlim()[1]])
    ax.legend(loc="lower right", title="components for 90 %", title_fontsize=8)


def draw_psi(ax, listed: list[Scheme], title: str) -> None:
    deepest = 0.1
    for s, label, color, line in looks(listed):
        curves = saved_curves(s.part)
        draw_curve(ax, curves, f"{label}: {np.mean(s.areas):.4f}", color, ls=line)
        deepest = max(deepest, THRESHOLDS[np.max(np.nonzero(curves.max(axis=0) > LEAST)[0])])
    frame_curves(ax, title)
    ax.set(yscale="log", ylim=(LEAST, 1.1), xlim=(0, deepest))
    ax.legend(loc="upper right", title="area", title_fontsize=8)


def draw_table(ax, own: list[Scheme]) -> None:
    """Area with its range over seeds, a row a scheme, the elbow beside the name."""
    for row, s in enumerate(reversed(own)):
        low, middle, high = np.min(s.areas), np.mean(s.areas), np.max(s.areas)
        color = COLORS[0] if s.scheme in (*LOCAL, "disjoint") else COLORS[1] if s.scheme == "shuffle" else "0.4"
        ax.errorbar(middle, row, xerr=[[middle - low], [high - middle]], fmt="o", color=color, ms=4, lw=1)
    ax.set_yticks(range(len(own)), [f"{s.name} ({np.median(s.elbows):g})" for s in reversed(own)])
    ax.set(title="area of every scheme (elbow)", xlabel=r"$\int\Psi\,dT$", xlim=(0, None))


def draw_ratios(ax, study: Study) -> None:
    """Area of sliding windows over that of shuffled ones, where there are both."""
    law = schemes(study, "schemes")[0].specs[0].data.law
    names = {"schemes": f"{law}, random", "guided": f"{law}, guided", "leaves": "dead leaves", "white": "white noise"}
    for row, panel in enumerate(reversed(names)):
        seen = area_ratio(pair(study, panel))
        low, high = (seen.low, seen.high) if np.isfinite(seen.low) else (seen.value, seen.value)
        ax.errorbar(seen.value, row, xerr=[[seen.value - low], [high - seen.value]], fmt="o", color=COLORS[0], lw=1)
    ax.set_yticks(range(len(names)), list(reversed(names.values())))
    ax.axvline(1, color="0.6", lw=0.8)
    ax.set(title="area, sliding over shuffled", xlabel="ratio", ylim=(-0.5, len(names) - 0.5))


def scheme_table(study: Study) -> pl.DataFrame:
    """A row a scheme: patch dimension, reference points, share of the first component, elbow, area with interval."""
    rows = []
    for s in schemes(study, "schemes", "unstrided", "guided", "leaves", "white"):
        facts = s.part.runs.row(0, named=True)
        first, area = float(np.mean(s.energies[:, 0])), mean_over_seeds(s.areas)
        rows.append((s.panel, s.name, facts["dim"], facts["num_reference"], first, float(np.median(s.elbows)), *area))
    names = ["panel", "scheme", "dim", "reference", "first_component", "elbow", "area", "low", "high"]
    return pl.DataFrame(rows, schema=names, orient="row")


def paper_table(own: list[Scheme]) -> pl.DataFrame:
    """Elbow and area beside the paper's, for CIFAR-10."""
    rows = [
        (s.name, float(np.median(s.elbows)), PAPER[s.scheme][0], float(np.mean(s.areas)), PAPER[s.scheme][1])
        for s in own
        if s.scheme in PAPER
    ]
    return pl.DataFrame(rows, schema=["scheme", "elbow", "elbow_paper", "area", "area_paper"], orient="row")


def caption(study: Study) -> str:
    own = schemes(study, "schemes")[0]
    spec, seeds = own.specs[0], len(own.specs)
    sliding, shuffled = pair(study, "schemes")
    found = own.part.runs.row(0, named=True)
    return (
        f"Patches of {spec.data.num_samples} {spec.data.law} samples, {spec.views.size} x {spec.views.size} pixels, by scheme, "
        f"{seeds} seed(s): principal components for 90 % of the variance (of all patches) and half-space depth of "
        f"{found['num_queries']} fresh patches among {found['num_reference']}, the lightest of "
        f"{spec.steps * spec.directions_per_step} random directions, an overestimate; bands from least to greatest. Sliding "
        f"against shuffled: {np.median(sliding.elbows):g} against {np.median(shuffled.elbows):g} components, area "
        f"{np.mean(sliding.areas):.4f} against {np.mean(shuffled.areas):.4f}. Controls: dead leaves, pictures with the "
        "statistics of natural images, and white noise, where shuffling changes nothing. The paper's numbers are of CIFAR-10 "
        "and are judged on it alone."
    )


def elbow_gap(two: tuple[Scheme, Scheme]) -> Estimate:
    """How many components more the second takes."""
    return mean_over_seeds(two[1].elbows - two[0].elbows)


def area_ratio(two: tuple[Scheme, Scheme]) -> Estimate:
    """Area of the first over that of the second, means over seeds."""
    above, below = two[0].areas, two[1].areas
    return over_seeds(lambda index: above[index].mean(axis=1) / below[index].mean(axis=1), len(above))


def fewer_components(two: tuple[Scheme, Scheme]) -> Finding:
    """The second takes at least one component more."""
    return within(elbow_gap(two), 1, np.inf)


def deeper(two: tuple[Scheme, Scheme]) -> Finding:
    """The area of the first is at least 5 % larger."""
    return within(area_ratio(two), 1.05, np.inf)


def all_fewer(part: tuple[list[Scheme], Scheme]) -> Finding:
    """Every one of the schemes takes at least one component less than the last."""
    local, shuffled = part
    return within(min((elbow_gap((s, shuffled)) for s in local), key=lambda e: e.value), 1, np.inf)


def as_printed(part: tuple[list[Scheme], dict[str, tuple[int, float]]]) -> Finding:
    """The larger of |elbow - printed| and |area / printed - 1| / 0.05, over schemes, is at most 1."""
    listed, printed = part
    off = 0.0
    for s in (s for s in listed if s.scheme in printed):
        components, area = printed[s.scheme]
        off = max(off, abs(float(np.median(s.elbows)) - components), abs(float(np.mean(s.areas)) / area - 1) / 0.05)
    return exact(off, 0, 1)


def claims(study: Study) -> list[Claim]:
    own = schemes(study, "schemes", "unstrided")
    white, law = pair(study, "white"), own[0].specs[0].data.law
    noise = "white-noise images"
    made = []
    for name, panel, check, said, wanted in (
        (
            "elbow",
            "schemes",
            fewer_components,
            f"Local patches of {law} take fewer principal components for 90 % than shuffled ones",
            ">= 1 fewer",
        ),
        ("area", "schemes", deeper, f"Local patches of {law} are deeper than shuffled ones", "area >= 5 % larger"),
        ("area-guided", "guided", deeper, "The same by a search that is hardly biased", "area >= 5 % larger"),
        ("elbow-leaves", "leaves", fewer_components, "Fewer components than shuffled ones in dead leaves", ">= 1 fewer"),
        ("area-leaves", "leaves", deeper, "Deeper than shuffled ones in dead leaves", "area >= 5 % larger"),
    ):
        made.append(judge(f"patch_geometry/{name}", SOURCE, said, wanted, check, pair(study, panel), white, noise))
    local = [s for s in own if s.scheme in LOCAL]
    made.append(
        judge(
            "patch_geometry/local-schemes",
            SOURCE,
            f"So do windows however they are laid out ({', '.join(s.name for s in local)})",
            ">= 1 component fewer than shuffled ones",
            all_fewer,
            (local, pair(study, "schemes")[1]),
            ([white[0]], white[1]),
            noise,
        )
    )
    if law == "cifar10":
        exchanged = dict(zip(PAPER, [*list(PAPER.values())[1:], PAPER["sliding"]], strict=True))
        made.append(
            judge(
                "patch_geometry/paper",
                SOURCE,
                "Elbow and area of sliding and shuffled patches and of whole images of CIFAR-10 are the paper's",
                "elbow to 1, area to 5 %: largest deviation in these units <= 1",
                as_printed,
                (own, PAPER),
                (own, exchanged),
                "numbers of another scheme",
            )
        )
    return made
