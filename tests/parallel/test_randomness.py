import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from diffpattern.parallel.mesh import DATA, SPREAD, make_mesh, put
from diffpattern.parallel.randomness import TILE, fire_mask

KEY = jax.random.key(7)


@pytest.mark.parametrize(
    ("small", "large"), [((20,), (75,)), ((20, 33), (50, 40)), ((5, 18, 16), (17, 20, 40))]
)
def test_a_larger_lattice_begins_with_the_same_numbers(small, large):
    part, whole = fire_mask(KEY, 0.5, small), fire_mask(KEY, 0.5, large)
    assert part.shape == small and part.dtype == bool
    np.testing.assert_array_equal(part, whole[tuple(slice(size) for size in small)])


def test_tiles_and_keys_draw_independently():
    mask = np.asarray(fire_mask(KEY, 0.5, (4 * TILE, 4 * TILE))).reshape(4, TILE, 4, TILE)
    tiles = mask.transpose(0, 2, 1, 3).reshape(16, -1)
    others = [
        fire_mask(jax.random.key(seed), 0.5, (TILE, TILE)).reshape(-1) for seed in range(100, 116)
    ]
    draws = np.concatenate([tiles, others]).astype(float)
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 5 / TILE
    # The tile in row i and column j is not the one in row j and column i.
    assert (tiles[1] != tiles[4]).mean() > 0.3


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("space", [(3000,), (50, 60), (10, 20, 15)])
def test_the_mean_is_the_rate(rate, space):
    mask = fire_mask(KEY, rate, space)
    assert abs(float(mask.mean()) - rate) < 4 * np.sqrt(rate * (1 - rate) / mask.size)


def test_the_extremes():
    assert fire_mask(KEY, 1.0, (20, 20)).all() and not fire_mask(KEY, 0.0, (20, 20)).any()


@pytest.mark.parametrize("devices", [1, 4])
def test_devices_draw_what_one_would(devices):
    mesh, keys = make_mesh(devices), jax.random.split(KEY, 4)
    local = lambda keys: jax.lax.map(lambda key: fire_mask(key, 0.5, (20, 20)), keys)
    spread = jax.jit(
        jax.shard_map(local, mesh=mesh, in_specs=SPREAD, out_specs=PartitionSpec(DATA))
    )
    expected = [fire_mask(key, 0.5, (20, 20)) for key in keys]
    np.testing.assert_array_equal(spread(put(keys, mesh, SPREAD)), expected)


@pytest.mark.parametrize("shape", [(8, 1), (1, 8), (4, 2), (2, 4)], ids=str)
@pytest.mark.parametrize("space", [(128, 128), (40, 72), (24, 8, 5)], ids=str)
def test_blocks_draw_what_the_whole_lattice_would(shape, space):
    """Also blocks that begin in the midst of a tile."""
    axes = ("rows", "columns")
    mesh = jax.make_mesh(shape, axes, axis_types=(AxisType.Auto,) * 2)
    rows, columns, *rest = space
    block = (rows // shape[0], columns // shape[1], *rest)
    cuts = (*axes, *(None for _ in rest))
    local = lambda key: fire_mask(key, 0.5, block, cuts)
    found = jax.jit(
        jax.shard_map(local, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(*axes))
    )(KEY)
    np.testing.assert_array_equal(found, fire_mask(KEY, 0.5, space))
