"""Fields that every cell can see and no rule changes, made of the lattice and of the mask."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid

# coordinates: where a cell is along each axis, from -1 to 1; on a circular axis two fields, the
# cosine and the sine of the angle around it, so that nothing jumps at the seam.
# edge: how far a cell of the mask is from the mask's edge, over the largest such distance.
FIELDS = ("coordinates", "edge")


def added(trajectories: Trajectories, names: Sequence[str]) -> Trajectories:
    """The trajectories with the named fields behind those that their environment has.

    Raises:
      InputError: the distance from an edge is asked for where there are no masks.
    """
    if not names:
        return trajectories
    grid, count = trajectories.grid, len(trajectories.values)
    parts = [] if trajectories.environment is None else [trajectories.environment]
    for name in names:
        if name == "coordinates":
            parts.append(np.broadcast_to(coordinates(grid), (count, *grid.shape, _axes(grid))))
        elif trajectories.mask is None:
            raise InputError(
                "data.environment has 'edge', but the data have no masks; leave it out, or give "
                "them one (data.mask)."
            )
        else:
            parts.append(np.stack([edge(mask, grid) for mask in trajectories.mask])[..., None])
    return dataclasses.replace(trajectories, environment=np.concatenate(parts, axis=-1))


def count(grid: Grid, names: Sequence[str]) -> int:
    """How many fields the names stand for."""
    return sum(_axes(grid) if name == "coordinates" else 1 for name in names)


def coordinates(grid: Grid) -> np.ndarray:
    """Where each cell is, [*space, fields]; see `FIELDS`."""
    fields = []
    for axis, (size, walls) in enumerate(zip(grid.shape, grid.boundary, strict=True)):
        part = (np.arange(size) + 0.5) / size  # of the way along the axis
        along = (
            [np.cos(2 * np.pi * part), np.sin(2 * np.pi * part)]
            if walls.kind == "circular"
            else [2 * part - 1]
        )
        shape = [size if other == axis else 1 for other in range(grid.ndim)]
        fields += [np.broadcast_to(field.reshape(shape), grid.shape) for field in along]
    return np.stack(fields, axis=-1).astype(np.float32)


def edge(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """Distance of each cell of a mask [*space] from its edge, over the largest; 0 outside.

    A wall is an edge. Around a torus the shorter way counts; 1 everywhere where there is no edge.
    """
    inside, own = mask > 0, []
    for axis, (cells, walls) in enumerate(zip(grid.shape, grid.boundary, strict=True)):
        # Around an axis no cell is farther from another than half of it.
        width, mode = (cells // 2, "wrap") if walls.kind == "circular" else (1, "constant")
        widths = [(width, width) if other == axis else (0, 0) for other in range(grid.ndim)]
        inside = np.pad(inside, widths, mode)
        own.append(slice(width, width + cells))
    if inside.all():
        return np.ones(grid.shape, np.float32)
    distance = ndimage.distance_transform_edt(inside, sampling=grid.spacing)[tuple(own)]
    return (distance / max(distance.max(), 1e-12)).astype(np.float32)


def _axes(grid: Grid) -> int:
    return sum(2 if walls.kind == "circular" else 1 for walls in grid.boundary)
