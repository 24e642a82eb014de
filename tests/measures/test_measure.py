"""`measure` on nets of one's own: against numpy, in both precisions and normalisations, compiled once a shape,
and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import dense_hessian, net_output, random_net

from dynamics.errors import InputError
from dynamics.measures import measure as module
from dynamics.measures.measure import measure

N, D, WIDTH = 9, 2, 5


@pytest.fixture
def example(rng):
    return tuple(random_net(rng, D, WIDTH)), rng.normal(size=(N, D)), rng.normal(size=N)


OF_CURVATURE = ["train_loss", "sharpness", "stability_checks"]


@pytest.mark.parametrize("normalization, factor, names", [("mse", 1.0, OF_CURVATURE), ("half", 0.5, OF_CURVATURE[:2])])
def test_numpys_numbers_in_64_bits_outside_of_x64(example, normalization, factor, names):
    net, x, y = example
    seen = measure(net, x, y, names, learning_rate=0.3, normalization=normalization)
    top = np.linalg.eigvalsh(dense_hessian(random_net_of(net), x, y, factor))[-1]
    assert seen["train_loss"] == pytest.approx(factor * np.mean((net_output(random_net_of(net), x) - y) ** 2), rel=1e-14)
    assert seen["sharpness"] == pytest.approx(top, rel=1e-9)
    assert names != OF_CURVATURE or seen["below_edge"] is bool(top <= 2 / 0.3)
    assert all(isinstance(value, float | bool) for value in seen.values())


def random_net_of(net):
    from dynamics.models.two_layer import TwoLayer

    return TwoLayer(*net)


def test_a_net_is_below_the_edge_of_small_rates_alone(example):
    net, x, y = example
    low, high = (measure(net, x, y, OF_CURVATURE, learning_rate=rate) for rate in (1e-3, 50.0))
    assert low["below_edge"] and not high["below_edge"]
    assert np.isfinite(low["corollary_slack"]) and np.isnan(high["corollary_slack"])


def test_the_next_net_of_a_shape_compiles_nothing(example, rng):
    net, x, y = example
    measure(net, x, y, ["weight_norm", "path_norms"], learning_rate=0.1)
    programs = module._take._cache_size()
    other = tuple(random_net(rng, D, WIDTH))
    seen = measure(other, x + 1, y - 1, ["weight_norm", "path_norms"], learning_rate=0.2)
    assert module._take._cache_size() == programs
    assert seen["weight_norm"] == pytest.approx(np.sqrt(sum(np.sum(leaf**2) for leaf in other)), rel=1e-14)
    measure(tuple(random_net(rng, D, WIDTH + 1)), x, y, ["weight_norm", "path_norms"])
    assert module._take._cache_size() == programs + 1  # so that the count counts


def predict(params, inputs):
    return inputs @ params["w"] + params["b"]


def test_a_function_of_ones_own_has_risks_and_a_sharpness_but_no_neurons(rng):
    x, y, fresh = rng.normal(size=(N, D)), rng.normal(size=N), rng.normal(size=(30, D))
    params = {"w": rng.normal(size=D), "b": np.array(0.5)}
    risk = np.mean((predict(params, fresh) - fresh[:, 0]) ** 2)
    names = ["train_loss", "sharpness", "gauss_newton_sharpness", "excess_risk", "gradient_norm"]
    seen = measure((params, predict), x, y, names, test=(fresh, fresh[:, 0]))
    design = np.column_stack([x, np.ones(N)])
    top = np.linalg.eigvalsh(2 * design.T @ design / N)[-1]
    gradient = 2 * design.T @ (predict(params, x) - y) / N
    expected = [np.mean((predict(params, x) - y) ** 2), top, top, risk, np.linalg.norm(gradient)]
    np.testing.assert_allclose([seen[name] for name in names], expected, rtol=1e-8)
    with pytest.raises(InputError, match="measures = 'path_norms': needs"):
        measure((params, predict), x, y, "path_norms")


def test_precision_is_the_widest_unless_it_is_asked_for(example):
    net, x, y = example
    single = tuple(np.float32(leaf) for leaf in net)
    narrow = measure(single, np.float32(x), np.float32(y), "train_loss")["train_loss"]
    asked = measure(net, x, y, "train_loss", precision="float32")["train_loss"]
    exact = np.mean((net_output(random_net_of(net), x) - y) ** 2)
    for value in (narrow, asked):
        assert value == np.float32(value) and value == pytest.approx(exact, rel=1e-5)
    assert measure(single, x, np.float32(y), "train_loss")["train_loss"] != np.float32(exact)


BAD = {
    "no such measure": ({"measures": "sharpnes"}, "measures = 'sharpnes': choose one of"),
    "none": ({"measures": []}, "measures = []: must name at least one"),
    "no rate": ({"measures": "stability_checks"}, "measures = 'stability_checks': needs a learning rate: learning_rate=0.1"),
    "no test samples": ({"measures": "excess_risk"}, "measures = 'excess_risk': needs samples to test on: "),
    "no clean labels": ({"measures": "clean_train_error"}, "measures = 'clean_train_error': needs labels without noise"),
    "kinks of a gelu": (
        {"measures": "path_norms", "activation": "gelu"},
        "measures = 'path_norms': needs model.activation = relu",
    ),
    "classes of a scalar": ({"measures": "accuracy"}, "measures = 'accuracy': needs a target.kind of several outputs"),
    "a rate of zero": ({"learning_rate": 0.0}, "learning_rate = 0.0: must be a number above 0"),
    "no such loss": ({"loss": "hinge"}, "loss = 'hinge': choose one of cross_entropy, squared"),
    "no such normalisation": ({"normalization": "sum"}, "normalization = 'sum': choose one of half, mean, mse"),
    "a mean over one output": ({"normalization": "mean"}, "loss.normalization = 'mean': is the mean over several outputs"),
    "no such precision": ({"precision": "float16"}, "precision = 'float16': choose one of float32, float64"),
    "labels of others": ({"labels": np.zeros(N + 1)}, f"labels = ({N + 1},): must have shape ({N},)"),
    "inputs in a row": ({"inputs": np.zeros(N)}, f"inputs = ({N},): must have shape (n, d)"),
    "wider inputs": ({"inputs": np.zeros((N, D + 1))}, f"net hidden = ({D + 1}, {WIDTH}): must have shape ({D + 2}, K)"),
    "nan": ({"labels": np.full(N, np.nan)}, "labels = [nan]: must be finite"),
    "no net": ({"net": 3}, "net = 'int': must be (hidden, readout, offset), or (params, apply)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_in_one_line(case, example):
    values, message = BAD[case]
    net, x, y = example
    given = {"net": net, "inputs": x, "labels": y, "measures": "train_loss", **values}
    with pytest.raises(InputError) as error:
        measure(**given)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
