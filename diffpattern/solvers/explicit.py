"""Explicit Runge-Kutta steps of fixed length.

The Butcher tableaux are Diffrax's; the loop over their stages is our own, because Diffrax's solver
steps cannot run inside `jax.shard_map` with its replication checks on. A state is any pytree, so
the same step carries a lattice alone, or a lattice with its sensitivities beside it.
"""

import functools
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import numpy as np
from jax import Array

from diffpattern.errors import InputError

State = Any

_TABLEAUX = {
    "heun": diffrax.Heun.tableau,
    "tsit5": diffrax.Tsit5.tableau,
    "dopri5": diffrax.Dopri5.tableau,
    "dopri8": diffrax.Dopri8.tableau,
}
NAMES = ("euler", *_TABLEAUX)


def step(
    name: str,
    right_hand_side: Callable[[State, Array | float], State],
    state: State,
    dt: Array | float,
) -> State:
    """One explicit Runge-Kutta step of dx/dt = f(x, t).

        k_i = f(x + dt sum_{j<i} a_ij k_j, t + c_i dt),    c_i = sum_j a_ij
        x(t + dt) = x + dt sum_i b_i k_i

    Args:
      name: one of `NAMES`.
      right_hand_side: f, from a state and the time since the step's start, c_i dt, to the state's
        derivative, of the same structure and shapes.
      state: x(t), a pytree of arrays.
      dt: length of the step, in units of time.

    Returns:
      x(t + dt), like `state`.

    Raises:
      InputError: no solver has this name.

    Example:
      >>> step("euler", lambda x, elapsed: -2.0 * x, np.array([1.0, 0.5]), 0.1).tolist()
      [0.8, 0.4]
      >>> round(float(step("heun", lambda x, elapsed: -2.0 * x, np.array(1.0), 0.1)), 3)
      0.82
    """
    stages, weights = tableau(name)
    slopes: list[State] = []
    for row in stages:
        slopes.append(right_hand_side(_move(state, dt, row, slopes), sum(row) * dt))
    return _move(state, dt, weights, slopes)


@functools.cache
def tableau(name: str) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """The rows a_i and the weights b of a method, without stages that a fixed step never uses.

    Methods whose last stage is evaluated at the new state keep it for an error estimate and for
    the next step's first stage; with neither in use, it is dropped.

    Raises:
      InputError: no explicit solver has this name.

    Example:
      >>> tableau("euler")
      (((),), (1.0,))
      >>> tableau("heun")
      (((), (1.0,)), (0.5, 0.5))
      >>> tableau("midpoint")
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: solver.name is 'midpoint'; a fixed step takes ...
    """
    if name == "euler":
        return ((),), (1.0,)
    if name not in _TABLEAUX:
        raise InputError(f"solver.name is {name!r}; a fixed step takes one of {', '.join(NAMES)}.")
    butcher = _TABLEAUX[name]
    rows = [(), *(tuple(map(float, row)) for row in butcher.a_lower)]
    weights = tuple(map(float, butcher.b_sol))
    while weights[-1] == 0.0:
        rows, weights = rows[:-1], weights[:-1]
    return tuple(rows), weights


def stability_limit(name: str, largest_rate: float) -> float:
    """Largest dt for which pure decay at `largest_rate` (per unit of time) does not grow.

    The method's stability polynomial R(z), evaluated on the negative real axis until |R| > 1.

    Raises:
      InputError: no explicit solver has this name.

    Example:
      >>> round(stability_limit("heun", largest_rate=0.8), 2)
      2.5
    """
    rows, weights = tableau(name)
    z = -np.linspace(0.0, 12.0, 12001)
    slopes: list[np.ndarray] = []
    for row in rows:
        stage = 1.0 + sum((a * k for a, k in zip(row, slopes, strict=True)), np.zeros_like(z))
        slopes.append(z * stage)
    growth = 1.0 + sum(b * k for b, k in zip(weights, slopes, strict=True))
    unstable = np.abs(growth) > 1.0 + 1e-9
    return float(-z[np.argmax(unstable)] / largest_rate)


def _move(
    state: State, dt: Array | float, weights: tuple[float, ...], slopes: list[State]
) -> State:
    used = [(w, k) for w, k in zip(weights, slopes, strict=True) if w != 0.0]
    if not used:
        return state
    return jax.tree.map(
        lambda x, *ks: x + dt * sum(w * k for (w, _), k in zip(used, ks, strict=True)),
        state,
        *(k for _, k in used),
    )
