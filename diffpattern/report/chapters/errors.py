"""How errors grow over time, beside two predictions that need no rule."""

from collections.abc import Mapping
from typing import Any

from diffpattern.report import figures, mathematics
from diffpattern.report.chapters.pieces import chosen, extent, valid_time
from diffpattern.report.contents import RunReport
from diffpattern.report.document import chart
from diffpattern.scores import conserved, known_times

_MEDIANS = "Lines are medians over the trajectories, bands reach from the smallest to the largest. "


def chapter(report: RunReport) -> str:
    """A chart and a table for each species."""
    scores, species, several = report.scores, report.species, report.scores["trajectories"] > 1
    charts = "".join(
        chart(
            lambda theme, name=name: figures.nrmse_over_time(scores, name, theme),
            f"NRMSE of {name} over time",
            f"Species {mathematics.symbol(name)}. {_MEDIANS * several}The rule is of use "
            "where it lies well below both baselines, and trusted up to where it crosses the grey "
            "line.",
        )
        for name in species
    )
    tables = "".join(_score_table(report, name) for name in species) + _drift_table(scores)
    return f"<div class='charts'>{charts}</div>\n<div class='tables'>{tables}</div>"


def _score_table(report: RunReport, name: str) -> str:
    scores, several = report.scores, report.scores["trajectories"] > 1
    last = scores["times"][-1]
    baselines = [scores["baselines"][key] for key in ("persistence", "mean")]
    spread, valid = scores["nrmse_range"][name], scores["valid_time_range"][name]
    rows = [
        (
            mathematics.time(scores["times"][i]),
            mathematics.number(scores["nrmse"][name][i], 2),
            extent(spread["low"][i], spread["high"][i]) if several else "",
            *(mathematics.number(baseline["nrmse"][name][i], 2) for baseline in baselines),
        )
        for i in chosen(known_times(scores, name), scores["times"])
    ]
    rows.append(
        (
            "valid time",
            valid_time(scores["valid_time"][name], last),
            f"{valid_time(valid['low'], last)} to {valid_time(valid['high'], last)}"
            if several
            else "",
            *(valid_time(baseline["valid_time"][name], last) for baseline in baselines),
        )
    )
    body = "".join(
        f"<tr><td>{time}</td><td>{rule}<small>{spread}</small></td>"
        f"<td>{unchanged}</td><td>{average}</td></tr>"
        for time, rule, spread, unchanged, average in rows
    )
    return (
        f"<div class='scroll'><table><caption>NRMSE of {mathematics.symbol(name)}</caption><thead>"
        "<tr><th>time</th><th>rule</th><th>persistence</th><th>training mean</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _drift_table(scores: Mapping[str, Any]) -> str:
    """How far sums over the lattice move that the truth conserves."""
    body = "".join(
        f"<tr><td>{mathematics.symbol(name)}</td><td>{mathematics.number(both['rule'], 2)}</td>"
        f"<td>{mathematics.number(both['truth'], 2)}</td></tr>"
        for name, both in conserved(scores).items()
    )
    if not body:
        return ""
    return (
        "<div class='scroll'><table><caption>Relative drift of the sum over the lattice, at most"
        "</caption><thead><tr><th>species</th><th>rule</th><th>truth</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )
