"""The lower bound's caps: closed forms against quadrature and sampling, the packing against a plain one,
f_2 on its data."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import dense_hessian, net_jacobian, net_output, path_norms, residual_blocks
from scipy import integrate, stats

from dynamics.core import spec as specs
from dynamics.core.simulate import advance, drive, start
from dynamics.data.closed_forms import radial_forms
from dynamics.data.law import draw_inputs
from dynamics.errors import InputError
from dynamics.models.two_layer import TwoLayer
from dynamics.stability.ridges import list_ridges, merge_equal_ridges, path_norm
from dynamics.stability.weight import population_weight
from dynamics.study.config import compose
from dynamics.systems.cap_packing import CapsSpec, choose_atom_geometry, samples_per_cap
from dynamics.theory import cap_geometry as theory

DIMS = [2, 3, 5, 8]


def ball(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * rng.uniform(size=(n, 1)) ** (1 / d)


def evaluate(net, x: np.ndarray) -> np.ndarray:
    hidden, readout = np.asarray(net.hidden), np.asarray(net.readout)
    return np.maximum(x @ hidden[1:] + hidden[0], 0) @ readout


@pytest.mark.parametrize("d", DIMS)
@pytest.mark.parametrize("eps", [0.1, 0.5, 1.0])
def test_atom_square_is_the_notes_integral(d, eps):
    h = eps**2
    integral = integrate.quad(lambda s: (h - s) ** 2 * (2 * s - s**2) ** ((d - 1) / 2), 0, h, epsabs=0, epsrel=1e-11)[0]
    expected = theory.ball_volume(d - 1) / theory.ball_volume(d) * integral / h**2
    assert theory.atom_mean_square(eps, d) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("d", [1, 2, 4])
def test_atom_square_and_cap_probability_by_sampling(d, x64):
    eps, count = 0.6, 200_000
    centre = np.array([[1 - eps**2 / 2]]) if d == 1 else np.eye(d)[:1]
    values = evaluate(theory.build_hard_function(centre, [1.0], eps), ball(count, d))
    assert np.mean(values**2) == pytest.approx(theory.atom_mean_square(eps, d), abs=4 * np.std(values**2) / count**0.5)
    share = float(theory.cap_probability(eps, d))
    assert np.mean(values > 0) == pytest.approx(share, abs=4 * (share / count) ** 0.5)


@pytest.mark.parametrize("d", [1, *DIMS])
def test_cap_constants_bound_the_mass_and_the_upper_one_is_its_limit(d):
    low, high = theory.cap_constants(d)
    eps = np.geomspace(1e-3, 1, 50)
    mass = theory.cap_probability(eps, d) / eps ** (d + 1)
    assert (mass >= low * (1 - 1e-9)).all() and (mass <= high * (1 + 1e-9)).all()
    assert mass[0] == pytest.approx(high, rel=1e-4)
    assert d == 1 or mass[-1] < 0.9 * high


def test_numbers_of_the_paper_check():
    """d = 3: U = 3/4, L = 3/8; the share of the sphere in a cap of height h is h / 2."""
    assert theory.cap_constants(3) == pytest.approx((0.375, 0.75))
    assert np.round(theory.empty_cap_share_bounds(3), 3).tolist() == [0.472, 0.687]
    assert theory.disjoint_cap_bound(0.1, 3) == 200
    assert theory.disjoint_cap_bound(0.1, 1) == 20


def test_expected_share_is_above_its_limit_but_not_at_every_n():
    """Proposition I.1's q* is a limit: from above for d >= 2 and large n, but from below for d = 1,
    and not yet at n = 1."""
    for d in DIMS:
        limit = float(theory.empty_cap_share_bounds(d)[0])
        assert all(float(theory.empty_cap_share(n, d)) > limit for n in (100, 10**4, 10**6))
        assert float(theory.empty_cap_share(10**12, d)) == pytest.approx(limit, rel=1e-2)
    assert float(theory.empty_cap_share(1, 2)) < float(theory.empty_cap_share_bounds(2)[0])
    assert float(theory.empty_cap_share(1000, 1)) < float(theory.empty_cap_share_bounds(1)[0])


@pytest.mark.parametrize("d", DIMS)
def test_norms_of_a_cap_atom_are_those_of_its_network(d, x64):
    eps = 0.3
    net = merge_equal_ridges(theory.build_hard_function(np.eye(d)[:1], [1.0], eps))
    norms = theory.atom_norms(eps, d)
    assert path_norm(net) == pytest.approx(norms["variation"])
    assert np.abs(net.coefficient) @ theory.canonical_weight(net.offset, d) == pytest.approx(norms["canonical"])
    true = np.abs(net.coefficient) @ population_weight("uniform_ball", net.offset, d)
    assert true == pytest.approx(norms["population"])
    assert norms["sup"] == pytest.approx(evaluate(theory.build_hard_function(np.eye(d)[:1], [1.0], eps), np.eye(d)[:1])[0])
    tail = np.sqrt(2) * 2 ** (d + 2) / ((d + 1) ** 2 * (d + 3)) * (theory.ball_volume(d - 1) / theory.ball_volume(d)) ** 2
    assert theory.atom_norms(0.01, d)["population"] == pytest.approx(tail * 0.01 ** (2 * d + 2), rel=1e-2)


def test_norms_of_a_bump_are_those_of_its_network(x64):
    eps, centre = 0.2, -0.9
    net = theory.build_hard_function([[centre]], [3.0], eps)
    kinks = list_ridges(net)
    assert 3 * theory.bump_norm(centre, eps) == pytest.approx(
        np.abs(kinks.coefficient) @ theory.canonical_weight(kinks.offset, 1)
    )
    assert theory.bump_norm(1 - eps, eps) == pytest.approx(8 * eps, rel=0.05)
    x = np.linspace(-1, 1, 20001)[:, None]
    tent = 3 * np.maximum(1 - np.abs(x[:, 0] - centre) / (eps**2 / 2), 0)
    np.testing.assert_allclose(evaluate(net, x), tent, atol=1e-10)
    assert np.mean(tent**2) / 9 == pytest.approx(theory.atom_mean_square(eps, 1), rel=1e-2)


@pytest.mark.parametrize(("d", "alpha"), [(2, 0.3), (3, 2.0), (5, 1.0)])
def test_radial_atoms_and_caps_are_the_integrals_of_the_law(d, alpha, x64):
    """E (X_1 - t)_+^2 = 2 int_t (x - t) P(X_1 > x) dx;
    the cap's mass tends to its constant times eps^(d - 1 + 2 alpha)."""
    eps, law = 0.5, radial_forms(alpha)
    integral = integrate.quad(lambda z: 2 * z * law.half_space_probability(1 - eps**2 + z, d), 0, eps**2, epsrel=1e-7)[0]
    square = jax.jit(theory.radial_atom_mean_square, static_argnums=1)(jnp.asarray(eps), d, jnp.asarray(alpha))
    assert float(square) == pytest.approx(integral / eps**4, rel=1e-7)
    assert theory.cap_probability(eps, d, alpha) == law.half_space_probability(1 - eps**2, d)
    mass = theory.cap_probability(1e-2, d, alpha) / 1e-2 ** theory.cap_mass_exponent(d, alpha)
    assert mass == pytest.approx(theory.radial_cap_constant(d, alpha), rel=1e-3)
    limit = np.exp(-theory.radial_cap_constant(d, alpha) * 0.9 ** theory.cap_mass_exponent(d, alpha))
    assert theory.empty_cap_share(10**7, d, 0.9, alpha) == pytest.approx(limit, rel=0.05)


def test_radial_exponents_are_the_notes():
    assert theory.atom_count_exponent(5, 0.3) == pytest.approx(4 / 4.6)
    assert [theory.atom_count_exponent(d, 1.0) for d in DIMS] == [theory.atom_count_exponent(d) for d in DIMS]
    assert theory.cap_size(1000, 2, 0.5, 2.5) == pytest.approx(0.5 * 1000 ** (-1 / 6))
    assert theory.cap_size(1000, 2, 1.0, 1.0) == theory.cap_size(1000, 2) == pytest.approx(0.1)


def traced(spec: CapsSpec) -> dict[str, jax.Array]:
    sizes = set(spec.shape_fields)
    return {k: jnp.asarray(v, jnp.int32 if k in sizes else spec.precision) for k, v in specs.hyper(spec).items()}


count_samples = jax.jit(samples_per_cap, static_argnums=0)


@cache
def programs(static: CapsSpec):
    """Of one shape, compiled once."""
    dynamics = static.dynamics()
    return jax.jit(partial(start, dynamics)), jax.jit(partial(advance, dynamics))


def pack(spec: CapsSpec, schedule: tuple[int, ...], padded=None):
    """(the spec, what its run keeps, its trajectory); padded: the shape of the program, if not its own."""
    spec = specs.freeze(spec.resolve())
    spec.check()
    begin, segment = programs(specs.static(spec, padded))
    key = jax.random.key(spec.seed)
    fixed, state = begin(key, traced(spec))
    return spec, fixed, drive(lambda state, *span: segment(key, fixed, state, *span), state, schedule)


@pytest.mark.parametrize(("d", "n"), [(1, 400), (3, 3000)])
def test_packing_is_the_greedy_one(d, n, x64):
    """Against a loop over the same proposals, and counts against every pair of sample and centre."""
    spec, fixed, run = pack(CapsSpec(input_dim=d, num_samples=n, precision="float64", seed=3), (0, 1, 3))
    eps, atoms = spec.eps, choose_atom_geometry(spec)
    radius = np.arccos(1 - eps**2)
    accepted: list[np.ndarray] = []

    @jax.jit
    def propose(t):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 1), t), 0)
        return atoms.propose(key, 256, jnp.asarray(eps))

    for t in range(3):
        for u in np.asarray(propose(t))[: spec.capacity]:
            far = (np.abs(u - v)[0] >= eps**2 if d == 1 else np.arccos(np.clip(u @ v, -1, 1)) >= 2 * radius for v in accepted)
            if all(far):
                accepted.append(u)
    centres, count = np.asarray(run.state.centres), int(run.state.count)
    assert spec.capacity < 256 and count == len(accepted) > 5
    np.testing.assert_allclose(centres[:count], accepted, rtol=1e-12)

    x = np.asarray(fixed.samples)[:n]
    assert np.sort(np.linalg.norm(x, axis=1)) == pytest.approx(np.sort(np.linalg.norm(ball_of(spec), axis=1)))
    inside = np.abs(x - centres[:count].T) < eps**2 / 2 if d == 1 else x @ centres[:count].T > 1 - eps**2
    np.testing.assert_array_equal(np.asarray(count_samples(atoms, run.state, fixed))[:count], inside.sum(0))
    last = {name: float(values[-1]) for name, values in run.records.items()}
    assert last["caps"] == count and last["empty_caps"] == np.sum(inside.sum(0) == 0)
    assert last["held_samples"] == inside.sum() and inside.sum(1).max() == 1
    assert last["separation"] >= 1
    assert last["risk"] == pytest.approx(last["empty_caps"] * theory.atom_mean_square(eps, d))


def ball_of(spec: CapsSpec) -> np.ndarray:
    key = jax.random.fold_in(jax.random.key(spec.seed), 0)
    n, d = spec.num_samples, spec.input_dim
    return np.asarray(jax.jit(lambda key: draw_inputs("uniform_ball", key, n, d, (n, d), jnp.float64))(key))


def test_padding_changes_nothing_and_equal_steps_saturate_alike(x64):
    """A small run in a large one's program; coverage is that of random sequential adsorption,
    far from and near to jamming."""
    small, large = (CapsSpec(input_dim=3, num_samples=n, precision="float64").resolve() for n in (1000, 16000))
    runs = [pack(s, (1, 64), specs.shape(large))[2].records for s in (small, large)]
    for name, values in pack(small, (1, 64))[2].records.items():
        np.testing.assert_array_equal(runs[0][name], values, err_msg=name)
    for records in runs:
        assert records["coverage"].tolist() == pytest.approx([0.33, 0.53], abs=0.06)
        assert records["acceptance"][-1] < 0.02 < records["acceptance"][0]


def test_radial_packing_has_points_of_the_law_and_its_risk(x64):
    spec, fixed, run = pack(CapsSpec(input_dim=3, num_samples=2000, law="radial", alpha=0.5, precision="float64"), (0, 8))
    assert spec.eps == pytest.approx(2000 ** (-1 / 3)) and float(fixed.eps) == pytest.approx(spec.eps)
    radius = np.linalg.norm(np.asarray(fixed.samples)[:2000], axis=1)
    assert stats.kstest((1 - radius) ** 0.5, "uniform").pvalue > 0.01
    last = {name: float(values[-1]) for name, values in run.records.items()}
    assert last["risk"] == pytest.approx(last["empty_caps"] * float(theory.radial_atom_mean_square(spec.eps, 3, 0.5)))
    share = float(theory.empty_cap_share(2000, 3, 1.0, 0.5))
    assert last["empty_share"] == pytest.approx(share, abs=4 * (share * (1 - share) / last["caps"]) ** 0.5)


def test_runs_on_the_ball_keep_the_identity_that_they_had_before_there_were_other_laws():
    spec = CapsSpec(input_dim=3, num_samples=50).resolve()
    known = {path: value for path, value in specs.flatten(spec).items() if path not in specs.latecomers(CapsSpec)}
    assert specs.run_id(spec) == specs.content_hash({"system": "caps", **known})
    assert specs.run_id(spec) != specs.run_id(CapsSpec(input_dim=3, num_samples=50, law="radial").resolve())


def test_f_2_is_unseen_and_flat_on_empty_caps_only(x64):
    """On its data f_2 is 0 and lambda_max is 1, its least value; with the atoms of all caps it is neither."""
    spec, fixed, run = pack(CapsSpec(input_dim=2, num_samples=60, amplitude=2.0, precision="float64"), (8,))
    count = int(run.state.count)
    centres, x = np.asarray(run.state.centres)[:count], np.asarray(fixed.samples)[: spec.num_samples]
    empty = np.asarray(count_samples(choose_atom_geometry(spec), run.state, fixed))[:count] == 0
    assert 0 < empty.sum() < count
    for chosen, unseen in ((empty, True), (np.ones(count), False)):
        net = theory.build_hard_function(centres, 2.0 * chosen, spec.eps)
        net = TwoLayer(*map(np.asarray, (net.hidden, net.readout, net.offset)))
        jacobian = net_jacobian(net, x) / np.sqrt(len(x))
        curvatures = [np.linalg.eigvalsh(m)[-1] for m in (dense_hessian(net, x, np.zeros(len(x)), 0.5), jacobian @ jacobian.T)]
        for value in (np.abs(net_output(net, x)).max(), np.abs(residual_blocks(net, x, 0, 0.5)).max(), path_norms(net, x)[1]):
            assert (value == 0) == unseen
        for value in curvatures:
            assert (abs(value - 1) < 1e-12) == unseen

    values = evaluate(theory.build_hard_function(centres, 2.0 * empty, spec.eps), ball(400_000, 2, seed=9)) ** 2
    assert run.records["risk"][-1] == pytest.approx(values.mean(), abs=4 * values.std() / len(values) ** 0.5)


def test_bad_input_is_named():
    with pytest.raises(InputError, match=r"kappa = 0\.0: must be above 0"):
        CapsSpec(kappa=0.0).resolve()
    with pytest.raises(InputError, match=r"kappa = 5\.0: .* at most n\^\(1/\(d\+1\)\) = 2"):
        CapsSpec(input_dim=2, num_samples=8, kappa=5.0).resolve()
    with pytest.raises(InputError, match=r"capacity = 3: must be 0"):
        CapsSpec(capacity=3).resolve()
    with pytest.raises(InputError, match="input_dim = 0"):
        CapsSpec(input_dim=0).resolve()
    with pytest.raises(InputError, match=r"kappa = 0\.05: gives room for"):
        compose("stable_minima/empty_caps", "input_dim=6", "kappa=0.05", "num_samples=1024")
    with pytest.raises(InputError, match=r"law = 'sphere': choose one of radial, uniform_ball"):
        CapsSpec(law="sphere").resolve()
    with pytest.raises(InputError, match=r"input_dim = 1: must be at least 2 for the radial law"):
        CapsSpec(law="radial", input_dim=1).resolve()
    with pytest.raises(InputError, match=r"alpha = 0\.5: is of law = radial"):
        CapsSpec(alpha=0.5).resolve()
    with pytest.raises(InputError, match=r"kappa = 5\.0: .* at most n\^\(1/\(d-1\+2 alpha\)\) = 2"):
        CapsSpec(law="radial", input_dim=2, num_samples=16, alpha=1.5, kappa=5.0).resolve()
    with pytest.raises(InputError, match="amplitude = 0"):
        CapsSpec(amplitude=0.0).resolve().check()
