"""What measures need, cost and bear: one check for all of them, and pieces of a user's own by the same words."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import change, hyper_of, key_of

from dynamics.core import spec as specs
from dynamics.core.simulate import simulate
from dynamics.core.spec import option
from dynamics.data.problem import DataSpec
from dynamics.errors import InputError
from dynamics.measures.needs import NEEDS
from dynamics.measures.table import GAUSS_NEWTON, HALF_SPACES, HESSIAN, MEASURES, common_padding, distinct_work
from dynamics.models.losses import LOSSES
from dynamics.models.model_spec import ModelSpec
from dynamics.optimizers.rules import RULES
from dynamics.optimizers.update_rule import Rule
from dynamics.systems import register
from dynamics.systems.training import TrainingSpec

RUN = TrainingSpec(
    steps=4, data=DataSpec(input_dim=2, num_samples=8, num_test=4), model=ModelSpec(width=6), measures=["train_loss"]
)
WITHOUT = {  # a run that lacks what the need asks for
    "one_hidden_layer": {"model": ModelSpec("linear", 1)},
    "shared_filters": {"model": ModelSpec("mlp", 3)},
    "one_rate": {"model": ModelSpec(width=3, parametrization="mup")},
    "relu": {"model__activation": "gelu"},
}


@pytest.mark.parametrize("need", WITHOUT)
def test_every_measure_with_a_need_is_refused_without_it(need):
    found = [name for name, measure in MEASURES.items() if need in measure.needs]
    assert found and (need != "one_rate" or "preconditioned_sharpness" in found)  # eta is not that of every layer
    run = change(RUN, optimizer__kind="adam")  # which has the preconditioner that one of them needs besides
    for name in found:
        change(run, measures=[name]).check()
        with pytest.raises(InputError) as error:
            change(run, measures=["train_loss", name], **WITHOUT[need]).check()
        assert error.value.field == "measures" and error.value.value == name and error.value.allowed.startswith("needs ")


def test_needs_of_the_suite_are_words_of_the_vocabulary_and_each_is_used():
    assert {need for measure in MEASURES.values() for need in measure.needs} == set(NEEDS)


def test_work_that_measures_share_is_done_once():
    names = ["sharpness", "stability_checks", "path_norms", "gauss_newton_sharpness"]
    assert sorted(work.passes for work in distinct_work(names, RUN)) == [3, 15, 20]
    n, each = 8, 6 * (4 * 3 + 4)
    base = change(RUN, measures=["train_loss"]).cost().flops_per_record
    for chosen, passes in ((["sharpness"], 20), (["stability_checks", "sharpness"], 38), (["path_norms"], 3)):
        assert change(RUN, measures=chosen).cost().flops_per_record - base == pytest.approx(passes * n * each)
    assert distinct_work(["train_loss"], RUN) == () and distinct_work(["stability_checks"], RUN) == (
        GAUSS_NEWTON,
        HESSIAN,
        HALF_SPACES,
    )


def test_four_gradients_are_four_times_the_step():
    flow, gd = (change(RUN, optimizer__kind=kind).cost().flops_per_step for kind in ("gradient_flow", "gd"))
    assert flow == 4 * gd


def test_padding_is_the_narrowest_of_the_measures():
    assert common_padding(["train_loss", "sharpness"]) == "homogeneous" and common_padding(["train_loss"]) == "exact"
    gelu = change(RUN, model__activation="gelu")
    assert change(gelu, measures=["sharpness"]).paddable == ("data.num_samples",)
    assert "model.width" in change(RUN, measures=["sharpness"]).paddable and "model.width" in gelu.paddable


@pytest.fixture
def own():
    """A measure, a loss and a rule of a user's, with a swept field each."""

    @register.measure("large_readouts", needs=("one_hidden_layer",), cost=2.0, fields={"floor": option(0.1, at_least=0)})
    def large(view):
        return jnp.mean(jnp.abs(view.neurons.readout) > view.hyper["measure_options.floor"])

    @register.loss(fields={"delta": option(1.0, above=0)})
    def huber(prediction, labels, spec):
        return optax.losses.huber_loss(prediction, labels, delta=spec.delta)

    @register.optimizer("noisy", fields={"temperature": option(0.1, at_least=0)})
    def noisy(spec, hyper, mask):
        def update(params, state, gradient, *, step, key):
            def move(p, g):
                return p - hyper["optimizer.learning_rate"] * g + spec.temperature * jax.random.normal(key, p.shape, p.dtype)

            return jax.tree.map(move, params, gradient(params)), state + step

        return Rule(lambda params: jnp.int32(0), update)

    yield
    for registry, name in ((MEASURES, "large_readouts"), (LOSSES, "huber"), (RULES, "noisy")):
        registry.remove(name)


def run(spec: TrainingSpec):
    spec = specs.freeze(spec)
    spec.check()
    return simulate(specs.static(spec).dynamics(), key_of(spec), hyper_of(spec), (0, spec.steps))


def test_pieces_of_ones_own_have_numbers_needs_and_costs(own):
    spec = specs.put(
        change(RUN, measures=["train_loss", "large_readouts"]),
        {"loss.kind": "huber", "loss.delta": 0.2, "optimizer.kind": "noisy", "optimizer.temperature": 0.0},
    )
    assert spec.paddable == () and [work.passes for work in distinct_work(spec.measures, spec)] == [2.0]
    assert {"measure_options.floor", "loss.delta", "optimizer.temperature"} <= set(specs.swept(TrainingSpec))
    with pytest.raises(InputError, match="measures = 'large_readouts': needs"):
        change(spec, model=ModelSpec("linear", 1)).check()
    seen = run(spec)
    assert int(seen.state.rule) == 0 + 1 + 2 + 3  # the steps that the rule was told
    still, hot = (run(specs.put(spec, {"optimizer.temperature": t, "measure_options.floor": 0.3})) for t in (0.0, 0.5))
    np.testing.assert_array_equal(seen.records["train_loss"], still.records["train_loss"])
    assert seen.records["large_readouts"][-1] >= still.records["large_readouts"][-1]
    drift = np.asarray(hot.state.params.readout - still.state.params.readout)
    assert 0.1 < np.std(drift) / (0.5 * np.sqrt(4)) < 3  # noise of every step, each of its own
