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


@pytest.mark.parametrize(
    ("shape", "spacing"), [((64,), (0.5,)), ((32, 48), (1.0, 0.5)), ((8, 12, 16), (1.0, 1.0, 2.0))]
)
def test_the_radial_spectrum_has_the_variance_of_waves_that_all_axes_carry(shape, spacing):
    lattice = np.random.default_rng(0).normal(size=shape)
    waves = np.fft.fftn(lattice)
    wavenumbers, powers = spectra.power(lattice, spacing)
    shortest = np.pi / max(spacing)
    smooth = np.fft.ifftn(np.where(wavenumbers < 0.8 * shortest, waves, 0)).real
    shells, density = spectra.radial(smooth, spacing)
    width = shells[0]
    np.testing.assert_allclose(np.diff(shells), width)
    assert density.sum() * width == pytest.approx(smooth.var())
    assert (density[shells < 0.7 * shortest] > 0).all()


def test_a_wave_lies_in_its_shell_of_the_radial_spectrum():
    x = 0.5 * np.arange(64)
    lattice = 3 + 2 * np.cos(2 * np.pi * x / 4)[None] * np.ones((64, 1))
    shells, density = spectra.radial(lattice, (0.5, 0.5))
    place = np.argmax(density)
    assert shells[place] == pytest.approx(2 * np.pi / 4)
    assert density[place] * shells[0] == pytest.approx(2.0)  # half of the amplitude's square
    assert np.delete(density, place).max() < 1e-20
