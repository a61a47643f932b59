"""Exponential time differencing: the stiff linear part of a PDE exactly, the rest by Runge-Kutta.

    dx/dt = L x + N(x, t)

with L diagonal over the modes of the lattice: Fourier modes along a torus, cosine modes between
walls that no flux passes. Diffusion of second or fourth order then bounds no step, however fine
the lattice is. The methods are ETDRK2 and ETDRK4 of Cox and Matthews (2002, J. Comput. Phys. 176,
430), written as Runge-Kutta tableaux whose entries are functions of a mode's rate.

A mode is not local: every cell of a lattice must be on one device.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.grid.stencils import LAPLACIANS, laplacian

NAMES = ("etdrk2", "etdrk4")
EXACT = "exact"

# Below this |z| the phi functions are summed as power series, of so many terms: the next is below
# float64's rounding. Above it their closed form loses less than a digit and a half.
_NEAR = 2.0
_TERMS = 25


@dataclass(frozen=True)
class Transform:
    """Between a lattice and its modes, in which every symmetric stencil is diagonal.

    Axis by axis: a cosine transform (DCT-II) where the boundary is `symmetric`, then a real Fourier
    transform over the `circular` axes together. The modes are complex if there is a circular axis,
    and the last of these then has n // 2 + 1 of them; every other axis has as many as cells.

    Attributes:
      grid: the lattice.

    Raises:
      InputError: an axis is neither circular nor symmetric.

    Example:
      >>> transform = Transform(Grid((8, 6)))
      >>> modes = transform.forward(jnp.ones((2, 8, 6)))
      >>> modes.shape, transform.inverse(modes).shape
      ((2, 8, 4), (2, 8, 6))
      >>> Transform(Grid((8, 6), boundary="zero"))
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: grid boundary is 'zero', but a spectral solver ...
    """

    grid: Grid

    def __post_init__(self):
        for walls in self.grid.boundary:
            others = {walls.lower.kind, walls.upper.kind} - {"circular", "symmetric"}
            if others:
                raise InputError(
                    f"grid boundary is {min(others)!r}, but a spectral solver has modes for "
                    "'circular' and 'symmetric' ones only; take one of these, or another solver."
                )

    def forward(self, x: Array) -> Array:
        """The modes of a lattice, [..., *space] -> [..., *freq].

        Example:
          >>> Transform(Grid(4, boundary="symmetric")).forward(jnp.ones(4)).round(3)[:2].tolist()
          [4.0, 0.0]
        """
        for axis in self._axes("symmetric"):
            x = _cosine_transform(x, axis)
        circular = self._axes("circular")
        return jnp.fft.rfftn(x, axes=circular) if circular else x

    def inverse(self, modes: Array) -> Array:
        """The lattice of these modes, [..., *freq] -> [..., *space].

        Example:
          >>> transform = Transform(Grid(4))
          >>> modes = transform.forward(jnp.array([0.0, 1.0, 0.0, 0.0]))
          >>> transform.inverse(modes).round(3).tolist()
          [0.0, 1.0, 0.0, 0.0]
        """
        circular = self._axes("circular")
        if circular:
            shape = [self.grid.shape[axis] for axis in circular]
            modes = jnp.fft.irfftn(modes, s=shape, axes=circular)
        for axis in self._axes("symmetric"):
            modes = _inverse_cosine_transform(modes, axis)
        return modes

    def eigenvalues(self, stencil: str) -> np.ndarray:
        """What a Laplacian multiplies each mode by.

        Args:
          stencil: a name of `grid.stencils.LAPLACIANS`, for the factor by which that stencil
            multiplies the mode, or "exact" for -k^2, which the Laplacian of a smooth field has.

        Returns:
          [*freq] float64, none positive, per length squared; the constant mode's is exactly 0.

        Raises:
          InputError: there is no such stencil, or not for this grid's spacing.

        Example:
          >>> Transform(Grid(4)).eigenvalues("cross").round(3).tolist()
          [0.0, -2.0, -4.0]
          >>> Transform(Grid(4)).eigenvalues("exact").round(3)[1:].tolist()
          [-2.467, -9.87]
        """
        angles = np.meshgrid(*self._angles(), indexing="ij", sparse=True)
        if stencil == EXACT:
            return -sum((a / h) ** 2 for a, h in zip(angles, self.grid.spacing, strict=True))
        total = np.zeros([a.size for a in angles])
        for offset, weight in _weights(stencil, self.grid.spacing):
            # The weights sum to zero, so each cosine may have its 1 taken off: nothing cancels.
            phase = sum(a * cells for a, cells in zip(angles, offset, strict=True))
            total -= 2.0 * weight * np.sin(phase / 2) ** 2
        return total

    def _axes(self, kind: str) -> tuple[int, ...]:
        """The axes with this boundary, counted from the end."""
        boundary = self.grid.boundary
        return tuple(a - len(boundary) for a, b in enumerate(boundary) if b.kind == kind)

    def _angles(self) -> list[np.ndarray]:
        """By how much the phase of an axis' modes turns from one cell to the next."""
        angles = [
            2 * np.pi * np.fft.fftfreq(cells)
            if boundary.kind == "circular"
            else np.pi * np.arange(cells) / cells
            for cells, boundary in zip(self.grid.shape, self.grid.boundary, strict=True)
        ]
        if circular := self._axes("circular"):
            angles[circular[-1]] = 2 * np.pi * np.fft.rfftfreq(self.grid.shape[circular[-1]])
        return angles


class Stage(NamedTuple):
    """How a state differs from the step's start: by its modes, and by the remainders so far.

    Attributes:
      elapsed: time since the step's start.
      growth: change of each of the start's modes by L alone, e^(rate elapsed) - 1, [C, *freq].
      weights: for each remainder so far its factor, like `growth`, or None where it is not used.

    Example:
      >>> half, *_, last = coefficients("etdrk4", jnp.array([[-1.0]]), 0.5)
      >>> half.elapsed, last.elapsed
      (0.25, 0.5)
    """

    elapsed: Array | float
    growth: Array
    weights: tuple[Array | None, ...]


def coefficients(name: str, rates: Array, dt: Array | float) -> tuple[Stage, ...]:
    """What a step of this length multiplies by: the same for all steps, so computed once.

    With z = rates dt and phi_k(z) = integral from 0 to 1 of e^((1-s) z) s^(k-1) / (k-1)! ds,
    Cox and Matthews' coefficients are

        etdrk2   a = e^z x + dt phi_1 N(x),    x+ = a + dt phi_2 (N(a) - N(x))

        etdrk4   a = e^(z/2) x + dt/2 phi_1(z/2) N(x)
                 b = e^(z/2) x + dt/2 phi_1(z/2) N(a)
                 c = e^(z/2) a + dt/2 phi_1(z/2) (2 N(b) - N(x))
                 x+ = e^z x + dt [(phi_1 - 3 phi_2 + 4 phi_3) N(x)
                                  + (2 phi_2 - 4 phi_3) (N(a) + N(b)) + (4 phi_3 - phi_2) N(c)]

    Args:
      name: one of `NAMES`.
      rates: of growth (positive) or decay of each mode by the linear part, per unit of time,
        [C, *freq]; the result can be differentiated by them, at 0 too.
      dt: length of the step.

    Returns:
      The stages after the first, which is the state itself; the last is the step's result.

    Raises:
      InputError: no exponential solver has this name.

    Example:
      >>> stages = coefficients("etdrk2", jnp.array([[0.0, -100.0]]), 0.5)
      >>> len(stages), stages[-1].growth.round(3).tolist()  # however fast, nothing overshoots
      (2, [[0.0, -1.0]])
    """
    require_known(name)
    z = rates * dt
    growth = jnp.expm1(z)
    if name == "etdrk2":
        whole, first, last = dt * phi_sums([(1, 0), (1, -1), (0, 1)], z)
        return Stage(dt, growth, (whole,)), Stage(dt, growth, (first, last))
    half_growth, (half,) = jnp.expm1(z / 2), dt / 2 * phi_sums([(1,)], z / 2)
    first, middle, last = dt * phi_sums([(1, -3, 4), (0, 2, -4), (0, -1, 4)], z)
    return (
        Stage(dt / 2, half_growth, (half,)),
        Stage(dt / 2, half_growth, (None, half)),
        Stage(dt, growth, (half * half_growth, None, 2 * half)),
        Stage(dt, growth, (first, middle, middle, last)),
    )


def step(
    coefficients: tuple[Stage, ...],
    transform: Transform,
    remainder: Callable[[Array, Array | float], Array],
    x: Array,
) -> Array:
    """One exponential Runge-Kutta step of dx/dt = L x + N(x, t).

    Args:
      coefficients: of the method, L and the step's length; see `coefficients`.
      transform: of the lattice.
      remainder: N, from a lattice [C, *space] and the time since the step's start to what L leaves
        of the derivative, like the lattice.
      x: x(t), [C, *space].

    Returns:
      x(t + dt), like `x`.

    Example:
      >>> transform = Transform(Grid(8))
      >>> rates = 0.5 * jnp.asarray(transform.eigenvalues("cross"), jnp.float32)[None]
      >>> x = jnp.ones((1, 8))
      >>> step(coefficients("etdrk2", rates, 1.0), transform, lambda x, t: -0.1 * x, x).shape
      (1, 8)
    """
    modes, slope = transform.forward(jnp.stack([x, remainder(x, 0.0)]))
    slopes = [slope]
    *inner, result = coefficients
    for stage in inner:
        state = _later(stage, transform, x, modes, slopes)
        slopes.append(transform.forward(remainder(state, stage.elapsed)))
    return _later(result, transform, x, modes, slopes)


def require_known(name: str) -> None:
    """Raises InputError, with a list of all, if no exponential solver has this name.

    Example:
      >>> require_known("etdrk4")
      >>> require_known("heun")
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: solver.name is 'heun', but an exponential solver ...
    """
    if name not in NAMES:
        raise InputError(
            f"solver.name is {name!r}, but an exponential solver is one of {', '.join(NAMES)}."
        )


def phi_sums(weights: Sequence[Sequence[float]], z: Array) -> Array:
    """Sums of phi functions, accurate at every z and differentiable, at 0 too.

    The textbook form, phi_k = (e^z - sum_{j<k} z^j / j!) / z^k, cancels near 0, and sums of phi
    functions cancel again where z is large, because their leading terms do. So near 0 the power
    series is summed; elsewhere the powers of 1/z are collected before anything is evaluated.
    (Kassam and Trefethen 2005, SIAM J. Sci. Comput. 26, 1214, average over a circle around z
    instead; where the circle passes close to 0, that loses three digits of float32.)

    Args:
      weights: a row for each sum, its weights of phi_1, phi_2, ...
      z: any shape.

    Returns:
      [rows, *z.shape], sum_k weights[row][k - 1] phi_k(z).

    Example:
      >>> phi_sums([(1, 0), (0, 1)], jnp.array(0.0)).tolist()  # phi_1 and phi_2 at 0
      [1.0, 0.5]
    """
    rows = np.asarray(weights, np.float64)
    degree = rows.shape[1]
    # Columns are coefficients of ascending powers: of z in the series, of 1/z in
    # phi_k = e^z / z^k - sum_{m=1..k} z^-m / (k - m)!.
    series = rows @ _inverse_factorials(np.add.outer(np.arange(1, degree + 1), np.arange(_TERMS)))
    of_one = -rows @ _inverse_factorials(np.subtract.outer(np.arange(degree), np.arange(degree)))

    near = jnp.abs(z) < _NEAR
    small, large = jnp.where(near, z, 0.0), jnp.where(near, _NEAR, z)
    inverse = 1 / large
    closed = inverse * (
        jnp.exp(large) * _polynomials(rows, inverse) + _polynomials(of_one, inverse)
    )
    return jnp.where(near, _polynomials(series, small), closed)


def _inverse_factorials(n: np.ndarray) -> np.ndarray:
    """1 / n!, and 0 where n is negative."""
    return np.vectorize(lambda n: 1 / math.factorial(n) if n >= 0 else 0.0)(n)


def _polynomials(ascending: np.ndarray, z: Array) -> Array:
    """The polynomials whose coefficients are the rows, [rows, degrees], at z: [rows, *z.shape]."""
    columns = np.expand_dims(ascending.T, tuple(range(2, 2 + z.ndim))).astype(z.dtype)
    total = columns[-1]
    for column in columns[-2::-1]:
        total = total * z + column
    return jnp.broadcast_to(total, (len(ascending), *z.shape))


def _later(
    stage: Stage, transform: Transform, x: Array, modes: Array, slopes: list[Array]
) -> Array:
    """The state at a stage: as a change of x, so that rounding is of the change, not of x."""
    used = [(w, k) for w, k in zip(stage.weights, slopes, strict=True) if w is not None]
    return x + transform.inverse(stage.growth * modes + sum(w * k for w, k in used))


@functools.cache
def _weights(stencil: str, spacing: tuple[float, ...]) -> list[tuple[tuple[int, ...], float]]:
    """The weights of a Laplacian's stencil: offsets in cells, none of them zero, and numbers."""
    if stencil not in LAPLACIANS:
        raise InputError(
            f"Laplacian is {stencil!r}, but must be one of {', '.join((*LAPLACIANS, EXACT))}."
        )
    reach = 2
    torus = Grid((2 * reach + 1,) * len(spacing), spacing)
    raised = np.zeros(torus.shape)
    raised[(reach,) * torus.ndim] = 1.0
    # A rollout may be traced, and in single precision: these are neither.
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        response = np.asarray(laplacian(jnp.asarray(raised), torus, stencil))
    offsets = itertools.product(range(-reach, reach + 1), repeat=torus.ndim)
    return [(o, float(w)) for o, w in zip(offsets, response.ravel(), strict=True) if w and any(o)]


def _cosine_transform(x: Array, axis: int) -> Array:
    """DCT-II, C[k] = sum_i x[i] cos(pi k (i + 1/2) / n), by a real Fourier transform of n cells.

    Of V, the transform of the even cells followed by the odd ones backwards, e^(-i pi k / 2n) V[k]
    is C[k] - i C[n - k] (Makhoul 1980, IEEE Trans. Acoust. Speech Signal Process. 28, 27).
    """
    x = jnp.moveaxis(x, axis, -1)
    cells = x.shape[-1]
    folded = jnp.concatenate([x[..., ::2], jnp.flip(x[..., 1::2], -1)], -1)
    spectrum = jnp.fft.rfft(folded)
    spectrum *= _half_turns(cells, spectrum.dtype).conj()
    upper = jnp.flip(-spectrum.imag[..., 1 : (cells + 1) // 2], -1)
    return jnp.moveaxis(jnp.concatenate([spectrum.real, upper], -1), -1, axis)


def _inverse_cosine_transform(modes: Array, axis: int) -> Array:
    """The cells whose `_cosine_transform` these modes are."""
    modes = jnp.moveaxis(modes, axis, -1)
    cells = modes.shape[-1]
    half = cells // 2 + 1
    beyond = jnp.zeros_like(modes[..., :1])  # C[n] = 0
    mirrored = jnp.concatenate([beyond, jnp.flip(modes[..., cells - half + 1 :], -1)], -1)
    spectrum = jax.lax.complex(modes[..., :half], -mirrored)
    folded = jnp.fft.irfft(spectrum * _half_turns(cells, spectrum.dtype), cells)
    even, odd = folded[..., : (cells + 1) // 2], jnp.flip(folded[..., (cells + 1) // 2 :], -1)
    x = jnp.zeros_like(modes).at[..., ::2].set(even).at[..., 1::2].set(odd)
    return jnp.moveaxis(x, -1, axis)


def _half_turns(cells: int, dtype: np.dtype) -> np.ndarray:
    """e^(i pi k / 2n) of the modes k = 0 .. n/2."""
    return np.exp(0.5j * np.pi / cells * np.arange(cells // 2 + 1)).astype(dtype)
