"""Rules with noise against the exact variance of linear recursions, and SAM against optax's own and its edge."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import FACTOR, change, hyper_of, key_of

from dynamics.core import spec as specs
from dynamics.core.simulate import start
from dynamics.data.problem import DataSpec, TargetSpec
from dynamics.errors import InputError
from dynamics.models.losses import LossSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.optimizers.rules import RULES, OptimizerSpec
from dynamics.systems.training import TrainingSpec

pytestmark = pytest.mark.usefixtures("x64")

ETA, BETA, SIGMA, N, CHAINS, STEPS = 0.3, 7.0, 0.6, 12, 8000, 25
REGRESSION = TrainingSpec(
    seed=3,
    precision="float64",
    data=DataSpec(input_dim=3, num_samples=N, num_test=1, scale=3.0),
    model=ModelSpec(kind="linear", width=1),
    measures=["train_loss"],
)
CLOSE = 4 * np.sqrt(2 / CHAINS)  # four standard deviations of a variance, relative


def spread(spec: TrainingSpec) -> tuple[np.ndarray, np.ndarray]:
    """The Hessian's eigenvalues (3,), and in its eigenvectors the covariance (3, 3) over noise of the parameters."""
    dynamics, hyper = specs.static(specs.freeze(spec)).dynamics(), hyper_of(spec)

    def run(key):
        fixed, begin = start(dynamics, key, hyper)

        def chain(noise):
            return jax.lax.fori_loop(0, STEPS, lambda t, s: dynamics.step(s, fixed, jax.random.fold_in(noise, t)), begin)

        return jax.vmap(chain)(jax.random.split(jax.random.fold_in(key, 1), CHAINS)).params, fixed.problem.train.inputs

    params, x = map(np.asarray, jax.jit(run)(key_of(spec)))
    values, vectors = np.linalg.eigh(2 * FACTOR[spec.loss.normalization] * x.T @ x / N)
    return values, np.cov(params @ vectors, rowvar=False)


def rising(values: np.ndarray) -> np.ndarray:
    """What share of its stationary variance a component that began without any has after `STEPS` steps."""
    return 1 - (1 - ETA * values) ** (2 * STEPS)


def largest_error(covariance: np.ndarray, variances: np.ndarray) -> float:
    return np.max(np.abs(covariance - np.diag(variances)) / np.sqrt(np.outer(variances, variances)))


def test_ula_has_the_variance_of_its_own_step_size_and_not_of_the_gibbs_measure():
    decay = 0.2  # belongs to the measure
    rule = OptimizerSpec("langevin", learning_rate=ETA, inverse_temperature=BETA, weight_decay=decay)
    values, covariance = spread(change(REGRESSION, loss=LossSpec("half"), optimizer=rule))
    values = values + decay
    assert ETA * values[-1] > 0.7
    assert largest_error(covariance, rising(values) / (BETA * values * (1 - ETA * values / 2))) < CLOSE
    assert largest_error(covariance, rising(values) / (BETA * values)) > 5 * CLOSE
    assert largest_error(covariance, rising(values) / (2 * BETA * values * (1 - ETA * values / 2))) > 5 * CLOSE


def test_label_noise_spreads_along_the_hessian_as_it_must():
    """Its step adds eta^2 sigma^2 (2 c / n) H, c the loss's factor, so lambda has the variance eta sigma^2 (2 c / n) /
    (2 - eta lambda): the flatter the direction, the nearer to eta sigma^2 c / n."""
    rule = OptimizerSpec("label_noise_sgd", learning_rate=ETA, label_noise=SIGMA)
    values, covariance = spread(change(REGRESSION, loss=LossSpec("mse"), optimizer=rule))
    exact = rising(values) * ETA * SIGMA**2 * (2 / N) / (2 - ETA * values)
    assert largest_error(covariance, exact) < CLOSE
    assert largest_error(covariance, exact / 2) > 5 * CLOSE  # the other factor of the loss
    assert largest_error(covariance, exact * (2 - ETA * values) / 2) > 5 * CLOSE  # of first order in eta


def test_label_noise_is_refused_where_labels_are_classes_and_padding_where_noise_has_a_shape():
    classes = change(
        REGRESSION,
        data=DataSpec("vocabulary", input_dim=4, num_samples=4, patch_dim=2, components=3, noise_std=0.0),
        target=TargetSpec("one_hot"),
        model=ModelSpec(width=3),
        loss=LossSpec(kind="cross_entropy"),
        optimizer=OptimizerSpec("gd"),
    )
    classes.check()
    with pytest.raises(InputError, match="'label_noise_sgd': adds noise to labels that are values"):
        change(classes, optimizer__kind="label_noise_sgd").check()
    pads = {kind for kind in RULES if change(REGRESSION, optimizer__kind=kind).paddable}
    assert set(RULES) - pads == {"label_noise_sgd", "langevin", "psgld"}


def steps_of(optimizer: OptimizerSpec, gradient: Callable, params, steps: int, rule_state=None, key=None):
    """The parameters after `steps` steps of a rule by itself."""
    names = [name for name, value in vars(optimizer).items() if isinstance(value, float | jax.Array)]
    hyper = {f"optimizer.{name}": jnp.asarray(getattr(optimizer, name)) for name in names}
    rule, key = optimizer.rule(hyper, jax.tree.map(jnp.ones_like, params)), jax.random.key(0) if key is None else key

    def step(t, carry):
        return rule.update(*carry, lambda p, relabel=None: gradient(p), step=t, key=jax.random.fold_in(key, t))

    return jax.lax.fori_loop(0, steps, step, (params, rule.init(params) if rule_state is None else rule_state))[0]


def test_preconditioned_langevin_samples_in_its_metric_while_that_stands_still():
    """G = 1 / sqrt(E g^2) of the variance 1 / (beta lambda (1 - eta G lambda / 2)) itself;
    beta2 = 0.5 is the control."""
    values, variances = np.array([1.0, 30.0]), np.array([1.0, 1.0])
    for _ in range(200):
        metric = 1 / (values * np.sqrt(variances))
        variances = 1 / (BETA * values * (1 - 0.1 * metric * values / 2))
    squares = values**2 * variances

    @jax.jit
    def sample(keep):
        rule = OptimizerSpec("psgld", learning_rate=0.1, inverse_temperature=BETA, beta2=keep, epsilon=1e-12)
        keys = jax.random.split(jax.random.key(1), CHAINS)
        chain = lambda key: steps_of(rule, lambda p: values * p, jnp.zeros(2), 60, squares, key)  # noqa: E731
        return jnp.var(jax.vmap(chain)(keys), axis=0)

    expected = variances * (1 - (1 - 0.1 * metric * values) ** 120)
    np.testing.assert_allclose(sample(0.99999), expected, rtol=CLOSE)
    assert np.min(np.abs(sample(0.5) / expected - 1)) > 5 * CLOSE


def test_sam_is_optax_s():
    def gradient(p):
        return jax.grad(lambda q: jnp.sum(jnp.sin(q["a"]) ** 2) + jnp.sum(q["a"][:2] * q["b"]))(p)

    def by_optax(begin, normalized):
        ascent = optax.chain(optax.normalize_by_update_norm(), optax.sgd(0.4)) if normalized else optax.sgd(0.4)
        theirs = optax.contrib.sam(optax.sgd(0.1), ascent, opaque_mode=True)

        def step(_, carry):
            updates, state = theirs.update(gradient(carry[0]), carry[1], carry[0], grad_fn=lambda q, i: gradient(q))
            return optax.apply_updates(carry[0], updates), state

        return jax.lax.fori_loop(0, 9, step, (begin, theirs.init(begin)))[0]

    @jax.jit
    def both(begin):
        rules = [OptimizerSpec("sam", learning_rate=0.1, radius=0.4, normalized=kind) for kind in (True, False)]
        rules.append(OptimizerSpec("gd", learning_rate=0.1))
        return [steps_of(rule, gradient, begin, 9) for rule in rules], [by_optax(begin, kind) for kind in (True, False)]

    (*ours, plain), theirs = both({"a": np.linspace(-1.0, 2.0, 4), "b": np.array([0.3, -0.7])})
    for own, other in zip(ours, theirs, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), own, other)  # optax adds 1e-6 to the norm
        assert np.max(np.abs(np.asarray(own["a"]) - np.asarray(plain["a"]))) > 0.1


def test_sam_is_unstable_exactly_beyond_its_edge():
    """eta lambda (1 + rho lambda / |g|) = 2: at that |g| a step flips the sign, it grows below."""
    eta, rho, curvature = 0.3, 0.25, 4.0
    flips = rho * eta * curvature / (2 - eta * curvature)  # |theta| = |g| / lambda at the edge
    shares, signs, excess = np.array([0.98, 1.0, 1.02]), [1, 0, -1], np.array([-0.01, 0.01])
    rule = OptimizerSpec("sam", learning_rate=eta, radius=rho)
    plain = OptimizerSpec("sam", learning_rate=eta, radius=0.1, normalized=False)

    def gradient(p):
        return curvature * p

    @jax.jit
    def steps(starts, radii):
        after = jax.vmap(lambda start: steps_of(rule, gradient, jnp.stack([0 * start, start]), 1))(starts)
        far = jax.vmap(lambda radius: steps_of(change(plain, radius=radius), gradient, jnp.ones(1), 7))(radii)
        return after, far, steps_of(rule, lambda p: 0 * p, jnp.ones(1), 3)

    after, far, still = map(np.asarray, steps(shares * flips, ((2 + excess) / (eta * curvature) - 1) / curvature))
    assert not after[:, 0].any() and np.sign(np.round(-after[:, 1] / (shares * flips) - 1, 12)).tolist() == signs
    np.testing.assert_allclose(far[:, 0], -((1 + excess) ** 7), rtol=1e-12)
    assert still[0] == 1  # no direction is no ascent, and no NaN
