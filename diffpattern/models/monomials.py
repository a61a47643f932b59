"""Monomials of the species, and their whitening by statistics of data.

A polynomial reaction is linear in the monomials; a network may take them, whitened, as its inputs.
"""

import dataclasses
import itertools
import re
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.precision import real

Exponents = tuple[tuple[int, ...], ...]

# What stands between the factors of a term, where a person writes it, and before a power.
_BETWEEN_FACTORS = re.compile(r"[\s*^]+")
# A monomial changes if it does by more than so many roundings.
_ROUNDINGS = 8


def exponents(species: int, lowest: int, highest: int) -> Exponents:
    """Exponents of all monomials with a total degree from `lowest` to `highest`.

    Ordered by degree, then by species: for two species and degrees 0 to 2 they are those of
    1, A, B, A^2, A B, B^2.
    """
    return tuple(
        tuple(factors.count(one) for one in range(species))
        for degree in range(lowest, highest + 1)
        for factors in itertools.combinations_with_replacement(range(species), degree)
    )


def evaluate(x: Array, powers: Exponents) -> Array:
    """The monomials [M, ...] of x [C, ...]."""
    if powers == exponents(len(x), 1, 1):
        # Taken apart and stacked again, 32 species would double the time of a train step.
        return x
    rows = []
    for row in powers:
        product = None
        for channel, power in enumerate(row):
            for _ in range(power):
                product = x[channel] if product is None else product * x[channel]
        rows.append(jnp.ones_like(x[0]) if product is None else product)
    return jnp.stack(rows)


def names(powers: Exponents, species: Sequence[str]) -> tuple[str, ...]:
    """How each monomial is written: "1", "A", "A B^2"."""
    factor = lambda name, power: name if power == 1 else f"{name}^{power}"
    return tuple(
        " ".join(factor(s, p) for s, p in zip(species, row, strict=True) if p) or "1"
        for row in powers
    )


def name_of(text: str) -> str:
    """A name for a species that terms can hold: what parts their factors becomes an underscore.

    Example:
      >>> name_of("Alexa 488"), name_of("A")
      ('Alexa_488', 'A')
    """
    return _BETWEEN_FACTORS.sub("_", text.strip())


@dataclasses.dataclass(frozen=True)
class Whitening:
    """An affine map that gives data zero mean and unit covariance.

    Tuples, not arrays, so that it can be a static attribute of a module.

    Attributes:
      mean: [M].
      matrix: [M][M]; z = matrix (m - mean).
    """

    mean: tuple[float, ...]
    matrix: tuple[tuple[float, ...], ...]

    def __call__(self, m: Array) -> Array:
        """Whitens monomials [M, ...]."""
        mean = jnp.asarray(self.mean, m.dtype).reshape((-1,) + (1,) * (m.ndim - 1))
        return jnp.tensordot(jnp.asarray(self.matrix, m.dtype), m - mean, axes=1)

    def of(self, kept: tuple[int, ...]) -> "Whitening":
        """The whitening of some of the monomials, of the same data."""
        whitens = np.asarray(self.matrix)
        covariance = np.linalg.inv(whitens.T @ whitens)[np.ix_(kept, kept)]
        scale = np.sqrt(np.diag(covariance))
        variances, directions = np.linalg.eigh(covariance / np.outer(scale, scale))
        matrix = (directions / np.sqrt(variances)).T / scale
        return Whitening(tuple(self.mean[n] for n in kept), tuple(map(tuple, matrix.tolist())))


def whitening(values: np.ndarray, powers: Exponents, smallest: float = 1e-3) -> Whitening:
    """The whitening of the monomials of some data.

    Monomials of few species are nearly collinear on data. Directions along which they hardly vary
    are scaled as if their standard deviation were `smallest` times the largest one's, so that
    rounding is not blown up to the size of a signal. A monomial that does not change, but for
    rounding, keeps its scale.

    Args:
      values: samples [..., C].
      powers: exponents of the M monomials.
      smallest: smallest relative standard deviation that is scaled to one.
    """
    samples = values.reshape(-1, values.shape[-1]).T.astype(np.float64)
    m = np.stack([np.prod([s**p for s, p in zip(samples, row, strict=True)], 0) for row in powers])
    mean = m.mean(1)
    constant = np.ptp(m, axis=1) <= _ROUNDINGS * np.finfo(real()).eps * np.abs(m).max(1)
    scale = np.where(constant, 1.0, m.std(1))
    covariance = np.atleast_2d(np.cov((m - mean[:, None]) / scale[:, None]))
    covariance[constant], covariance[:, constant] = 0.0, 0.0
    covariance[constant, constant] = 1.0
    variances, directions = np.linalg.eigh(covariance)
    deviations = np.sqrt(np.maximum(variances, 0.0))
    matrix = (directions / np.maximum(deviations, smallest * deviations.max())).T / scale
    return Whitening(tuple(mean.tolist()), tuple(map(tuple, matrix.tolist())))
