import dataclasses
import json

import numpy as np
import pytest

from diffpattern.data.statistics import Statistics, summarise
from diffpattern.data.trajectories import Trajectories
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.models import monomials

GRID = Grid((3, 4), (0.5, 1.0), (Boundary("value", 0.25), "symmetric"))


def trajectories(species=("A", "B")):
    random = np.random.default_rng(0)
    values = random.normal(size=(2, 5, 3, 4, len(species))) * [1.0, 3.0][: len(species)] + 4.0
    return Trajectories(values, 0.5 * np.arange(5), species, GRID)


def test_a_summary_by_hand():
    data = trajectories()
    summary = summarise([data], (1, 3))
    assert summary.species == ("A", "B") and summary.grid == GRID and summary.interval == 0.5
    for channel in range(2):
        values = data.values[..., channel].astype(float)
        assert summary.mean[channel] == pytest.approx(values.mean(), rel=1e-9)
        of_each_snapshot = [[snapshot.std() for snapshot in run] for run in values]
        assert summary.fluctuation[channel] == pytest.approx(
            np.sqrt(np.mean(np.square(of_each_snapshot))), rel=1e-9
        )
    for degree in (1, 3):
        powers = monomials.exponents(2, 1, degree)
        assert summary.whitening[degree] == monomials.whitening(
            data.values.astype(np.float64), powers
        )
    assert set(summary.whitening) == {1, 3}


def test_fluctuation_leaves_out_how_the_mean_changes_in_time():
    levels = np.arange(5.0)[None, :, None, None, None]
    data = Trajectories(np.broadcast_to(levels, (2, 5, 3, 4, 1)), np.arange(5.0), ("A",), GRID)
    assert summarise([data], (1,)).fluctuation == (0.0,)


@pytest.mark.parametrize("species", [("A",), ("A", "B")])
def test_json_gives_an_equal_summary_back(species):
    summary = summarise([trajectories(species)], (1, 2))
    again = Statistics.from_json(summary.to_json())
    assert again == summary
    assert isinstance(json.loads(summary.to_json()), dict)
    assert hash(again.whitening[2]) == hash(summary.whitening[2])
    assert hash(again.grid) == hash(summary.grid)


def test_units_are_those_of_the_data():
    data = dataclasses.replace(
        trajectories(), offset=(1.0, 0.0), scale=(2.0, 1.0), length_unit="µm", time_unit="h"
    )
    summary = Statistics.from_json(summarise([data], (1,)).to_json())
    units = {"offset": {"A": 1.0, "B": 0.0}, "scale": {"A": 2.0, "B": 1.0}}
    assert summary.units() == {"length": "µm", "time": "h"} | units


def test_a_summary_that_was_kept_before_units_had_names_is_read():
    fields = json.loads(summarise([trajectories()], (1,)).to_json())
    later = ("offset", "scale", "length_unit", "time_unit")
    old = {name: value for name, value in fields.items() if name not in later}
    nothing = {"offset": {"A": 0.0, "B": 0.0}, "scale": {"A": 1.0, "B": 1.0}}
    assert Statistics.from_json(json.dumps(old)).units() == {"length": "", "time": ""} | nothing


def test_what_was_not_seen_does_not_count():
    data = trajectories()
    known = np.ones((2, 5, 2))
    known[0, 3] = 0
    known[1, 2, 1] = 0
    summary = summarise([dataclasses.replace(data, known=known)], (1,))
    for channel in range(2):
        seen = [data.values[n, t, ..., channel] for n, t in np.argwhere(known[..., channel])]
        assert summary.mean[channel] == pytest.approx(np.mean(seen), rel=1e-6)
        expected = np.sqrt(np.mean([snapshot.var(dtype=float) for snapshot in seen]))
        assert summary.fluctuation[channel] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(summary.whitening[1].mean, summary.mean, rtol=1e-6)
