"""Initial parameters: their law, padding, width; the sizes of models."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import to_numpy, z_scores
from scipy import stats

from dynamics.errors import InputError
from dynamics.models.linear import build_linear_model
from dynamics.models.model_spec import ModelSpec, resolve_width
from dynamics.models.two_layer import INITS, build_two_layer


@cache
def initialiser(padded):
    """(seeds, hyper) -> initial parameters by init, seeds on a leading axis; one program for all inits."""
    models = {init: build_two_layer(*padded, "relu", init, jnp.float64) for init in INITS}

    def draw(seed, hyper):
        return {init: model.init(jax.random.key(seed), hyper) for init, model in models.items()}

    return jax.jit(jax.vmap(draw, in_axes=(0, None)))


def drawn_params(init, d, width, padded=None, scale=1.0, seeds=(0,)):
    """Initial parameters of the first seed; of all of them on a leading axis where there are several."""
    hyper = {"data.input_dim": np.int32(d), "model.width": np.int32(width), "model.init_scale": np.float64(scale)}
    params = to_numpy(initialiser(padded or (d, width))(np.asarray(seeds), hyper)[init])
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
    narrow, wide = (drawn_params("torch_default", 2, width, padded=(4, 9)) for width in (2, 8))
    np.testing.assert_array_equal(wide.hidden[:, :2], narrow.hidden[:, :2])
    np.testing.assert_allclose(wide.readout[:2], narrow.readout[:2] / 2, rtol=1e-15)


@pytest.mark.usefixtures("x64")
def test_init_scale_multiplies_every_initial_parameter():
    one, three = drawn_params("torch_default", 2, 5), drawn_params("torch_default", 2, 5, scale=3.0)
    for a, b in zip(one, three, strict=True):
        np.testing.assert_allclose(b, 3 * a, rtol=1e-15)
    assert one.offset != 0


@pytest.mark.usefixtures("x64")
def test_linear_model_starts_normal_and_pads_with_zeros():
    hyper = {"data.input_dim": jnp.int32(3000), "model.init_scale": jnp.float64(2.0)}
    w = np.asarray(jax.jit(build_linear_model(3005, jnp.float64).init)(jax.random.key(0), hyper))
    assert stats.kstest(w[:3000], stats.norm(scale=2).cdf).pvalue > 1e-3
    assert not w[3000:].any()
    np.testing.assert_array_equal(jax.jit(build_linear_model(3000, jnp.float64).init)(jax.random.key(0), hyper), w[:3000])


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
