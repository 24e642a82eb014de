"""Experiment E4 of Liang et al. 2026: how often neurons are active on images,
and whether shallow points have larger errors."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from scipy import stats

import dynamics.analysis.words as an
from dynamics.stability.half_space_depth import depth_by_directions
from dynamics.study.reload import views

SOURCE = "Liang et al. 2026, experiment E4"
TITLES = {"images": "images", "gaussian": "Gaussian"}
SAMPLES = {"train": "training", "test": "fresh"}
DIRECTIONS = 1000
METRICS = (
    "train_loss, clean_train_error, excess_risk, alive_fraction, activation_rate_median, activation_rate_p90, "
    "sparse_fraction, rate_weight_norm_correlation"
)


def tabulate_points(study: an.Study, *, own: bool = False) -> pl.DataFrame:
    """One row a training or fresh point of every run's final network.

    Columns: run, seed, sample (`train`, `test`), error |f - f_0|, depth: the lightest half-space at the point of all
    points of the run, among random directions that all points share; with own=True `least`, for which every point's
    direction from the mean is tried too, whitened (on an elliptical law no direction is better).
    """
    frames = []
    for run, view in views(study):
        train, test = view.problem.train, view.problem.test
        points = np.concatenate([np.asarray(train.inputs, float), np.asarray(test.inputs, float)])
        errors = [np.ravel(view.prediction - view.clean), np.ravel(view.test_prediction - view.test.labels)]
        towards = np.random.default_rng(0).normal(size=(DIRECTIONS, points.shape[1]))
        columns = {
            "seed": np.full(len(points), study.specs[run].seed),
            "sample": np.repeat(list(SAMPLES), [len(train.inputs), len(test.inputs)]),
            "error": np.abs(np.concatenate(errors)),
            "depth": depth_by_directions(points, points, towards),
        }
        if own:
            columns["least"] = np.minimum(columns["depth"], depth_by_directions(points, points, whitened(points)))
        frames.append(pl.DataFrame({"run": [run] * len(points), **columns}))
    return pl.concat(frames)


def whitened(points: np.ndarray, ridge: float = 0.01) -> np.ndarray:
    """Each point's direction from the mean, by the inverse of the covariance plus a share of its mean eigenvalue:
    (N, d)."""
    centred = points - points.mean(axis=0)
    covariance = centred.T @ centred / len(points)
    return np.linalg.solve(covariance + ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance)), centred.T).T


def rank_points(points: pl.DataFrame, sample: str, column: str) -> np.ndarray:
    """Return ranks (S, P) of a column over the points of a sample, a row a seed; NaN for a seed whose net diverged."""
    own = points.filter(pl.col("sample") == sample).partition_by("seed", as_dict=True)
    return np.stack([stats.rankdata(own[seed][column]) for seed in sorted(own)])


def correlate(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlation of each row of ranks (S, P) with that of the other, (S,): Spearman's."""
    first, second = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (first, second))
    with np.errstate(invalid="ignore"):  # where all points are as deep there is none
        return np.sum(first * second, axis=1) / np.sqrt(np.sum(first**2, axis=1) * np.sum(second**2, axis=1))


def correlations(points: pl.DataFrame, sample: str) -> np.ndarray:
    """Spearman's, of depth and error over the points of a sample, (S,)."""
    return correlate(rank_points(points, sample, "depth"), rank_points(points, sample, "error"))


def draw_depths(ax: Axes, points: pl.DataFrame, title: str) -> None:
    """Error against depth, a dot a point of the first seed, and the median error in fifths by depth over all seeds."""
    for (sample, name), color in zip(SAMPLES.items(), an.COLORS[2:], strict=False):
        own = points.filter(pl.col("sample") == sample)
        first = own.filter(pl.col("seed") == own["seed"].min())
        spread = np.random.default_rng(0).uniform(0.85, 1.18, len(first))  # depths are multiples of 1 / N
        ax.scatter(first["depth"] * spread, first["error"], s=4, alpha=0.25, color=color, linewidths=0, rasterized=True)
        fifth = (pl.col("depth").rank("ordinal") * 5 / pl.len()).ceil().alias("fifth")
        middle = own.with_columns(fifth).group_by("fifth").agg(pl.col("depth", "error").median()).sort("fifth")
        rho = an.median_over_seeds(correlations(points, sample)).value
        ax.plot(middle["depth"], middle["error"], "o-", color=color, label=f"{name}: $\\rho$ = {rho:+.3f}")
    ax.set(title=f"{title}: depth and error", xlabel="half-space depth", ylabel="$|f - f_0|$", xscale="log", yscale="log")
    ax.set_ylim(0.003, 10)
    ax.legend(loc="lower right", title="rank correlation")


def figure(study: an.Study) -> an.Page:
    """Neurons and their rates on both inputs; error against depth on either."""
    parts = {TITLES[panel]: part for panel, part in an.split_panels(study, TITLES).items()}
    fig, (cloud, rates, *deep) = an.new_axes(1, 4, (14, 3.6))
    an.draw_clouds(cloud, rates, parts, with_median=True)
    cloud.legend(loc="best")
    found = {title: tabulate_points(part, own=True) for title, part in parts.items()}
    for ax, (title, points) in zip(deep, found.items(), strict=True):
        draw_depths(ax, points, title)
    table, depths = an.tabulate_medians(parts, METRICS.split(", ")), tabulate_depths(found)
    tables = {"medians over seeds": an.spread_groups(table), "depth and error": depths}
    return an.Page(fig, caption(study, depths), {"representation": table, "depths": depths}, tables)


def tabulate_depths(found: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Return one row a group and sample: the correlation and its interval, the median depth,
    how many are cut off alone."""
    rows = []
    for title, points in found.items():
        count = len(points) // points["run"].n_unique()
        for sample, name in SAMPLES.items():
            own = points.filter(pl.col("sample") == sample)
            alone = float(np.mean(own["least"].to_numpy() * count < 1.5))
            rows.append((title, name, *an.median_over_seeds(correlations(points, sample)), own["depth"].median(), alone))
    return an.make_table(rows, "inputs, points, correlation, low, high, median depth, cut off alone")


def caption(study: an.Study, depths: pl.DataFrame) -> str:
    run, clean = an.read_settings(study), [an.read_final(study.select(panel=p), "clean_train_error") for p in TITLES]
    return (
        f"{run['data.law']} and N(0, I), n = {run['data.num_samples']}, d = {run['data.input_dim']}; two-layer ReLU nets of "
        f"width {run['model.width']}, GD with eta = {run['optimizer.learning_rate']:g}, {run['steps']} steps, after which the "
        f"clean in-sample error is {np.median(clean[0]):.2f} on images and {np.median(clean[1]):.2f} on Gaussian inputs (noise "
        f"{run['data.noise_std'] ** 2:g}). Neurons and points of the first of {len(study.values('seed'))} seeds, a dot each. "
        f"Depth: the lightest half-space among {DIRECTIONS} random directions at a training or fresh point, by the training "
        "and fresh inputs together: an upper bound on the depth. Lines: median error in fifths by depth, all seeds. "
        "Correlations are Spearman's, the median over seeds. With a direction of their own at least "
        f"{100 * depths['cut off alone'].to_numpy().min():.0f} % of the points are cut off alone, at depth 1/N: in so many "
        "dimensions the depth itself tells few points apart."
    )


def claims(study: an.Study) -> list[an.Claim]:
    points = tabulate_points(study.select(panel="images"))

    def correlate_depths(sample: str) -> an.Evidence:
        errors = rank_points(points, sample, "error")
        text = "depths permuted among the points of every seed"
        return an.permute(
            lambda depths: an.median_over_seeds(correlate(depths, errors)), rank_points(points, sample, "depth"), text
        )

    return [
        an.judge(
            id=f"representation/shallow-{name}-points-are-worse",
            source=SOURCE,
            statement=f"On images the error at {name} points is larger where they lie shallow, weakly",
            expects=an.within(-0.3, 0, open=True, of="Spearman's correlation of depth and error"),
            evidence=correlate_depths(sample),
            post_hoc="the horizon: a step at which the clean error on images is still that of the paper's",
        )
        for sample, name in SAMPLES.items()
    ]
