"""Headline numbers: the error at the last time, and until when predictions are valid."""

import html
from collections.abc import Mapping

from diffpattern.report import mathematics, text
from diffpattern.report.chapters.pieces import extent, moment, valid_time
from diffpattern.report.contents import RunReport
from diffpattern.scores import known_times

_MEDIANS = "Medians over the trajectories, with the smallest and the largest. "


def chapter(report: RunReport) -> str:
    """A card for each number, beside what needs no rule."""
    scores, last = report.scores, report.scores["times"][-1]
    several, cards = scores["trajectories"] > 1, []
    for name in report.species:
        spread, end = scores["nrmse_range"][name], known_times(scores, name)[-1]
        unchanged = scores["baselines"]["persistence"]["nrmse"][name][end]
        when = moment(scores["times"][end], report.unit("time"))
        between = f"{extent(spread['low'][end], spread['high'][end])}; " if several else ""
        cards.append(
            f"<div class='card'><span>NRMSE of {mathematics.symbol(name)} at {when}</span>"
            f"<b>{mathematics.number(scores['nrmse'][name][end], 2)}</b>"
            f"<span>{between}persistence: {mathematics.number(unchanged, 2)}</span></div>"
        )
    for name in report.species:
        spread = scores["valid_time_range"][name]
        unchanged = scores["baselines"]["persistence"]["valid_time"][name]
        ends = (valid_time(spread[end], last) for end in ("low", "high"))
        reach = f"from {' to '.join(ends)}; " if several else ""
        cards.append(
            f"<div class='card'><span>Valid time of {mathematics.symbol(name)}</span>"
            f"<b>{valid_time(scores['valid_time'][name], last)}</b>"
            f"<span>{reach}persistence: {valid_time(unchanged, last)}</span></div>"
        )
    return (
        f"<div class='cards'>{''.join(cards)}</div>"
        f"<p class='note'>{_MEDIANS * several}NRMSE is the norm of the error over the lattice "
        "divided by the norm of the truth's fluctuation about its spatial mean: 0 is perfect, and "
        "near 1 the pattern is missed altogether. Where the truth is nearly uniform the divisor "
        "(as a root mean square) is taken as no less than "
        f"{_per_species(scores['floor'])}. Valid time is the first saved time at which the NRMSE "
        f"exceeds {scores['threshold']:g}. Two predictions that need no rule stand beside it: "
        "that nothing changes (persistence), and the mean of the training data everywhere.</p>"
        + "".join(f"<p class='note'>{html.escape(told)}</p>" for told in text.units(scores))
    )


def _per_species(values: Mapping[str, float]) -> str:
    return ", ".join(
        f"{mathematics.number(value, 2)} for {mathematics.symbol(name)}"
        for name, value in values.items()
    )
