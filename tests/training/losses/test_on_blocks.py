"""Every loss of lattices that are cut into blocks: values and gradients of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_vgg
from jax.sharding import PartitionSpec

from diffpattern.configs import default
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.parallel.mesh import COLUMNS, ROWS, block_axes, blocks, make_mesh
from diffpattern.training.losses import LOSSES, Context, perceptual, weighted_sum

pytestmark = pytest.mark.usefixtures("quick_compilation")

GRID, KEY = Grid((16, 32), 0.5, ("symmetric", "circular")), jax.random.key(3)
RANDOM = np.random.default_rng(0)
TRUTH, PREDICTION = (jnp.asarray(RANDOM.normal(size=(2, 16, 32, 3)), jnp.float32) for _ in range(2))
MASK = jnp.asarray(RANDOM.integers(0, 2, GRID.shape), jnp.float32)
WEIGHT = jnp.array([[1.0, 0.0, 2.0], [0.5, 2.0, 0.5]])
SETTINGS = {
    "multi_scale": {"of": "l2", "scales": (1, 4)},
    "patches": {"projections": 4, "size": 3, "scales": (1, 2)},
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The config's own, or smaller ones, with a network of random weights."""
    path = tmp_path_factory.mktemp("weights") / "narrow.npz"
    np.savez(path, **random_vgg.state_dict())
    usual = default.get_config().loss.settings.to_dict()
    of_networks = {
        name: {"network": perceptual.load([path], name), "red_green_blue": (0, 1, 2)}
        for name in ("vgg_gram", "lpips")
    }
    return usual | of_networks | SETTINGS


def value_and_slope(loss, *cuts):
    """A loss and its gradient by the prediction, on so many blocks."""
    mesh = make_mesh(1, *cuts)
    across = [name if name in block_axes(mesh) else None for name in (ROWS, COLUMNS)]
    lattice, field = PartitionSpec(None, *across), PartitionSpec(*across)

    def local(prediction, truth, mask):
        return loss(prediction, truth, Context(GRID.block(blocks(mesh)), KEY, WEIGHT, mask))

    spread = jax.shard_map(
        local, mesh=mesh, in_specs=(lattice, lattice, field), out_specs=PartitionSpec()
    )
    return jax.jit(jax.value_and_grad(spread))(PREDICTION, TRUTH, MASK)


@pytest.mark.parametrize("cuts", [(2, 4), (8, 1)], ids=str)
@pytest.mark.parametrize("name", [*LOSSES, "multi_scale of spectral"])
def test_losses_are_those_of_the_whole_lattice(name, cuts, settings):
    name, _, of = name.partition(" of ")
    given = settings.get(name, {}) | ({"of": of} if of else {})
    if name == "multi_scale" and cuts == (8, 1):
        given = given | {"scales": (1, 2)}
    loss = weighted_sum({name: 1.0}, {name: given})
    value, slope = value_and_slope(loss, *cuts)
    whole = jax.jit(jax.value_and_grad(loss))(PREDICTION, TRUTH, Context(GRID, KEY, WEIGHT, MASK))
    np.testing.assert_allclose(value, whole[0], rtol=1e-5)
    assert float(whole[0]) > 1e-4 and np.abs(whole[1]).max() > 0
    np.testing.assert_allclose(slope, whole[1], rtol=0, atol=1e-5 * np.abs(whole[1]).max())


def test_scales_must_divide_a_block():
    loss = weighted_sum({"multi_scale": 1.0}, SETTINGS)
    with pytest.raises(InputError, match="blocks of 4 cells do not divide a block of .* of 2 x 32"):
        value_and_slope(loss, 8, 1)
