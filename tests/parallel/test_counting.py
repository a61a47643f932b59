"""What is counted in compiled programs, against XLA's own analysis of those without loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from diffpattern.parallel import counting
from diffpattern.parallel.mesh import DATA, make_mesh

X = jax.ShapeDtypeStruct((40, 24), jnp.float32)
W = jax.ShapeDtypeStruct((24, 24), jnp.float32)


def counted(function, *arguments):
    program = jax.jit(function).lower(*arguments).compile()
    return counting.of_compiled(program.as_text()), program.cost_analysis()


def layer(x, w):
    return jnp.tanh(x @ w) + jnp.where(x > 0, x, 0.5 * x)


def test_without_loops_operations_are_those_of_xla():
    for function in (layer, jax.grad(lambda x, w: jnp.sum(layer(x, w) ** 2), (0, 1))):
        work, cost = counted(function, X, W)
        expected = cost["flops"] + cost["transcendentals"]
        assert work.operations == pytest.approx(expected, rel=0.01)
    work, _ = counted(jnp.dot, X, W)
    assert work.operations == 2 * 40 * 24 * 24
    assert work.traffic == 4 * (40 * 24 + 24 * 24 + 40 * 24)


def test_loops_count_as_often_as_they_turn():
    def looped(x, w):
        return jax.lax.scan(lambda x, _: (layer(x, w), None), x, length=50)[0]

    def unrolled(x, w):
        for _ in range(50):
            x = layer(x, w)
        return x

    work, _ = counted(looped, X, W)
    _, cost = counted(unrolled, X, W)
    expected = cost["flops"] + cost["transcendentals"]
    assert work.operations == pytest.approx(expected, rel=0.02)


def test_of_branches_the_longer_one_counts():
    def chosen(x, w):
        return jax.lax.cond(x[0, 0] > 0, lambda: layer(layer(x, w), w), lambda: x)

    work, _ = counted(chosen, X, W)
    twice, _ = counted(lambda x, w: layer(layer(x, w), w), X, W)
    assert work.operations == pytest.approx(twice.operations, rel=0.02)


def test_what_devices_say_to_one_another():
    mesh = make_mesh(4)

    def local(x):
        ring = [(device, (device + 1) % 4) for device in range(4)]
        turn = lambda x, _: (jax.lax.ppermute(x, DATA, ring), None)
        return jax.lax.psum(jnp.sum(jax.lax.scan(turn, x, length=7)[0] ** 2, axis=0), DATA)

    spread = jax.shard_map(
        local, mesh=mesh, in_specs=PartitionSpec(DATA), out_specs=PartitionSpec()
    )
    work, _ = counted(spread, X)
    assert (work.sent, work.messages) == (7 * 10 * 24 * 4, 7)
    assert (work.summed, work.sums) == (24 * 4, 1)
    assert np.isfinite(work.operations)
