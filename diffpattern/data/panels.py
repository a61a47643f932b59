"""Colonies in a table: which picture shows which time, markers and colony, and what all show.

Fixed tissue is seen once: other colonies at each time, and for each panel of markers. Their mean is
one trajectory of all markers, which knows when each of them was seen.
"""

import csv
import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffpattern.data import images
from diffpattern.data.images import ImageSequence
from diffpattern.data.preparation import Preparation, Prepared
from diffpattern.data.simulation import SPLITS
from diffpattern.errors import InputError

COLUMNS = ("file", "time", "panel", "colony")
# How the masks of colonies become one: where most of them are inside, or where any is.
OVERLAPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda insides: insides.mean(0) >= 0.5,
    "union": lambda insides: insides.any(0),
}

_LEFT_OUT = "-"


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
      file: the picture, a path from the table's folder on.
      time: at which the colony was fixed.
      panel: of markers.
      colony: its name, among those of one time and panel.
      split: one of `SPLITS`.
    """

    file: Path
    time: float
    panel: str
    colony: str
    split: str


def read_table(path: str) -> list[Row]:
    """Reads a CSV with the columns file, time, panel, colony and possibly split.

    Further columns are left alone; columns are parted by commas, semicolons or tabs.

    Raises:
      InputError: naming the table, and the line where there is one, for columns that are missing,
        a time that is no number, a split that there is not, a file that is missing, or two rows for
        the same picture of the same colony.
    """
    place = Path(path).expanduser()
    try:
        lines = place.read_text(encoding="utf-8-sig").splitlines()
        mark = next((mark for mark in ";\t" if lines and mark in lines[0]), ",")
        table = csv.DictReader(lines, delimiter=mark)
        table.fieldnames = [name.strip() for name in table.fieldnames or ()]
        written = [(table.line_num, fields) for fields in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"{path} cannot be read: {reason}; a CSV table is wanted.") from error
    if missing := [name for name in COLUMNS if name not in table.fieldnames]:
        raise InputError(
            f"{path} has no column {' and no '.join(missing)}; its first line must name "
            f"{', '.join(COLUMNS)}."
        )
    rows, lines_of = [], {}
    for line, fields in written:
        row = _row(fields, place.parent, f"{path}, line {line},")
        same = dataclasses.astuple(row)[1:]
        if same in lines_of:
            raise InputError(
                f"{path}, line {line}, is for the same time, panel and colony as line "
                f"{lines_of[same]}; give one of them another colony."
            )
        lines_of[same] = line
        rows.append(row)
    if not any(row.split == SPLITS[0] for row in rows):
        raise InputError(f"{path} has no row to train on.")
    return rows


def _row(fields: dict[str, str], folder: Path, where: str) -> Row:
    fields = {name: (fields.get(name) or "").strip() for name in (*COLUMNS, "split")}
    for name in COLUMNS:
        if not fields[name]:
            raise InputError(f"{where} has no {name}.")
    try:
        time = float(fields["time"])
    except ValueError:
        time = math.nan
    if not math.isfinite(time):
        raise InputError(f"{where} has {fields['time']!r} for a time; it must be a number.")
    split = fields["split"] or SPLITS[0]
    if split not in SPLITS:
        raise InputError(f"{where} has {split!r} for a split; take one of {', '.join(SPLITS)}.")
    file = folder / Path(fields["file"]).expanduser()
    if not file.is_file():
        raise InputError(f"{where} names {fields['file']}, but there is no file {file}.")
    return Row(file, time, fields["panel"], fields["colony"], split)


def species_by_panel(written: str) -> dict[str, tuple[str, ...]]:
    """Names of channels as a person types them: "A: DAPI,SOX2,BRA; B: DAPI,-,CDX2".

    A list without a panel is for all panels, and has the key "". A channel called - is left out.

    Raises:
      InputError: a panel is there twice, a name is empty or there twice.
    """
    panels = {}
    for part in filter(str.strip, written.split(";")):
        panel, _, names = part.rpartition(":")
        panel, names = panel.strip(), tuple(name.strip() for name in names.split(","))
        seen = [name for name in names if name != _LEFT_OUT]
        if panel in panels or not all(names) or len(set(seen)) < len(seen) or not seen:
            raise InputError(
                f"data.panels.species is {written!r}, where {part.strip()!r} does not say which "
                "channels a panel has; write as in 'A: DAPI,SOX2; B: DAPI,-,CDX2', each once."
            )
        panels[panel] = names
    return panels


def read_colony(
    row: Row, panels: dict[str, tuple[str, ...]], preparation: Preparation, axes: str = ""
) -> Prepared:
    """The picture of a row, on its lattice, its channels named after its panel.

    Args:
      row: of the table.
      panels: names of channels by panel; empty: as files name them.
      preparation: of all pictures.
      axes: as `images.read` takes them.

    Raises:
      InputError: naming the file that cannot be read, has several frames, or has other channels
        than its panel.
    """
    sequence = images.read(str(row.file), axes)
    if len(sequence.frames) != 1:
        raise InputError(
            f"{row.file} has {len(sequence.frames)} frames, but a row of the table is for one."
        )
    if panels:
        names = panels.get(row.panel) or panels.get("")
        if names is None:
            raise InputError(
                f"data.panels.species says nothing of the panel {row.panel}, which {row.file} is "
                f"of; it has {', '.join(panels)}."
            )
        _require_channels(sequence, names)
        sequence = dataclasses.replace(sequence, channels=names)
        kept = tuple(name for name in names if name != _LEFT_OUT)
        preparation = dataclasses.replace(preparation, select=kept)
    return preparation(sequence)


def _require_channels(sequence: ImageSequence, names: tuple[str, ...]) -> None:
    count = len(sequence.channels)
    if count != len(names):
        raise InputError(
            f"{sequence.path} has {count} channels, but its panel {len(names)}: "
            f"{', '.join(names)}; data.panels.species must name each, or leave it out by "
            f"{_LEFT_OUT!r}."
        )


@dataclass(frozen=True, eq=False)
class Merged:
    """What all colonies of a split show together.

    Attributes:
      values: [T, H, W, C], means over the colonies that show the channel at that time and cell, as
        `merge` has it.
      seen: [T, H, W, C], true where there is one.
      times: [T], increasing.
      inside: [H, W], the mask.
    """

    values: np.ndarray
    seen: np.ndarray
    times: np.ndarray
    inside: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """[T, C], 1 where that channel was seen at that time, else 0."""
        return self.seen.any((1, 2)).astype(np.float32)


def merge(
    times: Sequence[float],
    colonies: Sequence[Prepared],
    channels: tuple[str, ...],
    overlap: str,
    *,
    closed: bool = True,
) -> Merged:
    """Averages colonies, each of one time and some of the channels, into one trajectory.

    Every colony counts alike, whichever panel it is of.

    Args:
      times: of each colony.
      colonies: on one lattice.
      channels: of the result, among which are those of each colony.
      overlap: one of `OVERLAPS`.
      closed: whether a colony ends at its own mask. Its background then counts only in cells that
        no mask of that time and channel covers.

    Raises:
      InputError: the masks have too little in common.
    """
    every, indices = np.unique(times, return_inverse=True)

    def summed(where: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Over colonies, each where it counts: the sum of what they show, and how many do."""
        shape = (len(every), *colonies[0].seen.shape, len(channels))
        total, count = np.zeros(shape), np.zeros(shape)
        for index, colony, counts in zip(indices, colonies, where, strict=True):
            columns = [channels.index(name) for name in colony.sequence.channels]
            total[index][..., columns] += colony.sequence.frames[0] * counts[..., None]
            count[index][..., columns] += counts[..., None]
        return total, count

    total, count = summed([colony.seen for colony in colonies])
    if closed:
        # The background of small colonies would darken the edge of large ones.
        of_masks, covered = summed([colony.seen & colony.inside for colony in colonies])
        total, count = np.where(covered, of_masks, total), np.where(covered, covered, count)
    inside = OVERLAPS[overlap](np.stack([colony.inside for colony in colonies]))
    if not inside.any():
        raise InputError(
            f"{colonies[0].sequence.path} and the other colonies have no cell that most masks "
            "share; set data.panels.centre to 'mask' or data.panels.overlap to 'union'."
        )
    values = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return Merged(values.astype(np.float32), count > 0, every, inside)
