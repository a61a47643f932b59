"""The comparison of runs: one HTML file that needs nothing but itself, and the same as text.

Both show one table, a row for each run: fields in which the configs differ, how far it has come,
and what it scored. The best run comes first; those without scores come last.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffpattern.report import figures, mathematics
from diffpattern.report.document import chart, document, settings_table
from diffpattern.scores import known_times

NO_SCORES = "no scores yet"
_NOTHING = "\N{EN DASH}"
# Headings of what runs have come to, which no field may be called by.
_TAKEN = ("run", "steps", "loss", "validation", "score", "time")


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """What the comparison shows of a run.

    Attributes:
      name: by which it is known, different for each.
      config: its fields by their dotted paths; empty where none was written yet.
      curves: one row for each logged step, as `RunReport` has them.
      scores: what `diffpattern.scores.summarise` returns; None where there are none.
      report: address of its own report, from that of the comparison; empty if there is none.
    """

    name: str
    config: Mapping[str, Any]
    curves: Sequence[Mapping[str, float | None]]
    scores: Mapping[str, Any] | None
    report: str = ""

    @property
    def score(self) -> float:
        """NRMSE at each species' last time, averaged over species; infinite without scores."""
        if self.scores is None:
            return math.inf
        errors = [self.last(species)[1] for species in self.scores["nrmse"]]
        return sum(errors) / len(errors)

    @property
    def validation(self) -> float:
        """The best validation score; infinite if there is none."""
        values = (row.get("validation") for row in self.curves)
        return min((value for value in values if value is not None), default=math.inf)

    def last(self, species: str) -> tuple[float, float]:
        """The last time at which the species was seen, and the NRMSE then."""
        end = known_times(self.scores, species)[-1]
        error = self.scores["nrmse"][species][end]
        return self.scores["times"][end], math.inf if error is None else error


@dataclass(frozen=True)
class _Column:
    """A column of the table: its heading in one or two lines, and what stands in each row.

    Cells are numbers, which are rounded, or texts, or None.
    """

    heading: str
    cells: Sequence[float | str | None]
    explanation: str = ""


def ordered(runs: Iterable[ComparedRun]) -> list[ComparedRun]:
    """The best first, by its score; then those without scores, by their validation."""
    return sorted(runs, key=lambda run: (run.scores is None, run.score, run.validation))


def differing(runs: Sequence[ComparedRun]) -> list[str]:
    """The fields in which the configs differ, in the order in which they have them."""
    configs = [run.config for run in runs if run.config]
    fields = dict.fromkeys(field for config in configs for field in config)
    return [
        field
        for field in fields
        if any(config.get(field) != configs[0].get(field) for config in configs)
    ]


def render(runs: Sequence[ComparedRun], command: str) -> str:
    """The page as a string of HTML.

    Args:
      runs: one or more, in any order.
      command: that made the page.
    """
    runs = ordered(runs)
    scored = [run for run in runs if run.scores is not None]
    count = "One run" if len(runs) == 1 else f"{len(runs)} runs"
    if scored:
        best = scored[0]
        share = "all" if len(scored) == len(runs) else len(scored)
        lead = (
            f"{count}, {share} scored. The lowest error is that of "
            f"{html.escape(best.name)}: an NRMSE of {mathematics.number(best.score, 2)} at the "
            "last time, averaged over species."
        )
    else:
        lead = f"{count}, none scored yet."
    return document(
        f"Comparison of {count.lower()}",
        lead,
        command,
        [("Runs", _table(runs)), ("Curves", _curves(runs)), ("Settings they share", _shared(runs))],
    )


def as_text(runs: Iterable[ComparedRun]) -> str:
    """The table for a terminal."""
    columns = _columns(ordered(runs))
    lines = 1 + max(column.heading.count("\n") for column in columns)
    texts = []
    for column in columns:
        heading = column.heading.split("\n")
        heading += [""] * (lines - len(heading))
        cells = [*heading, *map(_plain, column.cells)]
        # Names on the left, all else on the right.
        align = str.rjust if texts else str.ljust
        texts.append([align(cell, max(map(len, cells))) for cell in cells])
    return "\n".join("  ".join(row).rstrip() for row in zip(*texts, strict=True))


def _columns(runs: Sequence[ComparedRun]) -> list[_Column]:
    fields = differing(runs)
    columns = [_Column("run", [run.name for run in runs])]
    columns += [
        _Column(name, [_written(run.config.get(field)) for run in runs], field)
        for field, name in zip(fields, _short(fields), strict=True)
    ]
    columns += [
        _Column("steps", [_steps(run) for run in runs]),
        _Column("loss", [_final(run, "loss") for run in runs], "at the last logged step"),
        _Column(
            "validation",
            [run.validation if _final(run, "validation") else None for run in runs],
            "the best of all checkpoints",
        ),
        _Column(
            "score",
            [NO_SCORES if run.scores is None else run.score for run in runs],
            "NRMSE at the last time, averaged over species",
        ),
    ]
    scored = [run for run in runs if run.scores is not None]
    for species in dict.fromkeys(name for run in scored for name in run.scores["nrmse"]):
        has = [run.scores is not None and species in run.scores["nrmse"] for run in runs]
        ends = [run.last(species) if there else None for run, there in zip(runs, has, strict=True)]
        times = {end[0] for end in ends if end}
        when = f"t = {mathematics.time(times.pop())}" if len(times) == 1 else "the end"
        errors = [end[1] if end else None for end in ends]
        columns.append(_Column(f"NRMSE of {species}\nat {when}", errors))
        if times:  # of several, one was taken out
            columns.append(
                _Column(f"end of\n{species}", [end and mathematics.time(end[0]) for end in ends])
            )
        valid = [
            _valid(run.scores["valid_time"][species]) if there else None
            for run, there in zip(runs, has, strict=True)
        ]
        columns.append(
            _Column(f"{species} valid\nuntil", valid, "the first time at which it is not")
        )
    columns.append(
        _Column(
            "time", [_duration(_final(run, "seconds")) for run in runs], "hours:minutes:seconds"
        )
    )
    return columns


def _short(fields: Sequence[str]) -> list[str]:
    """The shortest ends of dotted paths that differ, from one another and from other headings."""
    names = []
    for field in fields:
        parts = field.split(".")
        ends = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        names.append(
            next(
                end
                for end in ends
                if end == field
                or end not in _TAKEN
                and sum(f".{other}".endswith(f".{end}") for other in fields) == 1
            )
        )
    return names


def _written(value: Any) -> str | None:
    return None if value is None else str(value)


def _steps(run: ComparedRun) -> str:
    done = run.curves[-1]["step"] if run.curves else 0
    asked = run.config.get("training.steps", done)
    return f"{done}" if done >= asked else f"{done} of {asked}"


def _final(run: ComparedRun, key: str) -> float | None:
    """The value in the last row that has it; infinite where that is not finite."""
    values = [row[key] for row in run.curves if key in row]
    if not values:
        return None
    return math.inf if values[-1] is None else values[-1]


def _valid(time: float | None) -> str:
    return "the end" if time is None else mathematics.time(time)


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def _plain(cell: float | str | None) -> str:
    if cell is None:
        return "-"
    return cell if isinstance(cell, str) else f"{cell:.3g}"


def _table(runs: Sequence[ComparedRun]) -> str:
    columns = _columns(runs)
    heads = "".join(
        f"<th title='{html.escape(column.explanation, quote=True)}'>"
        f"{'<br>'.join(map(html.escape, column.heading.splitlines()))}</th>"
        for column in columns
    )
    rows = "".join(
        f"<tr><td>{_name(run)}</td>{''.join(f'<td>{_marked(cell)}</td>' for cell in cells)}</tr>"
        for run, *cells in zip(runs, *(column.cells for column in columns[1:]), strict=True)
    )
    return (
        f"<div class='scroll'><table class='runs'><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
        "<p class='note'>The best first: by score, the NRMSE at the last time averaged over "
        "species, of the median of the unseen trajectories; without scores, by validation. The "
        "loss is that of the last logged step, validation the best of all checkpoints. Losses "
        "compare where runs minimise the same, scores where they are of the same data.</p>"
    )


def _name(run: ComparedRun) -> str:
    name = html.escape(run.name)
    return f"<a href='{html.escape(run.report, quote=True)}'>{name}</a>" if run.report else name


def _marked(cell: float | str | None) -> str:
    if cell is None:
        return _NOTHING
    return html.escape(cell) if isinstance(cell, str) else mathematics.number(cell, 3)


def _curves(runs: Sequence[ComparedRun]) -> str:
    drawn = [run for run in runs if run.curves]
    if not drawn:
        return ""
    fields = differing(runs)
    # What stands for what, as long as a legend can hold it.
    told = 0 < len(fields) <= 2
    labels = [
        f"{run.name}: {', '.join(str(run.config.get(field)) for field in fields)}"
        if told
        else run.name
        for run in drawn
    ]
    caption = "In the order of the table, the best on top"
    if told:
        names = " and ".join(f"<code>{html.escape(field)}</code>" for field in fields)
        caption += f"; after its name, each run's {names}"
    if len(drawn) > figures.NAMED_RUNS:
        caption += f"; runs after the first {figures.NAMED_RUNS} are grey"
    labelled = [(label, run.curves) for label, run in zip(labels, drawn, strict=True)]
    charts = [
        chart(
            lambda theme, over=over: figures.compared_curves(labelled, over, theme),
            f"Loss and validation of all runs over {over}",
            f"{caption}.",
        )
        for over in ("step", "seconds")
        if any(over in row for run in drawn for row in run.curves)
    ]
    return f"<div class='charts'>{''.join(charts)}</div>"


def _shared(runs: Sequence[ComparedRun]) -> str:
    config = next((run.config for run in runs if run.config), {})
    if len(runs) == 1 or not config:
        return ""
    different = set(differing(runs))
    rows = ((field, value) for field, value in config.items() if field not in different)
    return (
        "<details><summary>All settings in which the runs agree</summary>"
        f"{settings_table(rows)}</details>"
    )
