"""Slices of the loss against numpy's, directions by their filters, barriers by hand, and neurons put back in order."""

from itertools import permutations

import jax.numpy as jnp
import numpy as np
import pytest
from oracles import net_output, random_net, to_jax

import dynamics.analysis.words as an
from dynamics.errors import InputError
from dynamics.measures.view import view
from dynamics.models.two_layer import TwoLayer

pytestmark = pytest.mark.usefixtures("x64")
N, D, WIDTH = 6, 2, 5


@pytest.fixture
def seen(rng):
    return view(*to_jax((random_net(rng, D, WIDTH), rng.normal(size=(N, D)), rng.normal(size=N))))


def loss_of(seen, net) -> float:
    x, y = np.asarray(seen.problem.train.inputs), np.asarray(seen.problem.train.labels)
    return np.mean((net_output(net, x) - y) ** 2) / 2


def add(net, *terms):
    for share, direction in terms:
        net = TwoLayer(*(np.asarray(p) + share * np.asarray(d) for p, d in zip(net, direction, strict=True)))
    return net


def test_directions_have_the_norms_of_the_filters_and_spare_biases(seen):
    direction, other = an.draw_direction(seen, 0), an.draw_direction(seen, 1)
    own = np.asarray(seen.params.hidden)
    np.testing.assert_allclose(np.linalg.norm(direction.hidden, axis=0), np.linalg.norm(own[1:], axis=0))
    np.testing.assert_allclose(np.linalg.norm(direction.readout), np.linalg.norm(seen.params.readout))
    assert not np.any(direction.hidden[0]) and direction.offset == 0
    assert not np.allclose(direction.hidden, other.hidden) and np.allclose(an.draw_direction(seen, 0).hidden, direction.hidden)


def test_slices_are_the_loss_at_the_moved_parameters(seen):
    one, two = an.draw_direction(seen, 0), an.draw_direction(seen, 1)
    a, b = [-1.0, 0.0, 0.5], [0.0, 2.0]
    expected = [[loss_of(seen, add(seen.params, (s, one), (t, two))) for t in b] for s in a]
    np.testing.assert_allclose(an.slice_losses(seen, [one, two], a, b), expected, rtol=1e-12)
    np.testing.assert_allclose(an.slice_losses(seen, [one], a), np.array(expected)[:, 0], rtol=1e-12)
    with pytest.raises(InputError, match="positions"):
        an.slice_losses(seen, [one, two], a)


def test_lines_run_from_one_network_to_the_other(seen, rng):
    other = random_net(rng, D, WIDTH)
    middle = TwoLayer(*((np.asarray(p) + np.asarray(q)) / 2 for p, q in zip(seen.params, other, strict=True)))
    expected = [loss_of(seen, net) for net in (seen.params, middle, other)]
    lines = an.line_losses(seen, [TwoLayer(*map(jnp.asarray, other)), seen.params], [0, 0.5, 1])
    np.testing.assert_allclose(lines, [expected, [expected[0]] * 3], rtol=1e-12)


def test_barriers_by_hand():
    assert an.find_barrier([1.0, 4.0, 3.0]) == 2.0 and an.find_barrier([1.0, 1.5, 3.0]) == 0.0
    with pytest.raises(InputError, match="losses"):
        an.find_barrier([1.0, 2.0])


def test_the_match_is_the_best_of_all_orders_and_finds_one_that_was_taken(seen, rng):
    net, other = seen.params, random_net(rng, D, WIDTH)

    def distance(order):
        moved = an.permute_neurons(other, list(order))
        return sum(np.sum((np.asarray(p) - np.asarray(q)) ** 2) for p, q in zip(net, moved, strict=True))

    assert an.find_match(net, other).tolist() == list(min(permutations(range(WIDTH)), key=distance))
    order = rng.permutation(WIDTH)
    shuffled = an.permute_neurons(net, order)
    x = np.asarray(seen.problem.train.inputs)
    np.testing.assert_allclose(net_output(shuffled, x), net_output(net, x), rtol=1e-12)
    assert order[an.find_match(net, shuffled)].tolist() == list(range(WIDTH))
    with pytest.raises(InputError, match="order"):
        an.permute_neurons(net, [0, 0, 1, 2, 3])
