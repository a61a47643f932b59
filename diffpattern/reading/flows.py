"""Where the terms of a rule carry the species."""

from typing import Any

import numpy as np

from diffpattern.data.trajectories import Trajectories
from diffpattern.problem import Problem
from diffpattern.report.rule.velocity import VelocityField

Parameters = Any

# Of so many species velocities are told.
MOST_FLOWS = 4
# A species that is carried by less than this share of a cell in all the data's time is not carried.
_CARRIED = 1e-3


def velocity_fields(
    sought: Problem, parameters: Parameters, truth: Trajectories
) -> list[VelocityField]:
    """Where the terms of a PDE carry the species of the first trajectory in the end."""
    here = sought.of_size(truth.grid.shape)
    duration = float(truth.times[-1] - truth.times[0])
    slowest = _CARRIED * min(truth.grid.spacing) / duration
    flows = []
    for name, term in getattr(here.rule, "terms", {}).items():
        if not hasattr(term, "velocity"):
            continue
        x = np.moveaxis(truth.values[0, -1], -1, 0)
        forcing = truth.forcing(0).later(duration)
        forcing = here.acting(parameters, forcing)
        velocity = term.apply({"params": parameters[name]}, x, forcing, method="velocity")
        for species, state, carried in zip(truth.species, x, np.asarray(velocity), strict=True):
            if np.abs(carried).max() > slowest:
                spacing = truth.grid.spacing
                if state.ndim == 3:  # a slice through the middle
                    middle = len(state) // 2
                    state, carried, spacing = state[middle], carried[1:, middle], spacing[1:]
                time = float(truth.times[-1])
                flows.append(VelocityField(name, species, state, carried, spacing, time))
    return flows[:MOST_FLOWS]
