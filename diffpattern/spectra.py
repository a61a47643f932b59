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
    """
    lattice = np.asarray(lattice, np.float64)
    waves = np.fft.fftn(lattice - lattice.mean()) / lattice.size
    axes = [2 * np.pi * np.fft.fftfreq(n, d) for n, d in zip(lattice.shape, spacing, strict=True)]
    squares = sum(np.square(k) for k in np.meshgrid(*axes, indexing="ij"))
    return np.sqrt(squares), np.abs(waves) ** 2


def dominant_wavelength(lattice: NDArray, spacing: Sequence[float]) -> float:
    """2 pi over the mean wavenumber, weighted by power; NaN for a lattice that is flat.

    The mean moves smoothly, where the place of the highest peak jumps from one of the few waves
    that fit into the lattice to the next.

    Args:
      lattice: [*space] of one species.
      spacing: of its cells, along each axis; the result is in the same units.
    """
    if not np.isfinite(lattice).all():
        return float("nan")
    wavenumbers, powers = power(lattice, spacing)
    total = powers.sum()
    if total <= _FLAT * np.square(lattice).max():
        return float("nan")
    return float(2 * np.pi * total / (wavenumbers * powers).sum())
