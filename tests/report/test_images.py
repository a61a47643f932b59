"""Lattices as pictures."""

import numpy as np
import pytest
from skimage.color import rgb2lab

from diffpattern.report import images


def test_chosen_times_are_spread_in_log_time_with_both_ends():
    times = np.arange(65) * 16.0
    chosen = images.chosen_times(times)
    assert chosen[0] == 0
    assert chosen[-1] == 64
    assert chosen == sorted(set(chosen))
    ratios = times[chosen[2:]] / times[chosen[1:-1]]
    assert (ratios > 1.5).all()
    assert (ratios < 3.1).all()
    assert images.chosen_times(np.array([3.0])) == [0]
    assert images.chosen_times(np.array([3.0, 4.0, 9.0])) == [0, 1, 2]


def test_scale_maps_ends_centre_and_what_is_not_finite():
    scale = images.Scale(-2.0, 2.0, diverging=True)
    values = np.array([-9.0, -2.0, 0.0, 2.0, np.nan, np.inf])
    last = images.LEVELS - 1
    expected = [0, 0, last // 2, last, images.NOT_FINITE, images.NOT_FINITE]
    assert scale.indices(values).tolist() == expected
    white = scale.palette()[last // 2]
    assert white.min() > 240


def test_a_constant_lattice_takes_the_middle_of_the_scale():
    scale = images.scale_of_differences(np.zeros((4, 4)))
    assert (scale.indices(np.zeros((4, 4))) == (images.LEVELS - 1) // 2).all()


def test_difference_scale_passes_over_what_is_not_finite():
    scale = images.scale_of_differences(np.array([np.nan, np.inf, -3.0, -3.0]))
    assert (scale.low, scale.high) == (-3.0, 3.0)
    assert np.isnan(images.scale_of_differences(np.array([np.nan])).high)


def test_a_difference_that_is_rounding_is_pale():
    states = images.Scale(0.0, 2.0)
    rounding = images.scale_of_differences(np.array([-6e-9, 6e-9]), states)
    assert (rounding.low, rounding.high) == (-2e-6, 2e-6)
    assert images.scale_of_differences(np.array([-1e-3, 1e-3]), states).high == 1e-3


def test_outside_of_a_mask_all_is_grey_and_sets_no_scale():
    lattice = np.array([[[0.2, 0.4], [90.0, 0.6]]])
    inside = images.within(lattice, np.array([[1, 1], [0, 1]]))
    scale = images.scale_of_states(inside, np.zeros(1))
    assert 0.2 <= scale.low < 0.21 and 0.59 < scale.high <= 0.6
    indices = scale.indices(inside[0])
    assert indices[1, 0] == images.NOT_FINITE and indices[0, 1] < images.LEVELS
    assert images.within(lattice, None) is lattice


def test_diverging_scale_is_perceptually_even():
    palette = images.Scale(-1, 1, diverging=True).palette()[: images.LEVELS]
    lab = rgb2lab(palette[None] / 255)[0][::8]  # every eighth, as rounding to bytes blurs steps
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=-1)
    assert steps.max() < 1.25 * steps.min()


def test_plane_is_the_middle_slice_and_large_lattices_shrink():
    cube = np.arange(5)[:, None, None] * np.ones((5, 3, 4))
    np.testing.assert_array_equal(images.plane(cube), np.full((3, 4), 2.0))
    large = images.plane(np.kron(np.eye(2), np.ones((200, 200))))
    assert max(large.shape) <= images.LONGEST_SIDE
    assert large.mean() == pytest.approx(0.5, abs=0.01)


def test_kymograph_spaces_its_rows_evenly_in_time():
    trajectory = np.array([0.0, 1.0, 2.0])[:, None] * np.ones((3, 500))
    picture = images.kymograph(trajectory, np.array([0.0, 1.0, 10.0]))
    assert picture.shape == (images.KYMOGRAPH_ROWS, 500 // 3)
    assert (picture[:, 0] == 2).mean() == pytest.approx(0.45, abs=0.02)  # nearest from 5.5 on
