import numpy as np
import pytest

from diffpattern.data import environment
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid

GRID = Grid((8, 5), (1.0, 2.0), ("circular", "symmetric"))


def trajectories(**given):
    return Trajectories(np.ones((2, 3, 8, 5, 1)), np.arange(3.0), ("A",), GRID, **given)


def test_coordinates_go_from_wall_to_wall_and_around_a_torus():
    fields = environment.added(trajectories(), ("coordinates",)).environment
    assert fields.shape == (2, 8, 5, 3) and environment.count(GRID, ("coordinates",)) == 3
    np.testing.assert_array_equal(fields[0], fields[1])
    np.testing.assert_allclose(fields[0, 3, :, 2], [-0.8, -0.4, 0.0, 0.4, 0.8], atol=1e-6)
    around = fields[0, :, 2, :2]
    np.testing.assert_allclose((around**2).sum(-1), 1.0, rtol=1e-6)
    # No cell is farther from the next than any other, the seam included.
    distances = np.linalg.norm(around - np.roll(around, 1, axis=0), axis=-1)
    np.testing.assert_allclose(distances, distances[0], rtol=1e-5)


def test_the_distance_from_the_edge_is_in_units_of_length_and_at_most_one():
    mask = np.zeros((2, 8, 5))
    mask[0, 2:7, 1:4] = 1
    mask[1] = 1
    given = np.full((2, 8, 5, 1), 7.0)
    fields = environment.added(trajectories(mask=mask, environment=given), ("edge",)).environment
    np.testing.assert_array_equal(fields[..., :1], given)
    # Rows are 1 apart and columns 2: in the middle of the rectangle an edge is 3 rows away.
    np.testing.assert_allclose(fields[0, :, 2, 1], np.array([0, 0, 1, 2, 3, 2, 1, 0]) / 3)
    np.testing.assert_allclose(fields[0, 4, :, 1], np.array([0, 2, 3, 2, 0]) / 3)
    assert fields[1, ..., 1].min() > 0
    with pytest.raises(InputError, match="no masks"):
        environment.added(trajectories(), ("edge",))


def test_the_edge_is_as_far_across_the_seam_of_a_torus_as_anywhere_else():
    mask = np.zeros((8, 5))
    mask[2:6, 1:3] = 1
    torus = Grid((8, 5), (1.0, 2.0))
    middle = environment.edge(mask, torus)
    for shift in ((4, 0), (3, 2), (0, 3)):
        moved = environment.edge(np.roll(mask, shift, (0, 1)), torus)
        np.testing.assert_array_equal(moved, np.roll(middle, shift, (0, 1)))
    line = np.isin(np.arange(8), (6, 7, 0, 1))
    around = environment.edge(line, Grid(8))[[6, 7, 0, 1]]
    np.testing.assert_array_equal(around, [0.5, 1.0, 1.0, 0.5])
    walled = environment.edge(line, Grid(8, boundary="symmetric"))[[6, 7, 0, 1]]
    np.testing.assert_array_equal(walled, 1.0)
    np.testing.assert_array_equal(environment.edge(np.ones(8), Grid(8)), 1.0)
