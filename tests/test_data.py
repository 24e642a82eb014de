"""Input laws against Monte Carlo and quadrature, draws that do not move when sizes grow, targets, initialisation."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import change, hyper_of, key_of, to_numpy
from scipy import integrate, special, stats

from dynamics.core import spec as specs
from dynamics.data.closed_forms import ball_half_space_mean, ball_half_space_probability
from dynamics.data.law import sample
from dynamics.data.problem import DataSpec, draw_problem
from dynamics.data.targets import TARGETS, Setting, TargetSpec
from dynamics.errors import InputError
from dynamics.models.linear import linear
from dynamics.models.spec import ModelSpec, resolve_width
from dynamics.models.two_layer import INITS, two_layer
from dynamics.systems.training import TrainingSpec

DIMS = [1, 2, 3, 5, 10]
HEIGHTS = np.array([-0.8, -0.3, 0.0, 0.2, 0.5, 0.8])


# Closed forms of the uniform ball


def ball_by_projection(rng, n, d):
    """Uniform on the unit ball of R^d: the first d coordinates of a uniform point on the sphere of R^(d+2)."""
    z = rng.normal(size=(n, d + 2))
    return (z / np.linalg.norm(z, axis=1, keepdims=True))[:, :d]


def z_scores(samples: np.ndarray, expected: float) -> float:
    return (samples.mean() - expected) / (samples.std(ddof=1) / np.sqrt(len(samples)))


@pytest.mark.parametrize("d", DIMS)
def test_half_space_probability_and_mean_agree_with_monte_carlo(rng, d):
    """Every z-score within 4.5: for the 60 of all dimensions together a false alarm has probability 4e-4 (and a fixed seed)."""
    x = ball_by_projection(rng, 200_000, d)
    u = rng.normal(size=d)
    projection = x @ (u / np.linalg.norm(u))
    for t in HEIGHTS:
        above = projection > t
        assert abs(z_scores(above, ball_half_space_probability(t, d))) < 4.5
        assert abs(z_scores(projection * above, ball_half_space_mean(t, d))) < 4.5


def test_monte_carlo_is_sharp_enough_to_reject_the_neighbouring_dimension(rng):
    above = ball_by_projection(rng, 200_000, 5)[:, 0] > 0.5
    assert abs(z_scores(above, ball_half_space_probability(0.5, 6))) > 10


@pytest.mark.parametrize("d", DIMS)
def test_half_space_probability_and_mean_agree_with_quadrature(d):
    def shape(t):
        return (1 - t * t) ** ((d - 1) / 2)

    total = integrate.quad(shape, -1, 1)[0]
    for t in HEIGHTS:
        assert ball_half_space_probability(t, d) == pytest.approx(integrate.quad(shape, t, 1)[0] / total, rel=1e-8)
        mean = integrate.quad(lambda s: s * shape(s), t, 1)[0] / total
        assert ball_half_space_mean(t, d) == pytest.approx(mean, rel=1e-8)


@pytest.mark.parametrize("d", DIMS)
def test_opposite_half_spaces_add_up(d):
    """Q(t) + Q(-t) = 1, and E[X_1 1{X_1 > t}] = E[X_1 1{X_1 > -t}] since E X_1 = 0; nothing lies beyond the ball."""
    t = np.linspace(0, 1, 21)
    np.testing.assert_allclose(ball_half_space_probability(t, d) + ball_half_space_probability(-t, d), 1, rtol=1e-14)
    np.testing.assert_allclose(ball_half_space_mean(t, d), ball_half_space_mean(-t, d), rtol=1e-14)
    for beyond in (1.0, 1.7):
        assert (ball_half_space_probability(beyond, d), ball_half_space_probability(-beyond, d)) == (0, 1)
        assert ball_half_space_mean(beyond, d) == ball_half_space_mean(-beyond, d) == 0


def test_constants_at_the_centre():
    """Q(0) = 1/2 and M(0) = c_1 / (d + 1) with c_1(1) = 1/2, c_1(2) = 2/pi, c_1(3) = 3/4."""
    for d, constant in ((1, 1 / 2), (2, 2 / np.pi), (3, 3 / 4)):
        assert ball_half_space_probability(0.0, d) == 0.5
        assert ball_half_space_mean(0.0, d) == pytest.approx(constant / (d + 1), rel=1e-14)


def weight_function(t, d):
    """Population g of section 1.5 of the theory: Q (M - t Q) sqrt(1 + (M / Q)^2)."""
    q, m = ball_half_space_probability(t, d), ball_half_space_mean(t, d)
    return q * (m - t * q) * np.sqrt(1 + (m / q) ** 2)


def test_weight_function_has_the_tabulated_centre_and_tail():
    centre = dict(zip(DIMS, (0.13975, 0.11526, 0.10013, 0.08185, 0.06040), strict=True))
    tail = dict(zip(DIMS, (0.1768, 0.2038, 0.2652, 0.5524, 6.16), strict=True))
    for d in DIMS:
        assert weight_function(0.0, d) == pytest.approx(centre[d], abs=6e-6)
        assert weight_function(1 - 1e-4, d) / 1e-4 ** (d + 2) == pytest.approx(tail[d], rel=3e-3)
    t = np.linspace(0, 0.9, 10)
    np.testing.assert_allclose(weight_function(t, 1), (1 - t) ** 3 / 8 * np.sqrt(1 + ((1 + t) / 2) ** 2), rtol=1e-12)


# Samplers


@partial(jax.jit, static_argnums=(0, 4, 5))
def draw(law, seed, num_samples, dim, shape, dtype="float32"):
    return sample(law, jax.random.key(seed), num_samples, dim, shape, jnp.dtype(dtype))


@pytest.mark.parametrize("d", DIMS)
def test_sampled_ball_has_the_radial_law_and_no_preferred_direction(d):
    x = np.asarray(draw("uniform_ball", d, 20_000, d, (20_000, d)), float)
    radius = np.linalg.norm(x, axis=1)
    assert radius.max() <= 1 + 1e-6
    assert stats.kstest(radius**d, "uniform").pvalue > 1e-3
    if d > 1:
        assert stats.kstest(radius, "uniform").pvalue < 1e-12  # the law of a uniform radius, a common mistake
    for j in range(d):
        assert abs(z_scores(x[:, j], 0)) < 4
        assert abs(z_scores(x[:, j] ** 2, 1 / (d + 2))) < 4
    if d > 1:
        assert abs(z_scores(x[:, 0] * x[:, -1], 0)) < 4
    for t in (0.3, 0.6):
        assert abs(z_scores(x[:, -1] > t, ball_half_space_probability(t, d))) < 4


@pytest.mark.usefixtures("x64")
def test_the_ball_is_drawn_in_the_precision_asked_for():
    x = np.asarray(draw("uniform_ball", 0, 500, 3, (500, 3), "float64"))
    assert x.dtype == np.float64
    assert np.any(x != x.astype(np.float32))


def test_grid_by_hand():
    np.testing.assert_array_equal(draw("grid", 0, 5, 2, (6, 3))[:5], [[v, 0, 0] for v in (-1, -0.5, 0, 0.5, 1)])
    np.testing.assert_array_equal(draw("grid", 0, 1, 1, (1, 1)), [[1.0]])


SPEC = TrainingSpec(
    precision="float64",
    model=ModelSpec(width=1),
    data=DataSpec(input_dim=2, num_samples=5, num_test=7, noise_std=0.3, scale=1.5),
)


@cache
def drawer(d, n, num_test, kind):
    """Built from sizes and kinds alone; the scalars of these specs are NaN, as they are in a program."""
    static = specs.static(TrainingSpec(model=ModelSpec(width=1)))
    data, target = change(static.data, input_dim=d, num_samples=n, num_test=num_test), change(static.target, kind=kind)
    return jax.jit(lambda key, hyper: draw_problem(data, target, key, hyper, jnp.float64))


def draw_at(spec: TrainingSpec, padded: tuple[int, int] | None = None):
    """The problem of a run, in arrays of its own size or of the padded (d, n)."""
    sizes = padded or (spec.data.input_dim, spec.data.num_samples)
    return to_numpy(drawer(*sizes, spec.data.num_test, spec.target.kind)(key_of(spec), hyper_of(spec)))


@pytest.mark.usefixtures("x64")
def test_padding_leaves_every_drawn_number_bit_identical():
    plain, padded = draw_at(SPEC), draw_at(SPEC, (4, 9))
    np.testing.assert_array_equal(padded.train.inputs[:5, :2], plain.train.inputs)
    assert not padded.train.inputs[:, 2:].any() and not padded.test.inputs[:, 2:].any()
    np.testing.assert_array_equal(padded.test.inputs[:, :2], plain.test.inputs)
    assert not padded.train.weights[5:].any() and not padded.train.labels[5:].any() and not padded.train.clean[5:].any()
    np.testing.assert_array_equal(padded.train.weights[:5], plain.train.weights)
    for seen, own in ((padded.train.labels[:5], plain.train.labels), (padded.test.labels, plain.test.labels)):
        np.testing.assert_allclose(seen, own, rtol=1e-14)  # sums over padded coordinates may be ordered anew


@pytest.mark.usefixtures("x64")
def test_samples_at_a_smaller_n_are_the_first_ones_of_a_larger_n_and_nothing_else_moves():
    small, large = draw_at(SPEC), draw_at(change(SPEC, data__num_samples=11))
    np.testing.assert_array_equal(large.train.inputs[:5], small.train.inputs)
    np.testing.assert_array_equal(large.train.labels[:5], small.train.labels)
    for a, b in zip(large.test, small.test, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(large.train.weights, np.full(11, 1 / 11))


@pytest.mark.usefixtures("x64")
def test_runs_of_one_seed_share_inputs_and_noise_and_seeds_share_nothing():
    base, noisy, wide, other = (
        draw_at(s) for s in (SPEC, change(SPEC, data__noise_std=0.6), change(SPEC, data__scale=3.0), change(SPEC, seed=1))
    )
    np.testing.assert_array_equal(noisy.train.inputs, base.train.inputs)
    np.testing.assert_allclose(noisy.train.labels - noisy.train.clean, 2 * (base.train.labels - base.train.clean), rtol=1e-12)
    np.testing.assert_allclose(wide.train.inputs, 2 * base.train.inputs, rtol=1e-15)
    np.testing.assert_array_equal(wide.train.clean, base.train.clean)  # the target sees the input before its scaling
    together = np.concatenate([base.train.inputs, base.test.inputs, other.train.inputs, other.test.inputs])
    assert len(np.unique(together.round(12), axis=0)) == len(together)  # train, test and seeds are all fresh draws


@pytest.mark.usefixtures("x64")
def test_labels_carry_gaussian_noise_of_the_given_size_and_clean_ones_none():
    spec = change(SPEC, target__kind="linear", data__num_samples=4000, data__num_test=4000)
    problem = draw_at(spec)
    for part in problem:
        noise = (part.labels - part.clean) / 0.3
        assert stats.kstest(noise, "norm").pvalue > 1e-3
        assert abs(np.corrcoef(noise, part.inputs[:, 0])[0, 1]) < 0.06
        np.testing.assert_allclose(part.clean, part.inputs[:, 0] / 1.5, rtol=1e-14)
    assert abs(np.corrcoef(problem.train.labels - problem.train.clean, problem.test.labels - problem.test.clean)[0, 1]) < 0.06


# Targets


def target(kind, dim, width=None, seed=0, degree=4):
    """f_0 of inputs alone, in so many coordinates of which `dim` are meant."""
    setting = Setting(dim, DataSpec(input_dim=width or dim), TargetSpec(kind, degree), None, jnp.float64)
    f = TARGETS[kind].draw(jax.random.key(seed), setting)
    return lambda x: f(x, jnp.zeros(len(x), jnp.int32))


@pytest.mark.usefixtures("x64")
def test_linear_and_zero_targets_by_hand(rng):
    x = jnp.asarray(rng.uniform(-1, 1, size=(6, 3)))
    np.testing.assert_array_equal(target("linear", 3)(x), x[:, 0])
    np.testing.assert_array_equal(target("zero", 3)(x), np.zeros(6))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4, 7])
def test_chebyshev_target_is_the_polynomial(rng, degree):
    x = rng.uniform(-1, 1, size=(20, 2))
    np.testing.assert_allclose(
        target("chebyshev", 2, degree=degree)(jnp.asarray(x)), special.eval_chebyt(degree, x[:, 0]), atol=1e-12
    )


@pytest.mark.usefixtures("x64")
def test_holder_target_is_one_plus_the_mean_root_over_d_unit_directions(rng):
    """In d = 1 that is 1 + |x|^(1/2). In d > 1 the directions are found from the target's squared increments."""
    x = rng.uniform(-1, 1, size=(20, 1))
    np.testing.assert_allclose(target("holder_half", 1)(jnp.asarray(x)), 1 + np.sqrt(np.abs(x[:, 0])), rtol=1e-14)

    f = target("holder_half", 3, seed=5)
    assert f(jnp.zeros((1, 3)))[0] == 1
    y = jnp.asarray(rng.uniform(-1, 1, size=(20, 3)))
    np.testing.assert_allclose(f(4 * y) - 1, 2 * (f(y) - 1), rtol=1e-13)  # homogeneous of degree 1/2
    np.testing.assert_allclose(f(-y), f(y), rtol=1e-14)
    assert np.all(np.asarray(f(y)) <= 1 + np.linalg.norm(np.asarray(y), axis=1) ** 0.5)  # |u_j . x| <= |x|
    np.testing.assert_allclose(target("holder_half", 3, 6, seed=5)(jnp.pad(y, ((0, 0), (0, 3)))), f(y), rtol=1e-13)


@pytest.mark.usefixtures("x64")
def test_holder_directions_are_uniform_over_seeds():
    """E |u . e_1|^(1/2) over the circle is Gamma(3/4) / (sqrt pi Gamma(5/4)); f_0(e_1) is one plus a mean of such."""
    e1 = jnp.asarray([[1.0, 0.0]])
    make = jax.vmap(lambda seed: target("holder_half", 2, seed=seed)(e1)[0])
    values = np.asarray(jax.jit(make)(jnp.arange(4000)))
    expected = 1 + special.gamma(3 / 4) / (np.sqrt(np.pi) * special.gamma(5 / 4))
    assert abs(z_scores(values, expected)) < 4


# Initialisation


@cache
def initialiser(init, padded):
    model = two_layer(*padded, "relu", init, jnp.float64)
    return jax.jit(jax.vmap(lambda seed, hyper: model.init(jax.random.key(seed), hyper), in_axes=(0, None)))


def drawn_params(init, d, width, padded=None, scale=1.0, seeds=(0,)):
    """Initial parameters of the first seed; of all of them on a leading axis where there are several."""
    hyper = {"data.input_dim": jnp.int32(d), "model.width": jnp.int32(width), "model.init_scale": jnp.float64(scale)}
    params = to_numpy(initialiser(init, padded or (d, width))(jnp.asarray(seeds), hyper))
    return params if len(seeds) > 1 else jax.tree.map(lambda p: p[0], params)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("init", INITS)
def test_initial_weights_and_biases_have_their_law(init):
    """torch_default: uniform on +-fan_in^(-1/2); kaiming_normal: N(0, 2/fan_in); kaiming_uniform: +-(6/fan_in)^(1/2).

    kaiming_lecun: N(0, 2/fan_in) in the hidden layer, N(0, 1/fan_in) in the readout.
    """
    d, width = 3, 4000
    params = drawn_params(init, d, width)
    for drawn, fan_in, gain in (
        (params.hidden[1:].ravel(), d, 2),
        (params.readout, width, 1 if init == "kaiming_lecun" else 2),
    ):
        if init in ("kaiming_normal", "kaiming_lecun"):
            law = stats.norm(scale=np.sqrt(gain / fan_in))
        else:
            bound = np.sqrt((1 if init == "torch_default" else 6) / fan_in)
            law = stats.uniform(-bound, 2 * bound)
            assert np.abs(drawn).max() <= bound
        assert stats.kstest(drawn, law.cdf).pvalue > 1e-3
        assert abs(z_scores(drawn, 0)) < 4
        assert abs(z_scores(drawn**2, law.var())) < 4
    offsets = drawn_params(init, d, 4, seeds=tuple(range(200))).offset
    if init == "torch_default":
        assert stats.kstest(params.hidden[0], stats.uniform(-(d**-0.5), 2 * d**-0.5).cdf).pvalue > 1e-3
        assert stats.kstest(offsets, stats.uniform(-0.5, 1).cdf).pvalue > 1e-3  # uniform on +-width^(-1/2)
    else:
        assert not params.hidden[0].any() and not offsets.any()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("init", INITS)
def test_padding_leaves_initial_parameters_bit_identical_and_the_rest_zero(init):
    plain, padded = drawn_params(init, 2, 5), drawn_params(init, 2, 5, padded=(4, 9))
    np.testing.assert_array_equal(padded.hidden[:3, :5], plain.hidden)
    np.testing.assert_array_equal(padded.readout[:5], plain.readout)
    assert padded.offset == plain.offset
    assert not padded.hidden[3:].any() and not padded.hidden[:, 5:].any() and not padded.readout[5:].any()


@pytest.mark.usefixtures("x64")
def test_a_wider_net_keeps_the_hidden_weights_of_a_narrower_one_and_rescales_the_readout():
    narrow, wide = drawn_params("torch_default", 2, 4), drawn_params("torch_default", 2, 16)
    np.testing.assert_array_equal(wide.hidden[:, :4], narrow.hidden)
    np.testing.assert_allclose(wide.readout[:4], narrow.readout / 2, rtol=1e-15)


@pytest.mark.usefixtures("x64")
def test_init_scale_multiplies_every_initial_parameter():
    one, three = drawn_params("torch_default", 2, 5), drawn_params("torch_default", 2, 5, scale=3.0)
    for a, b in zip(one, three, strict=True):
        np.testing.assert_allclose(b, 3 * a, rtol=1e-15)
    assert one.offset != 0


@pytest.mark.usefixtures("x64")
def test_linear_model_starts_normal_and_pads_with_zeros():
    hyper = {"data.input_dim": jnp.int32(3000), "model.init_scale": jnp.float64(2.0)}
    w = np.asarray(linear(3005, jnp.float64).init(jax.random.key(0), hyper))
    assert stats.kstest(w[:3000], stats.norm(scale=2).cdf).pvalue > 1e-3
    assert not w[3000:].any()
    np.testing.assert_array_equal(linear(3000, jnp.float64).init(jax.random.key(0), hyper), w[:3000])


@pytest.mark.usefixtures("x64")
def test_parameters_are_counted_as_in_the_theory():
    """P = K (d + 2) + 1."""
    params = drawn_params("torch_default", 2, 5)
    assert ModelSpec(width=5).parameters((2,)) == 5 * 4 + 1 == sum(p.size for p in params)


@pytest.mark.parametrize("width, expected", [(4, 4), ("4", 4), ("n", 10), ("4n", 40), ("0.5n", 5), (" 2n ", 20)])
def test_width_is_a_number_or_a_multiple_of_n(width, expected):
    assert resolve_width(width, 10) == expected


@pytest.mark.parametrize("width", ["", "0", "-3", "0.25n", "4m", "nan", "inf", "infn", "2.5"])
def test_a_width_that_is_no_whole_number_is_refused_by_name(width):
    with pytest.raises(InputError, match=r"^model\.width"):
        resolve_width(width, 10)
