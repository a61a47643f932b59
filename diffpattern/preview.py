"""What a config would train on, in numbers and in a picture, before anything is trained."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from diffpattern import dataset, intervals
from diffpattern.data import streams, windows
from diffpattern.data.stored import StoredTrajectories
from diffpattern.data.trajectories import Trajectories
from diffpattern.files import write_whole
from diffpattern.report import images, text
from diffpattern.run_folder import PREVIEW, numbered

# What is drawn: so many trajectories of each split, snapshots of each and channels.
_TRAJECTORIES = {"train": 2, "validation": 1, "test": 1}
_SNAPSHOTS, _CHANNELS = 6, 6
_DOTS_PER_INCH = 110
# Inches: the longer side of a pane, between panes, above a trajectory, and left of everything.
_INCHES, _GAP, _HEADER, _MARGIN = 1.25, 0.08, 0.45, 0.7
_NOT_THERE = "#c8ccd1"

# Of lattices of one size: trajectories by split.
Splits = Mapping[str, Trajectories | StoredTrajectories]


def show(config: ConfigDict, folder: Path) -> None:
    """Makes or reads the data of a checked config, prints what they are, and draws some of them.

    Args:
      config: of the run that is to be.
      folder: where the picture goes, as `data.png`; made if it is not there.

    Raises:
      InputError: the data cannot be made or read, or the picture cannot be written.
    """
    for place, data in enumerate(dataset.load(config)):
        path = folder / numbered(PREVIEW, place)
        write_whole(path, picture(config, data))
        print("\n" * bool(place) + f"{describe(config, data)}\n\nPicture: {path}")


def describe(config: ConfigDict, data: Splits) -> str:
    """What each split holds, as a person reads it."""
    first = next(iter(data.values()))
    grid = first.grid
    sides = [count * spacing for count, spacing in zip(grid.shape, grid.spacing, strict=True)]
    walls = dict.fromkeys(map(str, grid.boundary))
    window, unit = config.training.window, streams.sample(first).length_unit
    spacing = f"{_by(dict.fromkeys(grid.spacing))} {unit}".strip()
    lines = [
        f"{config.data.name}: {', '.join(first.species)} on {_by(grid.shape)} cells, "
        f"{spacing} apart, that is {_by(sides)} {unit or 'units of length'}; "
        f"walls {', '.join(walls)}",
    ]
    if "train" in data:
        seen = f"A train step sees {config.training.batch} windows of {window + 1} snapshots"
        if config.training.starts == "pool":
            slots = config.training.batch * config.training.pool.slots
            lines.append(f"{seen}, which begin with as many of the pool's {slots} lattices.")
        else:
            lines.append(f"{seen}, out of {_places(first, window)} in each trajectory.")
    for split, trajectories in data.items():
        lines += ["", *_split(split, trajectories)]
    return "\n".join(lines)


def _places(trajectories: Trajectories | StoredTrajectories, window: int) -> str:
    """How many windows a trajectory has to learn from, or from how many to how many."""
    count = max(len(trajectories.times) - window, 0)
    if not count or isinstance(trajectories, StoredTrajectories) or trajectories.known is None:
        return str(count)
    counts = windows.starts(trajectories.known, window, window).sum(axis=-1)
    return " to ".join(dict.fromkeys(map(str, (counts.min(), counts.max()))))


def _by(numbers: Iterable[float]) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)


def _split(split: str, trajectories: Trajectories | StoredTrajectories) -> Iterator[str]:
    times, seen = trajectories.times, streams.sample(trajectories)
    steps = np.diff(times)
    apart = f"{steps.min():.6g} apart"
    if not intervals.are_equal(times):
        apart = f"{steps.min():.6g} to {steps.max():.6g} apart"
    count, unit = _count(trajectories), seen.time_unit or "units of time"
    yield (
        f"{split}: {count} {'trajectory' if count == 1 else 'trajectories'} of {len(times)} "
        f"snapshots, from t = {times[0]:.6g} to {times[-1]:.6g} {unit}, {apart}"
    )
    if seen is not trajectories:
        yield f"  They stay in their files; these numbers are of {len(seen.values)} sample windows."
    yield f"  {'':<12}{'lowest':>10}{'highest':>10}{'mean':>10}{'deviation':>11}  missing"
    for channel, name in enumerate(trajectories.species):
        values = seen.numbers(channel)
        numbers = f"{'never seen':>41}"
        if len(values):
            lowest, highest, mean = values.min(), values.max(), values.mean()
            numbers = f"{lowest:>10.4g}{highest:>10.4g}{mean:>10.4g}{values.std():>11.4g}"
        yield f"  {name:<12}{numbers}  {_missing(seen, channel)}"
    if normalised := text.conversions(seen.species, seen.offset, seen.scale):
        yield f"  In the data's own units: {'; '.join(normalised)}."
    yield from _circumstances(seen)


def _circumstances(trajectories: Trajectories) -> Iterator[str]:
    """What comes with the trajectories: masks, environments, inputs."""
    if trajectories.mask is not None:
        space = tuple(range(1, trajectories.mask.ndim))
        share = trajectories.mask.mean(axis=space)
        extent = dict.fromkeys(f"{part:.0%}" for part in (share.min(), share.max()))
        yield f"  Masks leave {' to '.join(extent)} of the cells."
    if trajectories.environment is not None:
        yield f"  Cells see {trajectories.environment.shape[-1]} more fields, which do not change."
    if trajectories.inputs is not None:
        inputs = trajectories.inputs
        over = "" if trajectories.input_times is None else ", which change over time,"
        yield (
            f"  Cells are told {inputs.shape[-1]} numbers{over} from {inputs.min():.4g} to "
            f"{inputs.max():.4g}."
        )


def _count(trajectories: Trajectories | StoredTrajectories) -> int:
    stored = isinstance(trajectories, StoredTrajectories)
    return len(trajectories) if stored else len(trajectories.values)


def _missing(trajectories: Trajectories, channel: int) -> str:
    if trajectories.known is None:
        return "none"
    known = trajectories.known[..., channel] > 0
    return f"{np.sum(~known)} of {known.size} snapshots" if not known.all() else "none"


def picture(config: ConfigDict, data: Splits) -> bytes:
    """Snapshots of some trajectories of each split, by channel, as a PNG.

    Each channel has one colour scale; what lies outside of a mask, or was not seen, is grey. A
    trajectory on one axis is drawn as a whole, its times from top to bottom.
    """
    first = next(iter(data.values()))
    space, species = first.grid.shape, first.species[:_CHANNELS]
    flat = len(space) == 1
    drawn = []
    for split, trajectories in data.items():
        times = trajectories.times
        chosen = list(range(len(times))) if flat else images.chosen_times(times, _SNAPSHOTS)
        for which in range(min(_TRAJECTORIES[split], _count(trajectories))):
            values = _snapshots(trajectories, which, chosen)[..., : len(species)]
            drawn.append((f"{split} {which}", times[chosen], values))
    columns = 1 if flat else max(len(times) for _, times, _ in drawn)
    scales = _scales([values for *_, values in drawn])
    left_out = len(first.species) - len(species)
    rest = f" and {left_out} more channels" if left_out else ""

    # Everything has its place in inches, counted from the upper left corner.
    width = _SNAPSHOTS * _INCHES if flat else _INCHES
    height = _INCHES if flat else _INCHES * min(max(space[-2] / space[-1], 0.4), 2.5)
    rows = _HEADER + len(species) * (height + _GAP)
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 8.0}):
        right = _MARGIN + columns * (width + _GAP)
        axes = _sheet(right + 0.9, _HEADER + len(drawn) * rows)
        axes.text(_MARGIN, 0.3, f"{config.data.name}: {', '.join(species)}{rest}", fontsize=10)
        for index, (title, times, values) in enumerate(drawn):
            top = _HEADER + index * rows
            axes.text(_MARGIN, top + 0.25, title, fontweight="bold")
            for channel, (name, scale) in enumerate(zip(species, scales, strict=True)):
                row = values[..., channel]
                panes = [images.kymograph(row, times)] if flat else list(map(images.plane, row))
                upper = top + _HEADER + channel * (height + _GAP)
                axes.text(_MARGIN - _GAP, upper + height / 2, name, ha="right", va="center")
                for column, pane in enumerate(panes):
                    left = _MARGIN + column * (width + _GAP)
                    _place(axes, pane, scale, left, upper, width, height)
                    if not channel:
                        moments = (times[0], times[-1]) if flat else (times[column],)
                        told = "t = " + " to ".join(f"{time:.6g}" for time in moments)
                        axes.text(left + width / 2, upper - 0.05, told, ha="center")
                low, high = scale
                _place(axes, np.linspace(high, low, 64)[:, None], scale, right, upper, 0.1, height)
                for end, y, side in ((high, upper, "top"), (low, upper + height, "bottom")):
                    # Next to the other end, rounding is no number.
                    end = end if abs(end) > 1e-6 * (high - low) else 0.0
                    axes.text(right + 0.15, y, f"{end:.3g}", va=side)
        content = io.BytesIO()
        axes.figure.savefig(content, format="png", dpi=_DOTS_PER_INCH)
    return content.getvalue()


def _sheet(width: float, height: float) -> Axes:
    """An empty figure of this size, on which places are given in inches."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0.0, width), ylim=(height, 0.0), autoscale_on=False)
    axes.set_axis_off()
    return axes


def _place(
    axes: Axes,
    pane: np.ndarray,
    scale: tuple[float, float],
    left: float,
    top: float,
    width: float,
    height: float,
) -> None:
    axes.imshow(
        np.ma.masked_invalid(pane),
        cmap=matplotlib.colormaps["viridis"].with_extremes(bad=_NOT_THERE),
        vmin=scale[0],
        vmax=scale[1],
        interpolation="nearest",
        aspect="auto",
        extent=(left, left + width, top + height, top),
    )


def _scales(drawn: Sequence[np.ndarray]) -> list[tuple[float, float]]:
    """The ends of each channel's colours, between which 99% of what is drawn lies."""
    ends = []
    for channel in range(drawn[0].shape[-1]):
        values = np.concatenate([part[..., channel].ravel() for part in drawn])
        values = values[np.isfinite(values)]
        low, high = np.percentile(values, [0.5, 99.5]) if values.size else (0.0, 1.0)
        ends.append((low, high if high > low else low + 1.0))
    return ends


def _snapshots(
    trajectories: Trajectories | StoredTrajectories, which: int, chosen: list[int]
) -> np.ndarray:
    """Some snapshots of a trajectory, [T, *space, C], NaN where there is nothing to be seen."""
    if isinstance(trajectories, StoredTrajectories):
        return np.concatenate([trajectories.snapshots(which, first, 1) for first in chosen])
    values = trajectories.values[which, chosen].copy()
    if trajectories.mask is not None:
        values[:, trajectories.mask[which] == 0] = np.nan
    if trajectories.known is not None:
        space = tuple(range(1, values.ndim - 1))
        unseen = np.expand_dims(trajectories.known[which, chosen] == 0, space)
        values[np.broadcast_to(unseen, values.shape)] = np.nan
    return values
