"""Flat interpolation: labels on a sphere memorised by a net in closed form, its true sharpness, and descent from beside it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.lines import Line2D

from dynamics.analysis.claims import FAILS, Claim, Finding, exact, judge
from dynamics.analysis.figures import COLORS, MARKERS, Page
from dynamics.data.closed_forms import BALL
from dynamics.study.tables import Study
from dynamics.theory.flat_interpolators import kernel_diagonal, memorable_share, patch_bound

SPHERE = "Liang et al. 2026, flat interpolation on the sphere"
PATCH = "Liang et al. 2026b, failure on unstructured patches"
DERIVED = "derived: the kernel of a net with a neuron a sample"
SHADES = {"paper": COLORS[1], "optimal": COLORS[0]}
ROUNDING = 1e-9  # of a sharpness near 1 in 64 bits, by Lanczos, where weights are not large
MISSED = 0.01  # of the bound: a label further off than this is not memorised
NEAR = 10  # perturbations: what came back is within so many of where it started
CELL = ["data.input_dim", "data.num_samples", "seed"]


def built(study: Study, *panels: str) -> pl.DataFrame:
    """The nets as they were built, before any step, with `share` = (lambda - 1) / (bound - 1) and `scaling`."""
    at = study.records.filter(pl.col("step") == 0, pl.col("panel").is_in(panels))
    share = (pl.col("sharpness") - 1) / (pl.col("bound_sharpness") - 1)
    return at.with_columns(share=share, scaling=pl.col("construction").str.split("_").list.last())


def most(table: pl.DataFrame, column: str) -> float:
    return float(table[column].to_numpy().max())


def below(table: pl.DataFrame) -> Finding:
    """The largest (lambda - 1) / (bound - 1) is at most 1."""
    return exact(most(table, "share"), 0, 1 + ROUNDING)


def attained(table: pl.DataFrame) -> Finding:
    """|lambda - bound| of every net is rounding."""
    return exact(float((table["sharpness"] - table["bound_sharpness"]).abs().to_numpy().max()), 0, ROUNDING)


def in_roundings(table: pl.DataFrame, error: pl.Expr) -> Finding:
    """The largest error, over the rounding of the net's largest neuron, epsilon |v| (|w| + |b|), and 1e-12: at most 4."""
    return exact(float(table.select(error / (pl.col("rounding") + 1e-12)).to_series().to_numpy().max()), 0, 4)


def as_secular(table: pl.DataFrame) -> Finding:
    """How far the Hessian's lambda and Gauss-Newton's are from the root of the secular equation over n."""
    off = [(pl.col(name) - pl.col("exact_sharpness")).abs() for name in ("sharpness", "gauss_newton_sharpness")]
    return in_roundings(table, pl.max_horizontal(off))


def interpolates(table: pl.DataFrame) -> Finding:
    """The largest residual."""
    return in_roundings(table, pl.col("interpolation_error"))


def one_each(table: pl.DataFrame) -> Finding:
    """No neuron is on for more than one sample (patch), and there are at most n: the larger of the count and width over n."""
    per_sample = (table["used_width"] / table["data.num_samples"]).to_numpy()
    return exact(float(max(most(table, "largest_activation"), per_sample.max())), 0, 1)


def flatter(table: pl.DataFrame) -> Finding:
    """(lambda - 1) of the optimal scaling over that of the paper's on the same labels is below 1, at its largest."""
    keys = ["panel", "bound", *CELL]
    pairs = table.pivot(on="scaling", index=keys, values="sharpness", aggregate_function="first")
    ratio = ((pairs["optimal"] - 1) / (pairs["paper"] - 1)).to_numpy()
    return exact(float(ratio.max()), 0, 1 - ROUNDING)


def least_of_rescalings(table: pl.DataFrame) -> Finding:
    """The least (lambda - 1) over the factors tried, over that without a factor, is above 1."""
    own = table.filter(pair_scale=1.0).select("seed", plain=pl.col("sharpness") - 1)
    other = table.filter(pl.col("pair_scale") != 1).join(own, on="seed")
    return exact(float(((other["sharpness"] - 1) / other["plain"]).to_numpy().min()), np.nextafter(1, 2), np.inf)


def same_in_every_dimension(table: pl.DataFrame) -> Finding:
    """The spread of lambda over d at equal labels."""
    keys = ["panel", "construction", "bound", "data.num_samples", "seed"]
    spread = pl.col("sharpness").max() - pl.col("sharpness").min()
    return in_roundings(table.group_by(keys).agg(spread=spread, rounding=pl.col("rounding").max()), pl.col("spread"))


def below_with(part: tuple[pl.DataFrame, int]) -> Finding:
    """The same with the bound of so many times as many patches."""
    table, factor = part
    rows = table.select("sharpness", "data.num_samples", "bound", "data.input_dim", "data.patch_dim", "scaling").iter_rows()
    share = [(s - 1) / (patch_bound(n, b, factor * (d // m), scaling) - 1) for s, n, b, d, m, scaling in rows]
    return exact(max(share), 0, 1 + ROUNDING)


def standing(study: Study) -> pl.DataFrame:
    """Share of ball samples that stand out from all others, pooled over seeds, beside its expectation; one row a (d, n)."""
    pooled = built(study, "ball").group_by("data.input_dim", "data.num_samples")
    table = pooled.agg(share=pl.col("standing_share").mean(), seeds=pl.len()).sort("data.input_dim", "data.num_samples")
    expected = [memorable_share(BALL, n, d) for d, n in table.select("data.input_dim", "data.num_samples").iter_rows()]
    other = [memorable_share(BALL, n, d + 1) for d, n in table.select("data.input_dim", "data.num_samples").iter_rows()]
    table = table.with_columns(expected=pl.Series(expected), other=pl.Series(other))
    count = pl.col("seeds") * pl.col("data.num_samples")
    return table.with_columns(error=(pl.col("expected") * (1 - pl.col("expected")) / count).sqrt())


def as_expected(part: tuple[pl.DataFrame, str]) -> Finding:
    """The largest distance of a share from its expectation is at most 4 standard errors (of independent samples)."""
    table, column = part
    return exact(float(((table["share"] - table[column]) / table["error"]).abs().to_numpy().max()), 0, 4)


def misses(table: pl.DataFrame) -> Finding:
    """In every run some label is missed by at least a hundredth of the bound: the least over runs of the largest residual."""
    return exact(float((table["interpolation_error"] / table["bound"]).to_numpy().min()), MISSED, np.inf)


def ends(study: Study) -> pl.DataFrame:
    """The runs of descent at their last step, with `eta`, `window` and `moved`.

    window: eta lambda / 2 of the optimal scaling; moved: distance over perturbation.
    """
    table = study.select(panel="descent").final
    optimal = [patch_bound(n, bound, 1, "optimal") for n, bound in table.select("data.num_samples", "bound").iter_rows()]
    eta = 2 * pl.col("edge_ratio") / pl.col("exact_sharpness")
    window = pl.col("edge_ratio") * pl.Series(optimal) / pl.col("exact_sharpness")
    return table.with_columns(eta=eta, window=window, moved=pl.col("distance") / pl.col("perturbation"))


def stays(table: pl.DataFrame) -> Finding:
    """All labels are fitted again, and no parameter is further than ten perturbations from the built net's: that distance."""
    fitted = bool((table["memorised_share"] == 1).all())
    return finding(most(table, "moved"), 0, NEAR, fitted)


def settles_flatter(table: pl.DataFrame) -> Finding:
    """All labels are fitted again, elsewhere (over ten perturbations away), at eta lambda / 2 below 1: its largest value."""
    elsewhere = bool((table["memorised_share"] == 1).all()) and bool((table["moved"] > NEAR).all())
    return finding(most(table, "edge"), 0, np.nextafter(1, 0), elsewhere)


def finding(value: float, low: float, high: float, also: bool) -> Finding:
    found = exact(value, low, high)
    return found if also else Finding(FAILS, found.estimate)


def claims(study: Study) -> list[Claim]:
    sphere, crossing, ball = built(study, "sphere", "linear"), built(study, "crossing"), built(study, "ball")
    signs, patches = built(study, "signs"), built(study, "patch", "patch_signs", "patches")
    rescaled, after, shares = built(study, "rescaled"), ends(study), standing(study)
    alike = (pl.col("bound") ** 2 - 2).abs() < 1e-9
    flat = rescaled.filter(scaling="optimal")
    inside = (pl.col("edge_ratio") > 1) & (pl.col("window") < 1)
    paper = after.filter(construction="sphere_paper")
    dims = ", ".join(map(str, sorted(set(sphere["data.input_dim"]))))
    sizes = f"n = {sphere['data.num_samples'].min()} to {sphere['data.num_samples'].max()}"
    low = ball.filter(pl.col("data.input_dim") <= 5, pl.col("data.num_samples") >= 32)
    return [
        judge(
            "flat_interpolation/below-bound",
            SPHERE,
            f"lambda <= 1 + (D^2 + 2)/n, and 1 + 2 sqrt(2) D/n for optimal pairs, d = {dims}, {sizes}",
            "largest (lambda - 1) / (bound - 1) <= 1",
            below,
            pl.concat([sphere, signs]),
            rescaled.filter(pair_scale=0.5),
            "the same nets with (w, b) halved and v doubled",
        ),
        judge(
            "flat_interpolation/bound-attained",
            DERIVED,
            "Both bounds are attained where all labels are +-D",
            f"|lambda - bound| <= {ROUNDING:g}",
            attained,
            signs,
            sphere,
            "labels uniform on [-D, D]",
        ),
        judge(
            "flat_interpolation/secular-equation",
            DERIVED,
            "lambda of the Hessian and of Gauss-Newton is the root of sum 1/(mu - c_i) = 1, over n",
            "|lambda - root| <= 4 (eps |v| (|w| + |b|) + 1e-12)",
            as_secular,
            pl.concat([sphere, signs, patches]),
            crossing,
            "kinks beyond the nearest sample",
        ),
        judge(
            "flat_interpolation/interpolates",
            SPHERE,
            "Every label is fitted, to rounding",
            "largest residual <= 4 (eps |v| (|w| + |b|) + 1e-12)",
            interpolates,
            pl.concat([sphere, signs, patches]),
            crossing,
            "kinks beyond the nearest sample",
        ),
        judge(
            "flat_interpolation/a-neuron-a-sample",
            SPHERE,
            "At most n neurons, each of them on for one sample (one patch of one sample)",
            "the larger of width / n and samples a neuron <= 1",
            one_each,
            pl.concat([sphere, signs, patches]),
            crossing,
            "kinks beyond the nearest sample",
        ),
        judge(
            "flat_interpolation/optimal-is-flatter",
            DERIVED,
            f"Optimal pairs are flatter than the paper's on the same labels, d = {dims}, {sizes}",
            "largest ratio of lambda - 1 below 1",
            flatter,
            pl.concat([sphere.filter(panel="sphere"), signs.filter(~alike)]),
            signs.filter(alike),
            "labels +-sqrt(2), where both are the same net",
        ),
        judge(
            "flat_interpolation/least-of-rescalings",
            DERIVED,
            "No factor on all pairs makes the optimal net flatter",
            "least ratio of lambda - 1 over factors other than 1 above 1",
            least_of_rescalings,
            flat,
            rescaled.filter(scaling="paper"),
            "the paper's pairs",
        ),
        judge(
            "flat_interpolation/same-in-every-dimension",
            DERIVED,
            f"lambda is that of the labels alone, whatever d = {dims} is",
            "spread over d <= 4 (eps |v| (|w| + |b|) + 1e-12)",
            same_in_every_dimension,
            pl.concat([sphere.filter(panel="sphere"), signs]),
            ball,
            "uniform ball",
        ),
        judge(
            "flat_interpolation/patches-below-bound",
            PATCH,
            "Shared filters on J independent patches: lambda <= 1 + (D^2 + 2/J^2)/n, 1 + 2 sqrt(2) D/(J n) for optimal pairs",
            "largest (lambda - 1) / (bound - 1) <= 1",
            below_with,
            (patches, 1),
            (patches, 2),
            "the bound of twice as many patches",
        ),
        judge(
            "flat_interpolation/patch-bound-attained",
            DERIVED,
            "Both bounds of patches are attained where all labels are +-D",
            f"|lambda - bound| <= {ROUNDING:g}",
            attained,
            built(study, "patch_signs"),
            built(study, "patch"),
            "labels uniform on [-D, D]",
        ),
        judge(
            "flat_interpolation/ball-is-not-memorised",
            "Liang et al. 2026: the sphere is needed",
            f"On the uniform ball the construction misses labels in every run, d up to {low['data.input_dim'].max()}, n >= 32",
            f"largest residual of every run >= {MISSED} D",
            misses,
            low,
            sphere,
            "the sphere",
        ),
        judge(
            "flat_interpolation/share-that-stands-out",
            "derived: half-space depth of the ball",
            "The share of ball samples that a neuron can be alone with along their own direction is E (1 - depth)^(n-1)",
            "at most 4 standard errors off, at the worst (d, n)",
            as_expected,
            (shares, "expected"),
            (shares, "other"),
            "the closed form of d + 1",
        ),
        judge(
            "flat_interpolation/stable-below-the-edge",
            SPHERE,
            f"Descent from beside the net comes back to it for eta lambda / 2 up to {below_edge(after)['edge_ratio'].max()}",
            f"all labels fitted again within {NEAR} perturbations",
            stays,
            below_edge(after),
            after.filter(pl.col("edge_ratio") > 1),
            "eta lambda / 2 above 1",
        ),
        judge(
            "flat_interpolation/settles-flatter",
            DERIVED,
            "Just above 2 / lambda descent leaves the paper's net for a flatter one that memorises as well, while eta <= 2 / "
            "lambda of the optimal scaling",
            "all labels fitted again, elsewhere, eta lambda / 2 < 1",
            settles_flatter,
            paper.filter(inside),
            paper.filter(pl.col("window") > 1),
            "eta above 2 / lambda of the optimal scaling",
        ),
        judge(
            "flat_interpolation/no-memory-above",
            DERIVED,
            "With eta above 2 / lambda of the optimal scaling descent does not memorise again",
            f"largest residual of every run >= {MISSED} D",
            misses,
            after.filter(pl.col("window") > 1),
            paper.filter(inside),
            "eta below it, from the paper's net",
        ),
    ]


def below_edge(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(pl.col("edge_ratio") < 1)


def figure(study: Study) -> Page:
    """Sharpness against n, of spheres and of patches; against a factor on pairs; descent; the ball."""
    fig, axes = plt.subplots(2, 3, figsize=(12.5, 7.4))
    draw_sphere(axes[0, 0], built(study, "sphere"))
    draw_rescaled(axes[0, 1], built(study, "rescaled"))
    draw_patches(axes[0, 2], study)
    draw_descent(axes[1, 0], study)
    draw_ends(axes[1, 1], ends(study))
    draw_ball(axes[1, 2], standing(study))
    kept = ["panel", "construction", *CELL, "bound", "label_spread", "pair_scale", "sharpness", "bound_sharpness", "share"]
    kept += ["exact_sharpness", "interpolation_error", "largest_activation", "used_width", "memorised_share", "standing_share"]
    nets = built(study, *(p for p in study.values("panel") if p != "descent"))
    columns = [
        "construction",
        "data.input_dim",
        "edge_ratio",
        "window",
        "seed",
        "train_loss",
        "interpolation_error",
        "edge",
        "moved",
    ]
    tables = {
        "flat_interpolation_nets": nets.select(kept),
        "flat_interpolation_descent": ends(study).select(*columns, "sharpness", "memorised_share").sort(columns[:5]),
        "flat_interpolation_ball": standing(study),
    }
    return Page(fig, caption(study), tables, {"samples of the ball that stand out": standing(study)})


def over_seeds(table: pl.DataFrame, key: str, column: str = "sharpness") -> tuple[np.ndarray, np.ndarray]:
    """(values of key, median over all else of column - 1)."""
    grouped = table.group_by(key).agg(pl.col(column).median()).sort(key)
    return grouped[key].to_numpy(), grouped[column].to_numpy() - 1


def draw_sphere(axis, table: pl.DataFrame) -> None:
    dims = sorted(set(table["data.input_dim"]))
    for scaling, color in SHADES.items():
        own = table.filter(scaling=scaling)
        if not len(own):
            continue
        n, bound = over_seeds(own, "data.num_samples", "bound_sharpness")
        axis.plot(n, bound, "--", color=color, lw=1)
        for i, d in enumerate(dims):
            n, value = over_seeds(own.filter(pl.col("data.input_dim") == d), "data.num_samples")
            axis.plot(n, value, MARKERS[i], color=color, ms=9 - 2.5 * i, mfc="none" if i < len(dims) - 1 else color)
    axis.set(title="sphere: sharpness of the net", xlabel="$n$", ylabel=r"$\lambda_{max}-1$", xscale="log", yscale="log")
    ticks(axis.xaxis, sorted(set(table["data.num_samples"])))
    lines = [Line2D([], [], color=c, marker="o", ls="", label=f"{s} scaling") for s, c in SHADES.items()]
    lines += [Line2D([], [], color="0.4", ls="--", label="bound")]
    lines += [
        Line2D(
            [],
            [],
            color="0.4",
            marker=MARKERS[i],
            ls="",
            ms=9 - 2.5 * i,
            mfc="none" if i < len(dims) - 1 else "0.4",
            label=f"$d={d}$",
        )
        for i, d in enumerate(dims)
    ]
    axis.legend(handles=lines)


def draw_rescaled(axis, table: pl.DataFrame) -> None:
    """n (lambda - 1) against a factor on all pairs, beside the mean of c, which it is not below."""
    n = table["data.num_samples"][0]
    factors = np.geomspace(table["pair_scale"].min(), table["pair_scale"].max(), 60)  # type: ignore[type-var]
    labels = np.linspace(0.0005, 0.9995, 1000) * table["bound"][0]
    for scaling, color in SHADES.items():
        own = table.filter(scaling=scaling)
        if not len(own):
            continue
        mean = [float(np.mean(kernel_diagonal(labels, scaling, pair_scale=f))) for f in factors]
        axis.plot(factors, mean, "-", color=color, lw=1, label=f"{scaling}: mean $c$ of uniform labels")
        axis.plot(own["pair_scale"], n * (own["sharpness"] - 1), "o", color=color, ms=3, label=f"{scaling}: measured")
    axis.axhline(2 * 2**0.5 * table["bound"][0] / 2, color="0.6", lw=0.8, ls=":", zorder=0)
    axis.set(title=f"a factor on all pairs, $n$ = {n}", xlabel="factor on $(w, b)$, one over it on $v$", xscale="log")
    axis.set(ylabel=r"$n\,(\lambda_{max}-1)$", ylim=(0, None))
    ticks(axis.xaxis, sorted(set(table["pair_scale"]) & {0.5, 0.7, 1.0, 1.4, 2.0}))
    axis.legend()


def draw_patches(axis, study: Study) -> None:
    """n (lambda - 1) against the number of patches, at one n, beside the bounds; one patch is the sphere."""
    table = built(study, "patch", "patches", "sphere").with_columns(
        patches=pl.when(pl.col("panel") == "sphere").then(1).otherwise(pl.col("data.input_dim") // pl.col("data.patch_dim"))
    )
    n = study.select(panel="patches").values("num_samples")[0]
    table = table.filter(pl.col("data.num_samples") == n)
    most, bound = max(table["patches"]), table["bound"][0]
    fine = np.geomspace(1, most, 50)
    for scaling, color in SHADES.items():
        num, value = over_seeds(table.filter(scaling=scaling), "patches")
        axis.plot(num, n * value, "o", color=color, label=f"{scaling} scaling")
        axis.plot(fine, [n * (patch_bound(n, bound, j, scaling) - 1) for j in fine], "--", color=color, lw=1)
    axis.set(title=f"shared filters on patches, $n$ = {n}", xlabel="patches $J$", ylabel=r"$n\,(\lambda_{max}-1)$")
    axis.set(xscale="log", yscale="log")
    ticks(axis.xaxis, sorted(set(table["patches"])))
    axis.plot([], [], "--", color="0.4", lw=1, label="bound")
    axis.legend()


def ticks(axis, values: list[float]) -> None:
    """These and no others."""
    axis.set_ticks(values, [f"{v:g}" for v in values])
    axis.set_ticks([], minor=True)


def draw_descent(axis, study: Study) -> None:
    """Loss against step from the paper's net, at the smallest d, one seed, a line a learning rate."""
    part = study.select(panel="descent", construction="sphere_paper")
    part = part.select(seed=part.values("seed")[0], input_dim=part.values("input_dim")[0])
    ratios = part.values("edge_ratio")
    shades = plt.get_cmap("coolwarm")(np.linspace(0, 1, len(ratios)))
    for ratio, shade in zip(ratios, shades, strict=True):
        curve = part.select(edge_ratio=ratio).records.filter(pl.col("step") > 0).sort("step")
        axis.loglog(curve["step"], np.maximum(curve["train_loss"].to_numpy(), 1e-32), "-", color=shade, label=f"{ratio:g}")
    axis.set(
        title=f"descent from beside the paper's net, $d$ = {part.values('input_dim')[0]}", xlabel="step", ylabel="training loss"
    )
    axis.legend(title=r"$\eta\lambda/2$", ncols=2)


def draw_ends(axis, table: pl.DataFrame) -> None:
    """Sharpness at the end over what a step allows, against the learning rate; filled where all labels are fitted."""
    for scaling, color in SHADES.items():
        own = table.filter(construction=f"sphere_{scaling}")
        for fitted, face in ((True, color), (False, "white")):
            chosen = own.filter((pl.col("memorised_share") == 1) == fitted)
            text = f"from {scaling}, " + ("memorises" if fitted else "does not")
            axis.plot(chosen["eta"], chosen["sharpness"], "o", color=color, mfc=face, label=text if len(chosen) else None)
        if len(own):
            axis.axhline(float(own["exact_sharpness"][0]), color=color, lw=0.8, ls="--")
    eta = np.linspace(table["eta"].min(), table["eta"].max(), 100)  # type: ignore[type-var]
    axis.plot(eta, 2 / eta, "-", color="0.5", lw=1, label=r"$2/\eta$")
    axis.set(
        title="where descent ends (dashed: the nets built)", xlabel=r"$\eta$", ylabel=r"$\lambda_{max}$", xlim=(1.62, 2.01)
    )
    axis.set_ylim(0.995, 1.115)
    axis.legend(loc="upper left", fontsize=7)


def draw_ball(axis, table: pl.DataFrame) -> None:
    for i, d in enumerate(sorted(set(table["data.input_dim"]))):
        own, color = table.filter(pl.col("data.input_dim") == d), COLORS[2 + i]
        axis.plot(own["data.num_samples"], own["share"], MARKERS[i], color=color, label=f"ball, $d={d}$")
        n = np.unique(np.geomspace(own["data.num_samples"].min(), own["data.num_samples"].max(), 40).astype(int))  # type: ignore[type-var]
        axis.plot(n, [memorable_share(BALL, m, d) for m in n], "-", color=color, lw=1)
    axis.plot([], [], "-", color="0.4", lw=1, label="$E(1-\\mathrm{depth})^{n-1}$")
    axis.axhline(1, color="0.6", lw=0.8, ls=":", label="sphere")
    axis.set(title="ball: samples a neuron can be alone with", xlabel="$n$", ylabel="share", xscale="log", yscale="log")
    ticks(axis.xaxis, sorted(set(table["data.num_samples"])))
    axis.legend()


def caption(study: Study) -> str:
    sphere, run = study.select(panel="sphere"), study.select(panel="descent").runs.row(0, named=True)
    patch = study.select(panel="patch").runs.row(0, named=True)
    size, seeds = sphere.values("bound")[0], len(sphere.values("seed"))
    return (
        f"A net with one neuron a sample, alone with it, fits labels uniform on [-{size:g}, {size:g}] of uniform points on the "
        f"sphere; medians over {seeds} seeds of the true Hessian's largest eigenvalue by Lanczos in 64 bits, loss (1/2n) sum "
        "(f - y)^2. Dashed: 1 + (D^2 + 2)/n (paper), 1 + 2 sqrt(2) D/n (optimal); with J patches D^2 + 2/J^2, 2 sqrt(2) D/J. "
        f"The value is the same for every d. Patches are points of S^{patch['data.patch_dim'] - 1}. "
        f"Descent: n = {run['data.num_samples']}, labels +-{run['bound']:g}, noise within {run['perturbation']:g} on every "
        f"parameter, {run['steps']} steps; lambda is that of the net built. Ball: the same construction reaches only samples "
        "that stand out in their own direction from all others; lines are the closed form."
    )
