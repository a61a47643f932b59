"""Windows of trajectories: which stretches of the data a train step sees.

A batch is a function of the seed and the step alone, so that a resumed run sees what the first one
would have seen, and nothing of it needs to be saved.
"""

import dataclasses
from types import ModuleType
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from diffpattern import intervals
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.forcing import Forcing
from diffpattern.parallel.mesh import SPREAD, lattices
from diffpattern.precision import real

SAMPLINGS = ("uniform", "log")


@flax.struct.dataclass
class Window:
    """A stretch of a trajectory, or a batch of them with a leading axis on every array.

    Attributes:
      values: its snapshots, [L + 1, *space, C].
      forcing: that of the trajectory, at the time of the first of them.
      known: 1 where a channel of a snapshot was seen, [L + 1, C]; None: all were.
      start: the lattice that the rule begins with, all its channels, [*space, channels]; None: that
        of the first snapshot.
    """

    values: Array
    forcing: Forcing
    known: Array | None = None
    start: Array | None = None

    def layout(self, mesh: Mesh) -> "Window":
        """How the arrays of a batch of windows lie on the mesh, see `parallel.mesh.lattices`."""
        before = self.forcing.time.ndim
        space = self.values.ndim - before - 2
        lattice = lambda further: lattices(mesh, before + further, space)
        given = lambda array, spec: None if array is None else spec
        return Window(
            lattice(1),
            layout_of_forcing(self.forcing, space, mesh),
            given(self.known, SPREAD),
            given(self.start, lattice(0)),
        )

    @property
    def size(self) -> tuple[int, ...]:
        """Cells along each axis; of one window, without a batch's leading axis."""
        return self.values.shape[1:-1]


def layout_of_forcing(forcing: Forcing, space: int, mesh: Mesh) -> Forcing:
    """How the arrays of a batch of forcings on lattices of so many axes lie on the mesh."""
    before = forcing.time.ndim
    every = jax.tree.map(lambda array: SPREAD, forcing)
    return every.replace(
        mask=None if forcing.mask is None else lattices(mesh, before, space),
        environment=None if forcing.environment is None else lattices(mesh, before + 1, space),
    )


def check(times: np.ndarray, window: int, sampling: str) -> None:
    """Refuses windows that data with snapshots at `times` cannot give.

    Raises:
      InputError: the window is longer than the trajectories or the sampling is not known.
    """
    most = len(times) - 1
    if not 1 <= window <= most:
        raise InputError(
            f"training.window is {window} intervals, but the trajectories have {most}; take 1 to "
            f"{most}."
        )
    if sampling not in SAMPLINGS:
        raise InputError(f"training.sampling is {sampling!r}; take one of {', '.join(SAMPLINGS)}.")


def places(
    trajectories: int,
    snapshots: int,
    step: int,
    *,
    seed: int,
    count: int,
    window: int,
    sampling: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Where the windows of one train step lie.

    Their starts are stratified: one in each of `count` equal parts of time, or of the logarithm of
    time counted from the first snapshot as 1, so that a small batch covers both ends.

    Args:
      trajectories: N, how many there are.
      snapshots: T, how many each has.
      step: of training.
      seed: of the run.
      count: B, how many windows.
      window: L, intervals between snapshots that each spans.
      sampling: "uniform" or "log".

    Returns:
      Of each window, the trajectory [B] and its first snapshot [B].
    """
    random = np.random.default_rng((seed, step))
    starts = snapshots - window
    quantile = (np.arange(count) + random.random(count)) / count
    first = quantile * starts if sampling == "uniform" else (starts + 1) ** quantile - 1
    first = np.minimum(first.astype(int), starts - 1)
    which = random.permutation(np.arange(count) % trajectories)
    # Fewer windows than trajectories: the permutation alone would never show the last ones.
    which = (which + random.integers(trajectories)) % trajectories
    return which, first


def draw(
    trajectories: Trajectories,
    step: int,
    *,
    seed: int,
    count: int,
    window: int,
    sampling: str,
    chosen: np.ndarray | None = None,
) -> dict[str, Any]:
    """The windows of one train step; the arguments are those of `places`.

    A window begins with a snapshot of which all channels were seen, else at least one, and after
    which something was seen in the window: the last such before the place that was drawn.
    Trajectories that have none are left out, if others have.

    Args:
      chosen: which of the B windows are wanted, by their places in the batch, [b]; None: all.

    Returns:
      "window", a batch of these windows, and "index" [b], each window's place in the batch.
    """
    index = np.arange(count) if chosen is None else chosen
    usable = comparable(trajectories, window, window)
    if not len(usable):
        usable = np.arange(len(trajectories.values))
    which, first = places(
        len(usable),
        len(trajectories.times),
        step,
        seed=seed,
        count=count,
        window=window,
        sampling=sampling,
    )
    which, first = usable[which][index], first[index]
    if trajectories.known is not None:
        begun = begun_by(trajectories.known[which], window, window)
        first = begun[np.arange(len(index)), first]
    snapshots = first[:, None] + np.arange(window + 1)
    forcing = trajectories.forcing(which)
    starts_at = trajectories.times[first].astype(real())
    return {
        "window": Window(
            trajectories.values[which[:, None], snapshots],
            dataclasses.replace(forcing, time=starts_at),
            None if trajectories.known is None else trajectories.known[which[:, None], snapshots],
        ),
        "index": index.astype(np.int32),
    }


def beginnings(known: Array, followed: Array | bool = True) -> Array:
    """Which snapshots windows begin with, [..., T], as channels were seen, [..., T, C].

    Those of which all were; in a trajectory without any such, those of which one was. Of snapshots
    that are not `followed` by anything none.
    """
    everything = known.all(axis=-1) & followed
    anything = known.any(axis=-1) & followed
    return _like(known).where(everything.any(axis=-1, keepdims=True), everything, anything)


def starts(known: Array, window: int, within: int) -> Array:
    """Which snapshots windows of so many intervals begin with that are to be learnt from.

    Args:
      known: which channels of which snapshots were seen, [..., T, C].
      window: L, intervals of a window.
      within: so many snapshots later at most something must have been seen.

    Returns:
      [..., T - L], as windows end with the trajectory.
    """
    count = known.shape[-2] - window
    seen = known.any(axis=-1).cumsum(axis=-1)
    until = np.minimum(np.arange(count) + within, known.shape[-2] - 1)
    followed = seen[..., until] > seen[..., :count]
    return beginnings(known[..., :count, :], followed)


def begun_by(known: Array, window: int, within: int) -> Array:
    """For each place that is drawn the last of `starts` up to it, else the first; [..., T - L]."""
    here, numpy = starts(known, window, within), _like(known)
    places = numpy.where(here, np.arange(here.shape[-1]), -1)
    last = here.ndim - 1
    if numpy is np:
        latest = np.maximum.accumulate(places, axis=last)
    else:
        latest = jax.lax.cummax(places, axis=last)
    return numpy.where(latest < 0, here.argmax(axis=-1, keepdims=True), latest)


def _like(array: Array | np.ndarray) -> ModuleType:
    """NumPy for its arrays, JAX's for JAX's: a pool asks inside of a step, and draws outside."""
    return jnp if isinstance(array, Array) else np


def comparable(trajectories: Trajectories, window: int, within: int) -> np.ndarray:
    """The numbers of the trajectories that have `starts`."""
    if trajectories.known is None:
        return np.arange(len(trajectories.values))
    return np.flatnonzero(starts(trajectories.known, window, within).any(axis=-1))


def require_comparable(
    trajectories: Trajectories, window: int, within: int | None, field: str
) -> None:
    """Refuses windows in which nothing was seen that a rule could be held to.

    Args:
      trajectories: of which they are taken.
      window: intervals that each spans.
      within: see `starts`; None: as long as the windows are.
      field: of the config that asks for them.

    Raises:
      InputError: none of the trajectories has any other, saying what would do.
    """
    if len(comparable(trajectories, window, within or window)):
        return
    others = range(1, len(trajectories.times))
    least = next(
        (length for length in others if len(comparable(trajectories, length, within or length))), 0
    )
    remedy = f"take {least}, the least that would do"
    if not least:
        remedy = "no other length would do either, so give the data more snapshots"
    raise InputError(
        f"{field} asks for windows of {window} x {interval(trajectories):g} units of time, but in "
        f"none of them was anything seen after the snapshot that it begins with; {remedy}."
    )


def from_beginning(trajectories: Trajectories) -> Trajectories:
    """Trajectories from where a rule can go on from all of them: there windows may begin.

    Raises:
      InputError: there is no such snapshot.
    """
    if trajectories.known is None:
        return trajectories
    common = beginnings(trajectories.known).all(axis=0)
    first = int(common.argmax())
    if not common.any():
        raise InputError(
            "No time shows all that is ever seen together in each trajectory that is to be "
            "predicted, so there is nothing to predict from; give such a time to the data for "
            "validation and test."
        )
    if first == 0:
        return trajectories
    later = lambda array: array[:, first:]
    return dataclasses.replace(
        trajectories,
        values=later(trajectories.values),
        times=trajectories.times[first:],
        known=later(trajectories.known),
    )


def shared_out(total: int, count: int) -> np.ndarray:
    """Which of some trajectories each of `count` places has, [B, R].

    The places get one trajectory each, and then another one, until all are there; the last round is
    filled up with the first ones again.
    """
    rounds = -(-total // count)
    return (np.arange(count)[:, None] + count * np.arange(rounds)) % total


def whole(trajectories: Trajectories, which: np.ndarray, index: np.ndarray) -> dict[str, Any]:
    """Trajectories from end to end, like `draw`, but some for each place.

    Args:
      trajectories: of which they are taken.
      which: R trajectories for each place, [b, R], as of `shared_out`.
      index: of the places in the batch, [b].

    Returns:
      "window", with R trajectories for each place, [b, R, T, ...], and "index" [b].
    """
    known = trajectories.known
    window = Window(
        trajectories.values[which],
        trajectories.forcing(which),
        None if known is None else known[which],
    )
    return {"window": window, "index": index.astype(np.int32)}


def interval(trajectories: Trajectories) -> float:
    """The time between two snapshots.

    Raises:
      InputError: it is not the same all along.
    """
    times = trajectories.times
    if not intervals.are_equal(times):
        apart = np.diff(times)
        raise InputError(
            "Training takes snapshots at equal intervals, but those of the data go from "
            f"{apart.min():g} to {apart.max():g}."
        )
    return float(times[1] - times[0])
