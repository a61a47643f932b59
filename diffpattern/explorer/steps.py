"""One step of a rule as it is written down for the explorer."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jax import Array
from ml_collections import ConfigDict

from diffpattern import parts, rules
from diffpattern.data.statistics import Statistics
from diffpattern.errors import InputError
from diffpattern.explorer.graph import Graph, border, trace
from diffpattern.grid.boundary import Boundary, Walls
from diffpattern.grid.forcing import Forcing
from diffpattern.grid.geometry import Grid
from diffpattern.grid.padding import borders_by
from diffpattern.solvers import explicit

Parameters = Any

# Cells of the lattice on which rules are traced, times the scales at which they see. Numbers that
# nothing else in a rule is likely to be.
_TRACED = (11, 13)


@dataclass(frozen=True)
class _Wall(Boundary):
    """A wall whose kind the page decides, and which knows who looks beyond it."""

    coefficient: bool = False
    channels: tuple[int, ...] | None = None

    moment: ClassVar[Array | float] = 0.0

    def at(self, time: Array | float) -> "_Wall":
        """See `Boundary`."""
        if not self.times:
            return self
        return _WallNow(self.kind, self.coefficient, self.channels, time)

    def for_coefficients(self) -> "_Wall":
        """See `Boundary`."""
        return _Wall(self.kind, coefficient=True)

    def for_channels(self, places: Sequence[int]) -> "_Wall":
        """See `Boundary`."""
        known = self.channels
        channels = tuple(places if known is None else [known[place] for place in places])
        if isinstance(self, _WallNow):
            return _WallNow(self.kind, self.coefficient, channels, self.moment)
        return dataclasses.replace(self, channels=channels)


class _WallNow(_Wall):
    """A wall that changes, at a moment."""

    __hash__ = None

    def __init__(
        self,
        kind: str,
        coefficient: bool,
        channels: tuple[int, ...] | None,
        moment: Array | float,
    ):
        fields = {"kind": kind, "coefficient": coefficient, "channels": channels, "moment": moment}
        for name, value in fields.items():
            object.__setattr__(self, name, value)


def _ask(x: Array, grid: Grid, widths: tuple[int, ...], normal_axis: int | None) -> Array:
    """A border as a step of the program; see `padding.borders_by`."""
    if not any(widths):
        return x
    walls = [wall for along in grid.boundary for wall in (along.lower, along.upper)]
    # The moment is the same for all that change.
    moment = next((wall.moment for wall in walls if isinstance(wall, _WallNow)), 0.0)
    return border.bind(
        x,
        moment,
        widths=widths,
        coefficient=walls[0].coefficient,
        channels=walls[0].channels,
        normal_axis=normal_axis,
    )


def graph_of(
    config: ConfigDict,
    statistics: Statistics,
    parameters: Parameters,
    solver: str,
    given: dict[str, int],
) -> Graph:
    """What one step of a run's rule does.

    Args:
      config: of the run.
      statistics: of its training data.
      parameters: of the rule.
      solver: of a PDE, one of `explicit.NAMES`.
      given: how many channels each lattice has that a step is given: "state", and where there are
        any "environment" and "mask".

    Raises:
      InputError: it cannot be followed.
    """
    if statistics.grid.ndim != 2:
        raise InputError(
            f"The explorer shows lattices of two axes, but the run's data have "
            f"{statistics.grid.ndim}."
        )
    grid = _traced_on(config, statistics.grid)
    here = dataclasses.replace(statistics, grid=grid, sizes=(grid.shape,))
    advance = _automaton if rules.is_automaton(config.model) else _pde
    step = advance(config, here, parameters, solver)
    told = {"stepSize": (), "time": ()}
    if statistics.inputs:
        told["inputs"] = (statistics.inputs,)

    def one(lattices: dict[str, Array], numbers: dict[str, Array], key: Array) -> Array:
        mask = lattices.get("mask")
        forcing = Forcing(
            time=numbers["time"],
            mask=None if mask is None else mask[0],
            environment=lattices.get("environment"),
            inputs=numbers.get("inputs"),
        )
        return step(lattices["state"], numbers["stepSize"], key, forcing)

    with borders_by(_ask):
        return trace(one, grid, given, told)


def _automaton(config, statistics, parameters, solver):
    del solver
    rule = rules.automaton(config.model, statistics)
    known = parts.attributes(type(rule))

    def step(x: Array, size: Array, key: Array, forcing: Forcing) -> Array:
        # Chance is the page's, which fires all cells if it is asked to.
        asked = {"step_size": size, "fire_rate": 0.5}
        here = rule.clone(**{name: value for name, value in asked.items() if name in known})
        after = here.apply({"params": parameters}, x, key, forcing)
        return after if "step_size" in known else x + size * (after - x)

    return step


def _pde(config, statistics, parameters, solver):
    rule = rules.pde(config.model, statistics)

    def step(x: Array, size: Array, key: Array, forcing: Forcing) -> Array:
        del key  # a PDE draws nothing

        def slope(x: Array, elapsed: Array) -> Array:
            return rule.apply({"params": parameters}, x, forcing.later(elapsed))

        return explicit.step(solver, slope, x, size)

    return step


def scales(config: ConfigDict) -> tuple[int, ...]:
    """Cells an axis of the blocks by which the rule sees; a lattice must be made of whole ones."""
    if config.model.name == "nca" and config.model.nca.perception == "multi_scale":
        return tuple(config.model.nca.multi_scale.scales)
    return (1,)


def _traced_on(config: ConfigDict, grid: Grid) -> Grid:
    factor = math.lcm(*scales(config))
    marked = lambda wall: _Wall(wall.kind, wall.value, wall.times)
    walls = [Walls(marked(along.lower), marked(along.upper)) for along in grid.boundary]
    shape = tuple(factor * cells for cells in _TRACED)
    return dataclasses.replace(grid, shape=shape, boundary=tuple(walls))
