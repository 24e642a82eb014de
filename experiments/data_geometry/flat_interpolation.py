"""Flat interpolation: labels on a sphere memorised by a net in closed form, its sharpness, descent from beside it."""

import numpy as np
import polars as pl

import dynamics.analysis.words as an
from dynamics.data.closed_forms import BALL
from dynamics.theory.flat_interpolators import kernel_diagonal, memorable_share, patch_sharpness_bound

SPHERE = "Liang et al. 2026, flat interpolation on the sphere"
PATCH = "Liang et al. 2026b, failure on unstructured patches"
DERIVED = "derived: the kernel of a net with a neuron a sample"
SHADES = {"paper": an.COLORS[1], "optimal": an.COLORS[0]}
ROUNDING = 1e-9  # of a sharpness near 1 in 64 bits, by Lanczos, where weights are not large
MISSED = 0.01  # of the bound: a label further off than this is not memorised
NEAR = 10  # perturbations: what came back is within so many of where it started
UNIT = pl.col("rounding") + 1e-12  # of the net's largest neuron, epsilon |v| (|w| + |b|), and of Lanczos
PATCHES = ("patch", "patch_signs", "patches")
CELL = ["data.input_dim", "data.num_samples", "seed"]


def read_built(study: an.Study, *panels: str) -> pl.DataFrame:
    """The nets as they were built, before any step, with `share` = (lambda - 1) / (bound - 1) and `scaling`."""
    at = study.records.filter(pl.col("step") == 0, pl.col("panel").is_in(panels))
    share = (pl.col("sharpness") - 1) / (pl.col("bound_sharpness") - 1)
    return at.with_columns(share=share, scaling=pl.col("construction").str.split("_").list.last())


def standing(study: an.Study) -> pl.DataFrame:
    """Share of ball samples that stand out from all others, pooled over seeds, and its expectation; a row a (d, n)."""
    pooled = read_built(study, "ball").group_by("data.input_dim", "data.num_samples")
    table = pooled.agg(share=pl.col("standing_share").mean(), seeds=pl.len()).sort("data.input_dim", "data.num_samples")
    places = table.select("data.input_dim", "data.num_samples").rows()
    expected, other = ([memorable_share(BALL, n, d + more) for d, n in places] for more in (0, 1))
    table = table.with_columns(expected=pl.Series(expected), other=pl.Series(other))
    count = pl.col("seeds") * pl.col("data.num_samples")
    return table.with_columns(error=(pl.col("expected") * (1 - pl.col("expected")) / count).sqrt())


def ends(study: an.Study) -> pl.DataFrame:
    """Return the last step with `eta`, `window`, eta lambda / 2 of the optimal scaling, `moved` in perturbations."""
    table = study.select(panel="descent").final
    optimal = [patch_sharpness_bound(n, bound, 1, "optimal") for n, bound in table["data.num_samples", "bound"].iter_rows()]
    eta = 2 * pl.col("edge_ratio") / pl.col("exact_sharpness")
    window = pl.col("edge_ratio") * pl.Series(optimal) / pl.col("exact_sharpness")
    return table.with_columns(eta=eta, window=window, moved=pl.col("distance") / pl.col("perturbation"))


def figure(study: an.Study) -> an.Page:
    """Sharpness against n, of spheres and of patches; against a factor on pairs; descent; the ball."""
    fig, axes = an.new_axes(2, 3, (12.5, 7.4))
    draw_sphere(axes[0, 0], read_built(study, "sphere"))
    draw_rescaled(axes[0, 1], read_built(study, "rescaled"))
    draw_patches(axes[0, 2], study)
    draw_descent(axes[1, 0], study)
    draw_ends(axes[1, 1], ends(study))
    draw_ball(axes[1, 2], standing(study))
    kept = ["panel", "construction", *CELL, "bound", "label_spread", "pair_scale", "sharpness", "bound_sharpness", "share"]
    kept += ["exact_sharpness", "interpolation_error", "largest_activation", "used_width", "memorised_share", "standing_share"]
    nets = read_built(study, *(p for p in study.values("panel") if p != "descent"))
    keys = ["construction", "data.input_dim", "edge_ratio", "window", "seed"]
    seen = ["train_loss", "interpolation_error", "edge", "moved", "sharpness", "memorised_share"]
    tables = {
        "flat_interpolation_nets": nets.select(kept),
        "flat_interpolation_descent": ends(study).select(*keys, *seen).sort(keys),
        "flat_interpolation_ball": standing(study),
    }
    return an.Page(fig, caption(study), tables, {"samples of the ball that stand out": standing(study)})


def medians_less_one(table: pl.DataFrame, key: str, column: str = "sharpness") -> tuple[np.ndarray, np.ndarray]:
    """Return (values of key, median over all else of column - 1)."""
    grouped = table.group_by(key).agg(pl.col(column).median()).sort(key)
    return grouped[key].to_numpy(), grouped[column].to_numpy() - 1


def draw_sphere(axis, table: pl.DataFrame) -> None:
    dims = sorted(set(table["data.input_dim"]))
    for scaling, color in SHADES.items():
        own = table.filter(scaling=scaling)
        axis.plot([], [], "o", color=color, label=f"{scaling} scaling")
        if len(own):
            axis.plot(*medians_less_one(own, "data.num_samples", "bound_sharpness"), "--", color=color, lw=1)
        for look, d in zip(looks(dims, color), dims, strict=True):
            part = own.filter(pl.col("data.input_dim") == d)
            axis.plot(*medians_less_one(part, "data.num_samples"), ls="", color=color, **look)
    axis.plot([], [], "--", color="0.4", label="bound")
    for look, d in zip(looks(dims, "0.4"), dims, strict=True):
        axis.plot([], [], ls="", color="0.4", label=f"$d={d}$", **look)
    axis.set(title="sphere: sharpness of the net", xlabel="$n$", ylabel=r"$\lambda_{max}-1$", xscale="log", yscale="log")
    an.label_ticks(axis, sorted(set(table["data.num_samples"])))
    axis.legend()


def looks(dims: list[int], color: str) -> list[dict]:
    """Return a marker for each dimension, rings around the last one, which is filled."""
    last = len(dims) - 1
    return [{"marker": an.MARKERS[i], "ms": 9 - 2.5 * i, "mfc": "none" if i < last else color} for i in range(len(dims))]


def draw_rescaled(axis, table: pl.DataFrame) -> None:
    """n (lambda - 1) against a factor on all pairs, beside the mean of c, which it is not below."""
    n = table["data.num_samples"][0]
    factors = np.geomspace(table["pair_scale"].min(), table["pair_scale"].max(), 60)  # type: ignore[type-var]
    labels = np.linspace(0.0005, 0.9995, 1000) * table["bound"][0]
    for scaling, color in SHADES.items():
        if not len(own := table.filter(scaling=scaling)):
            continue
        mean = [float(np.mean(kernel_diagonal(labels, scaling, pair_scale=f))) for f in factors]
        axis.plot(factors, mean, "-", color=color, lw=1, label=f"{scaling}: mean $c$ of uniform labels")
        axis.plot(own["pair_scale"], n * (own["sharpness"] - 1), "o", color=color, ms=3, label=f"{scaling}: measured")
    an.mark_level(axis, 2**0.5 * table["bound"][0])
    axis.set(title=f"a factor on all pairs, $n$ = {n}", xlabel="factor on $(w, b)$, one over it on $v$", xscale="log")
    axis.set(ylabel=r"$n\,(\lambda_{max}-1)$", ylim=(0, None))
    an.label_ticks(axis, sorted(set(table["pair_scale"]) & {0.5, 0.7, 1.0, 1.4, 2.0}))
    axis.legend()


def draw_patches(axis, study: an.Study) -> None:
    """n (lambda - 1) against the number of patches, at one n, beside the bounds; one patch is the sphere."""
    table = read_built(study, "patch", "patches", "sphere").with_columns(
        patches=pl.when(pl.col("panel") == "sphere").then(1).otherwise(pl.col("data.input_dim") // pl.col("data.patch_dim"))
    )
    n = study.select(panel="patches").values("num_samples")[0]
    table = table.filter(pl.col("data.num_samples") == n)
    fine, bound = np.geomspace(1, max(table["patches"]), 50), table["bound"][0]
    for scaling, color in SHADES.items():
        num, value = medians_less_one(table.filter(scaling=scaling), "patches")
        axis.plot(num, n * value, "o", color=color, label=f"{scaling} scaling")
        axis.plot(fine, [n * (patch_sharpness_bound(n, bound, j, scaling) - 1) for j in fine], "--", color=color, lw=1)
    axis.set(title=f"shared filters on patches, $n$ = {n}", xlabel="patches $J$", ylabel=r"$n\,(\lambda_{max}-1)$")
    axis.set(xscale="log", yscale="log")
    an.label_ticks(axis, sorted(set(table["patches"])))
    axis.plot([], [], "--", color="0.4", lw=1, label="bound")
    axis.legend()


def draw_descent(axis, study: an.Study) -> None:
    """Loss against step from the paper's net, at the smallest d, one seed, a line a learning rate."""
    part = study.select(panel="descent", construction="sphere_paper")
    part = part.select(seed=part.values("seed")[0], input_dim=part.values("input_dim")[0])
    for ratio, shade, *_ in an.assign_shades(part.values("edge_ratio"), 1, "coolwarm"):
        curve = part.select(edge_ratio=ratio).records.filter(pl.col("step") > 0).sort("step")
        axis.loglog(curve["step"], np.maximum(curve["train_loss"].to_numpy(), 1e-32), "-", color=shade, label=f"{ratio:g}")
    title = f"descent from beside the paper's net, $d$ = {part.values('input_dim')[0]}"
    axis.set(title=title, xlabel="step", ylabel="training loss")
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
    axis.set(title="where descent ends (dashed: the nets built)", xlim=(1.62, 2.01), ylim=(0.995, 1.115))
    axis.set(xlabel=r"$\eta$", ylabel=r"$\lambda_{max}$")
    axis.legend(loc="lower left", fontsize=7)


def draw_ball(axis, table: pl.DataFrame) -> None:
    for i, d in enumerate(sorted(set(table["data.input_dim"]))):
        own, color = table.filter(pl.col("data.input_dim") == d), an.COLORS[2 + i]
        axis.plot(own["data.num_samples"], own["share"], an.MARKERS[i], color=color, label=f"ball, $d={d}$")
        n = np.unique(np.geomspace(own["data.num_samples"].min(), own["data.num_samples"].max(), 40).astype(int))  # type: ignore[type-var]
        axis.plot(n, [memorable_share(BALL, m, d) for m in n], "-", color=color, lw=1)
    axis.plot([], [], "-", color="0.4", lw=1, label="$E(1-\\mathrm{depth})^{n-1}$")
    axis.axhline(1, color="0.6", lw=0.8, ls=":", label="sphere")
    axis.set(title="ball: samples a neuron can be alone with", xlabel="$n$", ylabel="share", xscale="log", yscale="log")
    an.label_ticks(axis, sorted(set(table["data.num_samples"])))
    axis.legend()


def caption(study: an.Study) -> str:
    sphere, run = study.select(panel="sphere"), an.read_settings(study.select(panel="descent"))
    patch = an.read_settings(study.select(panel="patch"))
    size = sphere.values("bound")[0]
    return (
        f"A net with one neuron a sample, alone with it, fits labels uniform on [-{size:g}, {size:g}] of uniform points on the "
        f"sphere; medians over {len(sphere.values('seed'))} seeds of the true Hessian's largest eigenvalue by Lanczos in 64 "
        "bits, loss (1/2n) sum (f - y)^2. Dashed: 1 + (D^2 + 2)/n (paper), 1 + 2 sqrt(2) D/n (optimal); with J patches D^2 + "
        "2/J^2, 2 sqrt(2) D/J. The value is the same for every d. Patches are points of "
        f"S^{patch['data.patch_dim'] - 1}. Descent: n = {run['data.num_samples']}, labels +-{run['bound']:g}, noise within "
        f"{run['perturbation']:g} on every parameter, {run['steps']} steps; lambda is that of the net built. Ball: the same "
        "construction reaches only samples that stand out in their own direction from all others; lines are the closed form."
    )


def largest_share(table: pl.DataFrame, more: int) -> float:
    """Return the largest (lambda - 1) / (bound - 1) with the bound of so many patches more."""
    rows = table.select("sharpness", "data.num_samples", "bound", "data.input_dim", "data.patch_dim", "scaling").iter_rows()
    return max((s - 1) / (patch_sharpness_bound(n, b, d // m + more, scaling) - 1) for s, n, b, d, m, scaling in rows)


def largest_spread(table: pl.DataFrame) -> an.Measured:
    """Return the spread of lambda over d at equal labels, in units of rounding."""
    keys = ["panel", "construction", "bound", "data.num_samples", "seed"]
    spread = pl.col("sharpness").max() - pl.col("sharpness").min()
    return an.largest(table.group_by(keys).agg(spread=spread, rounding=pl.col("rounding").max()), pl.col("spread") / UNIT)


def largest_scaling_ratio(table: pl.DataFrame) -> float:
    """Return the largest (lambda - 1) of the optimal scaling over that of the paper's on the same labels."""
    keys = ["panel", "bound", *CELL]
    pairs = table.pivot(on="scaling", index=keys, values="sharpness", aggregate_function="first")
    return float(((pairs["optimal"] - 1) / (pairs["paper"] - 1)).to_numpy().max())


def least_rescaled_ratio(table: pl.DataFrame) -> float:
    """Return the least (lambda - 1) over the factors tried, over that without a factor."""
    own = table.filter(pair_scale=1.0).select("seed", plain=pl.col("sharpness") - 1)
    other = table.filter(pl.col("pair_scale") != 1).join(own, on="seed")
    return float(((other["sharpness"] - 1) / other["plain"]).to_numpy().min())


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(DERIVED)
    sphere, signs, patches = (read_built(study, *names) for names in (("sphere", "linear"), ("signs",), PATCHES))
    crossing, ball, rescaled = (read_built(study, name) for name in ("crossing", "ball", "rescaled"))
    after, shares = ends(study), standing(study)
    paper = after.filter(construction="sphere_paper")
    alike, beyond, is_low = (pl.col("bound") ** 2 - 2).abs() < 1e-9, pl.col("window") > 1, pl.col("data.input_dim") <= 5
    inside, below_edge = (pl.col("edge_ratio") > 1) & (pl.col("window") < 1), after.filter(pl.col("edge_ratio") < 1)
    dims = ", ".join(map(str, sorted(set(sphere["data.input_dim"]))))
    sizes = f"n = {sphere['data.num_samples'].min()} to {sphere['data.num_samples'].max()}"
    low, high = ball.filter(is_low, pl.col("data.num_samples") >= 32), ball.filter(~is_low)
    every, uniform = pl.concat([sphere, signs, patches]), "labels uniform on [-D, D]"
    root_off = {"a root 1 % off": every.with_columns(exact_sharpness=1.01 * pl.col("exact_sharpness") - 0.01)}
    own, crossed = sphere.filter(panel="sphere"), {"kinks beyond the nearest sample": crossing}
    (optimal, papers), factor = (rescaled.filter(scaling=s) for s in ("optimal", "paper")), rescaled["pair_scale"].max()
    scaled = pl.concat([optimal.filter(pair_scale=factor), papers.filter(pair_scale=1.0)])
    scaled = {f"optimal pairs, (w, b) times {factor:g} and v over it": scaled}
    unstable = {"the next learning rate": after.filter(edge_ratio=after["edge_ratio"].filter(after["edge_ratio"] > 1).min())}
    too_large = {"eta above 2 / lambda of the optimal scaling": paper.filter(beyond)}
    from_paper = {"eta below it, from the paper's net": paper.filter(inside)}
    below_bound = an.at_most(1 + ROUNDING, of="largest (lambda - 1) / (bound - 1)")
    on_bound, missed = an.equal_up_to(ROUNDING, of="lambda - bound"), an.at_least(MISSED, of="largest residual of all runs / D")
    found, rounded = "labels alternate as others had been seen to settle lower", "in units of eps |v| (|w| + |b|) + 1e-12"
    from_bound, patch_signs = (pl.col("sharpness") - pl.col("bound_sharpness")).abs(), read_built(study, "patch_signs")
    residual, per_sample = pl.col("interpolation_error") / pl.col("bound"), pl.col("used_width") / pl.col("data.num_samples")
    fitted, far = pl.col("memorised_share") == 1, pl.col("moved") > NEAR
    off = [(pl.col(name) - pl.col("exact_sharpness")).abs() for name in ("sharpness", "gauss_newton_sharpness")]
    return [
        an.judge(
            id="flat_interpolation/below-bound",
            source=SPHERE,
            statement=f"lambda <= 1 + (D^2 + 2)/n, and 1 + 2 sqrt(2) D/n for optimal pairs, d = {dims}, {sizes}",
            expects=below_bound,
            evidence=an.scale_neighbour(an.largest(pl.concat([sphere, signs]), "share"), 1.01, "bounds 1 % nearer to 1"),
        ),
        claim(
            id="flat_interpolation/bound-attained",
            statement="Both bounds are attained where all labels are +-D",
            expects=on_bound,
            evidence=an.compare(an.largest, signs, treatment={uniform: sphere}, of=from_bound),
        ),
        claim(
            id="flat_interpolation/secular-equation",
            statement="lambda of the Hessian and of Gauss-Newton is the root of sum 1/(mu - c_i) = 1, over n",
            expects=an.at_most(4, of=f"|lambda - root| {rounded}"),
            evidence=an.compare(an.largest, every, neighbour=root_off, of=pl.max_horizontal(off) / UNIT),
        ),
        an.judge(
            id="flat_interpolation/interpolates",
            source=SPHERE,
            statement="Every label is fitted, to rounding",
            expects=an.at_most(4, of=f"largest residual {rounded}"),
            evidence=an.compare(an.largest, every, treatment=crossed, of=pl.col("interpolation_error") / UNIT),
        ),
        an.judge(
            id="flat_interpolation/a-neuron-a-sample",
            source=SPHERE,
            statement="At most n neurons, each of them on for one sample (one patch of one sample)",
            expects=an.at_most(1, of="the larger of width / n and samples a neuron"),
            evidence=an.compare(an.largest, every, treatment=crossed, of=pl.max_horizontal("largest_activation", per_sample)),
        ),
        claim(
            id="flat_interpolation/optimal-is-flatter",
            statement=f"Optimal pairs are flatter than the paper's on the same labels, d = {dims}, {sizes}",
            expects=an.at_most(1 - ROUNDING, of="largest ratio of lambda - 1"),
            evidence=an.compare(largest_scaling_ratio, pl.concat([own, signs.filter(~alike)]), treatment=scaled),
        ),
        claim(
            id="flat_interpolation/least-of-rescalings",
            statement="No factor on all pairs makes the optimal net flatter",
            expects=an.above(1, of="least ratio of lambda - 1 over other factors"),
            evidence=an.compare(least_rescaled_ratio, optimal, treatment={"the paper's pairs": papers}),
        ),
        claim(
            id="flat_interpolation/same-in-every-dimension",
            statement=f"lambda is that of the labels alone, whatever d = {dims} is",
            expects=an.at_most(4, of=f"spread over d {rounded}"),
            evidence=an.compare(largest_spread, pl.concat([own, signs]), treatment={"uniform ball": ball}),
        ),
        an.judge(
            id="flat_interpolation/patches-below-bound",
            source=PATCH,
            statement="Shared filters on J independent patches: lambda <= 1 + (D^2 + 2/J^2)/n, optimal 1 + 2 sqrt(2) D/(J n)",
            expects=below_bound,
            evidence=an.compare(largest_share, (patches, 0), neighbour={"the bound of one patch more": (patches, 1)}),
        ),
        claim(
            id="flat_interpolation/patch-bound-attained",
            statement="Both bounds of patches are attained where all labels are +-D",
            expects=on_bound,
            evidence=an.compare(an.largest, patch_signs, treatment={uniform: read_built(study, "patch")}, of=from_bound),
        ),
        an.judge(
            id="flat_interpolation/ball-is-not-memorised",
            source="Liang et al. 2026: the sphere is needed",
            statement=f"On the uniform ball labels are missed in every run, d up to {low['data.input_dim'].max()}, n >= 32",
            expects=missed,
            evidence=an.compare(an.smallest, low, neighbour={"the ball at larger d": high}, of=residual),
            post_hoc="the range of d and n leaves out d = 20, where the ball is memorised",
        ),
        an.judge(
            id="flat_interpolation/share-that-stands-out",
            source="derived: half-space depth of the ball",
            statement="The share of ball samples that a neuron can be alone with in their own direction is E (1 - depth)^(n-1)",
            expects=an.at_most(4, of="standard errors off, at the worst (d, n),"),
            evidence=an.compare(an.worst_share, (shares, "expected"), neighbour={"that of d + 1": (shares, "other")}),
        ),
        an.judge(
            id="flat_interpolation/stable-below-the-edge",
            source=SPHERE,
            statement=f"Descent from beside the net comes back to it for eta lambda / 2 up to {below_edge['edge_ratio'].max()}",
            expects=an.at_most(NEAR, of="all labels fitted again, distance moved in perturbations"),
            evidence=an.compare(an.largest, below_edge, neighbour=unstable, of="moved", also=fitted),
        ),
        claim(
            id="flat_interpolation/settles-flatter",
            statement="Just above 2 / lambda descent settles at a flatter interpolator, if eta <= 2 / lambda of optimal pairs",
            expects=an.below(1, of="all labels fitted again, elsewhere, eta lambda / 2"),
            evidence=an.compare(an.largest, paper.filter(inside), neighbour=too_large, of="edge", also=fitted & far),
            post_hoc=found,
        ),
        claim(
            id="flat_interpolation/no-memory-above",
            statement="With eta above 2 / lambda of the optimal scaling descent does not memorise again",
            expects=missed,
            evidence=an.compare(an.smallest, after.filter(beyond), neighbour=from_paper, of=residual),
            post_hoc=found,
        ),
    ]
