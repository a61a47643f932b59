"""Small HDF5 files in the layouts of public sets, as their own writers make them."""

from pathlib import Path

import h5py
import numpy as np

SIZES = {"x": 6, "y": 5, "z": 4}
SPACINGS = {"x": 1.0, "y": 1.2, "z": 1.5}
COORDINATES = {axis: SPACINGS[axis] * (0.5 + np.arange(n)) for axis, n in SIZES.items()}


def numbered(count: int, snapshots: int, axes: str = "xy") -> np.ndarray:
    """Values that tell where they are from, [N, T, *axes]: 1000 n + 10 t + x + y/8 + z/64."""
    grids = np.meshgrid(*(np.arange(SIZES[axis]) for axis in axes), indexing="ij")
    place = sum(grid / 8.0 ** "xyz".index(axis) for grid, axis in zip(grids, axes, strict=True))
    labels = 1000.0 * np.arange(count)[:, None] + 10.0 * np.arange(snapshots)
    return labels.reshape(count, snapshots, *(1,) * len(axes)) + place


def the_well(
    path: Path,
    fields: dict[str, np.ndarray],
    times: np.ndarray | None = None,
    kind: str = "PERIODIC",
    scalars: dict[str, float] | None = None,
    axes: str = "xy",
    spacings: dict[str, float] = SPACINGS,
) -> str:
    """A file of The Well; `fields` are [N, T, X, Y] each."""
    first = next(iter(fields.values()))
    times = 10.0 * np.arange(first.shape[1]) if times is None else times
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["dataset_name"] = "gray_scott_reaction_diffusion"
        file.attrs["grid_type"] = "cartesian"
        file.attrs["n_spatial_dims"] = len(axes)
        file.attrs["n_trajectories"] = len(first)
        dimensions = file.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = list(axes)
        dimensions.create_dataset("time", data=np.float32(times))
        for axis in axes:
            coordinates = spacings[axis] * (0.5 + np.arange(SIZES[axis]))
            dimensions.create_dataset(axis, data=np.float32(coordinates))
            wall = file.create_group(f"boundary_conditions/{axis}_{kind.lower()}")
            wall.attrs["associated_dims"] = [axis]
            wall.attrs["associated_fields"] = np.array([], dtype="S1")
            wall.attrs["bc_type"] = kind
            wall.create_dataset("mask", data=np.arange(SIZES[axis]) % (SIZES[axis] - 1) == 0)
        told = file.create_group("scalars")
        told.attrs["field_names"] = list(scalars or {})
        for name, value in (scalars or {}).items():
            told.create_dataset(name, data=np.float32(value))
        group = file.create_group("t0_fields")
        group.attrs["field_names"] = list(fields)
        for name, values in fields.items():
            group.create_dataset(name, data=np.float32(values))
            group[name].attrs["sample_varying"] = group[name].attrs["time_varying"] = True
        for name in ("t1_fields", "t2_fields"):
            file.create_group(name).attrs["field_names"] = np.array([], dtype="S1")
    return str(path)


def pdebench(path: Path, values: np.ndarray, times: np.ndarray | None = None) -> str:
    """A file of PDEBench; `values` are [N, T, Y, X, C], or without Y."""
    times = 0.05 * np.arange(values.shape[1]) if times is None else times
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = "xy"[: values.ndim - 3]
    with h5py.File(path, "w") as file:
        for number, trajectory in enumerate(values):
            group = file.create_group(f"{number:04d}")
            group.attrs["config"] = "sim: {}"
            group.create_dataset("data", data=np.float32(trajectory), compression="lzf")
            group.create_dataset("grid/t", data=np.float32(times), compression="lzf")
            for axis in axes:
                coordinates = np.float32(COORDINATES[axis])
                group.create_dataset(f"grid/{axis}", data=coordinates, compression="lzf")
    return str(path)


# A small set, as either layout has it: 5 trajectories of 9 snapshots of 2 species.
VALUES = numbered(5, 9)  # [N, T, X, Y]
CHANNELS_LAST = np.stack([VALUES, -VALUES], axis=-1).transpose(0, 1, 3, 2, 4)  # [N, T, Y, X, C]


def small_the_well(folder: Path, **options) -> str:
    """The small set in `folder`, with some arguments of `the_well` changed."""
    fields = {"A": VALUES, "B": -VALUES}
    return the_well(folder / "well.hdf5", **{"fields": fields} | options)


def small_pdebench(folder: Path, **options) -> str:
    """The small set in `folder`, with some arguments of `pdebench` changed."""
    return pdebench(folder / "bench.h5", **{"values": CHANNELS_LAST} | options)
