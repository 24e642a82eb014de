"""The lower bound's construction in pictures: a cap, the packed caps, the hard function, the bumps of d = 1."""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
from matplotlib.patches import Arc, Circle, Polygon

import dynamics.analysis.words as an
from dynamics.data.law import draw_inputs
from dynamics.study.reload import final_state
from dynamics.systems.cap_packing import CapsSpec, choose_atom_geometry, samples_per_cap
from dynamics.theory import cap_geometry as theory

SOURCE = "Liang et al. 2025, Section 3.2 and Figures 1, 16, 17"
EMPTY, TAKEN, POINT = an.COLORS[2], an.COLORS[1], "0.35"
DRAWS = 200_000  # fresh inputs for a mean


class Construction(NamedTuple):
    """A finished packing: its run, eps, samples (n, d), centres (N, d), empty (N,), signs (N,) of the hard function."""

    spec: CapsSpec
    eps: float
    samples: np.ndarray
    centres: np.ndarray
    empty: np.ndarray
    signs: np.ndarray


def load_constructions(part: an.Study) -> list[Construction]:
    found = []
    for run in part.runs["run"].unique(maintain_order=True):
        spec = part.specs[run]
        assert isinstance(spec, CapsSpec)
        with jax.enable_x64(True):
            fixed, state = final_state(part, run)
            count = int(state.count)
            empty = np.asarray(samples_per_cap(choose_atom_geometry(spec), state, fixed))[:count] == 0
            samples, centres = np.asarray(fixed.samples)[: spec.num_samples], np.asarray(state.centres)[:count]
        signs = np.random.default_rng(spec.seed).choice([-1.0, 1.0], count)
        found.append(Construction(spec, spec.eps, samples, centres, empty, signs))
    return found


def evaluate(centres: np.ndarray, amplitudes: np.ndarray, eps: float, x: np.ndarray) -> np.ndarray:
    """The network of these atoms at the points x (m, d), in float64."""
    with jax.enable_x64(True):
        net = theory.build_hard_function(centres, amplitudes, eps)
        hidden, readout = np.asarray(net.hidden), np.asarray(net.readout)
    blocks = np.array_split(x, max(1, len(x) * hidden.shape[1] // 10_000_000))
    return np.concatenate([np.maximum(b @ hidden[1:] + hidden[0], 0) @ readout for b in blocks])


def double(c: Construction) -> Construction:
    """The control: every atom is joined by one of the same sign, shifted by half its reach, so that the two overlap."""
    half = np.arccos(1 - c.eps**2) / 2 if c.spec.input_dim > 1 else c.eps**2 / 4
    if c.spec.input_dim == 1:
        shifted = c.centres - half * np.sign(c.centres)
    else:
        other = np.roll(c.centres, 1, axis=1) * np.array([-1.0] + [1.0] * (c.spec.input_dim - 1))
        other -= np.sum(other * c.centres, axis=1, keepdims=True) * c.centres
        other /= np.linalg.norm(other, axis=1, keepdims=True)
        shifted = np.cos(half) * c.centres + np.sin(half) * other
    return c._replace(centres=np.concatenate([c.centres, shifted]), empty=np.tile(c.empty, 2), signs=np.tile(c.signs, 2))


@cache
def fresh(d: int, seed: int) -> np.ndarray:
    """Uniform points of the ball (DRAWS, d), independent of the run of that seed."""
    with jax.enable_x64(True):
        key = jax.random.fold_in(jax.random.key(seed), 2)
        return np.asarray(draw(key, d))


@partial(jax.jit, static_argnums=1)
def draw(key: jax.Array, d: int) -> jax.Array:
    return draw_inputs("uniform_ball", key, DRAWS, d, (DRAWS, d), jnp.float64)


def measure_separations(c: Construction) -> np.ndarray:
    """Distance of every pair of centres over the smallest at which their atoms are disjoint."""
    i, j = np.triu_indices(len(c.centres), 1)
    if c.spec.input_dim == 1:
        return np.abs(c.centres[i, 0] - c.centres[j, 0]) / c.eps**2
    chord = np.linalg.norm(c.centres[i] - c.centres[j], axis=1)
    return 2 * np.arcsin(np.minimum(chord / 2, 1)) / (2 * np.arccos(1 - c.eps**2))


def figure(study: an.Study) -> an.Page:
    """A cap; the packed caps and the data; the hard function from above and as a surface; the bumps of d = 1."""
    by_dim = {c.spec.input_dim: c for c in load_constructions(study.select(panel="drawn"))}
    disk, line = by_dim[2], by_dim[1]
    fig = an.new_figure(11, 8)
    grid = fig.add_gridspec(2, 6, height_ratios=[1.15, 1])
    draw_cap(fig.add_subplot(grid[0, :2]), disk)
    draw_packing(fig.add_subplot(grid[0, 2:4]), disk)
    draw_map(fig, fig.add_subplot(grid[0, 4:]), disk)
    draw_surface(fig.add_subplot(grid[1, :2], projection="3d"), disk)
    draw_bumps(fig.add_subplot(grid[1, 2:]), line)
    table = pl.DataFrame([describe(c) for c in load_constructions(study)])
    return an.Page(fig, caption(disk, line), {"constructions": table}, {"constructions": table.head(2)})


def describe(c: Construction) -> dict[str, float]:
    d, count = c.spec.input_dim, len(c.centres)
    norms = theory.atom_norms(c.eps, d) if d > 1 else {}
    return {
        "input_dim": d,
        "num_samples": c.spec.num_samples,
        "seed": c.spec.seed,
        "eps": c.eps,
        "atoms": count,
        "empty": int(c.empty.sum()),
        "separation": float(measure_separations(c).min(initial=np.inf)),
        "mean_square": count * theory.atom_mean_square(c.eps, d),
        "canonical_norm": count * norms["canonical"] if norms else sum(theory.bump_norm(x, c.eps) for x in c.centres[:, 0]),
    }


def rim(axis, c: Construction) -> None:
    axis.add_patch(Circle((0, 0), 1, fill=False, lw=1))
    axis.set(xlim=(-1.06, 1.06), ylim=(-1.06, 1.06), aspect="equal", xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def segment(centre: np.ndarray, eps: float, **style) -> Polygon:
    """The cap of a centre on the disk."""
    at, half = np.arctan2(centre[1], centre[0]), np.arccos(1 - eps**2)
    angles = np.linspace(at - half, at + half, 60)
    return Polygon(np.stack([np.cos(angles), np.sin(angles)], axis=1), **style)


def draw_cap(axis, c: Construction) -> None:
    """One cap of the packing, turned to the right, with its measures."""
    rim(axis, c)
    h = c.eps**2
    half = np.arccos(1 - h)
    axis.add_patch(segment(np.array([1.0, 0.0]), c.eps, facecolor=EMPTY, alpha=0.5, lw=0))
    axis.plot([1 - h] * 2, [-1.02, 1.02], "--", color="0.4", lw=1)
    axis.plot([0, np.cos(half)], [0, np.sin(half)], color="0.4", lw=1)
    axis.add_patch(Arc((0, 0), 0.7, 0.7, theta1=0, theta2=np.degrees(half), color="0.4"))
    axis.annotate("", (1, 0), (0, 0), arrowprops={"arrowstyle": "-|>", "color": "k", "shrinkA": 0, "shrinkB": 0})
    axis.text(0.5, -0.13, "$u$", ha="center")
    axis.text(0.3, 0.26, r"$\arccos(1-\epsilon^2)$", ha="center", fontsize=8)
    axis.text(1 - h - 0.03, -0.99, r"$u\cdot x = 1-\epsilon^2$", ha="right", fontsize=8)
    measures = rf"height $\epsilon^2$ = {h:.3f}" + "\n" + rf"mass $P$ = {theory.cap_probability(c.eps, 2):.4f}"
    axis.text(0.0, -0.4, measures, ha="center")
    axis.set_title("a cap: where one neuron is active")


def draw_packing(axis, c: Construction) -> None:
    rim(axis, c)
    for centre, empty in zip(c.centres, c.empty, strict=True):
        axis.add_patch(segment(centre, c.eps, facecolor=EMPTY if empty else TAKEN, alpha=0.75, lw=0))
    axis.plot(*c.samples.T, ".", color=POINT, ms=2.5)
    axis.plot([], [], "s", color=EMPTY, label=f"empty: {int(c.empty.sum())}")
    axis.plot([], [], "s", color=TAKEN, label=f"holding a sample: {int((~c.empty).sum())}")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=2)
    axis.set_title(f"{len(c.centres)} packed caps, $n$ = {c.spec.num_samples}")


def draw_map(fig, axis, c: Construction) -> None:
    rim(axis, c)
    side = np.linspace(-1, 1, 700)
    x = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    f = np.where(np.sum(x**2, axis=1) <= 1, evaluate(c.centres, c.signs, c.eps, x), np.nan)
    drawn = axis.imshow(f.reshape(700, 700), extent=(-1, 1, -1, 1), origin="lower", cmap="RdBu_r", vmin=-1, vmax=1)
    fig.colorbar(drawn, ax=axis, shrink=0.65, ticks=[-1, 0, 1])
    axis.set_title(r"hard function $f_\xi=\Sigma_i\,\xi_i\Phi_i$")


def draw_surface(axis, c: Construction) -> None:
    h = c.eps**2
    radius = np.concatenate([[0, 0.5], np.linspace(1 - h, 1, 24)])
    angle = np.linspace(0, 2 * np.pi, 721)
    r, a = np.meshgrid(radius, angle)
    x = np.stack([r * np.cos(a), r * np.sin(a)], axis=-1)
    f = evaluate(c.centres, c.signs, c.eps, x.reshape(-1, 2)).reshape(r.shape)
    axis.plot_surface(x[..., 0], x[..., 1], f, cmap="RdBu_r", vmin=-1, vmax=1, rstride=2, cstride=1, lw=0, rasterized=True)
    axis.set(xticks=[], yticks=[], zticks=[-1, 0, 1], zlim=(-1.1, 1.1))
    axis.set_box_aspect((1, 1, 0.45), zoom=1.0)
    axis.view_init(elev=32, azim=-60)
    axis.set_title(r"the same as a surface: flat except at the rim")


def draw_bumps(axis, c: Construction) -> None:
    """The right end of [-1, 1]: f_xi, and in colour which of its intervals hold no sample."""
    width = c.eps**2
    x = np.linspace(1 - 1.15 * c.eps, 1, 6000)
    axis.plot(x, evaluate(c.centres, c.signs, c.eps, x[:, None]), color="k", lw=1.1, label=r"$f_\xi$")
    right = c.centres[:, 0] > 0
    for place, empty in zip(c.centres[right, 0], c.empty[right], strict=True):
        axis.axvspan(place - width / 2, place + width / 2, ymax=0.87, color=EMPTY if empty else TAKEN, alpha=0.35, lw=0)
    seen = c.samples[c.samples[:, 0] > x[0], 0]
    axis.plot(seen, np.full(len(seen), -1.22), "|", color=POINT, ms=9, label="samples")
    axis.axvline(1 - c.eps, color="0.4", lw=1, ls="--", label=r"$1-\epsilon$")
    axis.set(ylim=(-1.35, 1.5), xlim=(x[0], 1), xlabel="$x$", ylabel=r"$f_\xi$", yticks=[-1, 0, 1])
    axis.legend(loc="upper center", ncols=3)
    measures = rf"width $\epsilon^2$ = {width:.4f} within $\epsilon$ = {c.eps:.3f} of the end"
    axis.set_title(rf"$d=1$, $n$ = {c.spec.num_samples}: bumps of {measures}")


def caption(disk: Construction, line: Construction) -> str:
    return (
        f"Left above: a cap of height eps^2, eps = {disk.spec.kappa:g} n^(-1/3), n = {disk.spec.num_samples}, where the atom "
        "Phi(x) = relu(u.x - (1 - eps^2)) / eps^2 is active. Middle: the caps of a greedy packing of the disk and the uniform "
        f"samples, drawn independently; {int(disk.empty.sum())} of {len(disk.centres)} caps hold none (green; expected share "
        f"{float(theory.empty_cap_share(disk.spec.num_samples, 2, disk.spec.kappa)):.2f}). Right and left below: the hard "
        f"function with random signs, E f^2 = {len(disk.centres) * theory.atom_mean_square(disk.eps, 2):.4f} for uniform x. "
        "Below: the same "
        f"at d = 1, the right end; {int(line.empty.sum())} of {len(line.centres)} intervals of both ends hold no sample."
    )


def worst_mean_square(found: list[Construction], factor: float) -> float:
    """Return the largest distance, in standard errors,
    of a sampled E f^2 from its closed form N E Phi^2 times a factor.

    X uniform on the ball, fresh; f has amplitude 1 and random signs.
    """
    off = []
    for c in found:
        d = c.spec.input_dim
        square = evaluate(c.centres, c.signs, c.eps, fresh(d, c.spec.seed)) ** 2
        expected = factor * len(c.centres) * theory.atom_mean_square(c.eps, d)
        off.append(abs(square.mean() - expected) / (square.std() / DRAWS**0.5))
    return float(max(off))


def least_separation(found: list[Construction]) -> float:
    """Return the smallest separation of any pair."""
    return float(min(measure_separations(c).min(initial=np.inf) for c in found))


def worst_height(found: list[Construction]) -> float:
    """Return the max |f| that is farthest from 1, over atoms' tops and the middles between overlapping ones."""
    tops = []
    for c in found:
        middle = double(c).centres if c.spec.input_dim == 1 else c.centres + double(c).centres[-len(c.centres) :]
        middle = middle / np.maximum(1, np.linalg.norm(middle, axis=1, keepdims=True))
        tops.append(float(np.abs(evaluate(c.centres, c.signs, c.eps, np.concatenate([c.centres, middle]))).max()))
    return max(tops, key=lambda top: abs(top - 1))


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE)
    found = load_constructions(study)
    span = f"d = {', '.join(map(str, sorted({c.spec.input_dim for c in found})))}, {len(found)} packings"
    larger = [c._replace(eps=1.05 * c.eps) for c in found]
    return [
        claim(
            id="constructions/atoms-disjoint",
            statement=f"All atoms of a construction are disjoint, {span}",
            expects=an.at_least(1 - 1e-9, of="smallest distance of centres over the allowed one"),
            evidence=an.compare(least_separation, found, neighbour={"caps with eps 5 % larger": larger}),
        ),
        claim(
            id="constructions/mean-square",
            statement=f"E f_xi^2 is N E Phi^2 with its closed form, {span}",
            expects=an.at_most(4, of=f"distance in standard errors of {DRAWS} draws, at the worst,"),
            evidence=an.compare(worst_mean_square, (found, 1.0), neighbour={"a mean square 5 % larger": (found, 1.05)}),
        ),
        claim(
            id="constructions/height-one",
            statement=f"f_xi has sup norm 1, {span}",
            expects=an.near(1, 1e-9, of="sup norm"),
            evidence=an.compare(
                worst_height, found, neighbour={"every atom joined by one that overlaps it": [double(c) for c in found]}
            ),
        ),
    ]
