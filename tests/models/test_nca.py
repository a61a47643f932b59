import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.models.nca import NeuralCellularAutomaton

KEY = jax.random.key(3)
GRIDS = {1: Grid((40,)), 2: Grid((20, 18)), 3: Grid((6, 5, 7))}


def lattice(grid, channels=3):
    return jnp.asarray(np.random.default_rng(0).uniform(size=(channels, *grid.shape)))


def untrained(rule, x):
    return jax.jit(rule.init)(KEY, x, KEY)["params"]


def trained(rule, x):
    """Parameters of which none is zero, as after training."""
    flat, unravel = ravel_pytree(untrained(rule, x))
    return unravel(flat + 0.1 * jnp.asarray(np.random.default_rng(1).normal(size=flat.shape)))


def step(rule, parameters, x):
    return jax.jit(rule.apply)({"params": parameters}, x, KEY)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=lambda grid: f"{grid.ndim}D")
def test_untrained_does_nothing_and_trained_does_something(grid):
    rule, x = NeuralCellularAutomaton(grid, hidden=8, fire_rate=1.0), lattice(grid)
    np.testing.assert_array_equal(step(rule, untrained(rule, x), x), x)
    after = step(rule, trained(rule, x), x)
    assert after.shape == x.shape and np.all(np.asarray(after != x))


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_cells_fire_at_their_rate_with_all_their_channels(rate):
    grid = Grid((64, 48))
    rule, x = NeuralCellularAutomaton(grid, hidden=8, fire_rate=rate), lattice(grid)
    parameters = trained(rule, x)
    fires = jax.jit(lambda key: rule.apply({"params": parameters}, x, key) != x)
    fired = np.stack([fires(key) for key in jax.random.split(KEY, 20)])
    np.testing.assert_array_equal(fired.all(1), fired.any(1))
    fired = fired[:, 0]
    spread = np.sqrt(rate * (1 - rate) / fired.size)
    assert abs(fired.mean() - rate) < 4 * spread
    # No cell is favoured: the means of cells over 20 steps vary as those of independent draws.
    expected = np.sqrt(rate * (1 - rate) / len(fired))
    assert fired.mean(0).std() == pytest.approx(expected, rel=0.1)


def test_cells_that_fire_do_what_they_would_do_without_a_mask():
    grid = GRIDS[2]
    rule, x = NeuralCellularAutomaton(grid, hidden=8, fire_rate=0.5), lattice(grid)
    parameters = trained(rule, x)
    all_fire = NeuralCellularAutomaton(grid, hidden=8, fire_rate=1.0)
    masked, free = step(rule, parameters, x), step(all_fire, parameters, x)
    fired = np.asarray(masked != x)
    assert 0.3 < fired.mean() < 0.7
    np.testing.assert_allclose(masked[fired], free[fired], rtol=1e-12)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=lambda grid: f"{grid.ndim}D")
def test_translation_on_a_torus(grid):
    rule, x = NeuralCellularAutomaton(grid, hidden=8, fire_rate=1.0), lattice(grid)
    parameters = trained(rule, x)
    shift, axes = tuple(range(3, 3 + grid.ndim)), tuple(range(1, 1 + grid.ndim))
    np.testing.assert_allclose(
        step(rule, parameters, jnp.roll(x, shift, axes)),
        jnp.roll(step(rule, parameters, x), shift, axes),
        rtol=1e-11,
        atol=1e-12,
    )


@pytest.mark.parametrize("kernel", ["identity", "gradient", "laplacian"])
def test_a_cell_sees_its_neighbours_through_the_kernels_it_has(kernel):
    grid = Grid((9, 9))
    rule, x = NeuralCellularAutomaton(grid, (kernel,), 8, fire_rate=1.0), lattice(grid)
    parameters = trained(rule, x)
    update = lambda x: step(rule, parameters, x) - x
    changed = np.abs(update(x.at[0, 4, 4].add(0.3)) - update(x)).max(0) > 1e-9
    seen = {"identity": 1, "gradient": 8, "laplacian": 9}[kernel]
    assert changed.sum() == seen and changed[3:6, 3:6].sum() == seen


def test_unknown_names_are_refused():
    grid = GRIDS[2]
    for rule, name in (
        (NeuralCellularAutomaton(grid, ("identity", "curl")), "curl"),
        (NeuralCellularAutomaton(grid, activation="swoosh"), "swoosh"),
    ):
        with pytest.raises(InputError, match=name):
            rule.init(KEY, lattice(grid), KEY)
