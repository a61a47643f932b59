import numpy as np
import pytest

from diffpattern import spectra


def wave(shape, spacing, modes, phase=0.3):
    """A plane wave with so many periods along each axis, of variance 1/2, about 5."""
    places = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    angle = sum(2 * np.pi * m * x for m, x in zip(modes, places, strict=True))
    return 5.0 + np.sin(angle + phase)


@pytest.mark.parametrize(
    ("shape", "spacing", "modes"),
    [((60,), (0.5,), (5,)), ((48, 36), (1.0, 0.5), (6, 0)), ((48, 36), (1.0, 0.5), (3, 2))],
)
def test_a_plane_wave_has_its_wavelength(shape, spacing, modes):
    lattice = wave(shape, spacing, modes)
    periods = [m / (n * d) for m, n, d in zip(modes, shape, spacing, strict=True)]
    assert spectra.dominant_wavelength(lattice, spacing) == pytest.approx(
        1 / np.linalg.norm(periods)
    )
    wavenumbers, powers = spectra.power(lattice, spacing)
    assert powers.sum() == pytest.approx(lattice.var())
    assert wavenumbers.flat[powers.argmax()] == pytest.approx(2 * np.pi * np.linalg.norm(periods))


def test_the_unit_of_length_is_that_of_the_spacing():
    lattice = np.random.default_rng(0).normal(size=(16, 16))
    one, half = (spectra.dominant_wavelength(lattice, (d, d)) for d in (1.0, 0.5))
    assert half == pytest.approx(one / 2)


def test_what_is_flat_or_not_finite_has_no_wavelength():
    assert np.isnan(spectra.dominant_wavelength(np.full((8, 8), 3.0), (1.0, 1.0)))
    assert np.isnan(spectra.dominant_wavelength(np.full((8, 8), np.inf), (1.0, 1.0)))
