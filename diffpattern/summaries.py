"""What TensorBoard shows of a run, made of what the run has at hand; see docs/tensorboard.md.

Curves are scalars, and also in the log of scalars. Histograms and pictures are in the event files
alone. Pictures are of the first validation trajectory, in the colours of the report.
"""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from diffpattern import scores
from diffpattern.data.trajectories import Trajectories
from diffpattern.parallel import processes
from diffpattern.report import films, images, videos
from diffpattern.report.images import Scale
from diffpattern.training import groups
from diffpattern.training.metrics import Writer
from diffpattern.validation import Validation

# How many trajectories and times have a curve of their own; at how many times pictures are, and how
# many frames an animation has, so that they take a fraction of a second.
TRAJECTORIES, TIMES = 16, 8
MOMENTS, FRAMES = 5, 32

# Pixels: the least of a pane's longer side, and what lies between panes.
_PANE, _GAP = 112, 6
# The width of a colour bar, and the size of letters, which a card shows at a third or half of that.
_BAR, _LETTERS = 14, 19


def show(writer: Writer, step: int, parameters: Any, validation: Validation, is_last: bool) -> None:
    """Writes histograms and pictures of a step, and of the last one an animation."""
    if processes.is_first():
        films = animation(validation) if is_last else {}
        writer.show(step, histograms(parameters), pictures(validation) | films)


def curves(validation: Validation) -> dict[str, float]:
    """The score, and its parts: by time, and by trajectory."""
    times = validation.truth.times
    by_time = scores.by_time(validation.errors)
    by_trajectory = scores.by_trajectory(validation.errors)
    found = {"validation": validation.score}
    for index in images.chosen_times(times, TIMES + 1)[1:]:
        found[f"validation/t={times[index]:.6g}"] = float(by_time[index])
    for number, error in enumerate(by_trajectory[:TRAJECTORIES]):
        found[f"validation/trajectory_{number}"] = float(error)
    # What was not seen has no curve.
    return {name: value for name, value in found.items() if not math.isnan(value)}


def of_test(result: Mapping[str, Any]) -> dict[str, float]:
    """Of the scores in `eval/scores.json`, for each species the last NRMSE and the valid time.

    An NRMSE that is not finite is infinity; who stays valid throughout has the last time.
    """
    found = {}
    for name, errors in result.get("nrmse", {}).items():
        last = errors[scores.known_times(result, name)[-1]]
        valid = result["valid_time"][name]
        found[f"test/nrmse/{name}"] = math.inf if last is None else last
        found[f"test/valid_time/{name}"] = result["times"][-1] if valid is None else valid
    return found


def histograms(parameters: Any) -> dict[str, NDArray]:
    """The arrays whose values are counted, by tag."""
    arrays = groups.by_path(jax.device_get(parameters))
    return {f"parameters/{path}": array for path, array in arrays.items()}


def revealed(truth: Trajectories) -> list[int]:
    """The indices of the times at which pictures show hidden channels."""
    if truth.grid.ndim == 1:  # one picture is of all times
        return list(range(len(truth.times)))
    return images.chosen_times(truth.times, MOMENTS)


def pictures(validation: Validation) -> dict[str, bytes]:
    """PNGs by tag: of each species truth and prediction, and of all hidden channels."""
    truth, found = validation.truth, {}
    mask = truth.inside(0)
    for channel, name in enumerate(truth.species):
        seen = np.arange(len(truth.times))
        if truth.known is not None:
            seen = np.flatnonzero(truth.known[0, :, channel])
        if not len(seen):
            continue
        times = truth.times[seen]
        both = {
            label: images.within(values[0, seen, ..., channel], mask)
            for label, values in (("truth", truth.values), ("prediction", validation.prediction))
        }
        scale = images.scale_of_states(both["truth"], times)
        if truth.grid.ndim == 1:
            panes = [images.kymograph(values, times) for values in both.values()]
            headings, rows = list(both), [Row(name, scale, panes)]
        else:
            moments = images.chosen_times(times, MOMENTS)
            headings = _moments(times[moments])
            rows = [
                Row(label, scale, [images.plane(values[moment]) for moment in moments])
                for label, values in both.items()
            ]
        found[f"trajectory/{name}"] = sheet(headings, rows)
    if validation.hidden is not None:
        found["hidden_channels"] = _of_hidden(validation)
    return found


def animation(validation: Validation) -> dict[str, bytes]:
    """A GIF of truth and prediction, by tag; none on one axis, where a picture has all times."""
    truth = validation.truth
    if truth.grid.ndim == 1:
        return {}
    shown = np.unique(np.linspace(0, len(truth.times) - 1, FRAMES).round().astype(int))
    film = videos.compared(truth, 0, truth.times[shown], validation.prediction[0, shown])
    return {"animation": films.to_gif(film)}


def _of_hidden(validation: Validation) -> bytes:
    """The sheet of all hidden channels, each with a scale of its own."""
    truth, times = validation.truth, validation.truth.times[validation.revealed]
    rows = []
    for channel in range(validation.hidden.shape[-1]):
        values = validation.hidden[..., channel]
        flat = truth.grid.ndim == 1
        panes = [images.kymograph(values, times)] if flat else list(map(images.plane, values))
        rows.append(Row(f"hidden {channel + 1}", images.scale_of_differences(values), panes))
    return sheet(["all times"] if truth.grid.ndim == 1 else _moments(times), rows)


def _moments(times: NDArray) -> list[str]:
    return [f"t = {time:.6g}" for time in times]


class Row(NamedTuple):
    """Panes beside one another: a label, their colour scale, and their lattices [rows, columns]."""

    label: str
    scale: Scale
    panes: Sequence[NDArray]


def sheet(headings: Sequence[str], rows: Sequence[Row]) -> bytes:
    """Rows of panes of one size as a PNG, under headings; each row ends with its colour scale."""
    font = ImageFont.load_default(size=_LETTERS)
    height, width = rows[0].panes[0].shape
    factor = max(1, math.ceil(_PANE / max(height, width)))
    height, width = factor * height, factor * width
    ends = [_ends(row.scale) for row in rows]
    longest = lambda texts: math.ceil(max(map(font.getlength, texts)))
    left = longest(row.label for row in rows) + 2 * _GAP
    top = _LETTERS + 2 * _GAP
    # From one pane to the next; letters have to find room too.
    across = max(width, longest(headings)) + _GAP
    down = max(height, 3 * _LETTERS) + _GAP
    bars = left + len(headings) * across
    right = bars + _BAR + 2 * _GAP
    size = (
        right + longest(end for pair in ends for end in pair) + _GAP,
        top + len(rows) * down,
    )
    letters, places = Image.new("L", size), []
    draw = ImageDraw.Draw(letters)
    for column, heading in enumerate(headings):
        middle = left + column * across + (across - _GAP) / 2
        draw.text((middle, top - _GAP), heading, 255, font, anchor="ms")
    for index, (row, (high, low)) in enumerate(zip(rows, ends, strict=True)):
        upper, lower = top + index * down, top + (index + 1) * down - _GAP
        draw.text((left - _GAP, (upper + lower) / 2), row.label, 255, font, anchor="rm")
        for column, pane in enumerate(row.panes):
            y = upper + (lower - upper - height) // 2
            x = left + column * across + (across - _GAP - width) // 2
            places.append((y, x, films.enlarged(images.painted(pane, row.scale), factor)))
        shades = np.linspace(row.scale.high, row.scale.low, lower - upper)[:, None]
        bar = images.painted(np.repeat(shades, _BAR, axis=1), row.scale)
        places.append((upper, bars + _GAP, bar))
        draw.text((right, upper), high, 255, font, anchor="la")
        draw.text((right, lower), low, 255, font, anchor="ld")
    picture = films.shades()[np.asarray(letters)]
    for y, x, colours in places:
        picture[y:, x:][: colours.shape[0], : colours.shape[1]] = colours
    content = io.BytesIO()
    films.paletted(picture[None])[0].save(content, "PNG")
    return content.getvalue()


def _ends(scale: Scale) -> tuple[str, str]:
    """High and low end of a scale, no finer than its width gives reason for."""
    width = scale.high - scale.low
    decimals = 2 - math.floor(math.log10(width)) if width > 0 else 6
    high, low = (f"{round(end, decimals) + 0.0:g}" for end in (scale.high, scale.low))
    return high, low
