"""Arrays laid on a mesh whose devices belong to several processes, and fetched from there.

In one process, which has all devices, these are JAX's own ways.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from diffpattern.parallel import processes


@dataclasses.dataclass(frozen=True)
class Share:
    """Which items of a batch this process's devices hold.

    Attributes:
      count: of the items in the whole batch.
      places: the process's items. A batch that the devices cannot share evenly is filled up at its
        end with copies of its first item: real items, from which no non-finite number can arise
        that would outlive their weight of zero.
      weight: 1 for each item, 0 for a copy, [places] float32.
    """

    count: int
    places: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, count: int, devices: int, held: range | None = None) -> "Share":
        """The items of the devices `held`, out of so many over which `count` items are spread.

        Args:
          count: of the items.
          devices: over which they are spread, in their order.
          held: those of this process; None: all.
        """
        held = range(devices) if held is None else held
        each = -(-count // devices)
        places = np.arange(held.start * each, held.stop * each)
        there = places < count
        return cls(count, np.where(there, places, 0), there.astype(np.float32))


def held(mesh: Mesh, axis: str) -> range:
    """The positions along an axis of the mesh at which devices of this process lie."""
    along = np.moveaxis(mesh.devices, mesh.axis_names.index(axis), 0).reshape(mesh.shape[axis], -1)
    own = [
        place
        for place, devices in enumerate(along)
        if any(device.process_index == processes.number() for device in devices)
    ]
    return range(own[0], own[-1] + 1)


def lay(host: Any, sharding: NamedSharding) -> Array:
    """An array on the mesh of which every process has the whole."""
    if isinstance(host, Array) and not host.is_fully_addressable:
        return jax.device_put(host, sharding)
    host = np.asarray(host)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _lay_part(host: Any, sharding: NamedSharding) -> Array:
    """An array on the mesh of which each process has the part that its own devices hold."""
    host, mesh = np.asarray(host), sharding.mesh
    shape, before = list(host.shape), [0] * host.ndim
    for axis, name in enumerate(sharding.spec):
        if name is not None:
            own = held(mesh, name)
            each = host.shape[axis] // len(own)
            shape[axis], before[axis] = each * mesh.shape[name], each * own.start

    def part(index: tuple[slice, ...]) -> np.ndarray:
        stretches = (one.indices(size)[:2] for one, size in zip(index, shape, strict=True))
        moved = zip(stretches, before, strict=True)
        return host[tuple(slice(begin - first, end - first) for (begin, end), first in moved)]

    return jax.make_array_from_callback(tuple(shape), sharding, part)


def lay_all(tree: Any, mesh: Mesh, layout: Any) -> Any:
    """Lays arrays on the mesh that every process has as a whole.

    Args:
      tree: of arrays.
      mesh: where.
      layout: a PartitionSpec for all arrays, or a tree of them whose leaves stand for the branches
        of `tree`.
    """
    if processes.count() == 1:
        return jax.device_put(tree, _shardings(mesh, layout))
    return by_sharding(lay, tree, mesh, layout)


def lay_share(tree: Any, mesh: Mesh, layout: Any) -> Any:
    """Lays arrays on the mesh of which each process has what its own devices hold.

    Args:
      tree: of arrays. Along each axis that is spread over an axis of the mesh an array has the
        stretch from the first to the last position of the process's devices: of a batch the items
        that `Share.places` names, of a lattice the cells of `mesh.held_cells`.
      mesh: where.
      layout: as of `lay_all`.
    """
    if processes.count() == 1:
        return jax.device_put(tree, _shardings(mesh, layout))
    return by_sharding(_lay_part, tree, mesh, layout)


def _shardings(mesh: Mesh, layout: Any) -> Any:
    is_spec = lambda part: isinstance(part, PartitionSpec)
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), layout, is_leaf=is_spec)


def by_sharding(
    function: Callable[[Any, NamedSharding], Array], tree: Any, mesh: Mesh, layout: Any
) -> Any:
    """`function` of each array, or of what stands for one, and how it is to lie."""
    branch = lambda sharding, part: jax.tree.map(lambda host: function(host, sharding), part)
    return jax.tree.map(branch, _shardings(mesh, layout), tree)


def fetch(array: Array) -> np.ndarray:
    """A whole array, in every process; all of them call it."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return multihost_utils.process_allgather(array, tiled=True)
