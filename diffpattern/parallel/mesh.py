"""The device mesh, and how arrays lie on it.

One axis, "data": trajectories are spread over it, parameters are on every device.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from diffpattern.errors import InputError
from diffpattern.parallel import placement, processes

DATA = "data"
# How a function runs on the devices: JAX proves that what should be the same on all of them is;
# nobody does, as in Diffrax's adaptive loop; or on one device, without being split at all, which
# implicit solvers need.
CHECKED, UNCHECKED, ALONE = "checked", "unchecked", "alone"
SPREAD = PartitionSpec(DATA)
EVERYWHERE = PartitionSpec()


def make_mesh(data: int = -1, shared: int = 0) -> Mesh:
    """A mesh of the first `data` devices; -1 takes all that there are.

    Of several processes each gives as many devices, and one process's lie beside one another.

    Args:
      data: how many.
      shared: what all devices must have equal shares of; of -1 as many are taken as divide it.

    Raises:
      InputError: more devices are asked for than there are, or none, or the processes cannot give
        as many each.
    """
    available, parties = jax.device_count(), processes.count()
    if available != parties * jax.local_device_count():
        raise InputError(
            f"Process {processes.number()} has {jax.local_device_count()} of the {available} "
            f"devices of {parties} processes, but all must have as many."
        )
    if shared % parties:
        raise InputError(
            f"training.batch is {shared}, but with training.starts='pool' it must be a multiple of "
            f"the {parties} processes, each of which keeps its part."
        )
    count = available if data == -1 else data
    while data == -1 and shared % count:
        count -= parties
    if not 1 <= count <= available:
        raise InputError(
            f"mesh.data is {data}; this machine has {available} devices, so it may be 1 to "
            f"{available}, or -1 for all."
        )
    if count % parties:
        raise InputError(
            f"mesh.data is {data}, but must be a multiple of the {parties} processes, or -1 for "
            "all devices."
        )
    devices = [
        device
        for party in range(parties)
        for device in jax.devices()
        if device.process_index == party
    ]
    each = available // parties
    chosen = [device for place, device in enumerate(devices) if place % each < count // parties]
    return jax.make_mesh((count,), (DATA,), axis_types=(AxisType.Auto,), devices=chosen)


def own_mesh() -> Mesh:
    """A mesh of one device of this process, for what is not to be split at all."""
    return jax.make_mesh(
        (1,), (DATA,), axis_types=(AxisType.Auto,), devices=jax.local_devices()[:1]
    )


def on_mesh(
    local: Callable, mesh: Mesh, in_specs: Any, out_specs: Any, running: str = CHECKED
) -> Callable:
    """Runs `local` on each device with its share of the arguments.

    Args:
      local: may reduce over the axis "data".
      mesh: where; of one device for `ALONE`.
      in_specs: how the arguments lie on it.
      out_specs: how the results do.
      running: `CHECKED`, `UNCHECKED` or `ALONE`.
    """
    if running == ALONE:
        # The axis is there, for sums over it, though nothing lies along it.
        return jax.vmap(local, in_axes=None, out_axes=None, axis_name=DATA, axis_size=1)
    return jax.shard_map(
        local, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=running == CHECKED
    )


def own(tree):
    """What all devices share, as each device's own: differentiated by that, nothing is summed."""
    if DATA not in jax.sharding.get_abstract_mesh().manual_axes:
        return tree
    return jax.lax.pcast(tree, DATA, to="varying")


def put(tree, mesh: Mesh, spec: PartitionSpec = EVERYWHERE):
    """Lays every array of `tree` on the mesh: over "data" by its first axis, or everywhere.

    Every process has all of `tree`; see `parallel.placement` for what only one has.
    """
    sharding = NamedSharding(mesh, spec)
    if processes.count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda host: placement.lay(host, sharding), tree)


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
