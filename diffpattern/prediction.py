"""What is computed of each trajectory or window by itself, spread over the mesh."""

from collections.abc import Callable
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
    times = truth.times if times is None else times

    def predict(parameters, item, index):
        start, forcing = item
        own_key = jax.random.fold_in(key, index)
        return problem.predict(parameters, start, times, own_key, forcing)

    problem, space = problem.cut(mesh), truth.grid.ndim
    forcing = truth.forcing(np.arange(len(truth.values)))
    return spread(
        predict,
        (truth.values[:, 0], forcing),
        mesh,
        (lattices(mesh, 1, space), layout_of_forcing(forcing, space, mesh)),
        lattices(mesh, 2, space),
        together=together,
        running=problem.running,
    )


def spread(
    function: Callable[..., jax.Array],
    items: Any,
    mesh: Mesh,
    layout: Any = SPREAD,
    result: PartitionSpec = SPREAD,
    *,
    together: bool,
    running: str,
) -> Callable[[Parameters], np.ndarray]:
    """`function` of every item.

    Args:
      function: (parameters, item, its index) -> an array.
      items: a pytree of arrays [N, ...].
      mesh: over whose "data" axis the items are spread.
      layout: how their arrays lie on it, where they are lattices that may be cut.
      result: how the results do.
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

    on_devices = jax.jit(on_mesh(local, mesh, (EVERYWHERE, specs), result, running))
    fetched = lambda parameters: placement.fetch(on_devices(put(parameters, mesh), batch))
    return lambda parameters: fetched(parameters)[:count]
