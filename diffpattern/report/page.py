"""The report of a run: one HTML file that needs nothing but itself.

`render` turns a `RunReport` into the page, chapter by chapter.
"""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpattern.data.trajectories import Trajectories
from diffpattern.report import figures, images, mathematics, text
from diffpattern.report.document import chart, data_uri, document, settings_table
from diffpattern.scores import conserved, known_times, nrmse


@dataclass(frozen=True, eq=False)
class RunReport:
    """Everything that the page of a run shows.

    Attributes:
      title: heading of the page.
      command: the command that made the run, as it can be typed again.
      config: the run's settings, nested mappings.
      scores: what `diffpattern.scores.summarise` returns, and where the rule has them
        "diffusion" and "diffusion_standard_error" {species: number}, and "equation"
        {species: [{"term", "coefficient", "standard_error", "determined"}, ...]};
        a standard error may be missing or None; "units" as `Statistics.units` has them, and
        "drift" as `diffpattern.scores.patterns`, may be missing.
      lattices: for one size of lattices after the other the held-out trajectories, and what the
        rule made of their first snapshots, [N, T, *space, C].
      curves: one row for each logged step, {"step", "loss", "validation", ...}; a row may lack
        any key but the step.
      facts: short strings about the run, such as its steps, seconds, devices and versions.
      rule: one sentence on the form of the rule, for one that no equation writes out.
      unwritten: names of the terms of the right-hand side that no equation writes out.
    """

    title: str
    command: str
    config: Mapping[str, Any]
    scores: Mapping[str, Any]
    lattices: Sequence[tuple[Trajectories, NDArray]]
    curves: Sequence[Mapping[str, float]] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    rule: str = ""
    unwritten: Sequence[str] = ()

    @property
    def species(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self.lattices[0][0].species


def render(report: RunReport) -> str:
    """The page as a string of HTML."""
    chapters = [
        ("Results", _results),
        ("Truth and prediction", _pictures),
        ("Animation", _animation),
        ("Errors over time", _errors),
        ("The rule", _rule),
        ("Training", _training),
        ("Configuration", _configuration),
    ]
    return document(
        report.title,
        _verdict(report),
        report.command,
        [(title, chapter(report)) for title, chapter in chapters],
    )


# Chapters: each takes the report and returns HTML, or nothing where it has nothing to show.


def _verdict(report: RunReport) -> str:
    scores = report.scores
    count, threshold = scores["trajectories"], scores["threshold"]
    unseen = "one trajectory" if count == 1 else f"{count} trajectories"
    lost = {name: time for name, time in scores["valid_time"].items() if time is not None}
    if not lost:
        outcome = f"stays below it up to the last time, {_time(scores['times'][-1])}"
    else:
        first = min(lost, key=lost.__getitem__)
        outcome = f"first exceeds it for {mathematics.symbol(first)} at {_time(lost[first])}"
    return (
        f"Scored on {unseen} that training never saw. A prediction counts as valid while its NRMSE "
        f"is at most {threshold:g}; the median one {outcome}."
    )


def _results(report: RunReport) -> str:
    scores, last = report.scores, report.scores["times"][-1]
    cards = []
    for name in report.species:
        spread, end = scores["nrmse_range"][name], known_times(scores, name)[-1]
        unchanged = scores["baselines"]["persistence"]["nrmse"][name][end]
        when = _time(scores["times"][end])
        cards.append(
            f"<div class='card'><span>NRMSE of {mathematics.symbol(name)} at {when}</span>"
            f"<b>{mathematics.number(scores['nrmse'][name][end], 2)}</b>"
            f"<span>{_range(spread['low'][end], spread['high'][end])}; "
            f"persistence: {mathematics.number(unchanged, 2)}</span></div>"
        )
    for name in report.species:
        spread = scores["valid_time_range"][name]
        unchanged = scores["baselines"]["persistence"]["valid_time"][name]
        cards.append(
            f"<div class='card'><span>Valid time of {mathematics.symbol(name)}</span>"
            f"<b>{_valid_time(scores['valid_time'][name], last)}</b>"
            f"<span>from {_valid_time(spread['low'], last)} "
            f"to {_valid_time(spread['high'], last)}; "
            f"persistence: {_valid_time(unchanged, last)}</span></div>"
        )
    return (
        f"<div class='cards'>{''.join(cards)}</div>"
        "<p class='note'>Medians over the trajectories, with the smallest and the largest. NRMSE "
        "is the norm of the error over the lattice divided by the norm of the truth's fluctuation "
        "about its spatial mean: 0 is perfect, and near 1 the pattern is missed altogether. Where "
        "the truth is nearly uniform the divisor (as a root mean square) is taken as no less than "
        f"{_per_species(scores['floor'])}. Valid time is the first saved time at which the NRMSE "
        f"exceeds {scores['threshold']:g}. Two predictions that need no rule stand beside it: "
        "that nothing changes (persistence), and the mean of the training data everywhere.</p>"
        + "".join(f"<p class='note'>{html.escape(told)}</p>" for told in text.units(scores))
    )


def _pictures(report: RunReport) -> str:
    return "\n".join(_pictures_of_size(report, *of_size) for of_size in report.lattices)


def _pictures_of_size(report: RunReport, truth: Trajectories, prediction: NDArray) -> str:
    which = _typical(report, truth, prediction)
    actual, predicted = truth.values[which], np.asarray(prediction[which])
    with np.errstate(invalid="ignore", over="ignore"):
        difference = predicted.astype(np.float64) - actual
    mask = None if truth.mask is None else truth.mask[which : which + 1]
    known = None if truth.known is None else truth.known[which : which + 1]
    errors = nrmse(predicted[None], actual[None], _floor(report), mask, known)[0]
    parts = [
        f"<p>Trajectory {which + 1} of {len(truth.values)}{_of_size(report, truth)}, the one whose "
        f"error at the last time is the median. {_what_a_picture_is(actual.ndim - 2)} Compare "
        "position and shape of the structures first; then see in the difference (prediction less "
        "truth) where and when the rule departs from it. Each difference has a scale of its own, "
        "symmetric about zero, whose end is written after \N{PLUS-MINUS SIGN}: a strong colour may "
        "still be a small number. Each scale spans 99% of its values; the rest take the colour of "
        "its ends."
        "</p>"
    ]
    for channel, name in enumerate(truth.species):
        seen = np.flatnonzero(~np.isnan(errors[:, channel]))
        chosen = _chosen(seen if len(seen) else range(len(truth.times)), truth.times)
        values = [actual[..., channel], predicted[..., channel], difference[..., channel]]
        if actual.ndim == 3:
            extent = " to ".join(mathematics.time(t) for t in truth.times[[0, -1]])
            moments = [(extent, "", [images.kymograph(one, truth.times) for one in values])]
        else:
            moments = [
                (
                    mathematics.time(truth.times[i]),
                    f"NRMSE {mathematics.number(errors[i, channel], 2)}",
                    [images.plane(one[i]) for one in values],
                )
                for i in chosen
            ]
        layout = "tiles kymograph" if actual.ndim == 3 else "tiles"
        parts.append(_tiles(name, moments, images.scale_of_states(values[0], truth.times), layout))
    if not np.isfinite(predicted).all():
        parts.append("<p class='note'>Grey: the prediction is not a finite number there.</p>")
    return "\n".join(parts)


def _animation(report: RunReport) -> str:
    return "\n".join(_animation_of_size(report, *of_size) for of_size in report.lattices)


def _animation_of_size(report: RunReport, truth: Trajectories, prediction: NDArray) -> str:
    which = _typical(report, truth, prediction)
    actual = truth.values[which]
    if actual.ndim == 3:
        return ""  # a kymograph already shows every time
    gif, still = images.animation(actual, np.asarray(prediction[which]), truth.times, truth.species)
    return (
        "<figure class='film'><picture>"
        "<source media='(prefers-reduced-motion: reduce)' "
        f"srcset='{data_uri('png', still)}'>"
        f"<img src='{data_uri('gif', gif)}' alt='Animation of truth beside prediction'>"
        "</picture><figcaption>The rule is given the first snapshot and goes on by itself. "
        "Watch whether structures divide, drift or vanish at the same moment on both sides. "
        "Colour scales as above.</figcaption></figure>"
    )


def _errors(report: RunReport) -> str:
    scores, species = report.scores, report.species
    charts = "".join(
        chart(
            lambda theme, name=name: figures.nrmse_over_time(scores, name, theme),
            f"NRMSE of {name} over time",
            f"Species {mathematics.symbol(name)}. Lines are medians over the trajectories, bands "
            "reach from the smallest to the largest. The rule is of use where it lies well below "
            "both baselines, and trusted up to where it crosses the grey line.",
        )
        for name in species
    )
    tables = "".join(_score_table(report, name) for name in species) + _drift_table(scores)
    return f"<div class='charts'>{charts}</div>\n<div class='tables'>{tables}</div>"


def _rule(report: RunReport) -> str:
    diffusion = _with_standard_errors(report.scores)
    equation = report.scores.get("equation") or {}
    parts = [f"<p>{html.escape(report.rule)}</p>"] if report.rule else []
    for name in report.species:
        if name in equation:
            parts.append(
                mathematics.equation(
                    name, equation[name], diffusion.get(name), others=report.unwritten
                )
            )
    undetermined = [
        entry for terms in equation.values() for entry in terms if not entry.get("determined", True)
    ]
    if undetermined:
        parts.append(
            f"<p>Terms marked {mathematics.NOT_DETERMINED} and underlined with dots are <b>not "
            "told apart from zero</b>: the value of each is within two standard errors of it. They "
            "belong to the rule that was scored, but should not be read as a finding: without one "
            "of them, others would make up for it.</p>"
        )
    tables = "".join(
        _coefficient_table(name, diffusion.get(name), equation.get(name, ()))
        for name in report.species
        if name in diffusion or name in equation
    )
    if edge := report.scores.get("edge"):
        parts.append(
            f"<p>The edge of its mask lies {mathematics.coefficient(edge)} farther out than the "
            f"data's (standard error {mathematics.standard_error(edge)}).</p>"
        )
    if tables:
        normalised = text.normalised(report.scores)
        parts.append(f"<div class='tables'>{tables}</div>")
        parts.append(
            "<p class='note'>Standard errors say how far a fit to other windows of data would "
            "scatter, as many as a batch of the training has. They follow from the Jacobian and "
            "the residuals of windows that training never saw; what the form of the rule may get "
            "wrong they do not measure. Coefficients are in the units of the data's time and "
            f"space{', and of species as normalised (see Results)' if normalised else ''}.</p>"
        )
    return "\n".join(parts)


def _with_standard_errors(scores: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    errors = scores.get("diffusion_standard_error") or {}
    return {
        name: {"coefficient": coefficient, "standard_error": errors.get(name)}
        for name, coefficient in (scores.get("diffusion") or {}).items()
    }


def _training(report: RunReport) -> str:
    parts = []
    if report.curves:
        parts.append(
            chart(
                lambda theme: figures.loss_curve(report.curves, theme),
                "Loss against training step",
                "Both on one logarithmic axis, each in its own units. A validation score that "
                "rises while the training loss still falls would speak of overfitting.",
            )
        )
    if report.facts:
        parts.append(settings_table(report.facts.items()))
    return f"<div class='charts'>{''.join(parts)}</div>" if parts else ""


def _configuration(report: RunReport) -> str:
    return (
        "<details><summary>All settings, by the names that "
        "<code>--config.NAME=VALUE</code> takes</summary>"
        f"{settings_table(_flattened(report.config))}</details>"
    )


# Pieces that several chapters share.


def _floor(report: RunReport) -> list[float]:
    return [report.scores["floor"][name] for name in report.species]


def _of_size(report: RunReport, truth: Trajectories) -> str:
    """Which lattices are meant, where there are several."""
    return f" on {' x '.join(map(str, truth.grid.shape))} cells" if len(report.lattices) > 1 else ""


def _typical(report: RunReport, truth: Trajectories, prediction: NDArray) -> int:
    """The trajectory of median error at the last time (the lower one of two)."""
    seen = range(len(truth.times)) if truth.known is None else truth.known.any((0, 2)).nonzero()[0]
    last = (slice(None), slice(seen[-1], seen[-1] + 1))
    known = None if truth.known is None else truth.known[last]
    predicted = np.asarray(prediction)[last]
    errors = nrmse(predicted, truth.values[last], _floor(report), truth.mask, known)
    worst = np.nan_to_num(errors[:, 0], nan=-1.0, posinf=np.inf).max(axis=-1)
    return int(np.argsort(worst, kind="stable")[(len(worst) - 1) // 2])


def _what_a_picture_is(axes: int) -> str:
    if axes == 1:
        return "Space runs from left to right and time downwards."
    if axes == 3:
        return "The pictures are slices through the middle of the lattice's first axis."
    return "Times are spaced evenly in their logarithm, since structure forms early."


def _tiles(
    name: str,
    moments: Sequence[tuple[str, str, Sequence[NDArray]]],
    states: images.Scale,
    layout: str,
) -> str:
    """Pictures of one species: a column for each moment, which narrow screens turn to rows.

    A moment is its time, a remark, and the pictures of truth, prediction and difference.
    """
    titles = ("truth", "prediction", "difference")
    cells = ["<div></div>", *(f"<div>{title}</div>" for title in titles)]
    for label, remark, pictures in moments:
        differences = images.scale_of_differences(pictures[-1])
        end = f"\N{PLUS-MINUS SIGN}{mathematics.number(differences.high, 2)}"
        cells.append(
            f"<div>{_time(label)}<small>{remark}</small>"
            f"<small><span>difference </span>{end}</small></div>"
        )
        for title, picture, scale in zip(
            titles, pictures, (states, states, differences), strict=True
        ):
            uri = data_uri("png", images.to_png(picture, scale))
            alt = html.escape(f"{name}, {title}, t = {label}", quote=True)
            cells.append(f"<img src='{uri}' alt='{alt}'>")
    scales = _scale("truth and prediction", states, *_ends(states)) + _scale(
        "difference, up to the \N{PLUS-MINUS SIGN} of each time",
        differences,
        mathematics.MINUS,
        "+",
    )
    return (
        f"<figure><h3>Species {mathematics.symbol(name)}</h3>"
        f"<div class='{layout}'>{''.join(cells)}</div>"
        f"<div class='scales'>{scales}</div></figure>"
    )


def _scale(title: str, scale: images.Scale, low: str, high: str) -> str:
    return (
        f"<div><small>{title}</small><div class='scale'><div>{low}</div>"
        f"<img src='{data_uri('png', images.colour_bar(scale))}' alt='colour scale'>"
        f"<div>{high}</div></div></div>"
    )


def _ends(scale: images.Scale) -> tuple[str, str]:
    """The ends of a scale as numbers no finer than its width gives reason for."""
    width = scale.high - scale.low
    decimals = 1 - math.floor(math.log10(width)) if width > 0 else 6  # not 1.8e-05 beside 0.72
    low, high = (mathematics.number(round(end, decimals), 2) for end in (scale.low, scale.high))
    return low, high


def _chosen(known: Sequence[int], times: Sequence[float]) -> list[int]:
    """Indices of the times to show, out of those at which there is something to see."""
    known = list(known)
    return [known[i] for i in images.chosen_times(np.asarray(times)[known])]


def _score_table(report: RunReport, name: str) -> str:
    scores = report.scores
    last = scores["times"][-1]
    baselines = [scores["baselines"][key] for key in ("persistence", "mean")]
    spread, valid = scores["nrmse_range"][name], scores["valid_time_range"][name]
    rows = [
        (
            mathematics.time(scores["times"][i]),
            mathematics.number(scores["nrmse"][name][i], 2),
            _range(spread["low"][i], spread["high"][i]),
            *(mathematics.number(baseline["nrmse"][name][i], 2) for baseline in baselines),
        )
        for i in _chosen(known_times(scores, name), scores["times"])
    ]
    rows.append(
        (
            "valid time",
            _valid_time(scores["valid_time"][name], last),
            f"{_valid_time(valid['low'], last)} to {_valid_time(valid['high'], last)}",
            *(_valid_time(baseline["valid_time"][name], last) for baseline in baselines),
        )
    )
    body = "".join(
        f"<tr><td>{time}</td><td>{rule}<small>{extent}</small></td>"
        f"<td>{unchanged}</td><td>{average}</td></tr>"
        for time, rule, extent, unchanged, average in rows
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


def _coefficient_table(
    name: str, diffusion: Mapping[str, Any] | None, terms: Sequence[Mapping[str, Any]]
) -> str:
    rows = [] if diffusion is None else [(diffusion, mathematics.laplacian(name))]
    rows += [(entry, mathematics.term(entry["term"]) or "1") for entry in terms]
    body = "".join(
        f"<tr><td>{factors}</td><td>{mathematics.coefficient(entry)}</td>"
        f"<td>{mathematics.standard_error(entry)}</td>"
        f"<td>{'yes' if entry.get('determined', True) else 'no ' + mathematics.NOT_DETERMINED}"
        "</td></tr>"
        for entry, factors in rows
    )
    return (
        "<div class='scroll'><table><caption>Change of "
        f"{mathematics.symbol(name)} with time</caption><thead><tr><th>term</th>"
        "<th>coefficient</th><th>standard error</th><th>told apart from zero</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Settings by their dotted names."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + str(name), value


def _time(value: float | str) -> str:
    written = value if isinstance(value, str) else mathematics.time(value)
    return f"<i>t</i>\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{written}"


def _valid_time(value: float | None, last: float) -> str:
    """A valid time; null says that the threshold was not exceeded at any saved time."""
    return f"beyond {mathematics.time(last)}" if value is None else mathematics.time(value)


def _range(low: float | None, high: float | None) -> str:
    return f"{mathematics.number(low, 2)} to {mathematics.number(high, 2)}"


def _per_species(values: Mapping[str, float]) -> str:
    return ", ".join(
        f"{mathematics.number(value, 2)} for {mathematics.symbol(name)}"
        for name, value in values.items()
    )
