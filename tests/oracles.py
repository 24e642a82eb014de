"""What the tests hold the library against: the same mathematics once more, in plain numpy, neuron by neuron.

Nothing here calls the library's formulas; only its containers (parameters, specs) are shared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from dynamics.core import spec as specs
from dynamics.core.spec import RunSpec
from dynamics.models.two_layer import TwoLayer
from dynamics.optimizers.rules import OptimizerSpec

FACTOR = {"mse": 1.0, "half": 0.5}


def gaussian_density(z):
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


PHI = {"relu": lambda z: np.where(z > 0, z, 0.0), "gelu": lambda z: z * special.ndtr(z)}
SLOPE = {
    "relu": lambda z: np.where(z > 0, 1.0, 0.0),
    "gelu": lambda z: special.ndtr(z) + z * gaussian_density(z),
}


def net_output(params: TwoLayer, x: np.ndarray, activation: str = "relu") -> np.ndarray:
    """f(x_i) = sum_k v_k phi(w_k . x_i + b_k) + c, one neuron after another; x (n, d) -> (n,)."""
    hidden, readout = np.asarray(params.hidden), np.asarray(params.readout)
    f = np.full(len(x), float(params.offset))
    for k in range(readout.size):
        f += readout[k] * PHI[activation](x @ hidden[1:, k] + hidden[0, k])
    return f


def net_jacobian(params: TwoLayer, x: np.ndarray, activation: str = "relu") -> np.ndarray:
    """Rows d f(x_i) / d theta in the order of the raveled parameters: hidden (d + 1, K), readout (K,), offset.
    (n, P)."""
    hidden, readout = np.asarray(params.hidden), np.asarray(params.readout)
    rows = []
    for sample in x:
        extended = np.concatenate([[1.0], sample])
        z = np.array([extended @ hidden[:, k] for k in range(readout.size)])
        slope = SLOPE[activation](z) * readout
        rows.append(np.concatenate([np.outer(extended, slope).ravel(), PHI[activation](z), [1.0]]))
    return np.stack(rows)


def net_gradient(params: TwoLayer, x, y, weights, factor: float, activation: str = "relu") -> TwoLayer:
    """Gradient of factor * sum_i weights_i (f(x_i) - y_i)^2."""
    residual = net_output(params, x, activation) - y
    flat = 2 * factor * (weights * residual) @ net_jacobian(params, x, activation)
    rows, width = params.hidden.shape
    return TwoLayer(flat[: rows * width].reshape(rows, width), flat[rows * width : -1], flat[-1])


def one_sided_weight(x: np.ndarray, u: np.ndarray, t: float) -> float:
    """P^2 E[X.u - t | X.u > t] sqrt(1 + |E[X | X.u > t]|^2) over the rows of x, as it is defined;
    0 if there is none."""
    over = [row for row in x if row @ u > t]
    if not over:
        return 0.0
    mean = sum(over) / len(over)
    return (len(over) / len(x)) ** 2 * (mean @ u - t) * np.sqrt(1 + mean @ mean)


def two_sided_weight(x: np.ndarray, u: np.ndarray, t: float) -> float:
    return min(one_sided_weight(x, u, t), one_sided_weight(x, -u, -t))


def path_norms(params: TwoLayer, x: np.ndarray) -> tuple[float, float, float]:
    """sum_k |v_k| |w_k|, weighted with g, and with the one-sided g, neuron after neuron.

    A neuron with w = 0 has its kink at infinity: a b > 0 leaves |v| b sqrt(1 + |E X|^2) of the one-sided sum,
    the limit.
    """
    hidden, readout = np.asarray(params.hidden), np.asarray(params.readout)
    total = np.zeros(3)
    for k in range(readout.size):
        norm = np.linalg.norm(hidden[1:, k])
        if norm > 0:
            u, t = hidden[1:, k] / norm, -hidden[0, k] / norm
            total += abs(readout[k]) * norm * np.array([1, two_sided_weight(x, u, t), one_sided_weight(x, u, t)])
        else:
            mean = np.mean(x, axis=0)
            total[2] += abs(readout[k]) * max(hidden[0, k], 0) * np.sqrt(1 + mean @ mean)
    return tuple(total)


def residual_blocks(params: TwoLayer, x: np.ndarray, y: np.ndarray, factor: float) -> np.ndarray:
    """q_k = 2 factor (1/n) sum_i r_i 1{neuron k is active on x_i} (1, x_i), shape (K, d + 1), for the ReLU."""
    hidden, residual = np.asarray(params.hidden), net_output(params, x) - y
    q = np.zeros((hidden.shape[1], hidden.shape[0]))
    for k in range(len(q)):
        for sample, r in zip(x, residual, strict=True):
            extended = np.concatenate([[1.0], sample])
            q[k] += 2 * factor / len(x) * r * extended * (extended @ hidden[:, k] > 0)
    return q


def dense_hessian(params: TwoLayer, x: np.ndarray, y: np.ndarray, factor: float) -> np.ndarray:
    """The Hessian (P, P) of factor * mean (f - y)^2 of a ReLU net: Gauss-Newton, and q_k between w_k's rows and v_k."""
    jacobian, (rows, width) = net_jacobian(params, x), np.shape(params.hidden)
    matrix = 2 * factor * jacobian.T @ jacobian / len(x)
    for k, q in enumerate(residual_blocks(params, x, y, factor)):
        hidden, readout = np.arange(rows) * width + k, rows * width + k
        matrix[hidden, readout] += q
        matrix[readout, hidden] += q
    return matrix


def patches(x: np.ndarray, size: int, stride: int) -> list[np.ndarray]:
    """What each position of a window of so many neighbours sees of the samples x (n, d), cut out by hand:
    (n, size) each."""
    return [x[:, first : first + size] for first in range(x.shape[1]) if first % stride == 0 and first + size <= x.shape[1]]


def patch_output(params: TwoLayer, x: np.ndarray, size: int, stride: int, activation: str = "relu") -> np.ndarray:
    """The mean over windows of what the net makes of each: filters shared, global average pooling."""
    return np.mean([net_output(params, seen, activation) for seen in patches(x, size, stride)], axis=0)


def patch_jacobian(params: TwoLayer, x: np.ndarray, size: int, stride: int, activation: str = "relu") -> np.ndarray:
    return np.mean([net_jacobian(params, seen, activation) for seen in patches(x, size, stride)], axis=0)


def patch_hessian(params: TwoLayer, x: np.ndarray, y: np.ndarray, factor: float, size: int, stride: int) -> np.ndarray:
    """The Hessian (P, P) of factor * mean (f - y)^2 of a shared patch ReLU net,
    in the order of the raveled parameters."""
    jacobian, (rows, width) = patch_jacobian(params, x, size, stride), np.shape(params.hidden)
    matrix = 2 * factor * jacobian.T @ jacobian / len(x)
    seen, residual = patches(x, size, stride), patch_output(params, x, size, stride) - y
    for k in range(width):
        hidden, readout, weights = np.arange(rows) * width + k, rows * width + k, np.asarray(params.hidden)[:, k]
        for view in seen:
            for sample, r in zip(view, residual, strict=True):
                extended = np.concatenate([[1.0], sample])
                part = 2 * factor / len(x) / len(seen) * r * extended * (extended @ weights > 0)
                matrix[hidden, readout] += part
                matrix[readout, hidden] += part
    return matrix


def random_net(rng: np.random.Generator, input_dim: int, width: int) -> TwoLayer:
    return TwoLayer(rng.normal(size=(input_dim + 1, width)), rng.normal(size=width), rng.normal())


def to_jax(tree: Any) -> Any:
    return jax.tree.map(jax.device_put, tree)  # unlike `jnp.asarray` it compiles nothing


def to_numpy(tree: Any) -> Any:
    return jax.tree.map(lambda a: a if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else np.asarray(a), tree)


def hyper_of(spec: RunSpec) -> dict[str, jax.Array]:
    """The swept scalars and sizes of one run as arrays, the way a single run is started."""
    values = specs.hyper(spec)
    return {k: jnp.asarray(v, jnp.int32 if k in spec.shape_fields else spec.precision) for k, v in values.items()}


def key_of(spec: RunSpec) -> jax.Array:
    return jax.random.key(spec.seed)


def change(spec: Any, **values: Any) -> Any:
    """`replace`, with `part__field` reaching into a nested spec."""
    for name, value in values.items():
        head, _, rest = name.partition("__")
        spec = replace(spec, **{head: change(getattr(spec, head), **{rest: value}) if rest else value})
    return spec


def assert_trees_close(actual: Any, desired: Any, rtol: float = 1e-12, atol: float = 0.0) -> None:
    """Leaf by leaf, entrywise; the two trees must have the same structure."""
    a, b = jax.tree.leaves(actual), jax.tree.leaves(desired)
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert np.shape(x) == np.shape(y)
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=rtol, atol=atol)


def z_scores(samples: np.ndarray, expected: float) -> float:
    return (samples.mean() - expected) / (samples.std(ddof=1) / np.sqrt(len(samples)))


def clipped(g, clip):
    norm = np.linalg.norm(g)
    return g if norm < clip else g * clip / norm


NOISELESS = {  # where a rule with noise is one without
    "label_noise_sgd": {"label_noise": 0.0},
    "langevin": {"inverse_temperature": np.inf},
    "psgld": {"inverse_temperature": np.inf},
}
UNCLIPPED = ("gradient_flow", "langevin", "psgld")


def ascend(p: np.ndarray, slope: np.ndarray, h: OptimizerSpec) -> np.ndarray:
    """Where SAM takes its gradient."""
    return p + h.radius * slope / (np.linalg.norm(slope) if h.normalized else 1)


def steps_of_rule(kind: str, h: OptimizerSpec, p: np.ndarray, g, m: np.ndarray, steps: int, rates=None) -> list[np.ndarray]:
    """The parameters after 0 to `steps` steps; rates: the learning rate of each, that of `h` unless given."""
    seen, first, second = [p], np.zeros_like(p), np.zeros_like(p)
    for t in range(1, steps + 1):
        rate = h.learning_rate if rates is None else rates[t - 1]
        if kind == "gradient_flow":
            velocity = lambda q: -g(q) - h.weight_decay * m * q  # noqa: E731
            a = velocity(p)
            b = velocity(p + h.learning_rate / 2 * a)
            c = velocity(p + h.learning_rate / 2 * b)
            d = velocity(p + h.learning_rate * c)
            p = p + h.learning_rate / 6 * (a + 2 * b + 2 * c + d)
            seen.append(p)
            continue
        u = g(ascend(p, g(p), h) if kind == "sam" else p)
        u = u if kind in UNCLIPPED else clipped(u, h.clip_norm)
        if kind != "adamw":
            u = u + h.weight_decay * m * p
        if kind in ("momentum", "nesterov"):
            first = h.momentum * first + u
            u = first if kind == "momentum" else u + h.momentum * first
        elif kind in ("adam", "adamw"):
            first = h.beta1 * first + (1 - h.beta1) * u
            second = h.beta2 * second + (1 - h.beta2) * u**2
            u = (first / (1 - h.beta1**t)) / (np.sqrt(second / (1 - h.beta2**t)) + h.epsilon)
        elif kind in ("rmsprop", "torch_rmsprop"):  # optax's has its epsilon under the root, torch.optim.RMSprop beside it
            second = h.beta2 * second + (1 - h.beta2) * u**2
            u = u / (np.sqrt(second + h.epsilon) if kind == "rmsprop" else np.sqrt(second) + h.epsilon)
        elif kind == "signgd":
            u = np.sign(u)
        else:
            assert kind in ("gd", "sam", *NOISELESS)
        if kind == "psgld":  # at infinite temperature it is PyTorch's RMSprop
            second = h.beta2 * second + (1 - h.beta2) * u**2
            u = u / (np.sqrt(second) + h.epsilon)
        p = p - rate * u
        if kind == "adamw":  # decoupled: the decay sees neither the moments nor the preconditioner
            p = p - rate * h.weight_decay * m * seen[-1]
        seen.append(p)
    return seen
