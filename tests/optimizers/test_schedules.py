"""Learning-rate schedules: each against its formula in numpy and optax's own, whole runs against a numpy loop,
and refusals."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import NOISELESS, change, hyper_of, key_of, net_gradient, steps_of_rule, to_numpy

from dynamics.core import spec as specs
from dynamics.core.simulate import simulate, start
from dynamics.data.problem import DataSpec
from dynamics.errors import InputError
from dynamics.models.losses import LossSpec
from dynamics.models.model_spec import ModelSpec
from dynamics.models.two_layer import TwoLayer
from dynamics.optimizers.rules import RULES, OptimizerSpec
from dynamics.optimizers.schedules import SCHEDULES, ScheduleSpec, scheduled_rate
from dynamics.systems.training import TrainingSpec, TrainState

pytestmark = pytest.mark.usefixtures("x64")

ETA, STEPS = 0.3, 20
SPECS = {
    "constant": ScheduleSpec(),
    "warmup": ScheduleSpec("warmup", warmup_steps=4.0),
    "cosine": ScheduleSpec("cosine", warmup_steps=5.0, final_fraction=0.1),
    "step": ScheduleSpec("step", warmup_steps=2.0, decay_factor=0.5, period=6.0),
    "inverse_sqrt": ScheduleSpec("inverse_sqrt", warmup_steps=3.0, period=7.0),
}


def rate_by_hand(s: ScheduleSpec, t: int) -> float:
    """The learning rate of step t, from the formulas of the docstring."""
    if t < s.warmup_steps:
        return ETA * t / s.warmup_steps
    after = t - s.warmup_steps
    if s.kind == "cosine":
        half = (1 + math.cos(math.pi * after / (STEPS - s.warmup_steps))) / 2
        return ETA * (s.final_fraction + (1 - s.final_fraction) * half)
    if s.kind == "step":
        return ETA * s.decay_factor ** (after // s.period)
    return ETA / math.sqrt(1 + after / s.period) if s.kind == "inverse_sqrt" else ETA


@partial(jax.jit, static_argnums=0)
def rates_of_kind(kind: str, hyper: dict[str, jax.Array]) -> jax.Array:
    return jax.vmap(lambda t: scheduled_rate(kind, hyper, t, STEPS) * jnp.ones(()))(jnp.arange(STEPS + 1))


def rates(s: ScheduleSpec) -> np.ndarray:
    """The rates of steps 0 to STEPS, all numbers traced."""
    numbers = {f"optimizer.schedule.{name}": value for name, value in vars(s).items() if isinstance(value, float)}
    hyper = {"optimizer.learning_rate": ETA, **numbers}
    return np.asarray(rates_of_kind(s.kind, {name: np.float64(value) for name, value in hyper.items()}))


def test_every_schedule_is_tried():
    assert set(SPECS) == {name for name, entry in SCHEDULES.items() if name not in SCHEDULES.own_pieces()}


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("warm", [True, False])
def test_schedule_is_its_formula(kind, warm):
    s = SPECS[kind] if warm else change(SPECS[kind], warmup_steps=0.0)
    np.testing.assert_allclose(rates(s), [rate_by_hand(s, t) for t in range(STEPS + 1)], rtol=1e-12)
    assert kind == "constant" or not warm or rates(s)[0] == 0 < rates(s)[1]


@pytest.mark.parametrize(
    "kind, own",
    {
        "warmup": optax.warmup_constant_schedule(0.0, ETA, 4),
        "cosine": optax.warmup_cosine_decay_schedule(0.0, ETA, 5, STEPS, 0.1 * ETA),
        "step": optax.join_schedules(
            [optax.linear_schedule(0.0, ETA, 2), optax.exponential_decay(ETA, 6, 0.5, staircase=True)], [2]
        ),
    }.items(),
)
def test_schedule_is_what_optax_makes_of_numbers_that_are_not_traced(kind, own):
    np.testing.assert_allclose(rates(SPECS[kind]), jax.jit(jax.vmap(own))(jnp.arange(STEPS + 1)), rtol=1e-12)


NETWORK = TrainingSpec(
    seed=3,
    steps=STEPS,
    precision="float64",
    data=DataSpec(input_dim=2, num_samples=9, num_test=1),
    model=ModelSpec(kind="two_layer", width=5),
    loss=LossSpec("mse"),
    measures=["weight_norm", "stability_checks"],
    optimizer=OptimizerSpec(
        learning_rate=ETA, momentum=0.8, beta1=0.7, beta2=0.95, epsilon=1e-3, weight_decay=0.1, schedule=SPECS["cosine"]
    ),
)


def flat(params: TwoLayer) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in params])


SCHEDULED = [kind for kind, rule in RULES.items() if rule.scheduled]


@pytest.fixture(scope="module")
def runs_by_rule():
    """Six steps by every rule from one start:
    (fixed data, the parameters after 0 to 6 steps by rule, float64 (7, 21))."""
    noiseless = {name: value for fields in NOISELESS.values() for name, value in fields.items()}
    spec = specs.freeze(change(NETWORK, optimizer=change(NETWORK.optimizer, **noiseless), steps=6))

    @jax.jit
    def run(key, hyper):
        fixed, begin = start(specs.static(spec).dynamics(), key, hyper)
        seen = {}
        for kind in SCHEDULED:
            own = specs.static(change(spec, optimizer__kind=kind))
            step = own.dynamics().step
            rule = own.optimizer.rule(hyper, jax.tree.map(jnp.ones_like, begin.params)).init(begin.params)
            state = TrainState(begin.params, rule, jnp.int32(0))
            seen[kind] = jax.lax.scan(lambda s, t: (step(s, fixed, key), s.params), state, jnp.arange(7))[1]
        return fixed, seen

    with jax.enable_x64(True):
        fixed, seen = to_numpy(run(key_of(spec), hyper_of(spec)))
    return fixed, {kind: np.stack([flat([leaf[t] for leaf in params]) for t in range(7)]) for kind, params in seen.items()}


@pytest.mark.parametrize("kind", SCHEDULED)
def test_every_rule_takes_the_scheduled_rate_of_its_step(kind, runs_by_rule):
    """Step by step against numpy; the rule's state must be the same as with a constant rate."""
    spec = change(NETWORK, optimizer__kind=kind, steps=6)
    fixed, params = runs_by_rule[0], runs_by_rule[1][kind]
    x, y = fixed.problem.train.inputs, fixed.problem.train.labels

    def gradient(p: np.ndarray) -> np.ndarray:
        net = TwoLayer(p[:15].reshape(3, 5), p[15:20], p[20])
        return flat(net_gradient(net, x, y, np.full(len(y), 1 / len(y)), 1.0))

    scheduled = [optimizer_rate(spec, t) for t in range(6)]
    expected = steps_of_rule(kind, spec.optimizer, params[0], gradient, np.ones(21), 6, scheduled)
    np.testing.assert_allclose(params, expected, rtol=1e-9, atol=1e-12)
    constant = steps_of_rule(kind, spec.optimizer, params[0], gradient, np.ones(21), 6)
    assert np.max(np.abs(constant[-1] - expected[-1])) > 1e-3


def optimizer_rate(spec: TrainingSpec, t: int) -> float:
    s = spec.optimizer.schedule
    if t < s.warmup_steps:
        return ETA * t / s.warmup_steps
    half = (1 + math.cos(math.pi * (t - s.warmup_steps) / (spec.steps - s.warmup_steps))) / 2
    return ETA * (s.final_fraction + (1 - s.final_fraction) * half)


def test_the_edge_is_that_of_the_rate_in_force():
    """`below_edge` and the corollary's slack at each recorded step,
    from C3's slack and the sharpness of the same record."""
    spec = specs.freeze(change(NETWORK, measures=["sharpness", "stability_checks"], optimizer__learning_rate=1.5))
    seen = simulate(specs.static(spec).dynamics(), key_of(spec), hyper_of(spec), tuple(range(STEPS + 1)))
    scale = 1.5 / ETA
    rate = np.array([2 * scale * rate_by_hand(SPECS["cosine"], t) for t in range(STEPS + 1)])  # in theory units: c = 1
    sharpness = seen.records["sharpness"] / 2
    with np.errstate(divide="ignore"):
        edge = 2 / rate
    np.testing.assert_array_equal(seen.records["below_edge"], sharpness <= edge)
    assert 0 < seen.records["below_edge"].sum() < STEPS + 1  # at a constant rate it would be all or the other way round
    with np.errstate(divide="ignore"):
        slack = 1 / rate - sharpness / 2 + seen.records["c3_slack"]
    below = seen.records["below_edge"] & (rate > 0)
    np.testing.assert_allclose(seen.records["corollary_slack"][below], slack[below], rtol=1e-10)


def test_runs_at_a_constant_rate_are_the_runs_that_they_were():
    constant = specs.freeze(change(NETWORK, optimizer__schedule=ScheduleSpec()))
    assert specs.run_id(specs.freeze(NETWORK)) != specs.run_id(constant)
    own = [path for path in specs.flatten(constant) if path.startswith("optimizer.schedule.")]
    assert own and set(own) <= set(specs.latecomers(TrainingSpec))


def test_all_numbers_of_a_schedule_are_swept_and_its_kind_is_not():
    swept = set(specs.swept(TrainingSpec))
    assert {f"optimizer.schedule.{name}" for name in ("warmup_steps", "final_fraction", "decay_factor", "period")} <= swept
    other = change(NETWORK, optimizer__schedule__warmup_steps=2.0)
    assert specs.family(specs.freeze(NETWORK)) == specs.family(specs.freeze(other))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_only_a_constant_rate_leaps(precision):
    plain = change(NETWORK, precision=precision, optimizer__schedule=ScheduleSpec(), optimizer__kind="gd")
    assert change(plain, optimizer__schedule=SPECS["step"]).dynamics().leap is None
    from dynamics.kernels import gates

    fast = precision == "float32" and jax.default_backend() == "cpu" and gates.has_kernels(3, jnp.float32)
    assert (plain.dynamics().leap is not None) == fast


BAD = {
    "no such": ({"kind": "linear"}, "optimizer.schedule.kind = 'linear': choose one of constant, cosine"),
    "no warm-up": ({"kind": "warmup"}, "optimizer.schedule.warmup_steps = 0.0: must be above 0"),
    "all warm-up": (
        {"kind": "cosine", "warmup_steps": 20.0},
        "optimizer.schedule.warmup_steps = 20.0: must be less than steps = 20",
    ),
    "of another": (
        {"kind": "step", "final_fraction": 0.5},
        "optimizer.schedule.final_fraction = 0.5: is of optimizer.schedule.kind = cosine",
    ),
    "of none": (
        {"warmup_steps": 3.0},
        "optimizer.schedule.warmup_steps = 3.0: is of optimizer.schedule.kind = warmup or cosine",
    ),
    "no period": ({"kind": "step", "period": 0.0}, "optimizer.schedule.period = 0.0: must be a number above 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_schedules_are_told_by_field_and_value(case):
    values, message = BAD[case]
    NETWORK.check()
    with pytest.raises(InputError) as error:
        change(NETWORK, optimizer__schedule=ScheduleSpec(**values)).check()
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_the_flow_refuses_a_schedule():
    with pytest.raises(InputError) as error:
        change(NETWORK, optimizer__kind="gradient_flow").check()
    assert str(error.value).startswith("optimizer.schedule.kind = 'cosine': optimizer.kind = gradient_flow takes steps of one")
