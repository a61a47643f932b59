"""What the validation data say of some parameters: a score, and what lies behind it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffpattern import scores
from diffpattern.data.trajectories import Trajectories
from diffpattern.prediction import make_predictor, make_revealing_predictor
from diffpattern.problem import Problem


@dataclasses.dataclass(frozen=True)
class Validation:
    """Predictions of the validation data, and what they are worth.

    Attributes:
      errors: the NRMSE of all trajectories, [N, T, C].
      truth: the trajectories on lattices of the first size, which come first in `errors`.
      prediction: of these, [M, T, *space, C].
      revealed: the indices of R times.
      hidden: the first trajectory's hidden channels at these, [R, *space, H]; None: there are none.
    """

    errors: np.ndarray
    truth: Trajectories
    prediction: np.ndarray
    revealed: Sequence[int]
    hidden: np.ndarray | None

    @property
    def score(self) -> float:
        """The NRMSE averaged over times and species, of the median trajectory; lower is better."""
        return scores.overall(self.errors)


def make_validation(
    config: ConfigDict,
    sought: Problem,
    lattices: Sequence[Trajectories],
    revealed: Sequence[int],
    mesh: Mesh,
    together: bool,
) -> Callable[[Any], Validation]:
    """A function from parameters to what the validation data say of them.

    Args:
      config: of the run.
      sought: the rule.
      lattices: the validation data, for one size of lattices after the other.
      revealed: the indices of times at which hidden channels are kept.
      mesh: over which trajectories are spread.
      together: see `training.step.over_windows`.
    """
    first, *further = lattices
    options = {"key": jax.random.key(config.seed), "together": together}
    predict_first = make_revealing_predictor(sought, first, mesh, revealed, **options)
    predict_further = [make_predictor(sought, truth, mesh, **options) for truth in further]
    floor = config.evaluation.floor * np.asarray(sought.statistics.fluctuation)

    def validate(parameters) -> Validation:
        prediction, hidden = predict_first(parameters)
        predictions = [prediction, *(predict(parameters) for predict in predict_further)]
        errors = scores.errors_of_all(predictions, lattices, floor)
        return Validation(errors, first, prediction, revealed, hidden)

    return validate
