"""Noise is as large as asked, where something was seen; and what was not seen is not there."""

import dataclasses

import numpy as np
import pytest

from diffpattern.data import measurement
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid


def splits(**given):
    """Two channels, the second ten times as wide as the first."""
    random = np.random.default_rng(0)
    make = lambda: Trajectories(
        random.normal(size=(4, 6, 16, 16, 2)) * [1.0, 10.0] + [3.0, 0.0],
        np.arange(6.0),
        ("a", "b"),
        Grid((16, 16)),
        **given,
    )
    return {split: make() for split in ("train", "validation", "test")}


def added(clean, *arguments, **named):
    """The data with noise, where all lattices are of one size."""
    (data,) = measurement.added((clean,), *arguments, **named)
    return data


def test_noise_is_a_share_of_each_channels_spread():
    clean = splits()
    data = added(clean, 0.05, seed=1)
    spread = clean["train"].values.std((0, 1, 2, 3))
    for split in ("train", "validation"):
        difference = data[split].values - clean[split].values
        np.testing.assert_allclose(difference.std((0, 1, 2, 3)), 0.05 * spread, rtol=0.03)
        assert (np.abs(difference.mean((0, 1, 2, 3))) < 0.005 * spread).all()
    assert data["test"] is clean["test"]
    assert added(clean, 0.0, seed=1) is clean


def test_noise_is_its_seeds():
    clean = splits()
    one, again, other = (added(clean, 0.05, seed)["train"].values for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    difference = other - one
    assert np.abs(np.corrcoef(difference.ravel(), one.ravel())[0, 1]) < 0.1
    data = added(clean, 0.05, seed=1)
    pair = [(data[split].values - clean[split].values).ravel() for split in ("train", "validation")]
    assert abs(np.corrcoef(*pair)[0, 1]) < 0.05


def test_what_is_outside_or_was_not_seen_stays_empty():
    mask = np.zeros((4, 16, 16))
    mask[:, 4:12] = 1
    known = np.ones((4, 6, 2))
    known[:, 2, 1] = 0
    clean = splits(mask=mask, known=known)
    values = added(clean, 0.05, seed=1)["train"].values
    assert not values[:, :, :4].any() and not values[:, 2, ..., 1].any()
    # The spread is that of what was seen, not of the zeros around it.
    seen = clean["train"].values[:, :, 4:12, :, 0]
    size = (values[:, :, 4:12, :, 0] - seen).std()
    assert size == pytest.approx(0.05 * seen.std(), rel=0.05)


def test_data_that_stay_in_files_are_refused():
    with pytest.raises(InputError, match="data.noise is 0.05, but the data stay in their files"):
        added(dict.fromkeys(("train", "validation", "test"), object()), 0.05, seed=1)


def test_species_are_seen_at_their_times():
    (data,) = measurement.seen_at((splits(),), ("b=0,2,5",))
    for split in ("train", "validation"):
        assert (data[split].known[:, :, 0] == 1).all()
        np.testing.assert_array_equal(data[split].known[:, :, 1], [[1, 0, 1, 0, 0, 1]] * 4)
        assert not data[split].values[:, 1, ..., 1].any() and data[split].values[:, 1].any()
    assert data["test"].known is None
    clean = (splits(),)
    assert measurement.seen_at(clean, ()) is clean


@pytest.mark.parametrize("unit", [1e-7, 1e7])
def test_times_are_told_apart_in_any_unit(unit):
    data = splits()
    data = {split: dataclasses.replace(one, times=unit * one.times) for split, one in data.items()}
    (seen,) = measurement.seen_at((data,), (f"b=0,{2 * unit!r}",))
    np.testing.assert_array_equal(seen["train"].known[:, :, 1], [[1, 0, 1, 0, 0, 0]] * 4)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("c=0,1", r"has the entry 'c=0,1'; write SPECIES=TIME,TIME with one of the species a, b\."),
        ("a", "write SPECIES=TIME"),
        ("a=0,x", "write SPECIES=TIME"),
        ("a=0,2.5", r"no snapshot is at 2\.5; they are from 0 to 5, 1 apart"),
    ],
)
def test_times_that_are_not_there_are_refused(entry, told):
    with pytest.raises(InputError, match=told):
        measurement.seen_at((splits(),), (entry,))


def test_data_in_files_are_seen_whole():
    with pytest.raises(InputError, match="data.seen takes something away"):
        measurement.seen_at(({"train": object()},), ("a=0",))
