"""Measures of spectra and of what an optimizer feels: dense matrices in numpy, per-sample sums, Adam by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from oracles import change, hyper_of, key_of, steps_of_rule, to_numpy
from scipy import linalg, special

from dynamics.core import spec as specs
from dynamics.core.simulate import start
from dynamics.curvature.batch_quotients import batch_sharpness, draw_batches, gradient_quotient
from dynamics.curvature.matrices import build_fisher_product, build_output_product, layer_blocks
from dynamics.data.problem import DataSpec
from dynamics.errors import InputError
from dynamics.measures.measure import measure
from dynamics.measures.table import MEASURES, distinct_work
from dynamics.models.losses import LossSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.systems.training import TrainingSpec
from dynamics.theory.edge import averaged_momentum_threshold, stability_threshold

N, D, HIDDEN, CLASSES = 7, 2, 2, 3


def apply(params, x):
    return jnp.tanh(x @ params["first"]["w"] + params["first"]["b"]) @ params["last"]["w"]


def net_and_data(rng):
    net = {"first": {"w": rng.normal(size=(D, HIDDEN)), "b": rng.normal(size=HIDDEN)}}
    net["last"] = {"w": rng.normal(size=(HIDDEN, CLASSES))}
    return net, rng.normal(size=(N, D)), np.eye(CLASSES)[rng.integers(0, CLASSES, N)]


def by_hand(net, x, labels):
    """Jacobians (n, C, P), gradients (n, P) of every sample's cross-entropy, and the matrices (P, P), in numpy sums."""
    flat, unravel = ravel_pytree(net)

    def outputs_of(p):
        return apply(unravel(p), x)

    slope = jax.jacfwd(outputs_of)
    bends, jacobian, outputs = to_numpy(jax.jit(lambda p: (jax.jacfwd(slope)(p), slope(p), outputs_of(p)))(flat))
    p = special.softmax(outputs, axis=1)
    slopes = np.einsum("nc,ncp->np", p - labels, jacobian)
    outer = np.stack([np.diag(row) - np.outer(row, row) for row in p])
    gauss_newton = np.einsum("ncp,ncd,ndq->pq", jacobian, outer, jacobian) / N
    mean = slopes.mean(axis=0)
    return slopes, {
        "gauss_newton": gauss_newton,
        "hessian": gauss_newton + np.einsum("nc,ncpq->pq", p - labels, bends) / N,
        "fisher": slopes.T @ slopes / N,
        "gradient_noise": (slopes - mean).T @ (slopes - mean) / N,
    }


def test_spectra_of_a_classifier_are_those_of_dense_matrices(rng):
    net, x, labels = net_and_data(rng)
    with jax.enable_x64(True):
        slopes, matrices = by_hand(net, x, labels)
    size = len(slopes[0])
    names = ["hessian_top", "hessian_bottom", "hessian_trace", "gauss_newton_trace", "gauss_newton_frobenius"]
    names += ["fisher_trace", "fisher_sharpness", "gradient_noise_sharpness", "gradient_noise_trace", "layer_sharpness"]
    names += ["batch_sharpness", "spectral_density"]
    options = {"top_k": 3, "trace_sketch": size, "batch_sharpness_size": N, "density_products": size, "density_points": 500}
    seen = measure((net, apply), x, labels, names, loss="cross_entropy", options=options)
    values = {name: np.linalg.eigvalsh(matrix) for name, matrix in matrices.items()}
    mean, hessian = slopes.mean(axis=0), matrices["hessian"]
    expected = {f"hessian_top_{i + 1}": values["hessian"][-1 - i] for i in range(3)}
    expected |= {f"hessian_bottom_{i + 1}": values["hessian"][i] for i in range(3)}
    expected |= {f"{name}_trace": values[name].sum() for name in ("hessian", "gauss_newton", "fisher", "gradient_noise")}
    expected |= {f"{name}_sharpness": values[name][-1] for name in ("fisher", "gradient_noise")}
    expected |= {
        "gauss_newton_frobenius": np.linalg.norm(matrices["gauss_newton"]),
        "gradient_square_mean": np.mean(np.sum(slopes**2, axis=1)),
        "sharpness_first": np.linalg.eigvalsh(hessian[: (D + 1) * HIDDEN, : (D + 1) * HIDDEN])[-1],
        "sharpness_last": np.linalg.eigvalsh(hessian[(D + 1) * HIDDEN :, (D + 1) * HIDDEN :])[-1],
        "batch_sharpness": mean @ hessian @ mean / (mean @ mean),  # a batch of all samples, whatever their order
    }
    for name, value in expected.items():
        assert seen.pop(name) == pytest.approx(value, rel=1e-7, abs=1e-9), name
    scale = np.abs(values["hessian"]).max()
    density, at = (seen.pop(f"spectral_density{end}") for end in ("", "_at"))
    assert np.trapezoid(density, at) == pytest.approx(1, abs=1e-3)
    assert (at[0], at[-1]) == pytest.approx((values["hessian"][0], values["hessian"][-1]), abs=0.06 * scale)
    assert seen.pop("spectral_density_width") == pytest.approx(0.01 * np.ptp(values["hessian"]), rel=1e-6)
    assert seen.pop("hessian_top_converged") and seen.pop("hessian_bottom_converged") and values["hessian"][0] < -1e-3 * scale
    errors = {name: np.max(value) for name, value in seen.items() if "density" not in name}
    assert all("error" in name or "residual" in name for name in errors) and max(errors.values()) < 1e-5 * scale


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("outputs", [0, 2])
def test_products_of_the_squared_loss_are_sums_over_samples(rng, outputs):
    """f = x w with one output or two: J_i = x_i, weights that are not equal, a sample without weight."""
    shape = (D, outputs) if outputs else (D,)
    w, x, y = rng.normal(size=shape), rng.normal(size=(N, D)), rng.normal(size=(N, *shape[1:]))
    weights = np.array([0.3, 0.2, 0.1, 0.1, 0.1, 0.2, 0.0])

    def squares(f):
        return jnp.sum((f - y).reshape(N, -1) ** 2, axis=1)

    @jax.jit
    def matrices(w, weights):
        products = {
            "gauss_newton": build_output_product(lambda p: x @ p, lambda f: jnp.sum(weights * squares(f)), w),
            "fisher": build_fisher_product(lambda p: squares(x @ p), weights, w),
            "noise": build_fisher_product(lambda p: squares(x @ p), weights, w, centred=True),
        }
        return {name: jax.vmap(product)(jnp.eye(w.size)) for name, product in products.items()}

    slopes = np.stack([2 * np.outer(x[i], (x @ w - y)[i]).ravel() for i in range(N)])
    mean = weights @ slopes
    second = sum(weights[i] * np.kron(np.outer(x[i], x[i]), np.eye(max(outputs, 1))) for i in range(N))
    expected = {
        "gauss_newton": 2 * second,
        "fisher": sum(weights[i] * np.outer(g, g) for i, g in enumerate(slopes)),
        "noise": sum(weights[i] * np.outer(g - mean, g - mean) for i, g in enumerate(slopes)),
    }
    for name, matrix in matrices(w, weights).items():
        np.testing.assert_allclose(matrix, expected[name], atol=1e-12, err_msg=name)


@pytest.mark.usefixtures("x64")
def test_batch_sharpness_of_a_linear_model_by_hand(rng):
    """L_B = (1/2b) |X_B w - y_B|^2: g_B = X_B^T r / b, H_B = X_B^T X_B / b, a mean of ratios."""
    x, y, w = rng.normal(size=(6, 3)), rng.normal(size=6), rng.normal(size=3)
    batches = np.array([[0, 1], [2, 3], [4, 5], [1, 4]])

    @jax.jit
    def seen(x, y, w, batches):
        def gradient(p, index):
            return jax.grad(lambda q: jnp.mean((x[index] @ q - y[index]) ** 2) / 2)(p)

        return *batch_sharpness(gradient, w, batches), gradient_quotient(lambda p: 0 * p, w)

    ratios, tops, bottoms = [], [], []
    for b in batches:
        g, h = x[b].T @ (x[b] @ w - y[b]) / 2, x[b].T @ x[b] / 2
        ratios, tops, bottoms = [*ratios, g @ h @ g / (g @ g)], [*tops, g @ h @ g], [*bottoms, g @ g]
    mean, error, still = seen(x, y, w, batches)
    assert float(mean) == pytest.approx(np.mean(ratios), rel=1e-12)
    assert float(error) == pytest.approx(np.std(ratios, ddof=1) / 2, rel=1e-10)
    assert float(mean) != pytest.approx(np.sum(tops) / np.sum(bottoms), rel=1e-2)  # the ratio of means is another number
    assert np.isnan(still)


def test_batches_of_an_epoch_do_not_overlap():
    draw = jax.jit(draw_batches, static_argnums=(1, 2, 3))
    drawn = np.asarray(draw(jax.random.key(0), 5, 11, 3))  # three an epoch, two samples left over
    assert drawn.shape == (5, 3) and drawn.min() >= 0 and drawn.max() < 11
    assert len(set(drawn[:3].ravel())) == 9 and len(set(drawn[3:].ravel())) == 6


def test_layers_are_leaves_or_the_outermost_names():
    zeros = {"params": {"Dense_0": {"bias": np.zeros(2), "kernel": np.zeros((3, 2))}, "Dense_1": {"kernel": np.zeros(2)}}}
    assert dict(layer_blocks(zeros)) == {"Dense_0": (0, 8), "Dense_1": (8, 2)}
    assert dict(layer_blocks({"w": np.zeros(3), "b": np.zeros(())})) == {"b": (0, 1), "w": (1, 3)}
    assert dict(layer_blocks(np.zeros(3))) == {"all": (0, 3)}


RUN = TrainingSpec(
    steps=6,
    precision="float64",
    data=DataSpec(input_dim=3, num_samples=8, num_test=2),
    model=ModelSpec("linear", 1),
    loss=LossSpec("half"),
    measures=["preconditioned_sharpness"],
)
RUN = specs.put(RUN, {"measure_options.batch_sharpness_size": 8, "optimizer.clip_norm": 2.0, "optimizer.weight_decay": 0.1})
RUN = specs.put(
    RUN, {"optimizer.beta1": 0.8, "optimizer.beta2": 0.9, "optimizer.epsilon": 1e-3, "optimizer.learning_rate": 0.05}
)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["adam", "rmsprop", "torch_rmsprop"])
def test_preconditioned_sharpness_is_that_of_the_rules_next_step(kind):
    """P from the rule written out in numpy, clipping and decay included;
    eig of P^-1 H by scipy's generalised problem."""
    run = specs.freeze(change(RUN, optimizer__kind=kind))
    if kind == "adam":
        run = change(run, measures=("preconditioned_sharpness", "batch_sharpness"))
    dynamics = specs.static(run).dynamics()

    @jax.jit
    def compute(key, hyper):
        fixed, begin = start(dynamics, key, hyper)
        along = jax.lax.scan(lambda s, _: (dynamics.step(s, fixed, key), dynamics.observe(s, fixed)), begin, length=7)
        return fixed.problem.train, begin.params, along[1]

    train, begin, seen = to_numpy(compute(key_of(run), hyper_of(run)))
    x, y, o = train.inputs, train.labels, run.optimizer
    hessian = x.T @ x / 8

    def slope(p):
        return x.T @ (x @ p - y) / 8

    path = steps_of_rule(kind, o, begin, slope, np.ones(3), run.steps)
    second = np.zeros(3)
    for t, p in enumerate(path):
        g = slope(p)
        u = g * min(1, o.clip_norm / np.linalg.norm(g)) + o.weight_decay * p
        second = o.beta2 * second + (1 - o.beta2) * u**2
        scale = {
            "adam": (1 - o.beta1 ** (t + 1)) * (np.sqrt(second / (1 - o.beta2 ** (t + 1))) + o.epsilon),
            "rmsprop": np.sqrt(second + o.epsilon),
            "torch_rmsprop": np.sqrt(second) + o.epsilon,
        }[kind]
        top = linalg.eigh(hessian, np.diag(scale), eigvals_only=True)[-1]
        assert seen["preconditioned_sharpness"][t] == pytest.approx(top, rel=1e-7)
        if kind == "adam":
            assert seen["batch_sharpness"][t] == pytest.approx(g @ hessian @ g / (g @ g), rel=1e-9)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_averaged_momentum_leaves_the_unit_disc_at_its_threshold(beta):
    """m <- b m + (1 - b) s x, x <- x - m as a 2 x 2 matrix; its spectral radius passes 1 there."""

    def radius(s):
        step = np.array([[1 - (1 - beta) * s, -beta], [(1 - beta) * s, beta]])
        return np.abs(np.linalg.eigvals(step)).max()

    edge = averaged_momentum_threshold(beta)
    assert radius(0.999 * edge) < 1 < radius(1.001 * edge)
    assert edge == pytest.approx(stability_threshold("momentum", beta) / (1 - beta))


REFUSED = {
    "no preconditioner": (
        {"optimizer.kind": "gd"},
        "measures = 'preconditioned_sharpness': needs a run of optimizer.kind = adam",
    ),
    "no batches": ({"measure_options.batch_sharpness_size": 0}, "measures = 'batch_sharpness': needs batches of at most n"),
    "batches too large": ({"measure_options.batch_sharpness_size": 9}, "measures = 'batch_sharpness': needs batches"),
    "none": ({"measure_options.top_k": 0}, "measure_options.top_k = 0: must be an integer from 1 to 100"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_run_lacks_is_told_in_one_line(case):
    values, message = REFUSED[case]
    with pytest.raises(InputError) as error:
        specs.put(change(RUN, optimizer__kind="adam", measures=["preconditioned_sharpness", "batch_sharpness"]), values).check()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_more_eigenvalues_cost_more_and_one_search_is_priced_once():
    few, many = (specs.put(change(RUN, measures=["hessian_top"]), {"measure_options.top_k": k}) for k in (2, 20))
    assert many.cost().flops_per_record > 3 * few.cost().flops_per_record
    assert many.cost().bytes_working > few.cost().bytes_working
    both = ["hessian_trace", "hessian_frobenius"]
    assert distinct_work(both, RUN) == distinct_work(both[:1], RUN) and MEASURES["hessian_top"].padding == "none"


def test_an_option_that_does_not_exist_or_fit_is_told(rng):
    net, x, labels = net_and_data(rng)
    for options, message in (
        ({"topk": 3}, "options.topk = 3: no such option (did you mean 'top_k'?)"),
        ({"top_k": 0}, "options.top_k = 0: must be an integer from 1 to 100"),
        ({"top_k": 30}, "measure_options.top_k = 30: must be at most 12, the number of parameters"),
    ):
        with pytest.raises(InputError) as error:
            measure((net, apply), x, labels, "hessian_top", loss="cross_entropy", options=options)
        assert str(error.value) == message
