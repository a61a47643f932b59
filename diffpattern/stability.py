"""What becomes of small waves on a homogeneous state: which grow, how fast, and how long they are.

A rule that is alike at all places maps a wave on a homogeneous state x to a wave,

    x + e^(ik.r) u  ->  J(k) u,      J(k) = sum over cells z of G(z) e^(-ik.z),

where G(z) [C, C] is the linear response at cell z to a small change of each channel at cell 0. The
rule being local, G ends a few cells away: a lattice of a few cells gives J(k) at every wave vector,
the stencils' errors included. With the eigenvalues of J(k) a wave grows as e^(sigma t):

    a PDE dx/dt = f(x):                      sigma = eigenvalue,
    an automaton with steps of length h:     sigma = log(eigenvalue) / h.

A state that is stable while all cells are alike, and unstable to some wave, is unstable in Turing's
sense: patterns arise, at first of the length of the wave that grows fastest.

Sources: Turing, Phil. Trans. R. Soc. B 237, 37 (1952); Murray, Mathematical Biology II (2003),
chapter 2.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from scipy import optimize

from diffpattern.grid.geometry import Grid
from diffpattern.grid.reach import reach
from diffpattern.precision import real

WAVENUMBERS = 257
# A lattice on which the rule is asked how far it sees; no step is made there.
_WIDE = 64
# Rates below this share of the fastest are rounding.
_ROUNDING = 1e-9
# A root is one where the rates vanish up to this share of what they are across the data.
_VANISHES = 1e-7
# Values of a state below this share of the data's width are zero, but for rounding.
_NOUGHT = 1e-6
# How many states are tried on the way to one, which takes some ten where there is one.
_TRIALS = 60
# Roots nearer to each other than this share of the data's width are the same.
_SAME = 1e-4


@dataclass(frozen=True, eq=False)
class LocalRule:
    """A rule that is alike at all places and times, as a function on a torus of any size.

    Attributes:
      on: grid -> a function of lattices [C, *space] on it: the derivative by time or, for an
        automaton, the lattice one step later.
      channels: C.
      spacing: of the cells along each axis.
      step: units of time that a step of an automaton takes; None: the rule is a PDE.
      modes: of a PDE, rates [C, ...] by which its linear part multiplies waves on top of that, out
        of the eigenvalues of the Laplacian [...]; None: there are none.
    """

    on: Callable[[Grid], Callable[[Array], Array]]
    channels: int
    spacing: tuple[float, ...]
    step: float | None = None
    modes: Callable[[Array], Array] | None = None

    @functools.cached_property
    def reach(self) -> int:
        """How many cells away a cell sees."""
        wide = self._torus(_WIDE)
        return reach(self.on(wide), jax.ShapeDtypeStruct((self.channels, *wide.shape), real()))

    def rates(self, states: NDArray) -> NDArray:
        """Changes per unit of time of homogeneous lattices, [..., C] like their states."""
        states = np.asarray(states, np.float64)
        with jax.enable_x64(True):
            rates = self._rates_of_many(jnp.asarray(states.reshape(-1, self.channels)))
        return np.asarray(rates).reshape(states.shape)

    def rates_and_slopes(self, state: NDArray) -> tuple[NDArray, NDArray]:
        """The rates [C] of one state [C], and their derivatives by it, [C, C]."""
        with jax.enable_x64(True):
            rates, slopes = self._rates_and_slopes(jnp.asarray(state, jnp.float64))
        return np.asarray(rates), np.asarray(slopes)

    def response(self, state: NDArray) -> NDArray:
        """G(z) [C, C, *space] about a homogeneous state: of the first channel to the second one.

        Cells are in the order of `numpy.fft.fftfreq`, from the one that was changed.
        """
        with jax.enable_x64(True):
            return np.asarray(self._response(jnp.asarray(state, jnp.float64)))

    def _torus(self, cells: int) -> Grid:
        return Grid((cells,) * len(self.spacing), self.spacing)

    @functools.cached_property
    def _here(self) -> tuple[Grid, Callable[[Array], Array]]:
        """The smallest torus on which no cell sees another one twice, and the rule there."""
        torus = self._torus(2 * self.reach + 1)
        return torus, self.on(torus)

    def _rates(self, state: Array) -> Array:
        grid, function = self._here
        after = function(_uniform(state, grid))[(slice(None), *(0,) * grid.ndim)]
        if self.step is not None:
            return (after - state) / self.step
        return after if self.modes is None else after + self.modes(jnp.zeros(())) * state

    @functools.cached_property
    def _rates_of_many(self) -> Callable[[Array], Array]:
        return jax.jit(jax.vmap(self._rates))

    @functools.cached_property
    def _rates_and_slopes(self) -> Callable[[Array], tuple[Array, Array]]:
        return jax.jit(lambda state: (self._rates(state), jax.jacfwd(self._rates)(state)))

    @functools.cached_property
    def _response(self) -> Callable[[Array], Array]:
        grid, function = self._here

        @jax.jit
        def response(state):
            answer = lambda change: jax.jvp(function, (_uniform(state, grid),), (change,))[1]
            cell = (0,) * grid.ndim
            each = jnp.arange(self.channels)
            changes = jnp.zeros((self.channels, self.channels, *grid.shape), state.dtype)
            return jax.vmap(answer, out_axes=1)(changes.at[(each, each, *cell)].set(1.0))

        return response


def _uniform(state: Array, grid: Grid) -> Array:
    """The lattice [C, *space] whose cells are all in one state [C]."""
    return jnp.broadcast_to(state.reshape(-1, *(1,) * grid.ndim), (len(state), *grid.shape))


def homogeneous_states(rule: LocalRule, starts: NDArray, low: NDArray, high: NDArray) -> NDArray:
    """Homogeneous states that do not change, as far as a search from some starts finds them.

    Where something is conserved, such states are not isolated; then that one alone is given which
    the search finds from the first start.

    Args:
      rule: whose states they are.
      starts: of the search, [S, C]; the mean of the data first.
      low, high: between which states count, [C] each; finite or not.

    Returns:
      [N, C], those nearest to the first start first; N may be 0.

    Source: the search is MINPACK's Levenberg-Marquardt method (Moré, Garbow and Hillstrom, 1980).
    """
    starts = np.asarray(starts, np.float64)
    spread = starts.max(0) - starts.min(0)
    widths = np.where(spread > 0, spread, 1.0)
    scaled = lambda state: (state - starts[0]) / widths
    found: list[NDArray] = []
    for place, start in enumerate(starts):
        root = _root(rule, start, widths)
        if root is None or np.any(root < low) or np.any(root > high):
            continue
        if place == 0 and _is_one_of_a_family(rule, root, widths):
            return root[None]
        if all(np.abs(scaled(root) - scaled(other)).max() > _SAME for other in found):
            found.append(root)
    found.sort(key=lambda state: float(np.linalg.norm(scaled(state))))
    return np.reshape(found, (-1, rule.channels))


def _root(rule: LocalRule, start: NDArray, widths: NDArray) -> NDArray | None:
    """A state at which the rates vanish, sought from a start in units of the widths; or None."""

    def scaled(shift):
        rates, slopes = rule.rates_and_slopes(start + widths * shift)
        return rates, slopes * widths

    with np.errstate(all="ignore"):
        search = optimize.root(
            scaled,
            np.zeros_like(start),
            jac=True,
            method="lm",
            tol=1e-14,
            options={"maxiter": _TRIALS},
        )
        rates, slopes = scaled(search.x)
        if not (np.isfinite(rates).all() and np.isfinite(slopes).all()):
            return None
    if np.any(np.abs(rates) > _VANISHES * np.abs(slopes).sum(axis=1)):
        return None
    root = start + widths * search.x
    return np.where(np.abs(root) < _NOUGHT * widths, 0.0, root)


def _is_one_of_a_family(rule: LocalRule, state: NDArray, widths: NDArray) -> bool:
    """Whether there are others as near as one likes: some change of the state has no effect."""
    singular = np.linalg.svd(rule.rates_and_slopes(state)[1] * widths, compute_uv=False)
    return bool(singular[-1] <= _ROUNDING * singular[0])


@dataclass(frozen=True, eq=False)
class Dispersion:
    """How fast waves on a homogeneous state grow, by their wavenumber.

    Of all waves with one wavenumber that run along the axes or the diagonals of the lattice, the
    one is told that grows fastest, or decays most slowly.

    Attributes:
      state: on which the waves are, [C].
      wavenumbers: from 0 to the largest that the lattice has along each axis, [K], in radians per
        length; that of the fastest wave and those at which the growth passes zero among them.
      growth: rates, [K], per time; the real parts of sigma.
      frequency: by how many radians a time those waves turn, [K], not negative; 0: they stand.
      fastest: the wavenumber at which the growth is largest.
      fastest_growth: the growth there.
    """

    state: NDArray
    wavenumbers: NDArray
    growth: NDArray
    frequency: NDArray
    fastest: float
    fastest_growth: float

    @property
    def stable_without_waves(self) -> bool:
        """Whether the state comes back to itself while all cells are alike."""
        return bool(self.growth[0] < -self._rounding)

    @property
    def unstable_without_waves(self) -> bool:
        """Whether it leaves itself though all cells are alike; where something is conserved, and in
        between, neither."""
        return bool(self.growth[0] > self._rounding)

    @property
    def band(self) -> tuple[float, float] | None:
        """Between which wavenumbers waves grow; None: none does.

        The first is 0 where all longer waves grow, the second is the last that is listed where all
        shorter waves do.
        """
        (growing,) = np.nonzero(self.growth[1:] > self._rounding)
        if not len(growing):
            return None
        first, last = growing[0] + 1, growing[-1] + 1
        low = 0.0
        if first > 1 or self.stable_without_waves:
            low = self._zero_between(first - 1, first)
        high = float(self.wavenumbers[-1])
        if last + 1 < len(self.wavenumbers):
            high = self._zero_between(last, last + 1)
        return low, high

    def _zero_between(self, one: int, two: int) -> float:
        """Where a line through two listed points passes zero: at the one at which the growth is."""
        rise = self.growth[one] / (self.growth[one] - self.growth[two])
        return float(self.wavenumbers[one] + rise * np.diff(self.wavenumbers[[one, two]])[0])

    @property
    def waves_grow(self) -> bool:
        """Whether waves of some finite length grow."""
        return self.band is not None

    @property
    def turing_unstable(self) -> bool:
        """Whether the state is stable without waves and unstable with them."""
        return self.stable_without_waves and self.waves_grow

    @property
    def wavelength(self) -> float | None:
        """Of the wave that grows fastest; None where that is no wave, but all cells alike."""
        return 2 * np.pi / self.fastest if self.fastest else None

    @property
    def _rounding(self) -> float:
        return _ROUNDING * float(np.abs(self.growth).max())


def dispersion(rule: LocalRule, state: NDArray, count: int = WAVENUMBERS) -> Dispersion:
    """The dispersion relation of a rule about a homogeneous state, from its exact linearisation.

    Args:
      rule: linearised.
      state: [C], at which its rates vanish.
      count: how many wavenumbers are listed, evenly spaced, beside those of special waves.
    """
    response = rule.response(state)
    sizes = response.shape[2:]
    cells = np.meshgrid(*(np.fft.fftfreq(size, 1 / size) for size in sizes), indexing="ij")
    places = np.stack([c.ravel() * h for c, h in zip(cells, rule.spacing, strict=True)])
    response = response.reshape(rule.channels, rule.channels, -1)
    directions = _directions(len(sizes))

    def rates(wavenumbers: NDArray) -> NDArray:
        """sigma of the fastest wave of each wavenumber, complex [K]."""
        phases = np.multiply.outer(wavenumbers, directions @ places)
        symbols = np.einsum("ijz,kdz->kdij", response, np.exp(-1j * phases))
        if rule.modes is not None:
            with jax.enable_x64(True):
                linear = np.asarray(rule.modes(jnp.asarray(-np.square(wavenumbers))))
            each = np.arange(rule.channels)
            symbols[:, :, each, each] += linear.T[:, None]
        sigma = np.linalg.eigvals(symbols)
        if rule.step is not None:
            # A multiplier of 0 ends a wave at once: as good as the smallest number.
            sigma = np.log(np.where(sigma == 0, np.finfo(float).tiny, sigma)) / rule.step
        sigma = sigma.reshape(len(wavenumbers), -1)
        return np.take_along_axis(sigma, sigma.real.argmax(1)[:, None], 1)[:, 0]

    growth_of = lambda wavenumber: float(rates(np.array([wavenumber])).real[0])
    wavenumbers = np.linspace(0.0, np.pi / max(rule.spacing), count)
    growth = rates(wavenumbers).real
    best = int(growth.argmax())
    fastest, highest = float(wavenumbers[best]), float(growth[best])
    if 0 < best < count - 1:
        around = wavenumbers[best - 1], wavenumbers[best + 1]
        peak = optimize.minimize_scalar(lambda k: -growth_of(k), bounds=around, method="bounded")
        if -peak.fun > highest:
            fastest, highest = float(peak.x), float(-peak.fun)
    wavenumbers = np.union1d(wavenumbers, fastest)
    wavenumbers = np.union1d(wavenumbers, _zeros(growth_of, wavenumbers, rates(wavenumbers).real))
    sigma = rates(wavenumbers)
    return Dispersion(
        np.asarray(state, np.float64), wavenumbers, sigma.real, np.abs(sigma.imag), fastest, highest
    )


def _zeros(
    growth_of: Callable[[float], float], wavenumbers: NDArray, growth: NDArray
) -> list[float]:
    """The wavenumbers at which the growth passes zero, one between each two of other signs."""
    clear = np.abs(growth) > _ROUNDING * np.abs(growth).max()
    return [
        optimize.brentq(growth_of, *wavenumbers[[place, place + 1]], xtol=1e-12)
        for place in np.flatnonzero(growth[:-1] * growth[1:] < 0)
        if clear[place] and clear[place + 1]
    ]


def _directions(axes: int) -> NDArray:
    """Unit vectors along axes and diagonals, one of each two that are opposite, [D, axes]."""
    vectors = [
        vector
        for vector in itertools.product((-1, 0, 1), repeat=axes)
        if vector > (0,) * axes  # the first number that is not 0 is 1
    ]
    return np.array([np.array(vector) / np.linalg.norm(vector) for vector in vectors])
