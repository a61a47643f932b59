"""Of what lengths a pattern is made: its power spectrum, and what is read off it.

Pure functions of numpy arrays, one species at a time.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# A pattern whose variance is below this share of its largest ever is flat, and has no length.
_FLAT = 1e-6


def power(lattice: NDArray, spacing: Sequence[float]) -> tuple[NDArray, NDArray]:
    """The power of each wave in a lattice about its mean.

    Args:
      lattice: [*space] of one species.
      spacing: of its cells, along each axis.

    Returns:
      Wavenumbers in radians per length, and powers, both [*space] in the order of `numpy.fft.fftn`.
      The powers sum up to the variance.

    Example:
      >>> wavenumbers, powers = power(np.cos(np.pi * np.arange(8) / 2), [0.5])
      >>> float(wavenumbers[2].round(3)), powers.round(3).tolist()
      (3.142, [0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.25, 0.0])
    """
    lattice = np.asarray(lattice, np.float64)
    waves = np.fft.fftn(lattice - lattice.mean()) / lattice.size
    axes = [2 * np.pi * np.fft.fftfreq(n, d) for n, d in zip(lattice.shape, spacing, strict=True)]
    squares = sum(np.square(k) for k in np.meshgrid(*axes, indexing="ij"))
    return np.sqrt(squares), np.abs(waves) ** 2


def levelled(lattice: NDArray, inside: NDArray | None) -> NDArray:
    """A lattice whose cells outside of a mask are as those inside are on average.

    Its spectrum is then that of what lies inside, and not of the mask's shape.

    Args:
      lattice: [*space] of one species.
      inside: where the mask is, [*space]; None: everywhere.

    Example:
      >>> levelled(np.array([1.0, 3.0, 9.0]), np.array([True, True, False])).tolist()
      [1.0, 3.0, 2.0]
    """
    return lattice if inside is None else np.where(inside, lattice, lattice[inside].mean())


def radial(lattice: NDArray, spacing: Sequence[float]) -> tuple[NDArray, NDArray]:
    """The radial power spectrum of a lattice: its power in shells of wavenumbers, per wavenumber.

    Shells are as wide as the longest wave's number along the lattice's shortest side, so that none
    is empty, and reach up to the shortest wave that its coarsest axis can carry.

    Args:
      lattice: [*space] of one species.
      spacing: of its cells, along each axis.

    Returns:
      Wavenumbers in radians per length [K], those of the shells' middles, and power over the
      shells' width [K]; the sum of power times width is the variance, but for waves shorter than
      the last shell's.

    Example:
      >>> wavenumbers, density = radial(np.random.default_rng(0).normal(size=(16, 16)), (1.0, 1.0))
      >>> wavenumbers.shape, density.shape
      ((8,), (8,))
    """
    wavenumbers, powers = power(lattice, spacing)
    width = 2 * np.pi / min(n * d for n, d in zip(lattice.shape, spacing, strict=True))
    count = max(1, int(np.pi / max(spacing) / width + 0.5))
    shell = np.rint(wavenumbers / width).astype(int)
    # Waves longer than the first shell's belong to it; only the mean, which is gone, has none.
    shell = np.where((shell == 0) & (wavenumbers > 0), 1, shell)
    sums = np.bincount(shell.ravel(), powers.ravel(), minlength=count + 1)
    return width * np.arange(1, count + 1), sums[1 : count + 1] / width


def dominant_wavelength(lattice: NDArray, spacing: Sequence[float]) -> float:
    """2 pi over the mean wavenumber, weighted by power; NaN for a lattice that is flat.

    The mean moves smoothly, where the place of the highest peak jumps from one of the few waves
    that fit into the lattice to the next.

    Args:
      lattice: [*space] of one species.
      spacing: of its cells, along each axis; the result is in the same units.

    Example:
      >>> round(dominant_wavelength(np.cos(np.pi * np.arange(8) / 2), [0.5]), 3)
      2.0
      >>> dominant_wavelength(np.ones(8), [0.5])
      nan
    """
    if not np.isfinite(lattice).all():
        return float("nan")
    wavenumbers, powers = power(lattice, spacing)
    total = powers.sum()
    if total <= _FLAT * np.square(lattice).max():
        return float("nan")
    return float(2 * np.pi * total / (wavenumbers * powers).sum())
