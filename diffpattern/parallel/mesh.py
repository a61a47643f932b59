"""The device mesh, and how arrays lie on it.

One axis, "data": trajectories are spread over it, parameters are on every device.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from diffpattern.errors import InputError

DATA = "data"
SPREAD = PartitionSpec(DATA)
EVERYWHERE = PartitionSpec()


def make_mesh(data: int = -1) -> Mesh:
    """A mesh of the first `data` devices; -1 takes all that there are.

    Raises:
      InputError: more devices are asked for than there are, or none.
    """
    available = jax.device_count()
    count = available if data == -1 else data
    if not 1 <= count <= available:
        raise InputError(
            f"mesh.data is {data}; this machine has {available} devices, so it may be 1 to "
            f"{available}, or -1 for all."
        )
    return jax.make_mesh(
        (count,), (DATA,), axis_types=(AxisType.Auto,), devices=jax.devices()[:count]
    )


def put(tree, mesh: Mesh, spec: PartitionSpec = EVERYWHERE):
    """Lays every array of `tree` on the mesh: over "data" by its first axis, or everywhere."""
    return jax.device_put(tree, NamedSharding(mesh, spec))


def fill_up(batch: dict[str, Any], devices: int) -> dict[str, Any]:
    """Fills a batch up with copies of its first item until `devices` divide it.

    Every array in it, however deep, has the items as its first axis. Adds an array "weight" [B]: 1
    for the items that were there, 0 for the copies. The copies are real items, so that no
    non-finite number can arise from them and outlive the zero.
    """
    count = len(jax.tree.leaves(batch)[0])
    missing = -count % devices
    indices = np.concatenate([np.arange(count), np.zeros(missing, int)])
    filled = jax.tree.map(lambda values: values[indices], batch)
    return filled | {"weight": (np.arange(count + missing) < count).astype(np.float32)}
