import dataclasses

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
