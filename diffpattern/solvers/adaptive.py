"""Adaptive explicit steps, by Diffrax.

The step length follows the estimated error of the whole lattice, so one trajectory is one solve.
`DirectAdjoint` is used because it alone is differentiable both ways, and works inside
`jax.shard_map` once the replication checks are off.
"""

from collections.abc import Callable

import diffrax
import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError

_SOLVERS = {"tsit5": diffrax.Tsit5, "dopri5": diffrax.Dopri5, "heun": diffrax.Heun}
NAMES = tuple(_SOLVERS)


def solve(
    name: str,
    right_hand_side: Callable[[Array], Array],
    state: Array,
    duration: float,
    *,
    relative_tolerance: float,
    absolute_tolerance: float,
    max_steps: int,
) -> Array:
    """Integrates dx/dt = f(x) over `duration`, with steps chosen by a PI controller.

    Args:
      name: one of `NAMES`.
      right_hand_side: f, from a lattice to its derivative.
      state: x(t).
      duration: units of time.
      relative_tolerance: of the estimated local error, against |x|.
      absolute_tolerance: of the estimated local error, in units of x.
      max_steps: how many steps it may take; where they do not suffice, the result and its
        gradients are NaN.

    Returns:
      x(t + duration), like `state`.

    Raises:
      InputError: no adaptive solver has this name.
    """
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, x, _: right_hand_side(x)),
        named(name),
        t0=0.0,
        t1=duration,
        dt0=None,
        y0=state,
        stepsize_controller=diffrax.PIDController(
            rtol=relative_tolerance, atol=absolute_tolerance, pcoeff=0.3, icoeff=0.4
        ),
        adjoint=diffrax.DirectAdjoint(),
        max_steps=max_steps,
        throw=False,
    )
    # Diffrax hands back the state at which it gave up. Added, so that gradients are lost as well.
    solved = solution.result == diffrax.RESULTS.successful
    return solution.ys[0] + jnp.where(solved, 0.0, jnp.nan)


def named(name: str) -> diffrax.AbstractAdaptiveSolver:
    """The solver of this name.

    Raises:
      InputError: none with an estimate of its error has it.
    """
    if name not in _SOLVERS:
        raise InputError(
            f"model.rda.solver is {name!r}, but adaptive steps (model.rda.dt=0) take one of "
            f"{', '.join(NAMES)}."
        )
    return _SOLVERS[name]()
