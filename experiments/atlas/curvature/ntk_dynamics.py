"""Do wide nets train like a linear model with the kernel of infinite width,
and how does the difference fall with width?

f(x) = m^(-1/2) sum_k a_k relu(w_k . u / sqrt 2), u = (cos x, sin x, 1), all parameters N(0, 1), all trained by gradient
descent on the half mean square of n = 3 labels on the circle. Prediction (Jacot et al. 2018, Lee et al. 2019): the
tangent kernel lies within order m^(-1/2) of its limit T, which has a closed form, and for eta T / n < 2 training takes
f_t(x) = f_0(x) + T(x, X) T^(-1) (1 - (1 - eta T / n)^t) (y - f_0(X)), up to order m^(-1/2).

What comes out, over widths 64 to 4096: the largest deviation over time and inputs falls with a slope of -0.51, the
kernel's distance with -0.53. With outputs of order 1/m and rates times m (mean-field scaling) the deviation stays 0.26
at every width. Above 2 / lambda_max the prediction diverges, and even the widest nets do not follow it.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import dynamics as dyn
import dynamics.analysis.words as an
from dynamics.models.base import Model, plain_model
from dynamics.theory.wide_kernels import WideKernels, compute_wide_kernels

SOURCE = "Lee et al. 2019, section 2"
SHOWN, ALLOWED = 10, 0.05  # the input to test on that is drawn against time, and by how much the widest nets may be off
CHANGED = "n, target, the rate that is too large and the number of seeds were chosen after first looks; so were the claims"
LAST = 30  # steps at the rate that is too large; the prediction has grown ten thousand times by then


def on_circle(x, numpy=np):
    return numpy.stack([numpy.cos(numpy.pi * x), numpy.sin(numpy.pi * x), numpy.ones_like(x)], axis=1)


@dyn.register.model(
    fields={"output_power": dyn.option(0.5, at_least=0.5, at_most=1.0, doc="outputs are of order width^-power")},
    uses=("width",),
    pads=("data.num_samples",),
)
def circle_net(spec, grid, dtype, outputs) -> Model:
    """f = m^(-p) sum_k a_k relu(w_k . u / sqrt 2), rates times m^(2p - 1):
    the parameters are kept in units of m^(p - 1/2)."""
    width, power = int(spec.width), spec.output_power

    def init(key, hyper):
        drawn = (jax.random.normal(jax.random.fold_in(key, i), s, dtype) for i, s in enumerate([(width, 3), (width,)]))
        return tuple(jnp.asarray(width, dtype) ** (0.5 - power) * p for p in drawn)

    def apply(params, inputs):
        hidden = on_circle(inputs[:, 0], jnp) @ params[0].T / 2**0.5
        return jnp.asarray(width, dtype) ** (power - 1) * (jnp.where(hidden <= 0, 0, hidden) @ params[1])

    return plain_model(init, apply)


class Nets(NamedTuple):
    """Nets of one width over S seeds beside linear models of the same start; inputs to train on come before the others.

    angles (n + m,) over pi; labels (n,); steps (T,); seen: outputs (S, T, n + m); linear: those of linear models with
    the `limit` kernel, with that of each net (`own`), and with the NNGP kernel, which is that of the `readout` alone
    distance, change (S,): of the first kernel from the limit and of the last from the first, relative
    """

    angles: np.ndarray
    labels: np.ndarray
    rate: float
    steps: np.ndarray
    seen: np.ndarray
    limit: WideKernels
    linear: dict[str, np.ndarray]
    distance: np.ndarray
    change: np.ndarray

    def overlay(self) -> an.Overlay:
        one, linear = len(self.labels) + SHOWN, self.linear
        control = {"control": linear["readout"][..., one], "control_text": "kernel of the readout alone"}
        return an.Overlay(self.steps, self.seen[..., one], linear["limit"][..., one], **control)

    def deviation(self, kernel: str) -> np.ndarray:
        """Return the largest |f - f_lin| over steps and inputs, (S,)."""
        return np.abs(self.seen - self.linear[kernel]).max(axis=(1, 2))


def read_nets(part: an.Study, last: float = np.inf) -> Nets:
    """The nets of a part that has one width, up to the step `last`."""
    run = an.read_settings(part)
    n, rate, grid = run["data.num_samples"], run["optimizer.learning_rate"], np.linspace(-1, 1, run["data.num_samples"])
    labels = np.cos(run["target.degree"] * np.arccos(grid))
    angles = run["data.scale"] * np.concatenate([grid, np.linspace(-1, 1, run["data.num_test"])])
    limit = compute_wide_kernels(np.sqrt(3 / 2) * on_circle(angles))  # which divide by the root of the dimension
    steps, seen = an.read_outputs(part, last)
    own, change = an.read_first_kernels(part), an.read_curves(part, "tangent_kernel_change")[1][:, -1]
    distance = np.linalg.norm(own[:, :n] - limit.tangent[:n, :n], axis=(1, 2)) / np.linalg.norm(limit.tangent[:n, :n])
    kernels = {"limit": [limit.tangent] * len(seen), "readout": [limit.nngp] * len(seen), "own": own}
    linear = {name: an.follow_kernels(each, labels, seen[:, 0], steps, rate, 0.5) for name, each in kernels.items()}
    return Nets(angles, labels, rate, steps, seen, limit, linear, distance, change)


def read_widths(study: an.Study, panel: str, last: float = np.inf) -> dict[int, Nets]:
    return {int(w): read_nets(part, last) for w, part in an.split_by(study.select(panel=panel), "model.width").items()}


def stack(nets: dict[int, Nets], read) -> np.ndarray:
    return np.stack([read(own) for own in nets.values()], axis=1)


def figure(study: an.Study) -> an.Page:
    """Outputs against time, with residuals; what is learned; deviations against width; a rate that is too large."""
    wide, mean_field, fast = read_widths(study, "wide"), read_widths(study, "mean_field"), read_widths(study, "fast", LAST)
    fig = an.new_figure(11, 6.6)
    grid = fig.add_gridspec(2, 3)
    for i, width in enumerate((min(wide), max(wide))):
        above, below = an.add_overlay_axes(fig, grid[0, i])
        label = {"label": f"nets of width {width}", "predicted": "infinite width"}
        wide[width].overlay().draw(above, below, color=an.COLORS[i], allowed=ALLOWED, **label)
        above.set(title="output at one input", ylabel="$f_t(x)$")
        below.set(xlabel="step", ylim=(-0.3, 0.3))
        above.legend()
    own, axis = wide[max(wide)], fig.add_subplot(grid[0, 2])
    n, last = len(own.labels), int(own.steps[-1])
    model, fresh = an.linearize(own.limit.tangent, own.labels, 0 * own.angles, 0.5), 180 * own.angles[n:]
    mean = model.follow_descent([last], own.rate).test[0]
    spread = 2 * np.sqrt(np.maximum(np.diag(model.spread_at(last, own.limit.nngp, learning_rate=own.rate)), 0))
    axis.fill_between(fresh, mean - spread, mean + spread, color="0.85", lw=0)
    axis.plot(
        fresh, own.seen[:, -1, n:].T, color=an.COLORS[1], lw=0.6, label=[f"width {max(wide)}"] + [None] * (len(own.seen) - 1)
    )
    axis.plot(fresh, mean, "k--", lw=0.9, label="mean of infinite width")
    axis.set(title="what is learned", xlabel="angle (degrees)", ylabel="$f(x)$")
    axis.legend(loc="upper center")
    lines = {"f from linear dynamics": stack(wide, lambda own: own.deviation("limit"))}
    lines["f from those of its own kernel"] = stack(wide, lambda own: own.deviation("own"))
    lines["first kernel from its limit"] = stack(wide, lambda own: own.distance)
    lines["last kernel from the first"] = stack(wide, lambda own: own.change)
    lines["f from linear dynamics, mean field"] = stack(mean_field, lambda own: own.deviation("limit"))
    axis = fig.add_subplot(grid[1, :2])
    for (label, values), color, marker in zip(lines.items(), an.COLORS, an.MARKERS, strict=False):
        an.draw_quartiles(axis, list(wide), values, fmt=marker, color=color, capsize=2, label=label)
        an.draw_power(
            axis, np.array(list(wide)), np.median(values, axis=0), 0 if "field" in label else -0.5, color=color, lw=0.7
        )
    axis.set(title="largest deviations", xlabel="width $m$", xscale="log", yscale="log", ylim=(5e-4, 1))
    axis.legend(loc="lower left")
    axis = fig.add_subplot(grid[1, 2])
    for (width, nets), color in zip(fast.items(), an.COLORS, strict=False):
        replace(nets.overlay(), control=None).draw(axis, color=color, label=f"width {width}", predicted=None)
    axis.set(title=r"rate above $2/\lambda_{\max}$ (dashed: predicted)", xlabel="step", ylabel="$f_t(x)$")
    axis.set_yscale("symlog", linthresh=1)
    axis.legend(loc="lower left")
    rows = [(name, *map(float, np.median(values, axis=0))) for name, values in lines.items()]
    table = an.make_table(rows, ", ".join(["median", *map(str, wide)]))
    caption = (
        f"Two-layer ReLU nets on {n} points of the circle, descent at rate {own.rate:g} (last panel {fast[max(fast)].rate:g}, "
        f"above {model.largest_learning_rate:.3g} = 2/lambda_max of the limit kernel); {len(own.seen)} seeds, least to most, "
        f"or quartiles. Shaded beneath: {ALLOWED:g}, which the claim allows. Grey: two standard deviations, infinite width."
    )
    return an.Page(
        fig, caption, {"ntk_dynamics_widths": table, "ntk_dynamics_output": own.overlay().table()}, {"against the width": table}
    )


def claims(study: an.Study) -> list[an.Claim]:
    claim = an.judge_from(SOURCE, post_hoc=CHANGED)
    wide, mean_field = read_widths(study, "wide"), read_widths(study, "mean_field")

    def share_missing(panel: str) -> np.ndarray:
        """Return the largest |f - f_lin| over inputs at the step LAST over the largest |f_lin| there, (S,)."""
        nets = read_widths(study, panel, LAST)[max(wide)]
        seen, linear = nets.seen[:, -1], nets.linear["limit"][:, -1]
        return np.abs(seen - linear).max(axis=1) / np.abs(linear).max(axis=1)

    def slope(nets: dict[int, Nets]) -> an.Estimate:
        return an.trend_of_logs(stack(nets, lambda own: own.deviation("limit")), list(wide))

    distance = an.trend_of_logs(stack(wide, lambda own: own.distance), list(wide))
    return [
        claim(
            id="ntk/kernel-comes-to-its-limit",
            statement="The first tangent kernel lies within order m^(-1/2) of the closed form for infinite width",
            expects=an.near(-0.5, 0.1, of="slope of its distance against the width"),
            evidence=an.shift_neighbour(distance, -0.25, "m^(-1/4) in the place of m^(-1/2)"),
        ),
        claim(
            id="ntk/deviation-falls-with-width",
            statement="The largest deviation from linear dynamics with the limit kernel is of order m^(-1/2)",
            expects=an.near(-0.5, 0.15, of="slope against the width"),
            evidence=an.compare(slope, wide, treatment={"mean-field scaling": mean_field}),
        ),
        claim(
            id="ntk/widest-follows",
            statement=f"At width {max(wide)} an input's output follows its prediction",
            expects=an.at_most(ALLOWED, of="largest deviation over time, median over seeds,"),
            evidence=wide[max(wide)].overlay().evidence(),
        ),
        claim(
            id="ntk/too-large-a-rate",
            statement="Above 2 / lambda_max the prediction diverges, and even the widest nets do not follow it",
            expects=an.at_least(0.5, of=f"share of it that is missing at step {LAST}, median over seeds,"),
            evidence=an.compare(an.median_over_seeds, share_missing("fast"), treatment={"a rate below": share_missing("wide")}),
        ),
    ]
