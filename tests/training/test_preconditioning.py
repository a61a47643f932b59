"""Rows of a right-hand side's Jacobian, and what they spare conjugate gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.flatten_util import ravel_pytree

from diffpattern import problem
from diffpattern.data import statistics
from diffpattern.data.trajectories import Trajectories
from diffpattern.data.windows import Window
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.training.preconditioning import of_right_hand_side

SHAPE, SPECIES, TIMES, ELAPSED = (4, 5), ("u", "v"), np.array([0.0, 2.0]), 3.0


@pytest.fixture(scope="module")
def sought():
    config = tiny.config(
        **{"model.rda.terms": ("network", "diffusion"), "model.rda.network.hidden": (3,)}
    )
    values = np.random.default_rng(0).uniform(0.1, 0.9, (1, 2, *SHAPE, 2))
    data = Trajectories(values, TIMES, SPECIES, Grid(SHAPE))
    return problem.build(config, statistics.summarise([data], problem.whitened_degrees(config)))


@pytest.fixture(scope="module")
def parameters(sought):
    random = np.random.default_rng(2)
    return jax.tree.map(lambda x: x + random.uniform(0.1, 0.5, x.shape), sought.initialise(0))


def window_of(**given):
    values = np.random.default_rng(1).uniform(0.1, 0.9, (2, *SHAPE, 2)).astype(np.float32)
    return Window(jnp.asarray(values), Forcing(time=jnp.float32(0)), **given)


def derivatives(sought, parameters, lattice):
    """df/dp at all cells, [C, cells, P], by forward mode."""
    flat, unravel = ravel_pytree(parameters)
    x = jnp.moveaxis(lattice, -1, 0)
    slope = lambda flat: sought.rule.apply({"params": unravel(flat)}, x).reshape(len(x), -1)
    return np.asarray(jax.jit(jax.jacfwd(slope))(flat))


def drawn(sought, parameters, window, cells, seed):
    rows = of_right_hand_side(
        lambda window: sought.rule,
        lambda window: sought.statistics.grid,
        TIMES,
        cells,
        elapsed=ELAPSED,
    )
    return np.asarray(jax.jit(rows)(parameters, window, jax.random.key(seed)))


def test_rows_are_those_of_the_right_hand_side_at_cells_of_a_snapshot(sought, parameters):
    window, cells, places = window_of(), 6, set()
    expected = [derivatives(sought, parameters, lattice) for lattice in window.values]
    for seed in range(6):
        rows = drawn(sought, parameters, window, cells, seed)
        assert rows.shape == (cells * 2, expected[0].shape[-1])
        rows = rows * np.sqrt(cells * 2) / ELAPSED
        first, second = rows.reshape(2, cells, -1)
        # Which snapshot, and which cells; the same ones for both channels.
        place = min((0, 1), key=lambda place: nearest(first, expected[place][0])[1].max())
        found, far = nearest(first, expected[place][0])
        assert far.max() < 1e-4 and len(set(found)) == cells
        np.testing.assert_allclose(second, expected[place][1][found], atol=1e-4)
        places.add(place)
    assert places == {0, 1}


def nearest(rows, among):
    """The place of each row's likest among others, and how far that is."""
    distances = np.abs(rows[:, None] - among[None]).max(axis=-1)
    return distances.argmin(axis=1), distances.min(axis=1)


def test_there_are_no_more_cells_than_the_lattice_has(sought, parameters):
    rows = drawn(sought, parameters, window_of(), 1000, seed=0)
    both = [derivatives(sought, parameters, lattice) for lattice in window_of().values]
    squares = [ELAPSED**2 * np.mean(one.reshape(40, -1) ** 2, axis=0) for one in both]
    assert len(rows) == 40
    found = np.sum(rows**2, axis=0)
    assert any(np.allclose(found, one, rtol=1e-3, atol=1e-6) for one in squares)


def test_a_snapshot_that_was_not_seen_tells_nothing(sought, parameters):
    window = dataclasses.replace(window_of(), known=jnp.zeros((2, 2)))
    assert not drawn(sought, parameters, window, 6, seed=0).any()
