"""Trajectories of the known PDEs: `diffpattern.simulate`."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from diffpattern import given_numbers, intervals, parts
from diffpattern.configuration import LARGEST_SEED
from diffpattern.data.simulation import SPLITS, Simulation
from diffpattern.data.simulation import simulate as simulate_all
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.systems import system_named

# What `simulate` takes besides the parameters of a system.
_OF_SIMULATIONS = ("spacing", "boundary", "laplacian", "solver", "dt", "refinement", "mask")
# Those that are names.
_NAMES = ("laplacian", "solver", "mask")
# What may have a number for each axis.
_OF_AXES = ("shape", "spacing")


def simulate(
    system: str,
    shape: Sequence[int] | int,
    times: ArrayLike,
    *,
    count: int = 1,
    seed: int = 0,
    **parameters: Any,
) -> Trajectories:
    """Trajectories of a known PDE, from random starts of its own.

    Args:
      system: its name, one of `diffpattern.systems.SYSTEMS`, such as "gray_scott".
      shape: cells along each axis.
      times: of the snapshots, [T], in units of time, 0 or more; starts are at 0.
      count: how many trajectories.
      seed: of the starts, from 0 to 2^32 - 1.
      parameters: of the system (`alpha`, `diffusion_a` ...), and of the simulation: spacing,
        boundary, laplacian, solver, dt, refinement, mask. What is not given is as the system
        recommends.

    Returns:
      `values` [count, T, *space, C], `times`, `species` and `grid`.

    Raises:
      InputError: there is no such system or parameter, or the simulation cannot work.

    Example:
      >>> data = diffpattern.simulate("gray_scott", (8, 8), range(0, 65, 16), count=2, alpha=0.055)
      >>> data.values.shape, data.species, data.times.tolist()
      ((2, 5, 8, 8, 2), ('A', 'B'), [0.0, 16.0, 32.0, 48.0, 64.0])
    """
    kind = system_named(_name("system", system))
    known = parts.attributes(kind)
    for name in parameters:
        if name not in (*known, *_OF_SIMULATIONS):
            raise InputError(
                f"{name} is no parameter of {system}, which has {', '.join(known)}, nor of its "
                f"simulation: {', '.join(_OF_SIMULATIONS)}."
            )
    moments = given_numbers.array(times, "times", np.float64)
    if moments.ndim != 1 or not len(moments) or moments[0] < 0 or not (np.diff(moments) > 0).all():
        raise InputError("times must be 0 or more, and each later than the one before.")
    instants = np.unique([0.0, *moments])
    interval, places = intervals.common(instants) if len(instants) > 1 else (None, np.zeros(1, int))
    parameters = {name: _plain(name, given) for name, given in parameters.items()}
    changes = {name: parameters[name] for name in _OF_SIMULATIONS if name in parameters}
    for name in _NAMES:
        _name(name, changes.get(name, ""))
    try:
        made_of = kind(**{name: parameters[name] for name in known if name in parameters})
        settings = Simulation.recommended(
            made_of,
            shape=_plain("shape", shape),
            interval=interval or made_of.recommended.interval,
            end_time=float(instants[-1]) or made_of.recommended.interval,
            train=_plain("count", count),
            seed=_plain("seed", seed),
            **changes,
        )
        if settings.seed > LARGEST_SEED:
            raise InputError(f"seed is {settings.seed}, but must be at most {LARGEST_SEED}.")
        made = simulate_all(settings, SPLITS[:1])[SPLITS[0]]
    except InputError as error:
        # The simulation names fields of a config.
        told = str(error).replace("data.train", "count").replace("data.", "")
        raise InputError(told) from error
    wanted = places[np.isin(instants, moments)]
    return dataclasses.replace(made, values=made.values[:, wanted], times=moments)


def _plain(name: str, given: Any) -> Any:
    """What is given, as numbers of Python where they are numpy's or JAX's."""
    if not isinstance(given, np.ndarray | np.generic | jax.Array):
        return given
    of_axes = name in _OF_AXES
    if given.ndim > of_axes or jax.dtypes.issubdtype(given.dtype, jax.dtypes.prng_key):
        wanted = "a number for each axis" if of_axes else "a single number or a name"
        raise InputError(
            f"{name} is an array of the shape {given.shape} and the type {given.dtype}, but must "
            f"be {wanted}."
        )
    return given.tolist()


def _name(name: str, given: Any) -> str:
    """What is given, if it is a name at all."""
    if not isinstance(given, str):
        raise InputError(f"{name} is of the type {type(given).__name__}, but must be a name.")
    return given
