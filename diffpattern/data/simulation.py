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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern import parts
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.blocks import block_means, spread
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Boundary, Grid
from diffpattern.grid.stencils import LAPLACIANS, laplacian
from diffpattern.precision import real
from diffpattern.rollout import Stepped, exponential, runge_kutta
from diffpattern.solvers import explicit, spectral
from diffpattern.systems import SYSTEMS, GrayScott, System
from diffpattern.systems.starts import random_ellipse, random_micropattern

SPLITS = ("train", "validation", "test")
# What makes the mask of a trajectory, of (key, grid).
MASKS = {"none": None, "ellipse": random_ellipse, "micropattern": random_micropattern}

# Steps between two snapshots, and snapshots: with more of them a time or a step is mistaken.
_MOST = 10**7

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
      solver: name of the solver, explicit or exponential.
      dt: length of its steps, in units of time.
      interval: time between two snapshots, a multiple of dt.
      end_time: time of the last snapshot, a multiple of the interval; the first is the start, at 0.
      train: number of trajectories to train on.
      validation: number of trajectories to choose by.
      test: number of trajectories that training never sees.
      seed: of all starts.
      refinement: simulate on a lattice so many times finer in the same box and average over its
        cells. An explicit solver's steps are then `refinement` squared times shorter than dt.
      mask: "none", or a name of `MASKS`: a random one for each trajectory, whose edge no flux
        passes.

    Raises:
      InputError: naming the field that cannot work.
    """

    system: System = GrayScott()
    shape: tuple[int, ...] = (64, 64)
    spacing: tuple[float, ...] | float = 1.0
    boundary: tuple[Any, ...] | Boundary | str = "circular"
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
    mask: str = "none"

    def __post_init__(self):
        try:
            grid = Grid(self.shape, self.spacing, self.boundary)
        except InputError as error:
            raise InputError(f"data.{str(error).removeprefix('grid ')}") from error
        _require_choice("laplacian", self.laplacian, LAPLACIANS)
        _require_choice("solver", self.solver, (*explicit.NAMES, *spectral.NAMES))
        _require_choice("mask", self.mask, MASKS)
        masked = Forcing(mask=None if self.mask == "none" else np.ones(grid.shape))
        self.system.check(grid.under(masked))
        if self.solver in spectral.NAMES:
            _require_modes(grid, self.solver, self.mask)
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
    def steps(self) -> int:
        """How many steps the simulation takes between two snapshots."""
        finer = 1 if self.solver in spectral.NAMES else self.refinement**2
        return round(self.interval / self.dt) * finer

    @property
    def snapshots(self) -> int:
        """How many there are of each trajectory."""
        return round(self.end_time / self.interval) + 1

    @property
    def times(self) -> np.ndarray:
        """When the snapshots are taken, [T] float64."""
        return np.arange(self.snapshots) * self.interval

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
        system = {"name": self.system.name, **fields["system"]}
        if type(self.system) not in SYSTEMS.values():
            system["source"] = parts.source(type(self.system))
        # Said where it is not single, so that what was simulated before keeps its name.
        double = {} if real() == np.float32 else {"precision": str(real())}
        return fields | {"system": system} | double


def simulate(settings: Simulation, splits: Sequence[str] = SPLITS) -> dict[str, Trajectories]:
    """Runs the simulation.

    Splits and trajectories have random keys of their own, folded from the seed: more trajectories
    in one split change no other.

    Args:
      settings: which simulation.
      splits: which of its trajectories.

    Returns:
      Trajectories by the name of their split.

    Raises:
      InputError: dt is beyond the solver's limit of stability, or the numbers have overflowed.
    """
    require_stable(settings)
    values, masks = jax.device_get(_run(settings, tuple(splits)))
    if not np.isfinite(values).all():
        raise InputError(
            f"data.dt is {settings.dt:g}, at which the simulation overflows; take a smaller one."
        )
    ends = np.cumsum([getattr(settings, split) for split in splits])
    parts = np.split(values, ends[:-1])
    parts_of_masks = np.split(masks, ends[:-1]) if settings.mask != "none" else [None] * len(parts)
    return {
        split: Trajectories(part, settings.times, settings.system.species, settings.grid, mask=mask)
        for split, part, mask in zip(splits, parts, parts_of_masks, strict=True)
    }


def require_stable(settings: Simulation) -> None:
    """Raises InputError for what would fail on the way.

    Raises:
      InputError: the system has no start on this lattice, or dt is beyond the solver's limit for
        the system's linear terms.
    """
    largest_of_start(settings)
    try:
        eigenvalue = largest_eigenvalue(settings.fine_grid, settings.laplacian)
    except InputError as error:
        raise InputError(f"data.laplacian does not suit data.spacing: {error}") from error
    if settings.solver in spectral.NAMES:
        return
    limit = explicit.stability_limit(settings.solver, settings.system.fastest_decay(eigenvalue))
    limit *= settings.steps * settings.dt / settings.interval
    if settings.dt > limit:
        raise InputError(
            f"data.dt is {settings.dt:g}, but {settings.solver} is stable on this lattice only up "
            f"to {limit:.3g}."
        )


def largest_of_start(settings: Simulation) -> int:
    """Entries of the largest array on the way to a start of the system, which is traced for it.

    Raises:
      InputError: the system has no start on this lattice.
    """
    make = lambda: settings.system.start(jax.random.key(0), settings.grid)
    try:
        made = [one.aval for step in jax.make_jaxpr(make)().eqns for one in step.outvars]
    except (TypeError, OverflowError) as error:  # more blobs or waves than an array has entries
        raise InputError(
            f"data.spacing is {settings.spacing!r}, so a start of {settings.system.name} has more "
            "parts than can be counted; take a smaller one."
        ) from error
    return max((array.size for array in made), default=0)


def _require_modes(grid: Grid, solver: str, mask: str) -> None:
    try:
        spectral.Transform(grid)
    except InputError as error:
        raise InputError(f"data.solver is {solver!r}, but data.boundary: {error}") from error
    if mask != "none":
        raise InputError(
            f"data.solver is {solver!r}, which knows no masks, but data.mask is {mask!r}; take an "
            "explicit solver."
        )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(settings: Simulation, splits: tuple[str, ...]) -> tuple[Array, Array | None]:
    """The snapshots of some splits' trajectories, [N, T, *space, C], and their masks."""
    system, grid = settings.system, settings.fine_grid
    dynamics = _dynamics(settings)

    def trajectory(identity):
        key = jax.random.key(settings.seed)
        for number in identity:
            key = jax.random.fold_in(key, number)
        start = system.start(key, grid).astype(real())
        mask = None
        forcing = Forcing(time=jnp.zeros((), real()))
        if (random_mask := MASKS[settings.mask]) is not None:
            # On the data's lattice, so that every cell of it lies inside or outside.
            mask = random_mask(jax.random.fold_in(key, 1), settings.grid)
            forcing = forcing.replace(mask=spread(mask, settings.grid, settings.refinement))
            start = start * forcing.mask

        def next_snapshot(x, elapsed):
            x = dynamics.advance(None, x, settings.interval, key, forcing.later(elapsed))
            return x, block_means(x, grid, settings.refinement)

        _, later = jax.lax.scan(next_snapshot, start, jnp.asarray(settings.times[:-1]))
        snapshots = jnp.concatenate([block_means(start, grid, settings.refinement)[None], later])
        return jnp.moveaxis(snapshots, 1, -1), mask

    identities = [
        (SPLITS.index(split), number)
        for split in splits
        for number in range(getattr(settings, split))
    ]
    one_by_one = jax.default_backend() == "cpu"
    return jax.lax.map(
        trajectory,
        jnp.array(identities),
        batch_size=None if one_by_one else _ACCELERATOR_BATCH,
    )


def _dynamics(settings: Simulation) -> Stepped:
    """What the simulation runs; it has no parameters."""
    system, grid = settings.system, settings.fine_grid
    dt = settings.interval / settings.steps
    if settings.solver in spectral.NAMES:
        transform = spectral.Transform(grid)
        eigenvalues = jnp.asarray(transform.eigenvalues(settings.laplacian), real())

        def remainder(_, x, forcing):
            return system.remainder(x, grid, settings.laplacian)

        rates = lambda _: system.linear_rates(eigenvalues)
        return exponential(rates, remainder, settings.solver, dt, transform)

    def right_hand_side(_, x, forcing):
        slope = system.right_hand_side(x, grid.under(forcing), settings.laplacian)
        return slope if forcing.mask is None else slope * forcing.mask

    return runge_kutta(right_hand_side, settings.solver, dt)


@functools.cache
def largest_eigenvalue(grid: Grid, stencil: str) -> float:
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
    if given / unit > _MOST:
        raise InputError(
            f"data.{field} is {given:g}, but must be at most {_MOST} times data.{of}, {unit:g}."
        )
    count = round(given / unit)
    if count < 1 or not math.isclose(count * unit, given, rel_tol=1e-9):
        raise InputError(
            f"data.{field} is {given:g}, but must be a multiple of data.{of}, {unit:g}."
        )
