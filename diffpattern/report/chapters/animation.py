"""Truth and prediction in motion."""

from diffpattern.report import videos
from diffpattern.report.chapters.pieces import film
from diffpattern.report.contents import RunReport


def chapter(report: RunReport) -> str:
    """A film for lattices of each size; on one axis, a kymograph already shows every time."""
    shown = [
        (name, report.videos[name])
        for name in map(videos.of_size, range(len(report.lattices)))
        if name in report.videos
    ]
    return "\n".join(
        film(
            video,
            "Animation of truth beside prediction",
            "The rule is given the first snapshot and goes on by itself. Watch whether structures "
            "divide, drift or vanish at the same moment on both sides. Colour scales as above. "
            f"Also in the run's folder, as <code>videos/{name}.mp4</code>.",
            at_once=True,
        )
        for name, video in shown
    )
