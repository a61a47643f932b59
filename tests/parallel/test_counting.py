"""What is counted in compiled programs, against XLA's own analysis of those without loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from diffpattern.parallel import counting
from diffpattern.parallel.mesh import DATA, ROWS, make_mesh

X = jax.ShapeDtypeStruct((40, 24), jnp.float32)
W = jax.ShapeDtypeStruct((24, 24), jnp.float32)


def counted(function, *arguments, **options):
    program = jax.jit(function).lower(*arguments).compile(options)
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


PADDED = ((2, 0), (1, 3))


def convolved(stride=(1, 1), padding="SAME", **options):
    return lambda x, w: jax.lax.conv_general_dilated(x, w, stride, padding, **options)


@pytest.mark.parametrize(
    ("function", "kernel"),
    [
        (convolved(), (5, 3, 3, 3)),
        (convolved((2, 1), "VALID"), (5, 3, 3, 3)),
        (convolved(padding=PADDED), (5, 3, 3, 3)),
        (
            convolved(padding=PADDED, lhs_dilation=(2, 1), rhs_dilation=(1, 2)),
            (4, 3, 3, 3),
        ),
        (convolved(feature_group_count=3), (6, 1, 3, 3)),
        (convolved(batch_group_count=2), (4, 3, 3, 3)),
    ],
    ids=["same", "strided", "padded", "dilated", "features", "batches"],
)
def test_convolutions_are_those_of_xla(function, kernel):
    x, w = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 3, 10, 12), kernel))
    work, cost = counted(function, x, w)
    assert work.operations == cost["flops"]
    assert work.traffic == 4 * (x.size + w.size + jax.eval_shape(function, x, w).size)
    work, cost = counted(jax.grad(lambda x, w: jnp.sum(function(x, w) ** 2), (0, 1)), x, w)
    assert work.operations == pytest.approx(cost["flops"], rel=0.01)


def test_fourier_transforms():
    """By the customary 5 N log2 N, of which a transform of real numbers takes half."""
    real = jax.ShapeDtypeStruct((4, 16, 8), jnp.float32)
    modes = jax.ShapeDtypeStruct((4, 16, 5), jnp.complex64)
    waves = jax.ShapeDtypeStruct((4, 16, 8), jnp.complex64)
    half = 4 * 5 * 128 * 7 / 2
    for function, array, expected in (
        (jnp.fft.rfft2, real, half),
        (jnp.fft.irfft2, modes, half),
        (jnp.fft.fft2, waves, 2 * half),
    ):
        work, _ = counted(function, array)
        assert work.operations == pytest.approx(expected)
        assert work.traffic == 8 * array.size // (1 + (array is real)) + (
            4 * real.size if array is modes else 8 * (modes if array is real else waves).size
        )


def test_sorting_scattering_and_windows():
    work, _ = counted(jnp.sort, X)
    assert work.operations == 40 * 24 * 5
    put = lambda x, i, u: x.at[i].add(u, mode="promise_in_bounds")
    # XLA's older emitters, which tests have for their speed, make a loop of it.
    emitters = {"xla_cpu_use_fusion_emitters": True}
    work, _ = counted(put, X, jnp.zeros(7, int), jnp.ones((7, 24)), **emitters)
    # And where to: from the end, if a place is negative.
    assert work.operations == pytest.approx(7 * 24, abs=3 * 7)
    largest = lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2, 3), (2, 3), "VALID")
    work, cost = counted(largest, X)
    assert work.operations == cost["flops"] == 20 * 8 * 5


def test_factors_and_triangular_systems():
    tall, square = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 30, 5), (5, 5)))
    work, _ = counted(jnp.linalg.qr, tall)
    reflections = 2 * (2 * 30 * 25 - 2 * 125 / 3)
    assert 2 * reflections <= work.operations < 2 * reflections + 300
    work, _ = counted(jax.scipy.linalg.solve_triangular, square, jnp.ones((5, 3)))
    assert 5 * 5 * 3 <= work.operations < 2 * 5 * 5 * 3


def test_what_cannot_be_counted_is_named():
    def halved(x):
        return jax.lax.while_loop(lambda x: jnp.sum(x) > 1, lambda x: x / 2, jnp.linalg.svd(x)[1])

    names = counting.uncounted(jax.jit(halved).lower(W).compile().as_text())
    assert len(names) == 2
    assert names[0].startswith("calls of lapack_sgesdd")
    assert names[1].startswith("all but the first turn of loops")
    assert counting.uncounted(jax.jit(jnp.linalg.qr).lower(W).compile().as_text()) == ()


def test_what_devices_say_to_one_another():
    mesh = make_mesh(4)

    def local(x):
        ring = [(device, (device + 1) % 4) for device in range(4)]
        turn = lambda x, _: (jax.lax.ppermute(x, DATA, ring), None)
        summed = jax.lax.psum(jnp.sum(jax.lax.scan(turn, x, length=7)[0] ** 2, axis=0), DATA)
        # Of one device, which has nobody to add to.
        return jax.lax.psum(summed, ROWS)

    spread = jax.shard_map(
        local, mesh=mesh, in_specs=PartitionSpec(DATA, ROWS), out_specs=PartitionSpec()
    )
    work, _ = counted(spread, X)
    assert (work.sent, work.messages) == (7 * 10 * 24 * 4, 7)
    assert (work.summed, work.sums) == (24 * 4, 1)
    assert np.isfinite(work.operations)
