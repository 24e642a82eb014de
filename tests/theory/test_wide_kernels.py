"""Kernels of infinitely wide networks against quadrature, against networks of finite width, and by hand."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from dynamics.errors import InputError
from dynamics.theory.wide_kernels import DUALS, compute_wide_kernels

ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "erf": (special.erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-(z**2))),
    "linear": (lambda z: z, np.ones_like),
}
# E u^2, E uv, E v^2: usual, opposite, nearly parallel, small, large, uncorrelated
COVARIANCES = [(1.0, 0.3, 2.0), (1.5, -1.1, 0.9), (1.0, 0.99999, 1.0), (1e-6, 3e-7, 1e-6), (50.0, -20.0, 80.0), (1, 0, 1)]


def given_u(name: str, slope: bool, mean: np.ndarray, std: float) -> np.ndarray:
    """E phi(v) or E phi'(v) for v ~ N(mean, std^2): through the normal distribution function, and erf of a Gaussian."""
    if name == "linear":
        return np.ones_like(mean) if slope else mean
    if name == "relu":
        above = stats.norm.cdf(mean / std)
        return above if slope else mean * above + std * stats.norm.pdf(mean / std)
    width = np.sqrt(1 + 2 * std**2)  # E erf(v) = erf(mean / sqrt(1 + 2 std^2))
    return 2 / np.sqrt(np.pi) / width * np.exp(-((mean / width) ** 2)) if slope else special.erf(mean / width)


@pytest.mark.parametrize("name", DUALS)
def test_dual_activations_are_gaussian_integrals(name):
    for uu, uv, vv in COVARIANCES:
        std = np.sqrt(vv - uv**2 / uu)
        for slope in (False, True):
            outer = ACTIVATIONS[name][slope]

            def density(t, outer=outer, slope=slope, uu=uu, uv=uv, std=std):
                u = np.sqrt(uu) * t
                return outer(np.array(u)) * given_u(name, slope, np.array(uv / uu * u), std) * stats.norm.pdf(t)

            parts = [integrate.quad(density, *ends, epsabs=0, epsrel=1e-11, limit=200)[0] for ends in ((-12, 0), (0, 12))]
            found = DUALS[name][slope](*(np.array(float(k)) for k in (uu, uv, vv)))
            scale = np.sqrt(uu * vv) if name != "erf" and not slope else 1.0
            assert abs(found - sum(parts)) < 2e-9 * scale, (name, slope, uu, uv, vv)


def test_equal_opposite_and_zero_inputs():
    x = np.array([[3.0, 4.0], [-3.0, -4.0], [0.0, 0.0]])
    kernels = compute_wide_kernels(x)  # |x|^2 / d = 12.5; phi is half on, and never on together for opposite inputs
    assert np.allclose(kernels.nngp, [[6.25, 0, 0], [0, 6.25, 0], [0, 0, 0]], atol=1e-12)
    assert np.allclose(kernels.tangent, [[12.5, 0, 0], [0, 12.5, 0], [0, 0, 0]], atol=1e-12)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 3)), rng.standard_normal((5, 3))
    deep = {"depth": 3, "weight_variance": [2.0, 1.7, 1.3, 0.6], "bias_variance": [0.1, 0.0, 0.3, 0.2]}
    both, across = (compute_wide_kernels(*own, **deep) for own in ((np.concatenate([x, y]),), (x, y)))
    for whole, part in zip(both, across, strict=True):
        assert np.allclose(whole[:4, 4:], part, atol=1e-12) and np.linalg.eigvalsh(whole)[0] > 0
    linear = compute_wide_kernels(x, depth=2, activation="linear", weight_variance=3.0)
    assert np.allclose(linear.nngp, 27 * x @ x.T / 3) and np.allclose(linear.tangent, 81 * x @ x.T / 3)


def draw_kernels(rng, x, width, activation, weights, biases) -> tuple[np.ndarray, np.ndarray]:
    """f at the inputs and the tangent kernel of one random network, by back-propagation written out."""
    phi, slope = ACTIVATIONS[activation]
    sizes = [x.shape[1], *[width] * (len(weights) - 1), 1]
    layers = [rng.standard_normal((b, a)) * np.sqrt(w / a) for w, a, b in zip(weights, sizes, sizes[1:], strict=False)]
    offsets = [rng.standard_normal(b) * np.sqrt(s) for s, b in zip(biases, sizes[1:], strict=True)]
    seen, hidden = [x], []
    for layer, offset in zip(layers, offsets, strict=True):
        hidden.append(seen[-1] @ layer.T + offset)
        seen.append(phi(hidden[-1]))
    back, kernel = np.ones((len(x), 1)), np.zeros((len(x), len(x)))
    for i in reversed(range(len(layers))):
        kernel += (weights[i] * seen[i] @ seen[i].T / sizes[i] + biases[i]) * (back @ back.T)
        back = (back @ layers[i]) * slope(hidden[i - 1]) if i else back
    return hidden[-1][:, 0], kernel


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_wide_networks_come_near_at_the_rate_of_their_width(activation):
    """Over random networks: f has the NNGP covariance,
    the tangent kernel comes to the limit like the root of the width."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 4))
    weights, biases = [1.8, 1.5, 1.2], [0.1, 0.2, 0.05]
    limit = compute_wide_kernels(x, depth=2, activation=activation, weight_variance=weights, bias_variance=biases)
    spread, widths, count = [], (64, 1024), (400, 40)
    for width, nets in zip(widths, count, strict=True):
        drawn = [draw_kernels(rng, x, width, activation, weights, biases) for _ in range(nets)]
        off = np.array([kernel for _, kernel in drawn]) - limit.tangent
        spread.append(np.sqrt(np.mean(off**2)))
        error = np.std(off, axis=0) / np.sqrt(nets)
        assert (
            np.abs(off.mean(axis=0)) < 4 * error + 2 * limit.tangent.max() / width
        ).all()  # the mean is off by order 1/width
        if width == widths[0]:
            squares = np.array([np.outer(f, f) for f, _ in drawn])
            assert (np.abs(squares.mean(axis=0) - limit.nngp) < 4 * squares.std(axis=0) / np.sqrt(nets)).all()
            assert (np.abs(squares.mean(axis=0) - 1.5 * limit.nngp) > 4 * squares.std(axis=0) / np.sqrt(nets)).any()
    slope = np.log(spread[1] / spread[0]) / np.log(widths[1] / widths[0])
    assert abs(slope + 0.5) < 0.08


@pytest.mark.parametrize(
    "change, field",
    [
        ({"activation": "tanh"}, "activation"),
        ({"depth": -1}, "depth"),
        ({"depth": 1.5}, "depth"),
        ({"weight_variance": [1.0]}, "weight_variance"),
        ({"bias_variance": -0.1}, "bias_variance"),
        ({"others": np.ones((2, 3))}, "others"),
        ({"inputs": np.ones(3)}, "inputs"),
        ({"inputs": [[np.nan, 1.0]]}, "inputs"),
    ],
)
def test_bad_input_of_kernels_is_refused(change, field):
    arguments = {"inputs": np.ones((2, 2)), **change}
    with pytest.raises(InputError) as error:
        compute_wide_kernels(arguments.pop("inputs"), **arguments)
    assert error.value.field == field
