"""What an automaton keeps for itself: the channels that no data name."""

import numpy as np

from diffpattern.report import images, mathematics, videos
from diffpattern.report.chapters.pieces import film, plus_minus
from diffpattern.report.contents import RunReport
from diffpattern.report.document import data_uri

CHANNELS_UP_TO = 32
_MOMENTS = 6
# A tile is no longer than so many cells.
_LONGEST_SIDE = 96


def chapter(report: RunReport) -> str:
    """A row for each hidden channel, a column for each moment, and all of them in motion."""
    if not report.hidden:
        return ""
    states, species = report.states, len(report.species)
    count = min(report.hidden, CHANNELS_UP_TO)
    flat = states.values.ndim == 3
    at = images.chosen_times(states.times, _MOMENTS)
    labels = [mathematics.time(states.times[i]) for i in at]
    corner = "<i>t</i>\N{NO-BREAK SPACE}="
    if flat:
        corner, labels = "", ["all times, downwards"]
    cells = [f"<div>{corner}</div>", *(f"<div>{label}</div>" for label in labels)]
    for channel in range(count):
        values = states.values[..., species + channel].astype(np.float32)
        if flat:
            pictures = [images.kymograph(values, states.times)]
        else:
            pictures = [images.plane(values[i], _LONGEST_SIDE) for i in at]
        scale = images.scale_of_differences(np.stack(pictures))
        cells.append(f"<div>hidden {channel + 1}<small>{plus_minus(scale)}</small></div>")
        cells += [
            f"<img src='{data_uri('png', images.to_png(picture, scale))}' "
            f"alt='hidden {channel + 1} at time {place + 1} of {len(pictures)}'>"
            for place, picture in enumerate(pictures)
        ]
    limited = f" These are the first {count} of {report.hidden}." if count < report.hidden else ""
    moving = ""
    if videos.HIDDEN in report.videos:
        moving = film(
            report.videos[videos.HIDDEN],
            "Animation of the hidden channels",
            "The same in motion. Watch whether a channel leads or follows the pattern, and whether "
            "all come to rest when it does. In the run's folder, "
            f"<code>videos/{videos.HIDDEN}.mp4</code>.",
        )
    return (
        "<p>Channels that the data do not have: what cells tell their neighbours and their own "
        f"future.{limited} Blue is below zero, brown above, white zero; each channel's scale is "
        "its own and ends after \N{PLUS-MINUS SIGN}. See which channels mark edges, insides or "
        "the places where something grows, and which stay white: those are not used.</p>"
        f"<figure><div class='channels' style='--columns:{len(labels)}'>{''.join(cells)}</div>"
        f"</figure>{moving}"
    )
