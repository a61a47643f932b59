"""The report of a run: one HTML file that needs nothing but itself.

`render` turns a `RunReport` into the page. Each chapter is a module of `chapters`, with a function
that takes the report and returns HTML, or nothing where it has nothing to show.
"""

from diffpattern.report import mathematics, text
from diffpattern.report.chapters import (
    animation,
    damage,
    errors,
    hidden,
    kymographs,
    pictures,
    results,
    rule,
    settings,
    spectra,
)
from diffpattern.report.chapters.pieces import moment
from diffpattern.report.contents import RunReport
from diffpattern.report.document import document

__all__ = ["RunReport", "render"]

_CHAPTERS = {
    "Results": results.chapter,
    "Truth and prediction": pictures.chapter,
    "Animation": animation.chapter,
    "Kymographs": kymographs.chapter,
    "Errors over time": errors.chapter,
    "Spectra and wavelengths": spectra.chapter,
    "Damage": damage.chapter,
    "Hidden channels": hidden.chapter,
    "The rule": rule.chapter,
    "Training": settings.training,
    "Configuration": settings.configuration,
}


def render(report: RunReport) -> str:
    """The page as a string of HTML."""
    return document(
        report.title,
        _verdict(report),
        report.command,
        [(title, chapter(report)) for title, chapter in _CHAPTERS.items()],
    )


def _verdict(report: RunReport) -> str:
    scores = report.scores
    count, threshold = scores["trajectories"], scores["threshold"]
    tested = "one trajectory" if count == 1 else f"{count} trajectories"
    tested += " that training never saw" if text.unseen(scores) else ", which it was trained on"
    unit = report.unit("time")
    lost = {name: time for name, time in scores["valid_time"].items() if time is not None}
    if not lost:
        outcome = f"stays below it up to the last time, {moment(scores['times'][-1], unit)}"
    else:
        first = min(lost, key=lost.__getitem__)
        outcome = f"first exceeds it for {mathematics.symbol(first)} at {moment(lost[first], unit)}"
    return (
        f"Scored on {tested}. A prediction counts as valid while its NRMSE is at most "
        f"{threshold:g}; the median one {outcome}."
    )
