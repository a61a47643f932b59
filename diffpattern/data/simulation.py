"""Making data: which simulation is meant, and running it.

`Simulation` says everything that the numbers depend on, the system and its parameters among it, so
that equal settings mean equal data. It is hashable, and the one static argument of the jitted
function that runs it.
"""

import dataclasses
import functools
import hashlib
import json
import math
import numbers
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.grid.stencils import LAPLACIANS, laplacian
from diffpattern.solvers import explicit
from diffpattern.systems import GrayScott, System

SPLITS = ("train", "validation", "test")

# How many trajectories an accelerator advances at once; a CPU's cache prefers one at a time.
_ACCELERATOR_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Which trajectories of a system to simulate, and how.

    Errors name the fields as configs do, `data.<field>`.

    Attributes:
      system: the PDE, with its parameters.
      shape: cells along each axis of the data's lattice.
      spacing: distance between neighbouring cells, once or for each axis; kept as a tuple.
      boundary: what lies beyond the walls, as `Grid` takes it; kept as a tuple.
      laplacian: name of the stencil.
      solver: name of the explicit solver.
      dt: length of its steps, in units of time.
      interval: time between two snapshots, a multiple of dt.
      end_time: time of the last snapshot, a multiple of the interval; the first is the start, at 0.
      train: number of trajectories to train on.
      validation: number of trajectories to choose by.
      test: number of trajectories that training never sees.
      seed: of all starts.
      refinement: simulate on a lattice so many times finer in the same box and average over its
        cells. The steps are then `refinement` squared times shorter than dt, which leaves the
        solver as far from its limit of stability as it was.

    Raises:
      InputError: naming the field that cannot work.
    """

    system: System = GrayScott()
    shape: tuple[int, ...] = (64, 64)
    spacing: tuple[float, ...] | float = 1.0
    boundary: tuple[Boundary | str, ...] | Boundary | str = "circular"
    laplacian: str = "cross"
    solver: str = "heun"
    dt: float = 1.0
    interval: float = 16.0
    end_time: float = 1024.0
    train: int = 16
    validation: int = 4
    test: int = 8
    seed: int = 0
    refinement: int = 1

    def __post_init__(self):
        try:
            grid = Grid(self.shape, self.spacing, self.boundary)
        except InputError as error:
            raise InputError(f"data.{str(error).removeprefix('grid ')}") from error
        self.system.check(grid)
        _require_choice("laplacian", self.laplacian, LAPLACIANS)
        _require_choice("solver", self.solver, explicit.NAMES)
        for name in ("train", "validation", "test", "refinement"):
            _require_whole(name, getattr(self, name), least=1)
        _require_whole("seed", self.seed, least=0)
        for name in ("dt", "interval", "end_time"):
            _require_positive(name, getattr(self, name))
        _require_multiple("interval", self.interval, "dt", self.dt)
        _require_multiple("end_time", self.end_time, "interval", self.interval)
        # One canonical form, so that 1, 1.0 and (1.0, 1.0) are one and the same simulation.
        for name in ("shape", "spacing", "boundary"):
            object.__setattr__(self, name, getattr(grid, name))
        for field in dataclasses.fields(self):
            if field.type is float:
                object.__setattr__(self, field.name, float(getattr(self, field.name)))

    @classmethod
    def recommended(cls, system: System, **changes) -> "Simulation":
        """How the system says that it is best simulated, with some fields changed."""
        return cls(system=system, **vars(system.recommended) | changes)

    @property
    def grid(self) -> Grid:
        """The lattice of the data."""
        return Grid(self.shape, self.spacing, self.boundary)

    @property
    def fine_grid(self) -> Grid:
        """The lattice on which the simulation runs, over the same box."""
        return Grid(
            tuple(cells * self.refinement for cells in self.shape),
            tuple(spacing / self.refinement for spacing in self.spacing),
            self.boundary,
        )

    @property
    def times(self) -> np.ndarray:
        """When the snapshots are taken, [T] float64."""
        return np.arange(round(self.end_time / self.interval) + 1) * self.interval

    @property
    def name(self) -> str:
        """A folder's name: what a person looks for first, then a hash of everything."""
        everything = json.dumps(self.description(), sort_keys=True)
        shape = "x".join(map(str, self.shape))
        refined = f"-refined{self.refinement}" if self.refinement > 1 else ""
        digest = hashlib.sha256(everything.encode()).hexdigest()[:16]
        return f"{shape}-t{self.end_time:g}-dt{self.dt:g}-{self.solver}{refined}-{digest}"

    def description(self) -> dict[str, Any]:
        """Everything that the numbers depend on, as JSON takes it."""
        fields = dataclasses.asdict(self)
        return fields | {"system": {"name": self.system.name, **fields["system"]}}


def simulate(settings: Simulation) -> dict[str, Trajectories]:
    """Runs the simulation.

    Splits and trajectories have random keys of their own, folded from the seed: more trajectories
    in one split change no other.

    Returns:
      Trajectories by the name of their split, one for each of `SPLITS`.

    Raises:
      InputError: dt is beyond the solver's limit of stability, or the numbers have overflowed.
    """
    require_stable(settings)
    values = jax.device_get(_run(settings))
    if not np.isfinite(values).all():
        raise InputError(
            f"data.dt is {settings.dt:g}, at which the simulation overflows; take a smaller one."
        )
    ends = np.cumsum([getattr(settings, split) for split in SPLITS])
    return {
        split: Trajectories(part, settings.times, settings.system.species, settings.grid)
        for split, part in zip(SPLITS, np.split(values, ends[:-1]), strict=True)
    }


def require_stable(settings: Simulation) -> None:
    """Raises InputError if dt is beyond the solver's limit for the system's linear terms."""
    try:
        eigenvalue = _largest_eigenvalue(settings.grid, settings.laplacian)
    except InputError as error:
        raise InputError(f"data.laplacian does not suit data.spacing: {error}") from error
    limit = explicit.stability_limit(settings.solver, settings.system.fastest_decay(eigenvalue))
    if settings.dt > limit:
        raise InputError(
            f"data.dt is {settings.dt:g}, but {settings.solver} is stable on this lattice only up "
            f"to {limit:.3g}."
        )


@functools.partial(jax.jit, static_argnums=0)
def _run(settings: Simulation) -> Array:
    """The snapshots of all trajectories, split after split, [N, T, *space, C]."""
    system, grid = settings.system, settings.fine_grid
    substeps = round(settings.interval / settings.dt) * settings.refinement**2
    dt = settings.interval / substeps

    def right_hand_side(x, _):
        return system.right_hand_side(x, grid, settings.laplacian)

    def step(_, x):
        return explicit.step(settings.solver, right_hand_side, x, dt)

    def advance(x, _):
        x = jax.lax.fori_loop(0, substeps, step, x)
        return x, _average_down(x, settings.refinement)

    def trajectory(identity):
        key = jax.random.key(settings.seed)
        for number in identity:
            key = jax.random.fold_in(key, number)
        start = system.start(key, grid).astype(jnp.float32)
        _, later = jax.lax.scan(advance, start, length=settings.times.size - 1)
        snapshots = jnp.concatenate([_average_down(start, settings.refinement)[None], later])
        return jnp.moveaxis(snapshots, 1, -1)

    identities = [
        (split, number)
        for split, name in enumerate(SPLITS)
        for number in range(getattr(settings, name))
    ]
    one_by_one = jax.default_backend() == "cpu"
    return jax.lax.map(
        trajectory,
        jnp.array(identities),
        batch_size=None if one_by_one else _ACCELERATOR_BATCH,
    )


def _average_down(x: Array, factor: int) -> Array:
    """Means over blocks of `factor` cells along each axis of space, [C, *space]."""
    for axis in range(1, x.ndim):
        blocks = (*x.shape[:axis], x.shape[axis] // factor, factor, *x.shape[axis + 1 :])
        x = x.reshape(blocks).mean(axis + 1)
    return x


@functools.cache
def _largest_eigenvalue(grid: Grid, stencil: str) -> float:
    """The largest eigenvalue of the stencil's -Laplacian: of the waves that it damps fastest.

    Read off the Fourier transform of its response to one raised cell. Twelve cells hold the
    shortest waves, and the stencil's width, whatever the lattice's own size.
    """
    torus = Grid((12,) * grid.ndim, grid.spacing)
    raised = np.zeros((1, *torus.shape), np.float32)
    raised[(0,) * raised.ndim] = 1.0
    response = jax.device_get(jax.jit(laplacian, static_argnums=(1, 2))(raised, torus, stencil))
    return float(np.abs(np.fft.fftn(response[0])).max())


def _require_choice(field: str, given, choices) -> None:
    if given not in choices:
        raise InputError(f"data.{field} is {given!r}, but must be one of {', '.join(choices)}.")


def _require_whole(field: str, given, *, least: int) -> None:
    whole = isinstance(given, numbers.Integral) and not isinstance(given, bool)
    if not whole or given < least:
        raise InputError(f"data.{field} is {given!r}, but must be a whole number from {least} on.")


def _require_positive(field: str, given) -> None:
    if not isinstance(given, numbers.Real) or not (math.isfinite(given) and given > 0):
        raise InputError(f"data.{field} is {given!r}, but must be a finite positive number.")


def _require_multiple(field: str, given: float, of: str, unit: float) -> None:
    count = round(given / unit)
    if count < 1 or not math.isclose(count * unit, given, rel_tol=1e-9):
        raise InputError(
            f"data.{field} is {given:g}, but must be a multiple of data.{of}, {unit:g}."
        )
