"""A trained rule read: its weights, its reaction, what it carries where, and which waves it grows.

What the report shows of a rule, computed. Whatever cannot be read of a rule is left out with a
sentence on why, and nothing here ends a run.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from absl import logging
from flax import traverse_util
from ml_collections import ConfigDict
from numpy.typing import NDArray

from diffpattern.data.trajectories import Trajectories
from diffpattern.models import monomials
from diffpattern.models.nca import NeuralCellularAutomaton
from diffpattern.models.perception import MultiScale
from diffpattern.models.phase_field import PhaseField
from diffpattern.models.reaction import PolynomialReaction
from diffpattern.models.source import Source
from diffpattern.models.state_network import StateNetwork
from diffpattern.problem import Problem, given
from diffpattern.report.rule.chapter import RuleReading
from diffpattern.report.rule.phase_plane import HomogeneousState, PhasePlane, ReactionCurve
from diffpattern.report.rule.velocity import VelocityField
from diffpattern.report.rule.weights import FirstLayer, Layer
from diffpattern.solvers import spectral
from diffpattern.stability import Dispersion, LocalRule, dispersion, homogeneous_states
from diffpattern.systems import SYSTEMS, System

Parameters = Any
_Read = TypeVar("_Read")

# Homogeneous states about which waves are shown, and velocities of so many species.
MOST_STATES, MOST_FLOWS = 3, 4
# Values along each axis of a phase plane.
_PLANE = 81
# As many cells of the data as are looked at; of these so many, and so many values along each axis
# of two species, are where homogeneous states are sought from.
_SAMPLE, _CELLS, _ALONG = 200_000, 24, 5
# How far beyond the data, in widths of theirs, states count, and a phase plane reaches.
_BEYOND, _MARGIN = 0.25, 0.08
# States of two rules that are nearer to each other than this, in the same widths, are compared.
_SAME_STATE = 0.2
# Steps by which hidden channels are first let settle, and how many states also count as they begin.
_SETTLING, _BEGUN = 128, 8


def read_rule(
    config: ConfigDict, sought: Problem, parameters: Parameters, truths: Sequence[Trajectories]
) -> RuleReading:
    """All that the report shows of a rule beside its equation.

    Args:
      config: of the run.
      sought: whose rule it is.
      parameters: of the rule.
      truths: held-out data, for one size of lattices after the other.

    Returns:
      What could be read, and sentences on what could not.
    """
    parameters = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), parameters)
    channels, missing = _channels(sought), []
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(parameters)):
        return RuleReading(channels, missing=("The rule's parameters are not finite numbers.",))

    def attempt(what: str, read: Callable[[], _Read], nothing: _Read) -> _Read:
        try:
            return read()
        except Exception as error:  # the report of a long run is worth more than one chart of it
            logging.exception("%s could not be read off the rule", what)
            missing.append(f"{what} could not be read off the rule: {str(error).rstrip('.')}.")
            return nothing

    system = _system(config)
    weights = attempt("Weights", lambda: _layers(sought, parameters), ())
    first = attempt("What networks see", lambda: _first_layers(sought, parameters), ())
    flows = attempt("Velocities", lambda: _flows(sought, parameters, truths[0]), ())
    reaction, waves = None, ()
    if reason := _why_not_everywhere_alike(sought):
        missing.append(f"Reaction and growth of waves are not told: {reason}.")
    else:
        read = lambda: _dynamics(config, sought, parameters, truths, system)
        reaction, waves, more = attempt("Reaction and growth of waves", read, (None, (), ()))
        missing += more
    return RuleReading(
        channels,
        weights,
        first,
        "" if system is None else system.name,
        {} if system is None else _true_diffusion(system),
        reaction,
        waves,
        flows,
        missing,
    )


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


def _system(config: ConfigDict) -> System | None:
    """The one system that made the data, if there is one."""
    if config.data.name not in SYSTEMS or config.data.doses:
        return None
    return SYSTEMS[config.data.name](**config.data[config.data.name])


def _true_diffusion(system: System) -> dict[str, float]:
    rows = zip(system.species, system.linear_coefficients, strict=True)
    return {name: row[1] for name, row in rows if len(row) > 1 and row[1] > 0}


def _channels(sought: Problem) -> tuple[str, ...]:
    species = sought.statistics.species
    hidden = range(1, sought.channels - len(species) + 1)
    return (*species, *(f"hidden {place}" for place in hidden))


def _why_not_everywhere_alike(sought: Problem) -> str | None:
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
    elif any(isinstance(term, Source) for term in rule.terms.values()):
        return "a source feeds the rule by place or time"
    return None


def _has_no_slope(sought: Problem) -> bool:
    """Whether a rule sees lengths of gradients, which have no derivative where all is flat."""
    perception = getattr(sought.rule, "perception", None)
    return "gradient_norm" in getattr(perception, "kernels", ())


# Reaction and waves.


def _dynamics(
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
    reaction = _reaction(sought, rule, cells, learnt, true_one, true)
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
    """The species at cells and times at which all were seen, [n, C], as many as are looked at."""
    parts = []
    for truth in truths:
        values = truth.values.reshape(*truth.values.shape[:2], -1, len(truth.species))
        seen = slice(None) if truth.known is None else (truth.known > 0).all(-1)
        parts.append(values[seen].reshape(-1, len(truth.species)))
    cells = np.concatenate(parts)
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
    learnt: Sequence[Dispersion],
    true_one: LocalRule | None,
    true: Sequence[Dispersion],
) -> PhasePlane | ReactionCurve:
    """The reaction of the two species that vary most, or of the only one."""
    names, species = _channels(sought), sought.statistics.species
    places = sorted(np.argsort(sought.statistics.fluctuation)[-2:].tolist())
    base = np.append(cells.mean(0), np.zeros(sought.channels - len(species)))
    if learnt:
        base = learnt[0].state
    values = [_range(cells[:, place], [one.state[place] for one in learnt]) for place in places]
    edges = [_edges(one) for one in values]
    density, _ = np.histogramdd(cells[:, places], edges)
    grid = np.stack(np.meshgrid(*values, indexing="ij"), -1)

    def rates(one: LocalRule, base: NDArray) -> NDArray:
        """Of the chosen species, [P, *grid]."""
        states = np.broadcast_to(base, (*grid.shape[:-1], one.channels)).copy()
        states[..., places] = grid
        return np.moveaxis(one.rates(states)[..., places], -1, 0)

    learnt_rates = rates(rule, base)
    true_rates = None if true_one is None else rates(true_one, base[: len(species)])
    if len(places) == 1:
        known = None if true_rates is None else true_rates[0]
        return ReactionCurve(species[0], values[0], learnt_rates[0], density, known)
    others = [place for place in range(sought.channels) if place not in places]
    of = lambda found: [HomogeneousState(one.state, one.stable_without_waves) for one in found]
    return PhasePlane(
        tuple(species[place] for place in places),
        tuple(places),
        tuple(values),
        learnt_rates,
        density,
        of(learnt),
        true_rates,
        of(true),
        {names[place]: float(base[place]) for place in others},
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


# Velocities.


def _flows(sought: Problem, parameters: Parameters, truth: Trajectories) -> list[VelocityField]:
    """Where the terms of a PDE carry the species of the first trajectory in the end."""
    here = sought.of_size(truth.grid.shape)
    flows = []
    for name, term in getattr(here.rule, "terms", {}).items():
        if not hasattr(term, "velocity"):
            continue
        x = np.moveaxis(truth.values[0, -1], -1, 0)
        forcing = truth.forcing(0).later(float(truth.times[-1] - truth.times[0]))
        forcing = here.acting(parameters, forcing)
        velocity = term.apply({"params": parameters[name]}, x, forcing, method="velocity")
        for species, state, carried in zip(truth.species, x, np.asarray(velocity), strict=True):
            if carried.any():
                spacing = truth.grid.spacing
                if state.ndim == 3:  # a slice through the middle
                    middle = len(state) // 2
                    state, carried, spacing = state[middle], carried[1:, middle], spacing[1:]
                time = float(truth.times[-1])
                flows.append(VelocityField(name, species, state, carried, spacing, time))
    return flows[:MOST_FLOWS]


# Weights.


def _layers(sought: Problem, parameters: Parameters) -> list[Layer]:
    """All matrices of weights; arrays of more axes are written as such."""
    flat = traverse_util.flatten_dict(parameters)
    channels, inputs = _channels(sought), _names_of_inputs(sought, parameters)
    layers = []
    for path, leaf in flat.items():
        if leaf.ndim < 2 or path[0] == "mask":
            continue
        words = path[:-1] if path[-1] in ("kernel", "coefficients") else path
        matrix = leaf.reshape(-1, leaf.shape[-1])
        bias = flat.get((*path[:-1], "bias")) if path[-1] == "kernel" else None
        rows, columns, sides = inputs.get(path, ()), (), ("input", "output")
        if path[-2:] == ("output", "kernel"):
            columns = channels
        if path[-1] == "coefficients":
            rows, columns, sides = channels, inputs.get(path, ()), ("change of", "term")
        name = ", ".join(word.replace("_", " ") for word in words)
        layers.append(
            Layer(
                name,
                matrix,
                bias,
                rows if len(rows) == len(matrix) else (),
                columns if len(columns) == matrix.shape[1] else (),
                sides,
            )
        )
    return layers


def _names_of_inputs(
    sought: Problem, parameters: Parameters
) -> dict[tuple[str, ...], tuple[str, ...]]:
    """What rules see as it is, by the path of the weights that it is multiplied by."""
    if isinstance(sought.rule, NeuralCellularAutomaton):
        seen = tuple(" ".join(feature) for feature in _features(sought, parameters))
        return {("update", *path): seen for path in _first_kernels(parameters["update"])}
    species, found = sought.statistics.species, {}
    for name, term in sought.rule.terms.items():
        if isinstance(term, PolynomialReaction | PhaseField):
            lowest = 0 if isinstance(term, PolynomialReaction) else 1
            powers = monomials.exponents(len(species), lowest, term.order)
            found[name, "coefficients"] = monomials.names(powers, species)
    return found


def _features(sought: Problem, parameters: Parameters) -> tuple[tuple[str, str], ...]:
    """What a cell of an automaton sees: through which kernel, and what."""
    fields = sought.acting(parameters, given(sought.statistics)).environment
    environment = [f"field {place + 1}" for place in range(0 if fields is None else len(fields))]
    axes = sought.statistics.grid.ndim
    return sought.rule.perception.features(_channels(sought), environment, axes)


def _first_kernels(update: Parameters) -> dict[tuple[str, ...], NDArray]:
    """The matrices of an automaton's update that are applied to what a cell sees, by their path."""
    kernels = {
        path: leaf
        for path, leaf in traverse_util.flatten_dict(update).items()
        if path[-1] == "kernel"
    }
    first = {"hidden_0", "query", "key", "value"}
    chosen = {path: leaf for path, leaf in kernels.items() if path[-2] in first}
    return chosen or kernels


def _first_layers(sought: Problem, parameters: Parameters) -> list[FirstLayer]:
    """The weights of what networks see, by its names."""
    rule = sought.rule
    if isinstance(rule, NeuralCellularAutomaton):
        features = _features(sought, parameters)
        parts = [
            # Of radial bases, one block of features after the other.
            kernel.reshape(-1, len(features), kernel.shape[1]).swapaxes(0, 1)
            for kernel in _first_kernels(parameters["update"]).values()
        ]
        matrix = np.concatenate([part.reshape(len(features), -1) for part in parts], axis=1)
        kernels, seen = zip(*features, strict=True)
        remark = "Views have different units: a Laplacian is one per length squared."
        return [FirstLayer("the update", matrix, seen, kernels, remark)]
    layers = []
    for name, term in rule.terms.items():
        if isinstance(network := getattr(term, "network", None), StateNetwork):
            (kernel, *_) = _first_kernels(parameters[name]).values()
            layers.append(_of_monomials(name, network, kernel, sought))
    return layers


def _of_monomials(name: str, network: StateNetwork, kernel: NDArray, sought: Problem) -> FirstLayer:
    """The weights of a network's monomials, each as if it were given in standard deviations.

    The network sees whitened monomials z = W (m - mean); the weights of m are W' times its own.
    """
    powers, whitening = network.monomials(sought.channels)
    matrix = np.asarray(whitening.matrix)
    deviations = np.sqrt(np.diag(np.linalg.inv(matrix.T @ matrix)))
    weights = deviations[:, None] * (matrix.T @ kernel[: len(powers)])
    names = monomials.names(powers, sought.statistics.species)
    fields = kernel[len(powers) :]
    names += tuple(f"field {place + 1}" for place in range(len(fields)))
    remark = "Weights are for one standard deviation of each monomial in the training data."
    return FirstLayer(
        f"the network of {name.replace('_', ' ')}",
        np.concatenate([weights, fields]),
        names,
        remark=remark,
    )
