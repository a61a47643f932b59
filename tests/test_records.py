"""Records of one trajectory come back from their files, in half precision where none can see it."""

import numpy as np
import pytest

from diffpattern import records
from diffpattern.errors import InputError
from diffpattern.records import Damage, States


def stored(tmp_path, record):
    path = tmp_path / "record.npz"
    path.write_bytes(records.to_npz(record))
    return path


def test_states_come_back_within_a_thousandth_of_their_range(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32)
    values[2, 0, 0, 1] = np.nan
    path = stored(tmp_path, States(7, np.array([0.0, 0.1, 1 / 3]), values))
    again = records.read(States, path)
    assert (again.trajectory, again.values.dtype) == (7, np.float16)
    assert again.times.tolist() == [0.0, 0.1, 1 / 3]
    np.testing.assert_allclose(again.values, values, atol=2e-3)


@pytest.mark.parametrize("channel", [500 + np.linspace(0, 0.1, 5), np.linspace(0, 1e6, 5)])
def test_what_half_precision_would_spoil_is_kept_whole(tmp_path, channel):
    values = np.stack([np.linspace(0, 1, 5), channel], axis=-1).astype(np.float32)
    values = np.broadcast_to(values, (3, 4, 5, 2))
    again = records.read(States, stored(tmp_path, States(0, np.arange(3.0), values)))
    np.testing.assert_array_equal(again.values, values)


def make_damage():
    lattices = np.arange(24.0, dtype=np.float32).reshape(2, 2, 3, 2)
    erased = np.array([[True, False, False], [False, False, False]])
    errors = np.array([[0.5, np.inf], [0.25, 0.0]])
    return Damage(1, np.array([8.0, 16.0]), erased, np.zeros(2), lattices, lattices / 2, errors)


def test_damage_comes_back_and_is_summed_up(tmp_path):
    damage = make_damage()
    again = records.read(Damage, stored(tmp_path, damage))
    for name, value in vars(damage).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    assert again.erased.dtype == bool
    assert again.summary(("A", "B")) == {
        "trajectory": 1,
        "times": [8.0, 16.0],
        "erased": pytest.approx(1 / 6),
        "nrmse": {"A": [0.5, 0.25], "B": [None, 0.0]},
    }


@pytest.mark.parametrize("content", [b"", b"PK", records.to_npz(make_damage())])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "states.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"states\.npz is damaged .* --mode=eval"):
        records.read(States, path)
    with pytest.raises(InputError, match=r"none\.npz cannot be read"):
        records.read(States, tmp_path / "none.npz")
