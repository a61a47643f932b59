"""Predictions of whole trajectories from their first snapshots, spread over the mesh."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from diffpattern.data.trajectories import Trajectories
from diffpattern.parallel.mesh import DATA, EVERYWHERE, SPREAD, fill_up, put
from diffpattern.problem import Problem
from diffpattern.training.step import over_windows

Parameters = Any


def make_predictor(
    problem: Problem, truth: Trajectories, mesh: Mesh, *, seed: int, together: bool
) -> Callable[[Parameters], np.ndarray]:
    """A function from parameters to predictions [N, T, *space, C] of all trajectories.

    Args:
      problem: whose rule predicts.
      truth: the trajectories; their first snapshots are the starts.
      mesh: over whose "data" axis they lie.
      seed: of what is random in the rule; trajectory n draws from the n-th key folded from it.
      together: see `training.step.over_windows`.
    """
    count = len(truth.values)
    batch = {"start": truth.values[:, 0], "index": np.arange(count, dtype=np.int32)}
    batch = put(fill_up(batch, mesh.shape[DATA]), mesh, SPREAD)

    def local(parameters, batch):
        def one(start, index):
            key = jax.random.fold_in(jax.random.key(seed), index)
            return problem.predict(parameters, start, truth.times, key)

        return over_windows(one, together, batch["start"], batch["index"])

    spread = jax.jit(
        jax.shard_map(
            local,
            mesh=mesh,
            in_specs=(EVERYWHERE, SPREAD),
            out_specs=SPREAD,
            check_vma=problem.replication_is_checked,
        )
    )
    return lambda parameters: np.asarray(spread(put(parameters, mesh), batch))[:count]
