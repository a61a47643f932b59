import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from diffpattern.grid.geometry import Grid
from diffpattern.grid.randomness import TILE, fire_mask, normal
from diffpattern.parallel.mesh import DATA, SPREAD, make_mesh, put

KEY = jax.random.key(7)


@pytest.mark.parametrize(
    ("small", "large"), [((20,), (75,)), ((20, 33), (50, 40)), ((5, 18, 16), (17, 20, 40))]
)
def test_a_larger_lattice_begins_with_the_same_numbers(small, large):
    part, whole = fire_mask(KEY, 0.5, Grid(small)), fire_mask(KEY, 0.5, Grid(large))
    assert part.shape == small and part.dtype == bool
    np.testing.assert_array_equal(part, whole[tuple(slice(size) for size in small)])


def test_tiles_and_keys_draw_independently():
    mask = np.asarray(fire_mask(KEY, 0.5, Grid((4 * TILE, 4 * TILE)))).reshape(4, TILE, 4, TILE)
    tiles = mask.transpose(0, 2, 1, 3).reshape(16, -1)
    others = [
        fire_mask(jax.random.key(seed), 0.5, Grid((TILE, TILE))).reshape(-1)
        for seed in range(100, 116)
    ]
    draws = np.concatenate([tiles, others]).astype(float)
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 5 / TILE
    # The tile in row i and column j is not the one in row j and column i.
    assert (tiles[1] != tiles[4]).mean() > 0.3


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("space", [(3000,), (50, 60), (10, 20, 15)])
def test_the_mean_is_the_rate(rate, space):
    mask = fire_mask(KEY, rate, Grid(space))
    assert abs(float(mask.mean()) - rate) < 4 * np.sqrt(rate * (1 - rate) / mask.size)


def test_the_extremes():
    grid = Grid((20, 20))
    assert fire_mask(KEY, 1.0, grid).all() and not fire_mask(KEY, 0.0, grid).any()


@pytest.mark.parametrize("devices", [1, 4])
def test_devices_draw_what_one_would(devices):
    mesh, keys = make_mesh(devices), jax.random.split(KEY, 4)
    local = lambda keys: jax.lax.map(lambda key: fire_mask(key, 0.5, Grid((20, 20))), keys)
    spread = jax.jit(
        jax.shard_map(local, mesh=mesh, in_specs=SPREAD, out_specs=PartitionSpec(DATA))
    )
    expected = [fire_mask(key, 0.5, Grid((20, 20))) for key in keys]
    np.testing.assert_array_equal(spread(put(keys, mesh, SPREAD)), expected)


@pytest.mark.parametrize("shape", [(8, 1), (2, 4)], ids=str)
@pytest.mark.parametrize("space", [(128, 128), (40, 72), (24, 8, 5)], ids=str)
@pytest.mark.usefixtures("quick_compilation")
def test_blocks_draw_what_the_whole_lattice_would(shape, space):
    """Also blocks that begin in the midst of a tile."""
    axes = ("rows", "columns")
    mesh = jax.make_mesh(shape, axes, axis_types=(AxisType.Auto,) * 2)
    whole = Grid(space)
    block = whole.block(dict(zip(axes, shape, strict=True)))
    draws = lambda grid: (fire_mask(KEY, 0.5, grid), normal(KEY, grid, 3))
    spread = jax.shard_map(
        lambda: draws(block), mesh=mesh, in_specs=(), out_specs=PartitionSpec(*axes)
    )
    found, expected = jax.jit(spread)(), draws(whole)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_normal_draws_are_standard_and_differ_between_channels():
    numbers = np.asarray(normal(KEY, Grid((50, 60)), 2)).reshape(-1, 2)
    assert np.abs(numbers.mean(0)).max() < 0.06 and np.abs(numbers.std(0) - 1).max() < 0.05
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 0.06
