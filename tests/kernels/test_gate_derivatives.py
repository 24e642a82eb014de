"""Models made of the gate kernels: every derivative, padding, vmap, loops, devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gate_nets import (
    FUSED,
    MOST,
    PLAIN,
    ROUNDING,
    Layer,
    close,
    draw_layer,
    exact_gradient,
    expected,
    flat,
    in_64_bits,
    module,
    needs_kernels,
    net_of,
    passes,
)
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec
from oracles import dense_hessian, net_jacobian, to_numpy

from dynamics.curvature.gauss_newton import build_kernel_product
from dynamics.curvature.hessian import build_hessian_product
from dynamics.kernels import gates
from dynamics.models.two_layer import TwoLayer, build_two_layer


@needs_kernels
@pytest.mark.parametrize("d, options", FUSED + PLAIN)
def test_kernels_are_used_where_they_are_meant_to_be_and_all_goes_on_without(rng, d, options):
    with jax.enable_x64(options.get("dtype") is np.float64):
        params, model, batch, data = net_of(rng, d, 9, 5, **options)
        program = jax.make_jaxpr(lambda p: model.squared_gradient(p, batch, 1.0))(params)
        assert ("dynamics_" in str(program)) == ((d, options) in FUSED)
        gradient = jax.jit(lambda p: model.squared_gradient(p, batch, 1.0))(params)
    close(flat(gradient), exact_gradient(params, *data, activation=options.get("activation", "relu")))


@needs_kernels
def test_usable_says_for_how_many_inputs_and_which_numbers():
    assert [gates.has_kernels(count, "float32") for count in (1, 2, MOST, MOST + 1)] == [False, True, True, False]
    assert not gates.has_kernels(3, "float64")


@needs_kernels
@pytest.mark.parametrize("d", [1, 2, 5])
def test_padded_neurons_samples_and_coordinates_have_exactly_zero_gradient_and_change_no_bit(rng, d):
    n, width, more = 21, 13, 0 if d == 1 else 2  # padding in d leaves the sorted path, so its bits are others
    params, model, batch, (x, y) = net_of(rng, d, n, width)
    wide = TwoLayer(np.pad(params.hidden, ((0, more), (0, 30))), np.pad(params.readout, (0, 30)), params.offset)
    model_of_more = build_two_layer(d + more, width + 30, "relu", "torch_default", jnp.float32)
    fresh, labels = rng.normal(size=(20, d)).astype(np.float32), rng.normal(size=20).astype(np.float32)
    padded = np.pad(np.concatenate([x, fresh]), ((0, 0), (0, more))), np.concatenate([y, labels])
    weights = np.pad(np.full(n, 1 / n, np.float32), (0, 20))
    gradient, plain = jax.jit(
        lambda p, q, samples: (
            model_of_more.squared_gradient(p, model_of_more.prepare(*samples), 1.0),
            model.squared_gradient(q, batch, 1.0),
        )
    )(wide, params, (*padded, weights))
    gradient = to_numpy(gradient)
    assert not gradient.hidden[:, width:].any() and not gradient.readout[width:].any()
    assert not gradient.hidden[d + 1 :].any()
    kept = TwoLayer(gradient.hidden[: d + 1, :width], gradient.readout[:width], gradient.offset)
    close(flat(kept), flat(plain), 1e-6)
    close(flat(plain), exact_gradient(params, x, y))


@needs_kernels
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("blocks", [1, 2, 4, 7])
def test_blocks_that_samples_do_not_fill_change_nothing(monkeypatch, rng, d, blocks):
    """What fills the last block up is no sample, and least of all one that lies where sorted samples go on."""
    monkeypatch.setattr(module, "count_sample_blocks", lambda *_: blocks)
    params, model, _, (x, y) = net_of(rng, d, 17, 40)
    gradient = jax.jit(lambda params, *samples: model.squared_gradient(params, model.prepare(*samples), 1.0))
    for shift in (0, 3, -3):  # zeros lie within the data, below it, above it
        moved = x + np.float32(shift)
        params.hidden[0] = -np.sum(params.hidden[1:] * moved[rng.integers(17, size=40)].T, axis=0) + 1e-3  # kinks amid samples
        close(flat(gradient(params, moved, y, np.full(17, 1 / 17, np.float32))), exact_gradient(params, moved, y))


@needs_kernels
@pytest.mark.parametrize("d", [1, 3])
def test_derivatives_of_every_order_and_mode(rng, d):
    params, model, batch, (x, y) = net_of(rng, d, 11, 6)
    p, unravel = ravel_pytree(params)
    v = rng.normal(size=p.size).astype(np.float32)

    def loss(p):
        return 0.5 * jnp.sum(batch.weights * (model.apply(unravel(p), batch) - batch.labels) ** 2)

    def closed(p):
        return ravel_pytree(model.squared_gradient(unravel(p), batch, 0.5))[0]

    def after_two_steps(p):
        return loss(lax.scan(lambda q, _: (q - 0.1 * closed(q), None), p, length=2)[0])

    def along(f, p, v):
        return jax.jvp(f, (p,), (v,))[1]

    @jax.jit
    def everything(p, v):
        return {
            "gradient": (jax.grad(loss)(p), closed(p), jax.grad(lambda q: lax.map(loss, q[None])[0])(p)),
            "slope along v": (along(loss, p, v),),
            "product": (
                along(closed, p, v),
                along(jax.grad(loss), p, v),
                jax.linearize(closed, p)[1](v),
                jax.vjp(closed, p)[1](v)[0],
                build_hessian_product(lambda q: loss(ravel_pytree(q)[0]), unravel(p))(v),
            ),
            "of half the squared norm": tuple(jax.grad(lambda q: jnp.sum(g(q) ** 2) / 2)(p) for g in (closed, jax.grad(loss))),
            "hessian": (jax.hessian(loss)(p), jax.jacrev(closed)(p), jax.jacfwd(closed)(p)),
            "after two steps": (jax.grad(after_two_steps)(p),),
        }

    params, x, y = in_64_bits((params, x, y))
    hessian, gradient = dense_hessian(params, x, y, 0.5), exact_gradient(params, x, y, 0.5)
    one = in_64_bits(unravel(jnp.asarray(flat(params) - 0.1 * gradient, jnp.float32)))
    two = in_64_bits(unravel(jnp.asarray(flat(one) - 0.1 * exact_gradient(one, x, y, 0.5), jnp.float32)))
    identity = np.eye(len(hessian))
    back = exact_gradient(two, x, y, 0.5)
    for each in (one, params):
        back = (identity - 0.1 * dense_hessian(each, x, y, 0.5)) @ back
    desired = {
        "gradient": gradient,
        "slope along v": gradient @ v,
        "product": hessian @ v,
        "of half the squared norm": hessian @ gradient,
        "hessian": hessian,
        "after two steps": back,
    }
    for name, results in everything(p, v).items():
        for result in results:
            close(result, desired[name])


@needs_kernels
@pytest.mark.parametrize("d", [1, 3])
def test_products_with_the_kernel_of_gauss_newton(rng, d):
    params, model, batch, (x, _) = net_of(rng, d, 13, 6)
    u = rng.normal(size=13).astype(np.float32)
    jacobian = net_jacobian(*in_64_bits((params, x)))
    close(jax.jit(lambda p: build_kernel_product(model, p, batch)(u))(params), jacobian @ (jacobian.T @ u) / 13)


@needs_kernels
@pytest.mark.parametrize("num_inputs", [2, 3])
def test_vmap_over_any_of_the_arguments_and_any_axis(rng, num_inputs):
    n, width, members = 10, 5, 3
    layers = [draw_layer(rng, n, width, num_inputs) for _ in range(members)]
    stacked, first = Layer(*map(np.stack, zip(*layers, strict=True))), layers[0]
    axes = [
        Layer(0, 0, 0, 0, 0),
        Layer(None, 0, 0, 0, 0),
        Layer(0, None, None, None, None),
        Layer(None, None, 0, None, None),
        Layer(None, None, None, 0, 2),
        Layer(1, 2, 1, 1, 1),
    ]

    def moved(own: Layer) -> Layer:
        pick = lambda a, b, axis: a if axis is None else np.moveaxis(b, 0, axis)  # noqa: E731
        return Layer(*(pick(*leaf) for leaf in zip(first, stacked, own, strict=True)))

    @jax.jit
    def everything(stacked, arguments):
        seen = [jax.vmap(passes, in_axes=(own,))(each) for own, each in zip(axes, arguments, strict=True)]
        twice = jax.vmap(jax.vmap(passes, (Layer(0, None, None, 0, None),)), (Layer(None, 0, 0, None, 0),))(stacked)
        return seen, twice

    seen, twice = everything(stacked, [moved(own) for own in axes])
    for own, results in zip(axes, seen, strict=True):
        for i, layer in enumerate(layers):
            exact = expected(Layer(*(a if axis is None else b for a, b, axis in zip(first, layer, own, strict=True))))
            for result, (value, size) in zip(results, exact, strict=True):
                assert np.all(np.abs(result[i] - value) <= ROUNDING * size)
    for i, a in enumerate(layers):
        for j, b in enumerate(layers):
            for result, (value, size) in zip(twice, expected(a._replace(x=b.x, r=b.r)), strict=True):
                assert np.all(np.abs(result[i, j] - value) <= ROUNDING * size)


@needs_kernels
def test_loops_maps_and_devices(rng):
    """Eight nets on four devices, two lanes each, some steps of descent; d = 1 and d = 3 in one program."""
    devices, rate = jax.local_devices(), 0.05
    assert len(devices) == 4
    nets = {d: [net_of(rng, d, 9, 4) for _ in range(8)] for d in (1, 3)}
    stacked = {d: jax.tree.map(lambda *a: jnp.stack(a), *[(params, batch) for params, _, batch, _ in nets[d]]) for d in nets}

    def descend(d, params, batch, steps):
        def step(_, p):
            return jax.tree.map(lambda a, g: a - rate * g, p, nets[d][0][1].squared_gradient(p, batch, 1.0))

        return lax.fori_loop(0, steps, step, params)

    def local(ensembles, steps):
        return {d: lax.map(lambda one: descend(d, *one, steps), ensembles[d], batch_size=None) for d in ensembles}

    mesh, runs = Mesh(np.array(devices), ("run",)), PartitionSpec("run")
    everywhere = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(runs, PartitionSpec()), out_specs=runs, check_vma=False))
    ends = everywhere(stacked, np.int32(4))
    for d, members in nets.items():
        for i, (params, _, _, data) in enumerate(members):
            p, like = flat(in_64_bits(params)), params.hidden.size
            for _ in range(4):
                now = TwoLayer(p[:like].reshape(d + 1, 4), p[like:-1], p[-1])
                p = p - rate * exact_gradient(now, *data)
            close(flat([leaf[i] for leaf in ends[d]]), p)


@needs_kernels
def test_a_derivative_in_the_data_is_refused_in_plain_words(rng):
    params, model, batch, _ = net_of(rng, 2, 5, 3)
    layer = draw_layer(rng, 5, 3, 3)
    with pytest.raises(NotImplementedError, match="open_gates is not differentiable in its inputs x"):
        jax.grad(lambda x: jnp.sum(model.apply(params, batch._replace(inputs=x))))(batch.inputs)
    with pytest.raises(NotImplementedError, match="not differentiable in its inputs"):
        jax.jvp(lambda x: gates.open_gates(x, layer.hidden, layer.readout)[0], (layer.x,), (layer.x,))
    _, on = gates.open_gates(layer.x, layer.hidden, layer.readout)
    for linear in (lambda x: gates.moments(x, on, layer.r, 3), lambda x: gates.sums(x, on, layer.u)):
        with pytest.raises(NotImplementedError, match="not differentiable in any argument but the last"):
            jax.jvp(linear, (layer.x,), (layer.x,))
