"""Half-space depth of isotropic laws: what random directions find of it,
against the exact depth and a guided search."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl

import dynamics.analysis.words as an
from dynamics.data.closed_forms import ClosedForms, radial_forms
from dynamics.data.law import LAWS
from dynamics.stability import half_space_depth as hsd
from dynamics.study.reload import restart
from dynamics.systems.depth_search import DepthSpec

SOURCE = "Liang et al. 2026"
LAW_PANELS = {"ball": "ball", "gaussian": "Gaussian", "patch": "patch of a sphere", "sphere": "sphere"}
RIM = np.geomspace(1e-6, 1e-5, 12)  # distances from the rim that count as small
SURE = 0.01  # chance that sampling alone puts some depth of a run below its bound


class Cell(NamedTuple):
    """The runs of one law, dimension and search, one a seed, and the law's closed forms."""

    panel: str
    alpha: float
    dim: int
    part: an.Study
    forms: ClosedForms

    @property
    def spec(self) -> DepthSpec:
        spec = self.part.specs[self.part.runs["run"][0]]
        assert isinstance(spec, DepthSpec)
        return spec

    @property
    def tried(self) -> int:
        """Directions a query, over the whole search."""
        return self.spec.steps * self.spec.directions_per_step

    @property
    def fit_range(self) -> tuple[float, float]:
        """The decade of T that exponents are fitted on: from 20 reference points on."""
        low = 20 / self.spec.data.num_samples
        return low, 10 * low

    @property
    def slack(self) -> float:
        """How far below the law's any of a run's depths may lie by sampling.

        By Dvoretzky, Kiefer and Wolfowitz, over all its directions.
        """
        return math.sqrt(math.log(2 * self.tried / SURE) / (2 * self.spec.data.num_samples))


def cells(study: an.Study, *panels: str) -> list[Cell]:
    """One for each law and dimension of these panels."""
    made = []
    for panel in panels:
        part = study.select(panel=panel)
        for alpha, dim in part.runs.select("data.alpha", "data.input_dim").unique(maintain_order=True).iter_rows():
            own = part.select(alpha=alpha, input_dim=dim)
            data = own.specs[own.runs["run"][0]].data  # type: ignore[attr-defined]
            forms = LAWS[data.law].closed_forms
            assert forms is not None
            made.append(Cell(panel, alpha, dim, own, forms(data)))
    return made


def figure(study: an.Study) -> an.Page:
    """Psi(T) of the radial family at each d and of the other laws; bias against directions; P(depth < T) at small T."""
    fig, axes = an.new_axes(2, 3, (12, 7))
    dims = study.select(panel="radial").values("input_dim")
    for ax, d in zip(axes[0], dims, strict=False):
        draw_family(ax, [c for c in cells(study, "radial") if c.dim == d])
    for ax in axes[0, len(dims) :]:
        ax.set_axis_off()
    draw_laws(axes[1, 0], cells(study, *LAW_PANELS))
    draw_bias(axes[1, 1], study)
    draw_exponents(axes[1, 2], [c for c in cells(study, "radial") if c.dim == 2])
    table = tabulate_depths(study)
    return an.Page(fig, caption(study), {"depth": table}, {"mean depth and exponents": table})


def draw_pair(ax, cell: Cell, label: str, color: str) -> None:
    ax.plot(hsd.THRESHOLDS, hsd.isotropic_concentration_curve(cell.forms, cell.dim), color=color, label=label)
    an.draw_curve(ax, an.load_curves(cell.part), "", color, ls="--")


def draw_family(ax, family: list[Cell]) -> None:
    for cell, color in zip(family, an.COLORS, strict=False):
        draw_pair(ax, cell, rf"$\alpha={cell.alpha:g}$", color)
    ax.plot([], [], "-", color="0.4", label="exact")
    ax.plot([], [], "--", color="0.4", label=f"{family[0].tried} directions")
    an.frame_curves(ax, f"radial family, $d={family[0].dim}$")
    ax.legend(loc="upper right")


def draw_laws(ax, others: list[Cell]) -> None:
    dims = sorted({c.dim for c in others if c.panel == "patch"})
    middle = dims[len(dims) // 2]
    for cell, color in zip([c for c in others if c.dim == middle], an.COLORS, strict=False):
        draw_pair(ax, cell, LAW_PANELS[cell.panel], color)
    an.frame_curves(ax, f"other laws, $d={middle}$")
    ax.set_xlim(0, 0.25)
    ax.legend(loc="upper right")


def relative_bias(part: an.Study) -> tuple[np.ndarray, np.ndarray]:
    """Steps (T,) from the first one on, and mean excess over mean exact depth (S, T) of the runs."""
    shown = part.records.filter(pl.col("step") > 0).with_columns(bias=pl.col("mean_excess") / pl.col("mean_exact"))
    frame = shown.sort("seed", "step")
    steps = frame["step"].unique().sort().to_numpy()
    return steps, frame["bias"].to_numpy().reshape(-1, len(steps))


def draw_bias(ax, study: an.Study) -> None:
    ax.axhline(0, color="0.6", lw=0.8)
    ticks: list[float] = []
    for i, cell in enumerate(c for c in cells(study, "radial", "guided") if c.alpha == 1.0):
        steps, bias = relative_bias(cell.part)
        guided = cell.panel == "guided"
        tried, style = steps * cell.spec.directions_per_step, "--" if guided else "-"
        ticks = sorted({*ticks, *tried})
        color = an.COLORS[study.select(panel="radial").values("input_dim").index(cell.dim)]
        label = f"$d={cell.dim}$, {'guided' if guided else 'random'}"
        middle = np.median(bias, axis=0)
        ax.fill_between(tried, bias.min(axis=0), bias.max(axis=0), color=color, alpha=0.2, lw=0)
        ax.plot(tried, middle, f"{an.MARKERS[i]}{style}", color=color, label=label, mfc="none" if guided else None)
    ax.set(title=r"overestimate of the mean depth, $\alpha=1$", xlabel="directions a point", xscale="log")
    an.label_ticks(ax, ticks)
    ax.set_ylabel("mean excess / mean exact depth")
    ax.legend(loc="upper right")


def law_share(cell: Cell, thresholds: np.ndarray) -> np.ndarray:
    """The law's own P(depth < T)."""
    r = 1 - np.geomspace(1e-12, 1, 800)
    deep, outside = cell.forms.half_space_probability(r, cell.dim), 1 - cell.forms.radial(r, cell.dim)
    return np.exp(np.interp(np.log(thresholds), np.log(deep), np.log(np.maximum(outside, 1e-300))))


def draw_exponents(ax, family: list[Cell]) -> None:
    for cell, color, marker in zip(family, an.COLORS, an.MARKERS, strict=False):
        low, high = cell.fit_range
        fine, coarse = np.geomspace(low / 10, 0.4, 60), np.geomspace(low, 0.4, 10)
        ax.plot(fine, law_share(cell, fine), color=color)
        below = np.array([np.mean(np.concatenate(an.load_depths(cell.part)) < t) for t in coarse])
        ax.plot(coarse, below, marker, color=color, mfc="none")
        s = cell.forms.depth_exponent(cell.dim)
        seen = an.mean_over_seeds(fit_exponents(cell)).value
        ax.plot([], [], f"{marker}-", color=color, mfc="none", label=rf"$\alpha={cell.alpha:g}$: {seen:.2f}, $S={s:.2f}$")
        guide = np.array([low / 10, high])
        ax.plot(guide, law_share(cell, guide[:1]) * (guide / guide[0]) ** s, ":", color=color, lw=1)
    ax.set(title="$P(\\mathrm{depth}<T)$, $d=2$", xlabel="$T$", xscale="log", yscale="log", ylim=(None, 1.2))
    ax.legend(loc="lower right", title=f"fit on [{low:.1g}, {high:.1g}], exponent" if family else "", title_fontsize=8)


def fit_exponents(cell: Cell) -> np.ndarray:
    """The exponent S of each run's depths on the range of the fit, (S,)."""
    return np.array([hsd.fit_shatterability(depths, *cell.fit_range) for depths in an.load_depths(cell.part)])


def fit_law(cell: Cell) -> float:
    """The same fit to the law's own P(depth < T); NaN where it has no rim to speak of."""
    if not math.isfinite(cell.forms.radius) or cell.forms.rim(cell.dim) == 0:
        return math.nan
    thresholds = np.geomspace(*cell.fit_range, 12)
    return hsd.log_log_slope(law_share(cell, thresholds), thresholds)


def tabulate_depths(study: an.Study) -> pl.DataFrame:
    """A row a cell: mean exact depth, mean excess with its interval, area, exponents S,
    of the law and of the depths found."""
    rows = []
    for cell in cells(study, "radial", *LAW_PANELS, "guided"):
        excess = an.mean_over_seeds(an.read_final(cell.part, "mean_excess"))
        shown = (cell.panel, cell.alpha if cell.panel in ("radial", "guided") else None, cell.dim, cell.tried)
        exact = hsd.concentration_curve_area(hsd.isotropic_concentration_curve(cell.forms, cell.dim))
        areas = (float(exact), float(an.read_final(cell.part, "area").mean()))
        seen = an.mean_over_seeds(fit_exponents(cell)).value
        slopes = (cell.forms.depth_exponent(cell.dim), fit_law(cell), seen)
        rows.append((*shown, float(an.read_final(cell.part, "mean_exact").mean()), *excess, *areas, *slopes))
    names = "panel, alpha, d, directions, exact, excess, low, high, area_exact, area, S, S_law_on_range, S_found"
    return an.make_table(rows, names)


def caption(study: an.Study) -> str:
    cell = cells(study, "radial")[0]
    spec, seeds = cell.spec, len(study.values("seed"))
    far = [c for c in cells(study, "radial") if c.dim == study.select(panel="radial").values("input_dim")[-1]]
    bias = [float(np.mean(an.read_final(c.part, "mean_excess") / an.read_final(c.part, "mean_exact"))) for c in far]
    return (
        f"Half-space depth of {spec.data.num_test} points among {spec.data.num_samples} of the same law, {seeds} seeds: exact "
        f"depth of the law (solid) and the lightest of {cell.tried} uniform directions (dashed; median, band from least to "
        f"greatest). Random directions overestimate the mean depth by {100 * min(bias):.0f} to {100 * max(bias):.0f} % at d = "
        f"{far[0].dim}, alpha = {far[0].alpha:g} to {far[-1].alpha:g}; on the sphere the exact depth is 0, all that is drawn "
        "is bias. Guided: half of the directions are each point's own, from Sigma^-1 (x - mean) on; below 0 are half-spaces "
        "that this sample leaves lighter than the law does. Small T: counted (markers), the law's own (solid), and its power "
        "S = 2 alpha / (d - 1 + 2 alpha) (dotted)."
    )


def least_excess(found: list[Cell], laws: list[ClosedForms] | None) -> float:
    """Return the least excess of any run over the law's exact depth, in units of its slack.

    With other laws, one a cell, that of each cell's first run over the exact depth in its other law.
    """
    if laws is None:
        return float(np.concatenate([an.read_final(c.part, "least_excess") / c.slack for c in found]).min())
    least = []
    for cell, law in zip(found, laws, strict=True):
        fixed, _ = restart(cell.part.specs[cell.part.runs.sort("seed")["run"][0]])
        excess = an.load_depths(cell.part)[0] - law.depth(np.asarray(fixed.cloud.queries, float))
        least.append(excess.min() / cell.slack)
    return float(min(least))


def worst_rim_exponent(guess: Callable[[float, int], float]) -> float:
    """Return the largest distance of the closed forms' d log P(depth < T) / d log T at the rim from the
    exponent guessed."""
    off = []
    for alpha in (0.1, 0.3, 1.0, 1.5, 5.0):
        for d in (2, 5, 10):
            rim = radial_forms(alpha).half_space_probability(1 - RIM, d)
            off.append(abs(hsd.log_log_slope(RIM**alpha, rim) - guess(alpha, d)))
    return max(off)


def worst_exponent(family: list[Cell], dim: int) -> an.Estimate:
    """Return the largest distance of a cell's fitted exponent from that of its alpha's law in R^dim over the same T."""
    laws = np.array([fit_law(c._replace(dim=dim)) for c in family])
    table = np.stack([fit_exponents(c) for c in family], axis=1)
    return an.combine_medians(table, lambda medians: np.abs(medians - laws[:, None]), over=an.greatest_over_seeds)


def read_areas(study: an.Study, dims: list[int]) -> np.ndarray:
    """Return areas (S, A, D) by random directions, over seeds, rising alpha and d."""
    parts = [study.select(panel="radial", input_dim=d) for d in dims]
    return np.stack([an.stack_seeds(an.split_by(p, "alpha").values(), read_area) for p in parts], axis=2)


def read_area(part: an.Study) -> np.ndarray:
    return an.read_final(part, "area")


def least_rise(areas: np.ndarray) -> an.Estimate:
    """Return the smallest step of the median area between neighbouring alphas, over dimensions; areas (S, A, D)."""
    rises = lambda v: np.diff(np.median(v, axis=1), axis=1).reshape(len(v), -1)  # noqa: E731
    return an.over_values(rises, areas, over=an.least_over_seeds)


def worst_bias_ratio(study: an.Study, tried: int, panel: str) -> an.Estimate:
    """Return the largest size, over alpha at the largest d, of a search's mean excess over that of random directions.

    tried: how many directions these are; panel: whose search it is, at its end.
    """
    guided = study.select(panel="guided", input_dim=study.select(panel="guided").values("input_dim")[-1])
    pairs = []
    for alpha in guided.values("alpha"):
        random = study.select(panel="radial", alpha=alpha, input_dim=guided.values("input_dim")[0])
        early = an.at_step(random, tried // int(random.values("directions_per_step")[0]))
        searched = guided.select(alpha=alpha) if panel == "guided" else random
        late = replace(searched, records=searched.final)
        pairs.append(an.stack_seeds((late, early), lambda part: part.records.sort("seed")["mean_excess"].to_numpy()))

    def ratios(v: np.ndarray) -> np.ndarray:
        medians = np.median(v, axis=1)
        return np.abs(medians[..., 0] / medians[..., 1])

    return an.over_values(ratios, np.stack(pairs, axis=1), over=an.greatest_over_seeds)


def least_overestimate(family: list[Cell]) -> an.Estimate:
    """Return mean depth found over mean exact depth, less 1, in the law where it is smallest."""
    over = [an.read_final(c.part, "mean_excess") / an.read_final(c.part, "mean_exact") for c in family]
    return an.combine_medians(np.stack(over, axis=1), lambda medians: medians, over=an.least_over_seeds)


def claims(study: an.Study) -> list[an.Claim]:
    family = cells(study, "radial")
    plane, dims = [c for c in family if c.dim == 2], sorted({c.dim for c in family})
    before, last = dims[-2], [c for c in family if c.dim == dims[-1]]
    (low, high), guided = plane[0].fit_range, cells(study, "guided")[-1]
    off, more = [radial_forms(c.alpha) for c in plane[:-1]], last[-1].tried // guided.tried
    by_derivation = f"{SOURCE}; derived for the radial family"
    return [
        an.judge(
            id="depth/never-below-exact",
            source="definition; slack by Dvoretzky-Kiefer-Wolfowitz, derived",
            statement="The lightest random half-space is no lighter than the law's depth, up to sampling, anywhere",
            expects=an.at_least(-1, of="least excess over sqrt(log(2 D / 0.01) / 2n)"),
            evidence=an.compare(
                least_excess,
                (cells(study, "radial", *LAW_PANELS), None),
                neighbour={"the depths of the next smaller alpha, in the plane": (plane[1:], off)},
            ),
        ),
        an.judge(
            id="depth/shatterability-index",
            source=by_derivation,
            statement="P(depth < T) ~ T^S, S = 2 alpha / (d - 1 + 2 alpha), 1e-6 to 1e-5 from the rim, d = 2, 5, 10",
            expects=an.at_most(0.005, of="largest distance from S"),
            evidence=an.compare(
                worst_rim_exponent,
                lambda alpha, d: radial_forms(alpha).depth_exponent(d),
                neighbour={"alpha larger by 10 %": lambda alpha, d: radial_forms(1.1 * alpha).depth_exponent(d)},
            ),
        ),
        an.judge(
            id="depth/fitted-exponents",
            source=by_derivation,
            statement=f"Depths found in the plane have the exponents that the law has for T in [{low:.2g}, {high:.2g}]",
            expects=an.at_most(0.06, of="|fit - the law's own slope there| at the worst alpha"),
            evidence=an.compare(worst_exponent, (plane, 2), neighbour={"the laws' slopes at d = 3": (plane, 3)}),
        ),
        an.judge(
            id="depth/area-rises-with-alpha",
            source=f"{SOURCE}; derived",
            statement=f"The area of Psi by random directions rises with alpha (d = {', '.join(map(str, dims))})",
            expects=an.ordered(of="the median area over alpha"),
            evidence=an.permute(least_rise, read_areas(study, dims), "alpha permuted within every seed"),
        ),
        an.judge(
            id="depth/random-directions-overestimate",
            source="derived; the papers' depths are those of random directions",
            statement=f"At d = {dims[-1]} the mean depth by {family[0].tried} random directions is a tenth too large or more",
            expects=an.at_least(0.1, of="smallest relative overestimate"),
            evidence=an.compare(least_overestimate, last, neighbour={f"d = {before}": [c for c in family if c.dim == before]}),
        ),
        an.judge(
            id="depth/guided-bias",
            source="derived: the own direction is the lightest for an isotropic law",
            statement=f"At d = {guided.dim} the guided search is off by much less than as many random directions",
            expects=an.at_most(0.25, of="|ratio of mean excesses| at the worst alpha"),
            evidence=an.compare(
                worst_bias_ratio,
                (study, guided.tried, "guided"),
                treatment={f"{more} times as many random directions": (study, guided.tried, "radial")},
            ),
        ),
    ]
