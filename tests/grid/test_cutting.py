"""A lattice cut into blocks over a mesh: each has the border that the whole would give it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.grid.padding import pad
from diffpattern.grid.slices import crop

SHAPES = [(8, 1), (1, 8), (4, 2), (2, 4)]
FLUX = Boundary("flux", (0.3, -0.2, 0.1))
BOUNDARIES = [
    "circular",
    "zero",
    "symmetric",
    "replicate",
    Boundary("value", 2.0),
    (("zero", FLUX), "circular"),
    ((Boundary("value", (1.0, 2.0, 3.0)), "replicate"), ("symmetric", FLUX)),
]
X = np.random.default_rng(0).normal(size=(3, 16, 24)).astype(np.float32)


def on_blocks(function, shape, boundary):
    """`function(x, grid)` of every block of a lattice [3, 16, 24], put together again."""
    mesh = jax.make_mesh(shape, ("rows", "columns"), axis_types=(AxisType.Auto,) * 2)
    block = Grid((16, 24), (0.5, 1.5), boundary).block({"rows": shape[0], "columns": shape[1]})
    spec = PartitionSpec(None, "rows", "columns")
    return jax.jit(
        jax.shard_map(lambda x: function(x, block), mesh=mesh, in_specs=spec, out_specs=spec)
    )


@pytest.mark.parametrize("boundary", BOUNDARIES, ids=range(len(BOUNDARIES)))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("width", [1, 2, (0, 3), 7])
def test_a_border_is_that_of_the_whole_lattice(shape, boundary, width):
    """Also one that is wider than a block, and reaches over the next."""
    widths = (width,) * 2 if isinstance(width, int) else width
    rows, columns = (16 // shape[0], 24 // shape[1])
    found = on_blocks(lambda x, grid: pad(x, grid, width), shape, boundary)(X)
    whole = pad(X, Grid((16, 24), (0.5, 1.5), boundary), width)
    for i in range(shape[0]):
        for j in range(shape[1]):
            tall, wide = rows + 2 * widths[0], columns + 2 * widths[1]
            block = found[:, i * tall : (i + 1) * tall, j * wide : (j + 1) * wide]
            expected = whole[:, i * rows : i * rows + tall, j * columns : j * columns + wide]
            # Beyond a wall with a flux, products and sums may be fused.
            np.testing.assert_allclose(block, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("boundary", BOUNDARIES, ids=range(len(BOUNDARIES)))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_through_borders_are_those_of_the_whole_lattice(shape, boundary):
    def sharpened(x, grid):
        bordered = pad(x, grid, 2)
        return crop(bordered**3, (-2, -1), 2) * 2 - bordered[:, :-4, 4:] * bordered[:, 1:-3, 3:-1]

    blocks = on_blocks(sharpened, shape, boundary)
    weights = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)
    found = jax.jit(jax.grad(lambda x: jnp.sum(weights * blocks(x))))(X)
    grid = Grid((16, 24), (0.5, 1.5), boundary)
    expected = jax.grad(lambda x: jnp.sum(weights * sharpened(x, grid)))(X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(InputError, match="mesh.rows is 3, which does not divide an axis of 16"):
        Grid((16, 24)).block({"rows": 3, "columns": 1})
    with pytest.raises(InputError, match="mesh.columns is 2, but the lattice has only 1 axis"):
        Grid((16,)).block({"rows": 2, "columns": 2})
    uncut = Grid((16, 24, 4)).block({"rows": 1, "columns": 2})
    assert uncut.shape == (16, 12, 4) and uncut.cuts == (None, ("columns", 2), None)
    assert uncut.whole == Grid((16, 24, 4))
