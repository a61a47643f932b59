"""Adaptive steps, explicit and implicit, by Diffrax.

The step length follows the estimated error of the whole lattice, so one trajectory is one solve.
`DirectAdjoint` is used because it alone is differentiable both ways, and works inside
`jax.shard_map` once the replication checks are off.

The implicit solvers factorise the dense Jacobian of the whole right-hand side, of as many rows and
columns as a lattice has numbers. Nothing in it need be linear, and any boundary will do; but they
serve one device and small lattices, and where the stiffness is linear diffusion `spectral` is the
better solver at any size.
"""

import math
from collections.abc import Callable

import diffrax
import jax.numpy as jnp
from jax import Array

from diffpattern.errors import InputError

IMPLICIT = {"kencarp3": diffrax.KenCarp3, "kvaerno3": diffrax.Kvaerno3}
_SOLVERS = {
    "tsit5": diffrax.Tsit5,
    "dopri5": diffrax.Dopri5,
    "dopri8": diffrax.Dopri8,
    "heun": diffrax.Heun,
    **IMPLICIT,
}
NAMES = tuple(_SOLVERS)

# Numbers in a state, channels included, up to which a dense Jacobian is reasonable: it then takes
# 64 MiB in float32, and a solve needs a few times as much.
MOST_IMPLICIT = 4096


def solve(
    name: str,
    right_hand_side: Callable[[Array, Array], Array],
    state: Array,
    duration: float,
    *,
    relative_tolerance: float,
    absolute_tolerance: float,
    max_steps: int,
) -> Array:
    """Integrates dx/dt = f(x, t) over `duration`, with steps chosen by a PI controller.

    Args:
      name: one of `NAMES`.
      right_hand_side: f, from a lattice and the time since the solve's start to the derivative.
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

    Example:
      >>> decay = lambda x, elapsed: -2.0 * x
      >>> tolerances = {"relative_tolerance": 1e-4, "absolute_tolerance": 1e-6}
      >>> after = solve("tsit5", decay, jnp.ones(4), 1.0, **tolerances, max_steps=64)
      >>> round(float(after[0]), 3)
      0.135
    """
    terms: diffrax.AbstractTerm = diffrax.ODETerm(
        lambda t, x, _: right_hand_side(x, jnp.asarray(t))
    )
    if name == "kencarp3":
        # It pairs an explicit with an implicit method. The explicit one is given nothing to do:
        # with the reaction in it that would bound the step, and the Jacobian be no smaller.
        terms = diffrax.MultiTerm(diffrax.ODETerm(lambda t, x, _: jnp.zeros_like(x)), terms)
    solution = diffrax.diffeqsolve(
        terms,
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

    Example:
      >>> type(named("kvaerno3")).__name__
      'Kvaerno3'
      >>> named("etdrk4")
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: solver.name is 'etdrk4', but adaptive steps ...
    """
    if name not in _SOLVERS:
        raise InputError(
            f"solver.name is {name!r}, but adaptive steps (solver.dt=0) take one of "
            f"{', '.join(NAMES)}."
        )
    return _SOLVERS[name]()


def require_possible(name: str, shape: tuple[int, ...], devices: int) -> None:
    """Refuses what an implicit solver cannot do; every other solver passes.

    Args:
      name: of the solver.
      shape: of the state, [C, *space].
      devices: of the mesh.

    Raises:
      InputError: an implicit solver is to run on several devices, or on too large a lattice.

    Example:
      >>> require_possible("tsit5", (2, 512, 512), devices=8)
      >>> require_possible("kvaerno3", (2, 512, 512), devices=1)
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: solver.name is 'kvaerno3', an implicit solver, ...
    """
    if name not in IMPLICIT:
        return
    if devices > 1:
        raise InputError(
            f"solver.name is {name!r}, an implicit solver, which runs on one device, but the "
            f"mesh has {devices}; set mesh.data to 1, or take an explicit or exponential solver."
        )
    size = math.prod(shape)
    if size > MOST_IMPLICIT:
        raise InputError(
            f"solver.name is {name!r}, an implicit solver, whose dense Jacobian takes "
            f"{4 * size**2 / 2**20:.0f} MiB for the {size} numbers of a lattice {shape}; it serves "
            f"{MOST_IMPLICIT} at most, so take a smaller lattice, or an explicit or exponential "
            "solver."
        )
