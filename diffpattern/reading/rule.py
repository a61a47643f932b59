"""All that a report shows of a rule beside its equation.

Whatever cannot be read of a rule is left out with a sentence on why, and nothing here ends a run.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from diffpattern import systems
from diffpattern.data.trajectories import Trajectories
from diffpattern.problem import Problem
from diffpattern.reading import dynamics, flows, weights
from diffpattern.report.rule.chapter import RuleReading
from diffpattern.systems import System

Parameters = Any
_Read = TypeVar("_Read")


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
    species, missing = sought.statistics.species, []
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(parameters)):
        return RuleReading(species, missing=("The rule's parameters are not finite numbers.",))

    def attempt(what: str, read: Callable[[], _Read], nothing: _Read) -> _Read:
        try:
            return read()
        except Exception as error:  # the report of a long run is worth more than one chart of it
            logging.exception("%s could not be read off the rule", what)
            missing.append(f"{what} could not be read off the rule: {str(error).rstrip('.')}.")
            return nothing

    system = _system(config)
    layers = attempt("Weights", lambda: weights.layers(sought, parameters), ())
    first = attempt("What networks see", lambda: weights.first_layers(sought, parameters), ())
    velocities = attempt(
        "Velocities", lambda: flows.velocity_fields(sought, parameters, truths[0]), ()
    )

    def where_alike():
        if reason := dynamics.why_not_alike(sought):
            return None, (), [f"Reaction and growth of waves are not told: {reason}."]
        return dynamics.reaction_and_waves(config, sought, parameters, truths, system)

    reaction, waves, more = attempt("Reaction and growth of waves", where_alike, (None, (), []))
    missing += more
    return RuleReading(
        species,
        layers,
        first,
        "" if system is None else system.name,
        {} if system is None else _true_diffusion(system),
        reaction,
        waves,
        velocities,
        missing,
    )


def _system(config: ConfigDict) -> System | None:
    """The one system that made the data, if there is one."""
    if not systems.is_system(config.data.name) or config.data.doses:
        return None
    return systems.of_config(config.data)


def _true_diffusion(system: System) -> dict[str, float]:
    rows = zip(system.species, system.linear_coefficients, strict=True)
    return {name: row[1] for name, row in rows if len(row) > 1 and row[1] > 0}
