"""Principal components and half-space depth of image patches,
by the scheme that cuts them (X5 of Liang et al. 2026b)."""

from functools import cache
from typing import NamedTuple

import numpy as np
import polars as pl

import dynamics.analysis.words as an
from dynamics.data.views import list_views
from dynamics.stability.half_space_depth import THRESHOLDS
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
    part: an.Study

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
        return np.array([an.count_components(e) for e in self.energies])

    @property
    def components(self) -> np.ndarray:
        """The same, interpolated between whole numbers, (S,)."""
        return np.array([np.interp(0.9, [0, *e], np.arange(len(e) + 1)) for e in self.energies])

    @property
    def areas(self) -> np.ndarray:
        """Areas of Psi, (S,)."""
        return an.read_final(self.part, "area")


@cache
def view_energy(spec: DepthSpec) -> np.ndarray:
    """Of all views of all the samples of a run."""
    return an.cumulate_energy(an.view_covariance(an.draw_samples(spec), list_views(spec.views, spec.data.grid)))


def schemes(study: an.Study, *panels: str) -> list[Scheme]:
    """One for each scheme of these panels, in their order."""
    made = []
    for panel in panels:
        part = study.select(panel=panel)
        names = part.runs["views.scheme"].unique(maintain_order=True).to_list()
        made += [Scheme(panel, name, part.select(scheme=name)) for name in names]
    return made


def pair(study: an.Study, panel: str) -> tuple[Scheme, Scheme]:
    """Sliding windows and shuffled ones of a panel."""
    found = {s.scheme: s for s in schemes(study, panel)}
    return found["sliding"], found["shuffle"]


def figure(study: an.Study) -> an.Page:
    """Cumulative energy and Psi(T) of the base law's schemes and of the controls;
    elbow against area of every scheme."""
    fig, axes = an.new_axes(2, 3, (12, 7))
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
    return an.Page(fig, caption(study), tables, shown)


def looks(listed: list[Scheme]) -> list[tuple[Scheme, str, str, str]]:
    """(scheme, label, colour, line) of each; a panel of pictures has a colour, its schemes lines."""
    kinds = {"leaves": (an.COLORS[2], "dead leaves"), "white": (an.COLORS[6], "white noise")}
    made = []
    for i, s in enumerate(listed):
        color, prefix = kinds.get(s.panel, (an.COLORS[i % len(an.COLORS)], ""))
        line = ("-" if s.scheme == "sliding" else "--") if prefix else ("-", "--", "-", "--", "-")[i % 5]
        made.append((s, f"{prefix} {s.name}".strip(), color, line))
    return made


def draw_energy(ax, listed: list[Scheme], title: str) -> None:
    for s, label, color, line in looks(listed):
        middle = np.median(s.energies, axis=0)
        ax.plot(np.arange(1, len(middle) + 1), middle, line, marker=".", color=color, label=f"{label}: {np.median(s.elbows):g}")
    ax.axhline(0.9, color="0.6", lw=0.8, ls=":")
    ax.set(title=title, xlabel="components", xscale="log", ylabel="share of the variance", ylim=(0, 1.02))
    an.label_ticks(ax, [t for t in (1, 3, 10, 30, 100, 1000) if t <= ax.get_xlim()[1]])
    ax.legend(loc="lower right", title="components for 90 %", title_fontsize=8)


def draw_psi(ax, listed: list[Scheme], title: str) -> None:
    deepest = 0.1
    for s, label, color, line in looks(listed):
        curves = an.load_curves(s.part)
        an.draw_curve(ax, curves, f"{label}: {np.mean(s.areas):.4f}", color, ls=line)
        deepest = max(deepest, THRESHOLDS[np.max(np.nonzero(curves.max(axis=0) > LEAST)[0])])
    an.frame_curves(ax, title)
    ax.set(yscale="log", ylim=(LEAST, 1.1), xlim=(0, deepest))
    ax.legend(loc="upper right", title="area", title_fontsize=8)


def draw_table(ax, own: list[Scheme]) -> None:
    """Area with its range over seeds, a row a scheme, the elbow beside the name."""
    for row, s in enumerate(reversed(own)):
        low, middle, high = np.min(s.areas), np.mean(s.areas), np.max(s.areas)
        color = an.COLORS[0] if s.scheme in (*LOCAL, "disjoint") else an.COLORS[1] if s.scheme == "shuffle" else "0.4"
        ax.errorbar(middle, row, xerr=[[middle - low], [high - middle]], fmt="o", color=color, ms=4, lw=1)
    ax.set_yticks(range(len(own)), [f"{s.name} ({np.median(s.elbows):g})" for s in reversed(own)])
    ax.set(title="area of every scheme (elbow)", xlabel=r"$\int\Psi\,dT$", xlim=(0, None))


def draw_ratios(ax, study: an.Study) -> None:
    """Area of sliding windows over that of shuffled ones, where there are both."""
    law = schemes(study, "schemes")[0].specs[0].data.law
    names = {"schemes": f"{law}, random", "guided": f"{law}, guided", "leaves": "dead leaves", "white": "white noise"}
    for row, panel in enumerate(reversed(names)):
        seen = ratio_of_areas(*pair(study, panel))
        low, high = (seen.low, seen.high) if np.isfinite(seen.low) else (seen.value, seen.value)
        ax.errorbar(seen.value, row, xerr=[[seen.value - low], [high - seen.value]], fmt="o", color=an.COLORS[0], lw=1)
    ax.set_yticks(range(len(names)), list(reversed(names.values())))
    ax.axvline(1, color="0.6", lw=0.8)
    ax.set(title="area, sliding over shuffled", xlabel="ratio", ylim=(-0.5, len(names) - 0.5))


def scheme_table(study: an.Study) -> pl.DataFrame:
    """A row a scheme: patch dimension, reference points, share of the first component, elbow, area with interval."""
    rows = []
    for s in schemes(study, "schemes", "unstrided", "guided", "leaves", "white"):
        facts = an.read_settings(s.part)
        first, area = float(np.mean(s.energies[:, 0])), an.mean_over_seeds(s.areas)
        rows.append((s.panel, s.name, facts["dim"], facts["num_reference"], first, float(np.median(s.elbows)), *area))
    return an.make_table(rows, "panel, scheme, dim, reference, first_component, elbow, area, low, high")


def paper_table(own: list[Scheme]) -> pl.DataFrame:
    """Elbow and area beside the paper's, for CIFAR-10."""
    rows = []
    for s in (s for s in own if s.scheme in PAPER):
        elbow, area = PAPER[s.scheme]
        rows.append((s.name, float(np.median(s.elbows)), elbow, float(np.mean(s.areas)), area))
    return an.make_table(rows, "scheme, elbow, elbow_paper, area, area_paper")


def caption(study: an.Study) -> str:
    own = schemes(study, "schemes")[0]
    spec, seeds = own.specs[0], len(own.specs)
    sliding, shuffled = pair(study, "schemes")
    found = an.read_settings(own.part)
    return (
        f"Patches of {spec.data.num_samples} {spec.data.law} samples, {spec.views.size} x {spec.views.size} pixels, by scheme, "
        f"{seeds} seed{'s' * (seeds != 1)}: principal components for 90 % of the variance (of all patches) and half-space "
        f"depth of {found['num_queries']} fresh patches among {found['num_reference']}, the lightest of "
        f"{spec.steps * spec.directions_per_step} random directions, an overestimate; bands from least to greatest. Sliding "
        f"against shuffled: {np.median(sliding.elbows):g} against {np.median(shuffled.elbows):g} components, area "
        f"{np.mean(sliding.areas):.4f} against {np.mean(shuffled.areas):.4f}. Controls: dead leaves, pictures with the "
        "statistics of natural images, and white noise, where shuffling changes nothing. The paper's numbers are of CIFAR-10 "
        "and are judged on it alone."
    )


def more_components(local: Scheme, shuffled: Scheme) -> an.Estimate:
    """Return how many components more the second takes, interpolated between whole numbers."""
    return an.median_over_seeds(shuffled.components - local.components)


def ratio_of_areas(local: Scheme, shuffled: Scheme) -> an.Estimate:
    """Return the area of the first over that of the second, medians over seeds."""
    return an.ratio_over_seeds(local.areas, shuffled.areas)


def least_more(local: list[Scheme], shuffled: Scheme) -> an.Estimate:
    """Return how many components more the last takes than the scheme of the list that takes most."""
    more = np.stack([shuffled.components - s.components for s in local], axis=1)
    return an.combine_medians(more, lambda medians: medians, over=an.least_over_seeds)


def largest_deviation(listed: list[Scheme], printed: dict[str, tuple[int, float]]) -> an.Estimate:
    """Return the largest of |elbow - printed| and |area / printed - 1| / 0.05, of medians, over schemes."""
    found = [s for s in listed if s.scheme in printed]
    off = [(s.elbows - printed[s.scheme][0], (s.areas / printed[s.scheme][1] - 1) / 0.05) for s in found]
    return an.combine_medians([values for both in off for values in both], np.abs, over=an.greatest_over_seeds)


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    own, white = schemes(study, "schemes", "unstrided"), pair(study, "white")
    law, noise = own[0].specs[0].data.law, "white-noise images"
    fewer = (more_components, an.at_least(1, of="components that shuffled ones take more"))
    deeper = (ratio_of_areas, an.at_least(1.05, of="area over that of shuffled ones"))
    made = [
        claim(
            id=f"patch_geometry/{name}",
            statement=statement,
            expects=expects,
            evidence=an.compare(statistic, pair(study, panel), null={noise: white}),
            post_hoc="added after random directions had shown no difference" if panel == "guided" else "",
        )
        for name, panel, (statistic, expects), statement in (
            ("elbow", "schemes", fewer, f"Local patches of {law} take fewer components for 90 % than shuffled ones"),
            ("area", "schemes", deeper, f"Local patches of {law} are deeper than shuffled ones"),
            ("area-guided", "guided", deeper, "The same by a search that is hardly biased"),
            ("elbow-leaves", "leaves", fewer, "Fewer components than shuffled ones in dead leaves"),
            ("area-leaves", "leaves", deeper, "Deeper than shuffled ones in dead leaves"),
        )
    ]
    local = [s for s in own if s.scheme in LOCAL]
    made.append(
        claim(
            id="patch_geometry/local-schemes",
            statement=f"So do windows however they are laid out ({', '.join(s.name for s in local)})",
            expects=fewer[1],
            evidence=an.compare(least_more, (local, pair(study, "schemes")[1]), null={noise: ([white[0]], white[1])}),
        )
    )
    if law == "cifar10":
        exchanged = dict(zip(PAPER, [*list(PAPER.values())[1:], PAPER["sliding"]], strict=True))
        made.append(
            claim(
                id="patch_geometry/paper",
                statement="Elbow and area of sliding and shuffled patches and of whole CIFAR-10 images are the paper's",
                expects=an.at_most(1, of="largest deviation, elbow in components and area in 5 %,"),
                evidence=an.compare(largest_deviation, (own, PAPER), neighbour={"numbers of another scheme": (own, exchanged)}),
            )
        )
    return made
