"""What is computed of each trajectory or window by itself, spread over the mesh."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from diffpattern.data.trajectories import Trajectories
from diffpattern.data.windows import layout_of_forcing
from diffpattern.parallel import placement
from diffpattern.parallel.mesh import (
    DATA,
    EVERYWHERE,
    SPREAD,
    block_axes,
    fill_up,
    lattices,
    on_mesh,
    own,
    put,
)
from diffpattern.problem import Problem
from diffpattern.training.step import over_windows

Parameters = Any


def make_predictor(
    problem: Problem,
    truth: Trajectories,
    mesh: Mesh,
    *,
    key: jax.Array,
    together: bool,
    times: np.ndarray | None = None,
) -> Callable[[Parameters], np.ndarray]:
    """A function from parameters to predictions [N, T, *space, C] of all trajectories.

    Args:
      problem: whose rule predicts.
      truth: the trajectories; their first snapshots are the starts.
      mesh: over whose "data" axis they lie.
      key: of what is random in the rule; trajectory n draws from the n-th key folded from it.
      together: see `training.step.over_windows`.
      times: of the predictions, [T], the first that of the starts; None: those of the truth.
    """
    species = len(truth.species)
    of_species = lambda states: states[..., :species]
    return _of_states(problem, truth, mesh, of_species, key=key, together=together, times=times)


def make_revealing_predictor(
    problem: Problem,
    truth: Trajectories,
    mesh: Mesh,
    revealed: Sequence[int],
    *,
    key: jax.Array,
    together: bool,
) -> Callable[[Parameters], tuple[np.ndarray, np.ndarray | None]]:
    """A function from parameters to predictions, and to hidden channels that came with them.

    Args:
      problem, truth, mesh, key, together: as of `make_predictor`.
      revealed: the indices of R times at which hidden channels are told.

    Returns:
      A function of the parameters: the predictions [N, T, *space, C], and the hidden channels of
      the first trajectory [R, *space, H]; None where the rule has none.
    """
    species, where = len(truth.species), np.asarray(revealed)
    if problem.channels == species:
        predict = make_predictor(problem, truth, mesh, key=key, together=together)
        return lambda parameters: (predict(parameters), None)
    both = _of_states(
        problem,
        truth,
        mesh,
        lambda states: (states[..., :species], states[where][..., species:]),
        # Nothing that is not shown has to leave the devices.
        keep=lambda results: (results[0], results[1][:1]),
        key=key,
        together=together,
    )

    def of_first(predictions: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return predictions, hidden[0]

    return lambda parameters: of_first(*both(parameters))


def _of_states(
    problem: Problem,
    truth: Trajectories,
    mesh: Mesh,
    read: Callable[[jax.Array], Any],
    *,
    keep: Callable[[Any], Any] = lambda results: results,
    key: jax.Array,
    together: bool,
    times: np.ndarray | None = None,
) -> Callable[[Parameters], Any]:
    """What is read off the rollouts [T, *space, channels] of all trajectories; see `spread`."""
    times = truth.times if times is None else times

    def predict(parameters, item, index):
        start, forcing = item
        own_key = jax.random.fold_in(key, index)
        return read(problem.states(parameters, start, times, own_key, forcing))

    problem, space = problem.cut(mesh), truth.grid.ndim
    forcing = truth.forcing(np.arange(len(truth.values)))
    return spread(
        predict,
        (truth.values[:, 0], forcing),
        mesh,
        (lattices(mesh, 1, space), layout_of_forcing(forcing, space, mesh)),
        lattices(mesh, 2, space),
        keep=keep,
        together=together,
        running=problem.running,
    )


def spread(
    function: Callable[..., Any],
    items: Any,
    mesh: Mesh,
    layout: Any = SPREAD,
    result: PartitionSpec = SPREAD,
    *,
    keep: Callable[[Any], Any] = lambda results: results,
    together: bool,
    running: str,
) -> Callable[[Parameters], Any]:
    """`function` of every item.

    Args:
      function: (parameters, item, its index) -> an array, or a pytree of them.
      items: a pytree of arrays [N, ...].
      mesh: over whose "data" axis the items are spread.
      layout: how their arrays lie on it, where they are lattices that may be cut.
      result: how the results do.
      keep: what to fetch, out of the results [N, ...] on the devices.
      together: see `training.step.over_windows`.
      running: see `parallel.mesh.on_mesh`.

    Returns:
      A function from parameters to the N results, [N, ...].
    """
    count = len(jax.tree.leaves(items)[0])
    batch = {"item": items, "index": np.arange(count, dtype=np.int32)}
    batch = fill_up(batch, mesh.shape[DATA])
    specs = dict.fromkeys(batch, SPREAD) | {"item": layout}
    batch = put(batch, mesh, specs)

    def local(parameters, batch):
        # What a function differentiates by is its device's own: by what all devices share, the
        # derivatives would be summed over them.
        parameters = own(parameters, (DATA, *block_axes(mesh)))
        one = lambda item, index: function(parameters, item, index)
        return over_windows(one, together, batch["item"], batch["index"])

    spread_out = on_mesh(local, mesh, (EVERYWHERE, specs), result, running)
    on_devices = jax.jit(lambda parameters, batch: keep(spread_out(parameters, batch)))

    def of_all(parameters: Parameters) -> Any:
        results = on_devices(put(parameters, mesh), batch)
        return jax.tree.map(lambda array: placement.fetch(array)[:count], results)

    return of_all
