"""Data that are read, not simulated: what `data.name` may name beside a system.

Each source takes its own section of the config and gives trajectories by split, for lattices of one
size after the other. A split of which the section says nothing is that of training.
"""

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from ml_collections import ConfigDict

from diffpattern import parts
from diffpattern.data import images, panels, stored
from diffpattern.data.images import ImageSequence
from diffpattern.data.preparation import (
    BACKGROUNDS,
    CENTRES,
    CLOSED,
    EXTERIORS,
    NO_MASK,
    NORMALISATIONS,
    Preparation,
    Prepared,
    scaling,
)
from diffpattern.data.simulation import SPLITS
from diffpattern.data.stored import StoredTrajectories
from diffpattern.data.trajectories import Trajectories
from diffpattern.data.windows import from_beginning
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.models import monomials
from diffpattern.precision import real

# What `data.name` is of arrays that a program hands over, and no config names.
GIVEN = "given"

# Trajectories by split, for lattices of one size after the other; a split may have none of a size.
Data = tuple[dict[str, Trajectories | StoredTrajectories], ...]

# What some fields may be, by their names.
CHOICES = {
    "background": BACKGROUNDS,
    "centre": CENTRES,
    "normalisation": tuple(NORMALISATIONS),
    "exterior": EXTERIORS,
    "overlap": tuple(panels.OVERLAPS),
}


def read_images(fields: ConfigDict) -> Data:
    """Image sequences, each a trajectory.

    Args:
      fields: the section `data.images`, as configs/default.py explains it.

    Raises:
      InputError: naming the file or the field that cannot be used.
    """
    if not fields.train:
        raise InputError("data.images.train names no images; give it a folder, pattern or file.")
    prepare = _preparation("data.images", fields, select=fields.select)
    sequences = {
        split: [prepare(_named(images.read(where, fields.axes), fields)) for where in fields[split]]
        for split in SPLITS
        if fields[split]
    }
    if fields.first_frame:
        sequences = {
            split: [_begun(one, fields.first_frame) for one in prepared]
            for split, prepared in sequences.items()
        }
    first, *others = (one.sequence for prepared in sequences.values() for one in prepared)
    alike = ["channels", "length"]
    alike += [] if fields.spacing else ["pixel size"]
    alike += [] if fields.interval or fields.times else ["time step"]
    for other in others:
        images.require_alike(first, other, alike)
    times, sizes = _times(first, fields), {}
    for split, prepared in sequences.items():
        for one in prepared:
            of_size = sizes.setdefault(one.sequence.frames.shape[1:3], {})
            of_size.setdefault(split, []).append(one)
    gathered = [
        {split: _gathered(prepared, times) for split, prepared in of_size.items()}
        for of_size in sizes.values()
    ]
    time_unit = "" if fields.interval or fields.times else first.time_unit
    return _finished("data.images", fields, gathered, first.channels, first, time_unit)


def last_frame(
    where: images.Where, fields: ConfigDict, species: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray | None]:
    """The last frame of an image sequence, prepared as those that a run has seen.

    Args:
      where: see `images.read`.
      fields: the section `data.images` of the run.
      species: the channels of the run.

    Returns:
      The frame [H, W, C] in the files' units, and its mask [H, W]; None where trajectories have
      none.

    Raises:
      InputError: naming the file that cannot be used.
    """
    prepare = _preparation("data.images", fields, select=fields.select)
    prepared = prepare(_named(images.read(where, fields.axes), fields))
    # A run may have begun when names were as files have them.
    called = lambda names: tuple(map(monomials.name_of, names))
    if called(prepared.sequence.channels) != called(species):
        raise InputError(
            f"{where} has the channels {', '.join(prepared.sequence.channels)}, but the run has "
            f"{', '.join(species)}."
        )
    return prepared.sequence.frames[-1], prepared.inside if _closed(fields) else None


def read_panels(fields: ConfigDict) -> Data:
    """Colonies in a table, those of a split merged into one trajectory.

    Args:
      fields: the section `data.panels`, as configs/default.py explains it.

    Raises:
      InputError: naming the file, the line or the field that cannot be used.
    """
    if not fields.table:
        raise InputError("data.panels.table names no table; give it the path of a CSV file.")
    rows, species = panels.read_table(fields.table), panels.species_by_panel(fields.species)
    prepare = _preparation("data.panels", fields)
    colonies = [panels.read_colony(row, species, prepare, fields.axes) for row in rows]
    first = colonies[0].sequence
    for other in colonies[1:]:
        alike = ["size"] + ([] if fields.spacing else ["pixel size"])
        images.require_alike(first, other.sequence, alike)
    channels = tuple(dict.fromkeys(name for one in colonies for name in one.sequence.channels))
    gathered = {}
    for split in {row.split: None for row in rows}:
        chosen = [row.split == split for row in rows]
        merged = panels.merge(
            [row.time for row in itertools.compress(rows, chosen)],
            list(itertools.compress(colonies, chosen)),
            channels,
            fields.overlap,
            closed=_closed(fields),
        )
        gathered[split] = _Gathered(
            merged.values[None],
            merged.seen[None],
            merged.inside[None],
            merged.times,
            merged.known[None],
        )
    return _finished("data.panels", fields, [gathered], channels, first)


# What `data.name` may be, beside a system: the section of the config -> the data.
SOURCES: dict[str, Callable[[ConfigDict], Data]] = {
    "images": read_images,
    "panels": read_panels,
    "the_well": lambda fields: (stored.load_the_well(fields),),
    "pdebench": lambda fields: (stored.load_pdebench(fields),),
}


def by_split(data: Trajectories | Mapping[str, Trajectories], whose: str) -> Data:
    """Data with all their splits, of which those that are missing are the training data.

    Args:
      data: to train on; or {"train", "validation", "test": trajectories}.
      whose: they are, for messages.

    Raises:
      InputError: they are something else.
    """
    splits = {SPLITS[0]: data} if isinstance(data, Trajectories) else data
    if not isinstance(splits, Mapping):
        raise InputError(
            f"{whose} are of the type {type(data).__name__}; they must be Trajectories, or a "
            "dictionary with those of 'train' and possibly 'validation' and 'test'."
        )
    if SPLITS[0] not in splits or not set(splits) <= set(SPLITS):
        raise InputError(
            f"{whose} have the splits {', '.join(map(repr, splits))}, but need 'train', and may "
            "have 'validation' and 'test'."
        )
    for split, of_split in splits.items():
        if not isinstance(of_split, Trajectories):
            raise InputError(
                f"{whose} have {type(of_split).__name__} in {split!r}; it must be Trajectories."
            )
    train = splits[SPLITS[0]]
    others = {split: from_beginning(splits.get(split, train)) for split in SPLITS[1:]}
    return ({SPLITS[0]: train} | others,)


def read_own(name: str, settings: ConfigDict) -> Data:
    """What a function of the user's gives, called with the settings by their names.

    Args:
      name: of the function, "module:function"; it returns what `by_split` takes.
      settings: the section `data.own`.

    Raises:
      InputError: there is no such function, it takes other settings, or gives something else.
    """
    read = parts.load_function(name, "data.name")
    settings = settings.to_dict()
    try:
        inspect.signature(read).bind(**settings)
    except TypeError as error:
        raise InputError(
            f"data.own has {', '.join(settings) or 'nothing'}, but {name} is called otherwise "
            f"({error})."
        ) from error
    return by_split(read(**settings), f"The data of {name}")


@dataclass(frozen=True, eq=False)
class _Gathered:
    """The trajectories of a split, as bright as they came.

    Attributes:
      values: [N, T, H, W, C].
      seen: which of them are numbers of a camera, of a shape that broadcasts to theirs.
      inside: their masks, [N, H, W].
      times: [T].
      known: as `Trajectories` has it.
    """

    values: np.ndarray
    seen: np.ndarray
    inside: np.ndarray
    times: np.ndarray
    known: np.ndarray | None = None

    def counted(self) -> np.ndarray:
        """Those of the values that are numbers of a camera inside the masks, one row each."""
        where = np.broadcast_to(self.seen & self.inside[:, None, ..., None], self.values.shape)
        return where.reshape(-1, where.shape[-1])


def _gathered(prepared: list[Prepared], times: np.ndarray) -> _Gathered:
    return _Gathered(
        np.stack([one.sequence.frames for one in prepared]),
        np.stack([one.seen for one in prepared])[:, None, ..., None],
        np.stack([one.inside for one in prepared]),
        times,
    )


def _finished(
    section: str,
    fields: ConfigDict,
    sizes: list[dict[str, _Gathered]],
    channels: tuple[str, ...],
    first: ImageSequence,
    time_unit: str = "",
) -> Data:
    """Normalises everything by all that is to train on; cells not seen become zero.

    Lengths are those of the `first` sequence, unless the config has its own, whose unit nobody
    tells.
    """
    train = [splits[SPLITS[0]] for splits in sizes if SPLITS[0] in splits]
    offset, scale = scaling(
        np.concatenate([one.values.reshape(-1, len(channels)) for one in train]),
        np.concatenate([one.counted() for one in train]),
        fields.normalisation,
    )
    closed = _closed(fields)

    def trajectories(one: _Gathered) -> Trajectories:
        normalised = (one.values - np.asarray(offset, real())) / np.asarray(scale, real())
        return Trajectories(
            normalised * one.seen,
            one.times,
            channels,
            _grid(section, fields, one.values.shape[2:4], first.pixel_size),
            mask=one.inside if closed else None,
            known=one.known,
            offset=offset,
            scale=scale,
            length_unit="" if fields.spacing else first.length_unit,
            time_unit=time_unit,
        )

    named = {split for splits in sizes for split in splits}
    data = []
    for splits in sizes:
        made = {split: trajectories(one) for split, one in splits.items()}
        taken = {split: made.get(split if split in named else SPLITS[0]) for split in SPLITS}
        data.append(
            {
                split: one if split == SPLITS[0] else from_beginning(one)
                for split, one in taken.items()
                if one is not None
            }
        )
    return tuple(data)


def _closed(fields: ConfigDict) -> bool:
    """Whether trajectories end at their masks."""
    return fields.mask != NO_MASK and fields.exterior == CLOSED


def _grid(
    section: str, fields: ConfigDict, shape: tuple[int, int], cell: tuple[float, float] | None
) -> Grid:
    """The lattice; a cell is as large as the config says, else as the files do, else 1."""
    if not 0 <= fields.spacing < np.inf:
        raise InputError(f"{section}.spacing is {fields.spacing!r}; it must be 0 or more.")
    boundary = fields.boundary[0] if len(fields.boundary) == 1 else fields.boundary
    try:
        return Grid(shape, fields.spacing or cell or 1.0, boundary)
    except InputError as error:
        raise InputError(f"{section}.{str(error).removeprefix('grid ')}") from error


def _preparation(section: str, fields: ConfigDict, **further) -> Preparation:
    names = ("downsample", "mask", "exterior", "centre", "turn", "crop", "padding")
    _require_choices(section, fields)
    _require_choices(f"{section}.foreground", fields.foreground)
    chosen = {name: fields[name] for name in names}
    return Preparation(section=section, **chosen, **fields.foreground, **further)


def _require_choices(section: str, fields: ConfigDict) -> None:
    for name in CHOICES.keys() & fields.keys():
        if fields[name] not in CHOICES[name]:
            raise InputError(
                f"{section}.{name} is {fields[name]!r}; take one of {', '.join(CHOICES[name])}."
            )


def _named(sequence: ImageSequence, fields: ConfigDict) -> ImageSequence:
    """The sequence with its channels called as the config says, if it does."""
    if not fields.species:
        return sequence
    if len(fields.species) != len(sequence.channels):
        raise InputError(
            f"{sequence.path} has {len(sequence.channels)} channels, but data.images.species names "
            f"{len(fields.species)}: {', '.join(fields.species)}."
        )
    return dataclasses.replace(sequence, channels=fields.species)


def _begun(prepared: Prepared, begin: str) -> Prepared:
    """The sequence with a frame before it: flat, or with a seed and nothing else."""
    sequence = prepared.sequence
    first = np.zeros_like(sequence.frames[:1])
    if begin == "mean":
        first += sequence.frames.mean((0, 1, 2))
    elif begin in sequence.channels:
        middle = tuple(size // 2 for size in first.shape[1:3])
        first[(0, *middle, sequence.channels.index(begin))] = 1.0
    else:
        raise InputError(
            f"data.images.first_frame is {begin!r}, but must be 'mean' or one of the channels of "
            f"{sequence.path}: {', '.join(sequence.channels)}."
        )
    frames = np.concatenate([first, sequence.frames])
    return dataclasses.replace(prepared, sequence=dataclasses.replace(sequence, frames=frames))


def _times(sequence: ImageSequence, fields: ConfigDict) -> np.ndarray:
    """When the frames were taken: as the config says, else as the files do, else 1 apart."""
    if not 0 <= fields.interval < np.inf:
        raise InputError(f"data.images.interval is {fields.interval!r}; it must be 0 or more.")
    count = len(sequence.frames)
    if not fields.times:
        return np.arange(count) * (fields.interval or sequence.time_step or 1.0)
    if len(fields.times) != count:
        raise InputError(
            f"data.images.times has {len(fields.times)} entries, but {sequence.path} {count} "
            "frames; give each one its time."
        )
    for before, after in itertools.pairwise(fields.times):
        if not before < after:
            raise InputError(
                f"data.images.times goes from {before!r} to {after!r}, while frames of "
                f"{sequence.path} must follow one another in time."
            )
    return np.array(fields.times, np.float64)
