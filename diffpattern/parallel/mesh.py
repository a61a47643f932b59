"""The device mesh, and how arrays lie on it.

Trajectories are spread over the axis "data". A lattice that is too large for one device is cut into
blocks, its first axis over "rows" and its second one over "columns". Parameters are on every
device.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec

from diffpattern.errors import InputError
from diffpattern.parallel import placement, processes

DATA, ROWS, COLUMNS = "data", "rows", "columns"
# How a function runs on the devices: JAX proves that what should be the same on all of them is;
# nobody does, as in Diffrax's adaptive loop; or on one device, without being split at all, which
# implicit solvers need.
CHECKED, UNCHECKED, ALONE = "checked", "unchecked", "alone"
SPREAD = PartitionSpec(DATA)
EVERYWHERE = PartitionSpec()


def make_mesh(data: int = -1, rows: int = 1, columns: int = 1, *, shared: int = 0) -> Mesh:
    """A mesh of the first data x rows x columns devices.

    Of several processes each gives as many devices, and one process's lie beside one another.

    Args:
      data: over how many trajectories are spread; -1 takes as many as there are.
      rows: into how many blocks the first axis of a lattice is cut.
      columns: into how many its second axis is.
      shared: what is spread evenly over "data"; of -1 as many are taken as divide it.

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
    for name, count in ((ROWS, rows), (COLUMNS, columns)):
        if count < 1:
            raise InputError(f"mesh.{name} is {count}, but a lattice is cut into 1 block or more.")
    blocks = rows * columns
    if blocks > available:
        raise InputError(
            f"mesh.rows is {rows} and mesh.columns {columns}, which takes {blocks} devices, but "
            f"there are {available}; take fewer blocks."
        )
    most = available // blocks
    count = most if data == -1 else data
    uneven = lambda count: shared % count or count * blocks % parties
    while data == -1 and count and uneven(count):
        count -= 1
    if data == -1 and not count and not shared:
        raise InputError(
            f"The {parties} processes cannot have equal parts of {available} devices in groups of "
            f"{blocks} (mesh.rows x mesh.columns); cut lattices into other numbers of blocks."
        )
    if data == -1 and not count:
        raise InputError(
            f"training.batch is {shared}, but with training.starts='pool' it must be a multiple of "
            f"the {parties} processes, each of which keeps its part."
        )
    if not 1 <= count <= most:
        each = f" for each {blocks}" if blocks > 1 else ""
        raise InputError(
            f"mesh.data is {data}; this machine has {available} devices{each}, so it may be 1 to "
            f"{most}, or -1 for all."
        )
    if count * blocks % parties:
        cut = f" with {blocks} blocks of each lattice" if blocks > 1 else ""
        raise InputError(
            f"mesh.data is {data}{cut}, which the {parties} processes cannot share evenly; take a "
            "multiple of their number, or -1 for all devices."
        )
    devices = [
        device
        for party in range(parties)
        for device in jax.devices()
        if device.process_index == party
    ]
    each = available // parties
    chosen = [
        device for place, device in enumerate(devices) if place % each < count * blocks // parties
    ]
    return jax.make_mesh(
        (count, rows, columns),
        (DATA, ROWS, COLUMNS),
        axis_types=(AxisType.Auto,) * 3,
        devices=chosen,
    )


def widest_mesh(rows: int, columns: int, running: str = CHECKED) -> Mesh:
    """A mesh of all devices that there are, or that a function can run on.

    Args:
      rows, columns: how many blocks there are, if there are as many devices, else one.
      running: see `on_mesh`.
    """
    if running == ALONE:
        # Of this process, for each computes the same.
        return jax.make_mesh(
            (1, 1, 1),
            (DATA, ROWS, COLUMNS),
            axis_types=(AxisType.Auto,) * 3,
            devices=jax.local_devices()[:1],
        )
    return make_mesh(-1, rows, columns) if rows * columns <= jax.device_count() else make_mesh()


def blocks(mesh: Mesh) -> dict[str, int]:
    """Into how many blocks lattices are cut, by the mesh axes "rows" and "columns"."""
    return {name: mesh.shape[name] for name in (ROWS, COLUMNS)}


def block_axes(mesh: Mesh) -> tuple[str, ...]:
    """The mesh axes over which there is more than one block of a lattice."""
    return tuple(name for name, count in blocks(mesh).items() if count > 1)


def lattices(mesh: Mesh, before: int, space: int) -> PartitionSpec:
    """How arrays [B, ..., *space, ...] lie: the items over "data", the lattices in blocks.

    Args:
      mesh: where.
      before: how many axes are before those of space, that of the items included.
      space: how many axes a lattice has.
    """
    cut = block_axes(mesh)
    across = [name if name in cut else None for name in (ROWS, COLUMNS)][:space]
    return PartitionSpec(DATA, *(None,) * (before - 1), *across)


def held_cells(mesh: Mesh, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Which cells of a lattice this process's devices hold: a slice along each axis of space."""

    def along(cells: int, axis: str) -> slice:
        own, each = placement.held(mesh, axis), cells // mesh.shape[axis]
        return slice(own.start * each, own.stop * each)

    cut = [along(*axis) for axis in zip(shape, (ROWS, COLUMNS), strict=False)]
    return (*cut, *(slice(0, cells) for cells in shape[2:]))


def on_mesh(
    local: Callable, mesh: Mesh, in_specs: Any, out_specs: Any, running: str = CHECKED
) -> Callable:
    """Runs `local` on each device with its share of the arguments.

    Args:
      local: may reduce over the mesh's axes.
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


def own(tree, axes: tuple[str, ...] = (DATA,)):
    """What all devices share, as each device's own: differentiated by that, nothing is summed."""
    axes = tuple(axis for axis in axes if axis in jax.sharding.get_abstract_mesh().manual_axes)
    return jax.lax.pcast(tree, axes, to="varying") if axes else tree


def put(tree, mesh: Mesh, layout: Any = EVERYWHERE):
    """Lays every array of `tree` on the mesh.

    Every process has all of `tree`; see `parallel.placement` for what only one has.

    Args:
      tree: of arrays.
      mesh: where.
      layout: a PartitionSpec for all arrays, or a tree of them whose leaves stand for the branches
        of `tree`.
    """
    return placement.lay_all(tree, mesh, layout)


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
