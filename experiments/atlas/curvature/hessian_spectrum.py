"""The Hessian at interpolation is the tangent kernel's: n eigenvalues, and zeros however wide the net.

The question: what of a small net's Hessian is set by the data, and what by the number of parameters? The prediction:
for the loss (1/2n) sum r_i^2 the Hessian is J^T J / n plus a part that is linear in the residuals, so that where every
residual vanishes its nonzero eigenvalues are those of the n x n kernel J J^T / n (derived; that the bulk is at zero and
width only adds to it is Sagun et al. 2017). For cross-entropy with K classes the Gauss-Newton part has rank at most
n (K - 1), since a softmax's Hessian in its K outputs annihilates the constant vector (derived).

What comes out: tanh nets of 10, 20 and 40 units fitted to 12 noise labels until the loss is rounding have exactly 12
eigenvalues above 1e-8 of the largest; they equal the kernel's to 4e-16 of the largest, and no eigenvalue is below
-3e-17 of it. The control: before training, where residuals are of order one, the same nets differ from their kernels by
up to a quarter of the largest eigenvalue, more than 20 eigenvalues are positive, and the smallest is down to -28 % of
it. The classifier's Gauss-Newton matrix has nothing beyond place n (K - 1) = 24; its whole Hessian has.
"""

from dataclasses import replace

import numpy as np
import polars as pl

import dynamics.analysis.words as an

SAGUN, DERIVED = "Sagun et al. 2017", "derived"
SMALL = 1e-8  # of the largest eigenvalue: what counts as zero
LOSS = 1e-20  # below which a net interpolates


def read_eigenvalues(part: an.Study, name: str) -> np.ndarray:
    """Return eigenvalues (R, k) of an end of the spectrum, one row a record, outermost first."""
    count = part.values("measure_options.top_k")[0]
    return part.records.select(f"{name}_{i + 1}" for i in range(count)).to_numpy()


def cut(part: an.Study, *, first: bool) -> an.Study:
    """Return the study with the first record of every run alone, or the last."""
    kept = pl.col("step") == (0 if first else pl.col("steps"))
    return replace(part, records=part.records.filter(kept))


def count_samples(part: an.Study) -> int:
    """Return n."""
    return part.values("num_samples")[0]


def difference_from_kernel(part: an.Study) -> float:
    """Return the largest difference of the top n eigenvalues from the kernel's, over the largest, over all nets."""
    n = count_samples(part)
    hessian, kernel = (read_eigenvalues(part, f"{name}_top")[:, :n] for name in ("hessian", "gauss_newton"))
    return float(np.max(np.abs(hessian - kernel) / hessian[:, :1]))


def miscount(part: an.Study) -> float:
    """Return by how much the number of eigenvalues above `SMALL` of the largest is off n, at the worst net."""
    values = read_eigenvalues(part, "hessian_top")
    return float(np.max(np.abs(np.sum(values > SMALL * values[:, :1], axis=1) - count_samples(part))))


def most_negative(part: an.Study) -> float:
    """Return minus the smallest eigenvalue over the largest, at the worst net."""
    bottom, top = part.records["hessian_bottom_1"].to_numpy(), part.records["hessian_top_1"].to_numpy()
    return float(np.max(-bottom / top))


def beyond_rank(part: an.Study, name: str) -> float:
    """Return the eigenvalue just beyond place n (K - 1) over the first, the largest over all records."""
    values = read_eigenvalues(part, f"{name}_top")
    rank = count_samples(part) * (part.values("components")[0] - 1)
    return float(np.max(np.abs(values[:, rank] / values[:, 0])))


def figure(study: an.Study) -> an.Page:
    """Sorted eigenvalues with the kernel's drawn over them, before and after training; the gap;
    the rank of a softmax."""
    fig, axes = an.new_axes(1, 3, (12, 3.6))
    nets = study.select(panel="interpolation")
    for axis, first, title in zip(axes, (True, False), ("at initialisation", "at interpolation"), strict=False):
        draw_spectra(axis, cut(nets, first=first), title)
    axes[0].legend(loc="lower left")
    draw_rank(axes[2], cut(study.select(panel="rank"), first=False))
    an.share_limits(list(axes[:2]))
    return an.Page(fig, caption(study), {"hessian_spectrum": tabulate(nets)})


def draw_spectra(axis, part: an.Study, title: str) -> None:
    """Eigenvalues over the largest of the first seed's nets, those of rounding at the level where the axis ends."""
    n, floor = count_samples(part), 1e-14
    for shade in an.assign_shades(part.values("width")):
        own = an.first_seed(part.select(width=shade.value))
        hessian, kernel = (read_eigenvalues(own, f"{name}_top")[0] for name in ("hessian", "gauss_newton"))
        index = np.arange(1, len(hessian) + 1)
        seen = np.clip(np.abs(hessian) / hessian[0], floor, None)
        axis.semilogy(index, seen, shade.marker, color=shade.color, ms=4, label=f"Hessian, width {shade.value}")
        label = "kernel / n" if shade.value == part.values("width")[-1] else None
        axis.semilogy(index[:n], kernel[:n] / hessian[0], "-", color=shade.color, lw=1, label=label)
    axis.axvline(n + 0.5, color="0.4", lw=0.8, ls="--")
    axis.axhline(SMALL, color="0.4", lw=0.8, ls=":")
    axis.set(xlabel="index", ylabel="size of the eigenvalue / largest", ylim=(floor / 2, 2), xticks=range(4, 21, 4))
    axis.set_title(title)


def draw_rank(axis, part: an.Study) -> None:
    own, rank = an.first_seed(part), count_samples(part) * (part.values("components")[0] - 1)
    styles = (("hessian", "o", "Hessian"), ("gauss_newton", "s", "Gauss-Newton"))
    for (name, marker, label), color in zip(styles, an.COLORS, strict=False):
        values = read_eigenvalues(own, f"{name}_top")[0]
        seen = np.clip(np.abs(values) / values[0], 1e-20, None)
        axis.semilogy(np.arange(1, len(values) + 1), seen, marker, color=color, ms=4, mfc="none", label=label)
    axis.axvline(rank + 0.5, color="0.4", lw=0.8, ls="--", label=r"$n(K-1)$")
    axis.set(xlabel="index", title="cross-entropy, three clusters")
    axis.legend(loc="lower left")


def tabulate(nets: an.Study) -> pl.DataFrame:
    """One row a width and end: the worst difference from the kernel, miscount and negative eigenvalue."""
    rows = []
    for width in nets.values("width"):
        for first in (True, False):
            part = cut(nets.select(width=width), first=first)
            loss = part.records["train_loss"].max()
            numbers = (difference_from_kernel(part), miscount(part), most_negative(part))
            rows.append((width, "initialisation" if first else "interpolation", loss, *numbers))
    return an.make_table(rows, "width, at, largest_loss, difference_from_kernel, miscount, most_negative")


def caption(study: an.Study) -> str:
    nets, blobs = study.select(panel="interpolation"), study.select(panel="rank")
    run, other = an.read_settings(nets), an.read_settings(blobs)
    loss = cut(nets, first=False).records["train_loss"].max()
    return (
        f"Tanh nets with one hidden layer on n = {run['data.num_samples']} samples in {run['data.input_dim']} dimensions with "
        f"labels of noise, loss (1/2n) sum r^2, heavy ball to a loss of at most {loss:.1g}; seed {nets.values('seed')[0]} of "
        f"{len(nets.values('seed'))}. Dashed: n. Dotted: what counts as zero; sizes below 1e-14 are drawn there. Right: a GELU "
        f"net of width {other['model.width']} on {other['data.num_samples']} samples of {other['data.components']} clusters "
        f"after {other['steps']} steps."
    )


def claims(study: an.Study) -> list[an.Claim]:
    nets, blobs = study.select(panel="interpolation"), study.select(panel="rank")
    begin, end = cut(nets, first=True), cut(nets, first=False)
    untrained = {"the same nets before training, whose residuals are of order one": begin}
    interpolate = bool((end.records["train_loss"] < LOSS).all())
    n, rank = count_samples(nets), count_samples(blobs) * (blobs.values("components")[0] - 1)
    derived = an.judge_from(DERIVED)
    return [
        derived(
            id="hessian/kernel-at-interpolation",
            statement=f"At interpolation the top {n} eigenvalues of the Hessian are those of J J^T / n",
            expects=an.at_most(SMALL, of="largest difference over the largest eigenvalue"),
            evidence=an.compare(
                lambda part: an.require_also(difference_from_kernel(part), interpolate), end, treatment=untrained
            ),
            catches="a difference of more than 1e-8",
        ),
        an.judge(
            id="hessian/rank-is-the-number-of-samples",
            source=f"{SAGUN}, {DERIVED}",
            statement=f"At interpolation exactly n = {n} eigenvalues are not zero, whatever the width",
            expects=an.at_most(0.5, of="worst miscount"),
            evidence=an.compare(miscount, end, treatment=untrained),
            catches="one eigenvalue more or less",
        ),
        derived(
            id="hessian/no-negative-curvature",
            statement="At interpolation no eigenvalue is negative",
            expects=an.at_most(SMALL, of="minus the smallest eigenvalue over the largest"),
            evidence=an.compare(most_negative, end, treatment=untrained),
            catches="a curvature below -1e-8 of the largest",
        ),
        derived(
            id="hessian/rank-of-a-softmax",
            statement=f"Under cross-entropy the Gauss-Newton matrix has no eigenvalue beyond place n (K - 1) = {rank}",
            expects=an.at_most(1e-10, of="next eigenvalue over the first"),
            evidence=an.compare(
                beyond_rank, (blobs, "gauss_newton"), treatment={"the whole Hessian of the same nets": (blobs, "hessian")}
            ),
            catches="an eigenvalue of more than 1e-10 of the first",
        ),
    ]
