"""A run is the same run alone, in an ensemble, padded, sharded, in any lane, in any order: 200 steps in 64 bits.

A trained network at a moderate learning rate does not amplify rounding, so paths may be compared entry by entry.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ensemble_cases import CLOSE, FULL, MACHINE, NETWORK, PADDED, SYSTEMS, compute, group_of, pick, same_records
from oracles import assert_trees_close, change, hyper_of, key_of

from dynamics.core.recording import RecordSpec
from dynamics.core.simulate import drive, simulate
from dynamics.engine.execute import Executor, build_programs, stack_hyperparameters
from dynamics.engine.plan import Plan
from dynamics.systems.one_sample_descent import CatapultSpec
from dynamics.systems.training import TrainingSpec


@pytest.fixture(scope="module", params=SYSTEMS)
def ensemble(request):
    """(name, runs, their trajectory in one ensemble over four devices)."""
    runs = SYSTEMS[request.param]
    return request.param, runs, compute(runs)


def test_an_ensemble_has_moved_and_its_runs_differ(ensemble):
    """Else every comparison below would hold of nothing."""
    name, _, trajectory = ensemble
    assert trajectory.steps.tolist() == [0, 1, 50, 200]
    seen = trajectory.records["output" if "catapult" in name else "train_loss"]
    assert seen.shape == (6, 4)
    assert np.all(np.abs(seen[:, -1] - seen[:, 0]) > 1e-6)
    assert len(np.unique(seen[:, -1])) == (3 if name == "catapult map" else 6)  # the map draws nothing from its seed


def test_a_run_in_an_ensemble_is_the_run_alone(ensemble):
    _, runs, trajectory = ensemble
    with jax.enable_x64(True):
        run = runs[4]
        alone = simulate(run.dynamics(), key_of(run), hyper_of(run), run.record.schedule(200))
    same_records(pick(trajectory, 4), alone)
    assert_trees_close(pick(trajectory, 4).state, alone.state, **CLOSE)


ORDER = np.array([3, 0, 5, 4, 1, 2])


@pytest.mark.parametrize("name", ["minibatch", "catapult net"])
def test_one_lane_equals_many_and_the_order_of_runs_does_not_matter(name):
    runs = SYSTEMS[name]
    alone, abreast = compute(runs), compute([runs[i] for i in ORDER], lanes=2)
    same_records(abreast, pick(alone, ORDER))
    assert_trees_close(abreast.state, pick(alone, ORDER).state, **CLOSE)


def test_one_device_equals_four():
    runs = FULL
    trajectory, group = compute(runs), group_of(runs)
    with jax.enable_x64(True):
        programs = build_programs(group.static.dynamics(), 1, len(runs), jax.local_devices()[:1])
        assert (programs.devices, programs.size) == (1, 6)
        keys = jax.vmap(jax.random.key)(np.array([r.seed for r in runs], np.uint32))
        fixed, state = programs.start(keys, {k: jnp.asarray(v) for k, v in stack_hyperparameters(group.runs, 6).items()}, {})
        alone = drive(lambda s, *to: programs.advance(keys, fixed, s, *to), state, group.schedule)
    same_records(pick(alone, slice(0, 6)), trajectory)


def test_padding_changes_no_number(ensemble):
    name, runs, plain = ensemble
    padded = compute([runs[i] for i in ORDER], padded=PADDED[name])
    same_records(padded, pick(plain, ORDER))
    if isinstance(runs[0], TrainingSpec):
        own, wide = pick(plain, ORDER).state.params, padded.state.params
        np.testing.assert_allclose(wide.hidden[:, :3, :6], own.hidden, **CLOSE)
        np.testing.assert_allclose(wide.readout[:, :6], own.readout, **CLOSE)
        assert not wide.hidden[:, 3:].any() and not wide.hidden[:, :, 6:].any() and not wide.readout[:, 6:].any()


def test_runs_of_different_sizes_share_a_padded_program_and_keep_their_numbers():
    small = [change(run, data__input_dim=1, data__num_samples=5, model__width=9) for run in FULL[:3]]
    together, own = compute(small + FULL[3:], padded=(3, 13, 9)), compute(small)
    same_records(pick(together, slice(0, 3)), own)
    same_records(pick(together, slice(3, 6)), pick(compute(FULL), slice(3, 6)))


def test_sharpness_of_a_padded_relu_net_agrees_to_the_tolerance_of_lanczos():
    """Lanczos starts elsewhere in a larger space, so unlike the other measures this one is not the same to rounding.

    The kernel is small enough to be exhausted, so Gauss-Newton's is.
    """
    runs = [change(run, measures=["sharpness", "gauss_newton_sharpness"]) for run in FULL]
    plain, padded = compute(runs), compute(runs, padded=(3, 13, 9))
    assert plain.records["sharpness_converged"].all() and padded.records["sharpness_converged"].all()
    np.testing.assert_allclose(padded.records["sharpness"], plain.records["sharpness"], rtol=1e-5)
    np.testing.assert_allclose(padded.records["gauss_newton_sharpness"], plain.records["gauss_newton_sharpness"], **CLOSE)


def test_a_smooth_net_is_not_padded_where_its_sharpness_is_measured():
    """GELU has slope 1/2 at 0, so a zero neuron would add curvature; see test_curvature."""
    smooth = change(NETWORK, model__activation="gelu")
    assert smooth.paddable == NETWORK.paddable == ("data.input_dim", "data.num_samples", "model.width")
    assert change(smooth, measures=["sharpness"]).paddable == ("data.num_samples",)


# The ensemble's own arithmetic


def test_chunks_of_a_group_give_the_same_numbers_as_the_whole():
    runs = SYSTEMS["catapult map"]
    group = group_of(runs)
    executor = Executor()
    plan = Plan((change(group, chunk=4, chunks=(group.runs[:4], group.runs[4:])),), MACHINE)
    results = list(executor.compute_plan(plan))
    assert [len(r.runs) for r in results] == [4, 2]
    whole = compute(runs)
    for name, value in whole.records.items():
        np.testing.assert_allclose(np.concatenate([r.trajectory.records[name] for r in results]), value, **CLOSE)


def test_catapult_net_follows_its_exact_two_variable_map():
    """The closed pair (f, lambda) of Lewkowycz et al. 2020: an oracle for the net, by plain Python."""
    runs = [
        CatapultSpec(s, 60, RecordSpec(dense=60), "float64", form="net", width=12, edge_ratio=r)
        for s, r in ((0, 1.5), (1, 3.0))
    ]
    trajectory = compute(runs)
    for i, run in enumerate(runs):
        f, kernel, rate = run.initial_output, run.initial_kernel, run.edge_ratio
        for t in range(61):
            assert trajectory.records["output"][i, t] == pytest.approx(f, rel=1e-8, abs=1e-12)
            assert trajectory.records["kernel"][i, t] == pytest.approx(kernel, rel=1e-8)
            f, kernel = f * (1 - rate * kernel + rate**2 * f**2 / 12), kernel + rate * f**2 / 12 * (rate * kernel - 4)
