"""The chapter of a page on what a trained rule does: charts, and what to look for in them."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffpattern.report import mathematics
from diffpattern.report.document import chart
from diffpattern.report.rule import coefficients, dispersion, phase_plane, velocity, weights
from diffpattern.report.rule.drawing import Units
from diffpattern.report.rule.phase_plane import PhasePlane, ReactionCurve
from diffpattern.report.rule.velocity import VelocityField
from diffpattern.report.rule.weights import FirstLayer, Layer
from diffpattern.stability import Dispersion

# What a slice cannot tell.
_OTHERS = "the channels that are not shown do not change there either"


@dataclass(frozen=True, eq=False)
class RuleReading:
    """What was read off a trained rule, in plain numbers.

    Attributes:
      species: their names; of a state, they come first.
      layers: all matrices of weights.
      first_layers: the weights of what networks see.
      system: name of the system that made the data; empty: it is not known.
      true_diffusion: its coefficients, by species.
      reaction: of two species, or of one; None: it cannot be told.
      waves: dispersion relations about the homogeneous states, those nearest to the data's mean
        first, and with each that of the system about the same state, where it has it.
      flows: where terms carry species.
      missing: sentences on what cannot be told, and why.
    """

    species: tuple[str, ...]
    layers: Sequence[Layer] = ()
    first_layers: Sequence[FirstLayer] = ()
    system: str = ""
    true_diffusion: Mapping[str, float] = field(default_factory=dict)
    reaction: PhasePlane | ReactionCurve | None = None
    waves: Sequence[tuple[Dispersion, Dispersion | None]] = ()
    flows: Sequence[VelocityField] = ()
    missing: Sequence[str] = ()


def render(reading: RuleReading, scores: Mapping[str, Any]) -> str:
    """The chapter's HTML.

    Args:
      reading: of the rule.
      scores: of the run; of these "diffusion", "diffusion_standard_error" and "units" are shown,
        where there are any.
    """
    units = Units.of(scores)
    parts = [
        _section(
            "Reaction, and waves on homogeneous states",
            _reaction(reading, units) + _waves(reading, units),
        ),
        _section("Diffusion and velocities", _diffusion(reading, scores) + _flows(reading, units)),
        _section("Weights", _weights(reading)),
        *(f"<p class='note'>{html.escape(sentence)}</p>" for sentence in reading.missing),
    ]
    return "\n".join(filter(None, parts))


def _section(title: str, charts: Sequence[str]) -> str:
    return f"<h3>{title}</h3>\n<div class='charts'>{''.join(charts)}</div>" if charts else ""


def _waves(reading: RuleReading, units: Units) -> list[str]:
    return [
        chart(
            lambda theme, pair=(learnt, true): dispersion.dispersion(*pair, units, theme),
            f"Growth of waves on {_plain(learnt, reading.species)}",
            f"{verdict(learnt, reading.species, units)} {_beside(learnt, true, reading, units)}"
            "Where the curve is above zero, small waves of that length grow; the highest point is "
            "the length that patterns have when they arise.",
        )
        for learnt, true in reading.waves
    ]


def verdict(waves: Dispersion, species: Sequence[str], units: Units) -> str:
    """In a sentence or two, what becomes of small changes of a homogeneous state, HTML."""
    state = ", ".join(
        f"{mathematics.symbol(name)}\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
        f"{mathematics.number(value, 3)}"
        for name, value in zip(species, waves.state, strict=False)
    )
    if waves.stable_without_waves:
        alone = "comes back to itself while all cells are alike"
    elif waves.unstable_without_waves:
        alone = "leaves itself though all cells are alike"
    else:
        alone = "is one of many, since something is conserved"
    if not waves.waves_grow:
        return f"The state {state} {alone}, and no wave on it grows."
    extent = _growing(waves, units)
    if waves.wavelength is None:
        return f"The state {state} {alone}; {extent}, none as fast as all cells together."
    joined = "and" if waves.unstable_without_waves else "but"
    turing = ": it is unstable in Turing\N{RIGHT SINGLE QUOTATION MARK}s sense"
    return (
        f"The state {state} {alone}, {joined} {extent}, fastest those of "
        f"{mathematics.number(waves.wavelength, 3)}"
        f"{turing if waves.turing_unstable else ''}."
    )


def _growing(waves: Dispersion, units: Units) -> str:
    """Which waves grow; some do."""
    first, last = waves.band
    shortest, longest = 2 * math.pi / last, 2 * math.pi / first if first else math.inf
    short, long = (mathematics.number(length, 3) for length in (shortest, longest))
    if last < waves.wavenumbers[-1]:
        if first:
            return f"waves of {short} to {long} {units.lengths} grow"
        return f"all waves longer than {short} {units.lengths} grow"
    if first:
        return f"all waves shorter than {long} {units.lengths} grow"
    return "all waves grow"


def _beside(learnt: Dispersion, true: Dispersion | None, reading: RuleReading, units: Units) -> str:
    """The same of the system that made the data, where it is known."""
    if not reading.system:
        return ""
    name = html.escape(reading.system)
    if true is None:
        return f"The system that made the data, {name}, has no such state. "
    said = verdict(true, reading.species, units)
    if said == verdict(learnt, reading.species, units):
        return f"The same holds for {name}, which made the data. "
    return f"Of {name}, which made the data: {said} "


def _plain(waves: Dispersion, species: Sequence[str]) -> str:
    return ", ".join(
        f"{name} = {value:.3g}" for name, value in zip(species, waves.state, strict=False)
    )


def _reaction(reading: RuleReading, units: Units) -> list[str]:
    reaction = reading.reaction
    if reaction is None:
        return []
    if isinstance(reaction, ReactionCurve):
        return [
            chart(
                lambda theme: phase_plane.reaction_curve(reaction, units, theme),
                f"Rate of change of {reaction.species} over its value",
                _of_curve(reaction, reading.species),
            )
        ]
    return [
        chart(
            lambda theme: phase_plane.phase_plane(reaction, units, theme),
            f"Phase plane of {' and '.join(reaction.species)}",
            _of_plane(reaction, reading.species),
        )
    ]


def _of_plane(plane: PhasePlane, species: Sequence[str]) -> str:
    """What the phase plane of two species says."""
    rest = ", and where both cross is a state of rest"
    if plane.held:
        dots = ", as at the dots" if plane.states else ""
        rest = f"; where both cross is a state of rest only if {_OTHERS}{dots}"
    return (
        "Where the species go while all cells are alike. On a nullcline one of them does not "
        f"change{rest}. Trust the arrows where the ground is shaded: only there were data."
        f"{_held(plane, species)}"
    )


def _of_curve(curve: ReactionCurve, species: Sequence[str]) -> str:
    """What the rate of change of one species says."""
    about, held = "How fast the species changes while all cells are alike", _held(curve, species)
    if curve.still:
        return f"{about}: not at all, whatever its value. It only moves from cell to cell.{held}"
    rest = "States of rest are where the curve crosses zero: downwards they are stable."
    if curve.held:
        dots = ", as at the dots" if curve.states else ""
        rest = f"Where the curve crosses zero is a state of rest only if {_OTHERS}{dots}."
    return f"{about}. {rest} Trust it where there are data.{held}"


def _held(reaction: PhasePlane | ReactionCurve, species: Sequence[str]) -> str:
    """Sentences on the channels that a chart does not show, if there are any."""
    if not reaction.held:
        return ""
    told = lambda values: html.escape(
        ", ".join(f"{name} = {value:.3g}" for name, value in values.items())
    ).replace("-", mathematics.MINUS)
    where = "as in the state of rest that is nearest to the mean of the data"
    if reaction.states:
        where += f": {told(reaction.held)}"
    else:
        seen = {name: value for name, value in reaction.held.items() if name in species}
        places = [f"species at the mean of the data ({told(seen)})"] if seen else []
        places += ["hidden ones at zero"] if len(seen) < len(reaction.held) else []
        where = f"with {', '.join(places)}"
    return f" This is a slice through all channels: the others are held {where}."


def _diffusion(reading: RuleReading, scores: Mapping[str, Any]) -> list[str]:
    if not scores.get("diffusion"):
        return []
    beside = " The strokes are the true ones." if reading.true_diffusion else ""
    return [
        chart(
            lambda theme: coefficients.diffusion(scores, reading.true_diffusion, theme),
            "Diffusion coefficients",
            "How fast each species spreads. Patterns by Turing\N{RIGHT SINGLE QUOTATION MARK}s way "
            f"need species that spread at different rates.{beside}",
        )
    ]


def _flows(reading: RuleReading, units: Units) -> list[str]:
    return [
        chart(
            lambda theme, flow=flow: velocity.velocity(flow, units, theme),
            f"Velocity of {flow.species} by {flow.term}",
            f"Where the term {html.escape(flow.term)} carries {mathematics.symbol(flow.species)}, "
            f"at t = {mathematics.time(flow.time)} of the first held-out trajectory. See whether "
            "arrows run together where the pattern is dense, or along its edges.",
        )
        for flow in reading.flows
    ]


def _weights(reading: RuleReading) -> list[str]:
    charts = []
    if reading.layers:
        charts.append(
            chart(
                lambda theme: weights.weights(reading.layers, theme),
                "Weights of all layers",
                _of_weights(reading.layers),
            )
        )
    charts += [
        chart(
            lambda theme, layer=layer: weights.first_layer(layer, theme),
            f"First weights of {layer.name}",
            f"What {html.escape(layer.name)} looks at: boxes are quartiles and median, whiskers "
            f"reach from 5% to 95% of the weights. {html.escape(layer.remark)}",
        )
        for layer in reading.first_layers
    ]
    return charts


def _of_weights(layers: Sequence[Layer]) -> str:
    """What matrices of weights say, of which those of polynomials have neither units nor biases."""
    biases = any(layer.bias is not None for layer in layers)
    said = "Each matrix on a scale of its own, symmetric about zero"
    said += ", with its biases behind the gap." if biases else "."
    if any("term" in layer.sides for layer in layers):
        said += " Terms without colour do nothing."
    if any("term" not in layer.sides for layer in layers):
        said += (
            " Rows or columns without colour are units that do nothing; many alike say that fewer "
            "would do."
        )
    return said
