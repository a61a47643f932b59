"""A reading comes back from its file, and makes the same chapter."""

import dataclasses

import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.report.rule import chapter, kept
from diffpattern.report.rule.phase_plane import HomogeneousState, PhasePlane
from diffpattern.report.rule.velocity import VelocityField
from diffpattern.report.rule.weights import FirstLayer, Layer
from diffpattern.stability import Dispersion

SMALL = np.linspace(0.0, 1.0, 3)
WAVES = Dispersion(np.array([0.5, 0.5]), SMALL, -SMALL, 0 * SMALL, 0.0, np.float64(0.0))
READING = chapter.RuleReading(
    species=("A", "B"),
    layers=[Layer("output", np.eye(2), np.zeros(2), ("A", "B"))],
    first_layers=[FirstLayer("hidden", np.eye(2), ("A", "B"))],
    system="gray_scott",
    true_diffusion={"A": 0.1},
    reaction=PhasePlane(
        ("A", "B"),
        (0, 1),
        (SMALL, SMALL),
        np.ones((2, 3, 3)),
        np.ones((3, 3)),
        states=[HomogeneousState(np.array([1.0, 0.0]), stable=True)],
        held={"C": 0.25},
    ),
    waves=[(WAVES, None)],
    missing=["Velocities are not told."],
)


def leaves(value):
    """All that is within a reading, in its order, sequences alike."""
    if dataclasses.is_dataclass(value):
        return [type(value), *(leaf for part in vars(value).values() for leaf in leaves(part))]
    if isinstance(value, dict):
        return [leaf for item in value.items() for part in item for leaf in leaves(part)]
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


def test_a_reading_comes_back_to_the_bit_and_draws_the_same(tmp_path):
    path = tmp_path / "reading.npz"
    path.write_bytes(kept.to_npz(READING))
    again = kept.read(path)
    for ours, theirs in zip(leaves(again), leaves(READING), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    scores = {"diffusion": {"A": 0.1}, "units": {}}
    assert chapter.render(again, scores) == chapter.render(READING, scores)


def test_all_that_a_reading_may_hold_is_known():
    parts = {Dispersion, FirstLayer, Layer, HomogeneousState, PhasePlane, VelocityField}
    assert parts <= set(kept._KINDS.values())


@pytest.mark.parametrize("content", [b"", b"PK", b"text"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "reading.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"reading\.npz is damaged .* --mode=eval"):
        kept.read(path)
    with pytest.raises(InputError, match=r"none\.npz cannot be read"):
        kept.read(tmp_path / "none.npz")
