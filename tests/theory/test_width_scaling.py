"""Powers of the width in one step against the numbers of Yang and Hu 2021, written out,
and against steps of networks."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from oracles import hyper_of

from dynamics.core.simulate import start
from dynamics.systems.coordinate_check import CASES, PARTS, RULES, CoordinateCheckSpec
from dynamics.theory.width_scaling import predict_step_powers

POWERS = {
    ("standard", "sgd", 0.0): (-0.5, 0.5, 1),
    ("standard", "adam", 0.0): (0, 1, 1.5),
    ("ntk", "sgd", 0.0): (-0.5, -0.5, 0),
    ("ntk", "adam", 0.0): (-0.5, -0.5, 0),
    ("mean_field", "sgd", 0.0): (0, 0, 0),
    ("mean_field", "adam", 0.0): (0, 0, 0),
    ("mup", "sgd", 0.0): (0, 0, 0),
    ("mup", "adam", 0.0): (0, 0, 0),
    ("mup", "sgd", 0.5): (0.5, 0.5, 1),
    ("mup", "adam", 0.5): (0, 0, 0.5),
}


@pytest.mark.parametrize("case", POWERS)
def test_predicted_powers_are_those_worked_out_by_hand(case):
    assert tuple(predict_step_powers(*case)) == pytest.approx(POWERS[case])


def test_a_coordinate_check_does_not_depend_on_padding_and_starts_from_no_change():
    """And its cases differ: a step in one is not that in another."""

    def seen(spec, true):
        dynamics = spec.dynamics()

        def run(key, hyper):
            fixed, state = start(dynamics, key, hyper)
            return dynamics.observe(state, fixed), dynamics.observe(dynamics.step(state, fixed, key), fixed)

        return jax.jit(run)(jax.random.key(3), hyper_of(true))

    true = CoordinateCheckSpec(width=6)
    (begun, plain), (_, padded) = seen(true, true), seen(CoordinateCheckSpec(width=9), true)
    assert len(plain) == len(CASES) * len(RULES) * len(PARTS) and all(float(value) == 0 for value in begun.values())
    for name, value in plain.items():
        assert float(value) == pytest.approx(float(padded[name]), rel=1e-5) and value > 0
    outputs = [float(plain[f"{case}_{rule}_output"]) for case in CASES for rule in RULES]
    assert len(set(np.round(outputs, 6))) == len(outputs)
