"""What a rule does where all cells are alike, and to waves on such states."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray

from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.models.nca import NeuralCellularAutomaton
from diffpattern.models.perception import MultiScale
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.models.source import Source
from diffpattern.problem import Problem
from diffpattern.report.rule.phase_plane import HomogeneousState, PhasePlane, ReactionCurve
from diffpattern.solvers import spectral
from diffpattern.stability import Dispersion, LocalRule, dispersion, homogeneous_states
from diffpattern.systems import System

Parameters = Any

# Homogeneous states about which waves are shown.
MOST_STATES = 3
# Values along each axis of a phase plane.
_PLANE = 81
# As many cells of the data as are looked at; of these so many, and so many values along each axis
# of two species, are where homogeneous states are sought from.
_SAMPLE, _CELLS, _ALONG = 200_000, 24, 5
# How far beyond the data, in widths of theirs, states count, and a phase plane reaches.
_BEYOND, _MARGIN = 0.25, 0.08
# A species whose rates of change are below this share of the data's width over their duration does
# not change but for rounding.
_STILL = 1e-6
# States of two rules that are nearer to each other than this, in the same widths, are compared.
_SAME_STATE = 0.2
# Steps by which hidden channels are first let settle, and how many states also count as they begin.
_SETTLING, _BEGUN = 128, 8


def reaction_and_waves(
    config: ConfigDict,
    sought: Problem,
    parameters: Parameters,
    truths: Sequence[Trajectories],
    system: System | None,
) -> tuple[
    PhasePlane | ReactionCurve | None,
    Sequence[tuple[Dispersion, Dispersion | None]],
    Sequence[str],
]:
    """The reaction, the waves on homogeneous states, and sentences on what is missing."""
    rule, missing = local_rule(config, sought, parameters), []
    cells = _cells(truths)
    learnt = _about_states(rule, _starts(sought, rule, cells), cells)
    true_one, true = None, []
    if system is not None:
        true_one = true_rule(config, system, sought.statistics.grid.spacing)
        true = _about_states(true_one, _spread(cells), cells)
    duration = max(float(truth.times[-1] - truth.times[0]) for truth in truths)
    reaction = _reaction(sought, rule, cells, duration, learnt, true_one, true)
    if not learnt:
        missing.append(
            "No homogeneous state of the rule was found near the data, so no growth of waves on it "
            "is told."
        )
    if learnt and _has_no_slope(sought):
        missing.append(
            "Growth of waves is not told: the rule sees lengths of gradients, which have no "
            "derivative where all cells are alike."
        )
        return reaction, (), missing
    widths = _widths(cells)
    species = len(sought.statistics.species)

    def same(one: Dispersion) -> Dispersion | None:
        distance = lambda other: np.abs((other.state - one.state[:species]) / widths).max()
        nearest = min(true, key=distance, default=None)
        return nearest if nearest is not None and distance(nearest) < _SAME_STATE else None

    return reaction, [(one, same(one)) for one in learnt[:MOST_STATES]], missing


def _cells(truths: Sequence[Trajectories]) -> NDArray:
    """The species at cells and times at which all were seen, [n, C], as many as are looked at.

    Raises:
      InputError: there are none.
    """
    cells = np.concatenate([truth.values[truth.seen().all(axis=-1)] for truth in truths])
    if not len(cells):
        raise InputError("no snapshot of the test data shows all species.")
    if len(cells) > _SAMPLE:
        cells = cells[np.random.default_rng(0).integers(len(cells), size=_SAMPLE)]
    return cells.astype(np.float64)


def _widths(cells: NDArray) -> NDArray:
    widths = np.ptp(cells, axis=0)
    return np.where(widths > 0, widths, 1.0)


def _spread(cells: NDArray) -> NDArray:
    """Where states of rest are sought from, [S, C]: the mean, cells of the data, and in between."""
    species = cells.shape[1]
    drawn = np.random.default_rng(0).choice(cells, min(_CELLS, len(cells)), replace=False)
    starts = [cells.mean(0, keepdims=True), drawn]
    if species <= 2:
        along = [np.linspace(*ends, _ALONG) for ends in np.stack([cells.min(0), cells.max(0)], 1)]
        starts.append(np.stack(np.meshgrid(*along, indexing="ij"), -1).reshape(-1, species))
    return np.concatenate(starts)


def _starts(sought: Problem, rule: LocalRule, cells: NDArray) -> NDArray:
    """The same with hidden channels, as they are after some steps; some also as they begin."""
    starts = _spread(cells)
    count = sought.channels - starts.shape[1]
    if not count:
        return starts
    hidden = np.zeros((len(starts), count))
    if sought.start_alive is not None:
        hidden += starts[:, [sought.start_alive]]
    begun = settled = np.concatenate([starts, hidden], axis=1)
    with np.errstate(all="ignore"):
        for _ in range(_SETTLING):
            settled = settled + rule.step * rule.rates(settled)
    return np.concatenate([begun[:_BEGUN], settled[np.isfinite(settled).all(1)]])


def _about_states(rule: LocalRule, starts: NDArray, cells: NDArray) -> list[Dispersion]:
    """Dispersion relations about all homogeneous states that are near the data."""
    room = _BEYOND * _widths(cells)
    hidden = np.full(rule.channels - cells.shape[1], np.inf)
    low = np.append(cells.min(0) - room, -hidden)
    high = np.append(cells.max(0) + room, hidden)
    states = homogeneous_states(rule, starts, low, high)
    return [dispersion(rule, state) for state in states]


def _reaction(
    sought: Problem,
    rule: LocalRule,
    cells: NDArray,
    duration: float,
    learnt: Sequence[Dispersion],
    true_one: LocalRule | None,
    true: Sequence[Dispersion],
) -> PhasePlane | ReactionCurve:
    """The reaction of the two species that vary most, or of the only one."""
    names, species = sought.channel_names, sought.statistics.species
    places = sorted(np.argsort(sought.statistics.fluctuation)[-2:].tolist())
    base = np.append(cells.mean(0), np.zeros(sought.channels - len(species)))
    if learnt:
        base = learnt[0].state
    values = [_range(cells[:, place], [one.state[place] for one in learnt]) for place in places]
    edges = [_edges(one) for one in values]
    density, _ = np.histogramdd(cells[:, places], edges)
    grid = np.stack(np.meshgrid(*values, indexing="ij"), -1)
    scales = _widths(cells)[places] / duration

    def rates(one: LocalRule, base: NDArray) -> NDArray:
        """Of the chosen species, [P, *grid]."""
        states = np.broadcast_to(base, (*grid.shape[:-1], one.channels)).copy()
        states[..., places] = grid
        found = np.moveaxis(one.rates(states)[..., places], -1, 0)
        still = np.abs(found).reshape(len(places), -1).max(1) < _STILL * scales
        return np.where(still.reshape(-1, *(1,) * len(places)), 0.0, found)

    learnt_rates = rates(rule, base)
    true_rates = None if true_one is None else rates(true_one, base[: len(species)])
    held = {
        names[place]: float(base[place]) for place in range(sought.channels) if place not in places
    }
    of = lambda found: [HomogeneousState(one.state, one.stable_without_waves) for one in found]
    if len(places) == 1:
        known = None if true_rates is None else true_rates[0]
        return ReactionCurve(
            species[0],
            values[0],
            learnt_rates[0],
            density,
            known,
            float(scales[0]),
            of(learnt),
            held,
        )
    return PhasePlane(
        tuple(species[place] for place in places),
        tuple(places),
        tuple(values),
        learnt_rates,
        density,
        of(learnt),
        true_rates,
        of(true),
        held,
    )


def _range(values: NDArray, states: Sequence[float]) -> NDArray:
    """Evenly spaced values [N] that hold nearly all of the data and the states of rest."""
    low, high = np.percentile(values, [0.1, 99.9])
    low, high = min([low, *states]), max([high, *states])
    room = _MARGIN * ((high - low) or 1.0)
    return np.linspace(low - room, high + room, _PLANE)


def _edges(values: NDArray) -> NDArray:
    """The edges of cells about evenly spaced values."""
    half = (values[1] - values[0]) / 2
    return np.append(values - half, values[-1] + half)


def local_rule(config: ConfigDict, sought: Problem, parameters: Parameters) -> LocalRule:
    """A rule far from all walls. Of an automaton whose cells fire at random, the mean step."""
    spacing, channels = sought.statistics.grid.spacing, sought.channels
    if isinstance(sought.rule, NeuralCellularAutomaton):

        def step(grid):
            rule = sought.on(grid).rule
            mean = rule.clone(fire_rate=1.0, step_size=rule.step_size * rule.fire_rate)
            return lambda x: mean.apply({"params": parameters}, x, jax.random.key(0))

        return LocalRule(step, channels, spacing, step=sought.dynamics.dt)
    if config.solver.exact and config.solver.name in spectral.NAMES:

        def modes(eigenvalue):
            # Terms take eigenvalues with an axis for each of space.
            along = eigenvalue.reshape(-1, *(1,) * (len(spacing) - 1))
            rates = sought.rule.rates(parameters, along, channels)
            return rates.reshape(channels, *eigenvalue.shape)

        def remainder(grid):
            rule = sought.on(grid).rule
            return lambda x: rule.remainder(parameters, x)

        return LocalRule(remainder, channels, spacing, modes=modes)

    def slope(grid):
        rule = sought.on(grid).rule
        return lambda x: rule.apply({"params": parameters}, x)

    return LocalRule(slope, channels, spacing)


def true_rule(config: ConfigDict, system: System, spacing: tuple[float, ...]) -> LocalRule:
    """The system that made the data, with the stencil and the spacing of the simulation."""
    finer = tuple(h / config.data.refinement for h in spacing)
    slope = lambda grid: lambda x: system.right_hand_side(x, grid, config.data.laplacian)
    return LocalRule(slope, len(system.species), finer)


def why_not_alike(sought: Problem) -> str | None:
    """Why a rule is not alike at all places and times, if it is not."""
    statistics, rule = sought.statistics, sought.rule
    if statistics.masked or sought.mask.by_cell:
        return "the rule acts inside of a mask"
    if statistics.environment:
        return "the rule sees fields that differ from place to place"
    if statistics.inputs:
        return "the rule is told inputs, and is another one for each"
    if isinstance(rule, NeuralCellularAutomaton):
        perception = rule.perception
        if isinstance(perception, MultiScale) and max(perception.scales) > 1:
            return "cells share what they see with others of a block, and do not all see alike"
    elif not isinstance(rule, ReactionDiffusionAdvection):
        return "it is an automaton of the user's own, of which nothing says what is chance"
    elif any(isinstance(term, Source) for term in rule.terms.values()):
        return "a source feeds the rule by place or time"
    return None


def _has_no_slope(sought: Problem) -> bool:
    """Whether a rule sees lengths of gradients, which have no derivative where all is flat."""
    perception = getattr(sought.rule, "perception", None)
    return "gradient_norm" in getattr(perception, "kernels", ())
