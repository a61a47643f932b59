"""The scores of a run as text, for a terminal."""

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from diffpattern.report.equations import of_diffusion
from diffpattern.scores import conserved, known_times

_WIDTH = 96


def table(scores: Mapping[str, Any]) -> str:
    """Scores, as in `eval/scores.json`, as a person reads them."""
    count = scores["trajectories"]
    unseen_ones = "1 unseen trajectory" if count == 1 else f"{count} unseen trajectories"
    tested = unseen_ones if unseen(scores) else "what it was trained on"
    heading = (
        f"Checkpoint of step {scores['step']}, scored on {tested}: median NRMSE (lowest to "
        "highest)\n"
        f"and the time until which it is valid (NRMSE at most {scores['threshold']:g})"
    )
    lines = [heading, *(textwrap.fill(told, _WIDTH) for told in units(scores))]
    for name in scores["nrmse"]:
        lines += ["", *_errors(scores, name)]
    lines += ["", *_patterns(scores)]
    for part in (_drifts, _rates):
        if told := list(part(scores)):
            lines += ["", *told]
    return "\n".join(lines)


def unseen(scores: Mapping[str, Any]) -> bool:
    """Whether the scores are of data that were not trained on; older ones do not say."""
    return scores.get("unseen", True)


def units(scores: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on what numbers are in: names of units, and normalisation where there is one."""
    for what in ("length", "time"):
        if unit := scores.get("units", {}).get(what):
            yield f"The unit of {what} is {unit}."
    if told := normalised(scores):
        yield (
            "Numbers of species are in normalised units (the data's field normalisation), in "
            "equations, pictures and the NRMSE's floor too; in the data's own, which "
            f"eval/predictions.npz has, {'; '.join(told)}."
        )


def normalised(scores: Mapping[str, Any]) -> list[str]:
    """What `conversions` says of the species that a run's rule has in normalised units."""
    if not (written := scores.get("units")):
        return []
    offset, scale = written["offset"], written["scale"]
    return conversions(offset, offset.values(), scale.values())


def conversions(
    species: Iterable[str], offset: Iterable[float], scale: Iterable[float]
) -> list[str]:
    """How normalised numbers become those of the data, for the species that are normalised."""
    return [
        f"{name} = {start:.4g} + {width:.4g} * value"
        for name, start, width in zip(species, offset, scale, strict=True)
        if (start, width) != (0.0, 1.0)
    ]


def _errors(scores: Mapping[str, Any], name: str) -> Iterator[str]:
    """Errors of one species at times that double, beside both baselines."""
    times, spread = scores["times"], scores["nrmse_range"][name]
    persistence, mean = (scores["baselines"][key]["nrmse"][name] for key in ("persistence", "mean"))
    yield f"{name:<12}{'rule':>8}{'':24}{'persistence':>12}{'mean':>10}"
    known = known_times(scores, name)
    for place, i in enumerate(known[1:], 1):
        if place & (place - 1) == 0 or i == known[-1]:
            extent = f"({_short(spread['low'][i])} to {_short(spread['high'][i])})"
            yield (
                f"  t = {times[i]:<6g}{_short(scores['nrmse'][name][i]):>8}  {extent:<22}"
                f"{_short(persistence[i]):>12}{_short(mean[i]):>10}"
            )
    extent = "({low} to {high})".format(
        **{end: _until(time) for end, time in scores["valid_time_range"][name].items()}
    )
    candidates = (scores, *scores["baselines"].values())
    valid = [_until(candidate["valid_time"][name]) for candidate in candidates]
    yield f"  valid     {valid[0]:>8}  {extent:<22}{valid[1]:>12}{valid[2]:>10}"


def _patterns(scores: Mapping[str, Any]) -> Iterator[str]:
    """What the patterns are like at the last time, beside the truth's."""
    yield f"{'patterns at the end':<26}{'rule':>10}{'truth':>10}"
    rows = [(f"wavelength of {name}", both) for name, both in scores["wavelength"].items()]
    rows += [
        (f"cells with {name} > {both['level']:g}", both) for name, both in scores["covered"].items()
    ]
    for label, both in rows:
        rule, truth = (
            "none" if (value := both[who][-1]) is None else f"{value:.3g}"
            for who in ("rule", "truth")
        )
        yield f"  {label:<24}{rule:>10}{truth:>10}"


def _drifts(scores: Mapping[str, Any]) -> Iterator[str]:
    """How far sums over the lattice move that the truth conserves."""
    if drifts := conserved(scores):
        yield f"{'relative drift of the sum':<26}{'rule':>10}{'truth':>10}"
    for name, both in drifts.items():
        yield f"  {name:<24}{_short(both['rule']):>10}{_short(both['truth']):>10}"


def _until(time: float | None) -> str:
    """A valid time; one that was never exceeded is later than the last."""
    return "the end" if time is None else f"{time:g}"


def _rates(scores: Mapping[str, Any]) -> Iterator[str]:
    """Where a mask's edge is, diffusion, and the numbers of other terms, with standard errors."""
    if edge := scores["edge"]:
        written = _with_error(edge["coefficient"], edge["standard_error"])
        yield f"edge: {written} farther out than the data's"
    named = {f"diffusion of {name}": entry for name, entry in of_diffusion(scores).items()}
    for name, entry in (named | scores.get("coefficients", {})).items():
        written = _with_error(entry["coefficient"], entry["standard_error"])
        yield f"{name}: {written:<28}{_remark(entry)}".rstrip()
    equation = scores["equation"]
    width = max((len(entry["term"]) for terms in equation.values() for entry in terms), default=0)
    for name, terms in equation.items():
        yield f"reaction of {name}:"
        for entry in terms:
            written = _with_error(entry["coefficient"], entry["standard_error"])
            yield f"  {entry['term']:<{max(7, width)}} {written:<28}{_remark(entry)}".rstrip()
        if left_out := scores["left_out"].get(name):
            yield f"  left out: {', '.join(left_out)}"


def _remark(entry: Mapping[str, Any]) -> str:
    return "" if entry["determined"] else "not told apart from zero"


def _with_error(value: float, error: float | None) -> str:
    """A coefficient to the second digit of its standard error, where it has one, and that error."""
    if not error:
        return f"{value:+.4g}"
    digits = 2 + _exponent(value or error) - _exponent(error)
    sign = "-" if value < 0 else "+"
    return f"{sign}{_to_digits(abs(value), max(digits, 1))} +- {_short(error)}"


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value)))


def _short(value: float | None) -> str:
    """Two digits, however small; null stands for a prediction that is not finite."""
    return "inf" if value is None else _to_digits(value, 2)


def _to_digits(value: float, digits: int) -> str:
    """As many digits as asked for, zeros at the end too."""
    return f"{value:#.{digits}g}".replace(".e", "e").rstrip(".")
