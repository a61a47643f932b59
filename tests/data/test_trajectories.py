import dataclasses

import jax
import numpy as np
import pytest

from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Boundary, Grid

GRID = Grid((4, 5), (1.0, 0.5), (Boundary("value", 0.5), Boundary("symmetric")))


@pytest.fixture
def trajectories():
    values = np.random.default_rng(0).normal(size=(3, 2, 4, 5, 2))
    return Trajectories(values, [0.0, 16.0], ("A", "B"), GRID)


def test_arrays_take_the_promised_types(trajectories):
    assert trajectories.values.dtype == np.float32
    assert trajectories.times.dtype == np.float64


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"times": [0.0, 1.0, 2.0]}, r"ask for \(N, 3, 4, 5, 2\)"),
        ({"times": [[0.0, 1.0]]}, "shape"),
        ({"species": ("A",)}, r"ask for \(N, 2, 4, 5, 1\)"),
        ({"species": ("A", "A")}, "species"),
        ({"grid": Grid((5, 4))}, "shape"),
        ({"values": np.zeros((0, 2, 4, 5, 2))}, "nothing empty"),
        ({"values": np.full((1, 2, 4, 5, 2), np.nan)}, "finite"),
        ({"times": [16.0, 0.0]}, "increase"),
        ({"times": [0.0, np.inf]}, "finite"),
        ({"times": [0.0, 1j]}, "times must be an array of real numbers, but is of the type compl"),
        ({"grid": (4, 5)}, r"grid is \(4, 5\), but must be a Grid, such as Grid\(\(8, 8\)\)"),
    ],
)
def test_what_does_not_fit_is_refused(trajectories, change, complaint):
    with pytest.raises(InputError, match=complaint):
        dataclasses.replace(trajectories, **change)


def test_a_file_gives_back_what_was_saved(trajectories, tmp_path):
    path = tmp_path / "test.npz"
    trajectories.save_npz(path)
    trajectories.save_npz(path)
    loaded = Trajectories.load_npz(path)
    assert loaded.digest() == trajectories.digest()
    assert loaded.grid == GRID and loaded.species == ("A", "B")
    np.testing.assert_array_equal(loaded.values, trajectories.values)
    assert [entry.name for entry in tmp_path.iterdir()] == ["test.npz"]


def test_every_part_enters_the_digest(trajectories):
    values = trajectories.values.copy()
    values[2, 1, 3, 4, 1] += 1e-6
    changes = [
        {"values": values},
        {"values": trajectories.values[:2]},
        {"times": [0.0, 16.1]},
        {"species": ("A", "C")},
        {"grid": dataclasses.replace(GRID, boundary="circular")},
        {"grid": dataclasses.replace(GRID, spacing=1.0)},
    ]
    digests = {dataclasses.replace(trajectories, **change).digest() for change in changes}
    assert len(digests | {trajectories.digest()}) == len(changes) + 1


def test_the_digest_of_single_precision_stays_as_runs_have_kept_it():
    values = np.arange(8.0).reshape(1, 2, 4, 1)
    known = np.ones((1, 2, 1))
    kept = Trajectories(values, [0.0, 0.5], ("u",), Grid(4), known=known)
    assert kept.digest() == "c04c0b7cb2fc56758f7e3f180a3aa7e855f406f2152953a9082433237c1357cf"


def test_in_double_precision_the_last_digits_count():
    with jax.enable_x64(True):
        one = Trajectories(np.ones((1, 2, 4, 1)), [0.0, 0.5], ("u",), Grid(4))
        values = one.values.copy()
        values[0, 1, 2] += 1e-12
        assert dataclasses.replace(one, values=values).digest() != one.digest()
        masks = [np.ones((1, 4)), np.zeros((1, 4))]
        masked = {dataclasses.replace(one, mask=mask).digest() for mask in masks}
        assert len(masked | {one.digest()}) == 3


@pytest.mark.parametrize("content", [b"", b"no zip file", None, "truncated", "flipped", "other"])
def test_a_file_that_is_none_is_refused_by_name(trajectories, tmp_path, content):
    path = tmp_path / "test.npz"
    trajectories.save_npz(path)
    whole = bytearray(path.read_bytes())
    if content is None:
        path.unlink()
    elif content == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif content == "flipped":
        whole[len(whole) // 4] ^= 1
        path.write_bytes(whole)
    elif content == "other":
        np.savez(path, states=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="test.npz"):
        Trajectories.load_npz(path)


GIVEN = {
    "mask": np.arange(60).reshape(3, 4, 5) % 2,
    "environment": np.arange(180.0).reshape(3, 4, 5, 3),
    "inputs": np.arange(18.0).reshape(3, 3, 2),
    "input_times": [0.0, 1.0, 5.0],
}


def test_what_acts_from_outside_comes_back_and_counts(trajectories, tmp_path):
    forced = dataclasses.replace(trajectories, **GIVEN)
    forced.save_npz(tmp_path / "forced.npz")
    again = Trajectories.load_npz(tmp_path / "forced.npz")
    for name, given in GIVEN.items():
        np.testing.assert_array_equal(getattr(again, name), given)
    assert again.digest() == forced.digest() != trajectories.digest()
    outside = np.broadcast_to(GIVEN["mask"][:, None, ..., None] == 0, forced.values.shape)
    assert (forced.values[outside] == 0).all() and (forced.values[~outside] != 0).any()

    one, both = forced.forcing(1), forced.forcing(np.array([1, 0]))
    assert one.time == trajectories.times[0] and one.environment.shape == (3, 4, 5)
    np.testing.assert_array_equal(both.mask[0], one.mask)
    np.testing.assert_array_equal(both.inputs[1], GIVEN["inputs"][0])
    np.testing.assert_array_equal(both.input_times[1], GIVEN["input_times"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"mask": np.ones((3, 5, 4))}, r"mask has the shape \(3, 5, 4\), .* \(3, 4, 5\)"),
        ({"mask": np.full((3, 4, 5), 0.5)}, "mask must be 1 inside and 0 outside"),
        ({"environment": np.zeros((3, 4, 5))}, r"environment has the shape .*\(3, 4, 5, any\)"),
        ({"inputs": np.full((3, 1), np.nan)}, "inputs must be finite"),
        ({"inputs": np.zeros((2, 1))}, r"inputs has the shape .*\(3, any\)"),
        ({"input_times": [0.0, 1.0]}, "input_times must increase and come with a table"),
        (GIVEN | {"input_times": [0.0, 0.0, 1.0]}, "input_times must increase"),
    ],
)
def test_what_acts_from_outside_must_fit(trajectories, change, told):
    with pytest.raises(InputError, match=told):
        dataclasses.replace(trajectories, **change)


def test_a_notebook_shows_them_in_a_line(trajectories):
    shown = repr(dataclasses.replace(trajectories, **GIVEN))
    assert shown == (
        "<Trajectories: 3 of A, B on 4 x 5 cells, spacing 1 x 0.5, at 2 times from 0 to 16, with "
        "mask, environment, inputs, input_times>"
    )
    assert "with" not in repr(trajectories)


def test_what_was_not_seen_is_zero_and_kept_with_the_rest(trajectories, tmp_path):
    known = np.ones((3, 2, 2))
    known[1, 1, 0] = 0
    partly = dataclasses.replace(trajectories, known=known, offset=(1.0, 0.0), scale=(2.0, 0.5))
    assert not partly.values[1, 1, ..., 0].any() and partly.values[1, 1, ..., 1].all()
    np.testing.assert_array_equal(partly.values[0], trajectories.values[0])
    partly.save_npz(tmp_path / "data.npz")
    loaded = Trajectories.load_npz(tmp_path / "data.npz")
    assert loaded.digest() == partly.digest() != trajectories.digest()
    np.testing.assert_array_equal(loaded.known, known)
    np.testing.assert_allclose(
        loaded.in_units(loaded.values)[0], trajectories.values[0] * [2.0, 0.5] + [1.0, 0.0]
    )
    for change, complaint in (
        ({"known": known * 0.5}, "known must be 1"),
        ({"known": known[:2]}, r"known has the shape \(2, 2, 2\)"),
        ({"scale": (1.0,)}, r"scale has the shape \(1,\), .* each of the 2 species"),
        ({"offset": 1.0}, r"offset has the shape \(\), .* each of the 2 species"),
        ({"offset": (np.nan, 0.0)}, "offset must be finite"),
        ({"scale": (1.0, 0.0)}, "positive"),
    ):
        with pytest.raises(InputError, match=complaint):
            dataclasses.replace(trajectories, **change)


def test_names_of_units_are_kept_and_make_no_other_data(trajectories, tmp_path):
    named = dataclasses.replace(trajectories, length_unit="µm", time_unit="h")
    named.save_npz(tmp_path / "data.npz")
    loaded = Trajectories.load_npz(tmp_path / "data.npz")
    assert (loaded.length_unit, loaded.time_unit) == ("µm", "h")
    assert loaded.digest() == trajectories.digest()


def test_regular_times_have_unknown_snapshots_in_between(trajectories):
    values = np.random.default_rng(1).normal(size=(3, 4, 4, 5, 2))
    uneven = dataclasses.replace(trajectories, values=values, times=[2.0, 14.0, 20.0, 44.0])
    even = uneven.regular()
    np.testing.assert_allclose(even.times, np.arange(2.0, 45.0, 6.0))
    np.testing.assert_array_equal(even.known[0, :, 1], [1, 0, 1, 1, 0, 0, 0, 1])
    np.testing.assert_array_equal(even.values[:, [0, 2, 3, 7]], uneven.values)
    assert trajectories.regular() is trajectories
    tiny = dataclasses.replace(uneven, times=1e-9 * uneven.times).regular()
    np.testing.assert_array_equal(tiny.known, even.known)
    odd = dataclasses.replace(uneven, times=[0.0, 1.0, 2.0, 1.0 + np.sqrt(3.0)])
    with pytest.raises(InputError, match="no multiples of one interval"):
        odd.regular()


def test_what_was_seen_is_inside_of_masks_and_known(trajectories):
    known = np.ones((3, 2, 2))
    known[1, 1, 0] = 0
    partly = dataclasses.replace(trajectories, known=known, mask=GIVEN["mask"])
    seen = partly.seen()
    for n, t, y, x, c in np.ndindex(seen.shape):
        assert seen[n, t, y, x, c] == (GIVEN["mask"][n, y, x] and known[n, t, c])
    for channel in range(2):
        numbers = partly.numbers(channel)
        assert numbers.dtype == np.float64 and len(numbers) == seen[..., channel].sum()
        np.testing.assert_array_equal(numbers, partly.values[seen[..., channel], channel])
    assert trajectories.seen().all()
