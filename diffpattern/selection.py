"""Which terms of a polynomial reaction the data need: sequential thresholding with refits.

A library of monomials can nearly always stand in for one of its own members, and a fit to noisy
data makes use of that: all coefficients come out wrong together. So those that are not told apart
from zero are fixed there, the others are fitted again, and this is repeated until nothing changes.

Within one selection the fit is linear: the triangular factors of the Jacobian know how the
coefficients that are left make up for the one that leaves, and how sure they are then. Between two
selections training goes on, through the solver.

Source: the idea of S. L. Brunton, J. L. Proctor and J. N. Kutz, PNAS 113, 3932 (2016), with the
significance of a coefficient in place of its size alone (backward elimination).
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffpattern import findings
from diffpattern.data import streams
from diffpattern.data.stored import StoredTrajectories
from diffpattern.data.trajectories import Trajectories
from diffpattern.parallel.mesh import put
from diffpattern.precision import real
from diffpattern.problem import Parameters, Problem
from diffpattern.training.step import TrainState

# A refit that makes the cost so many times what the linear fit promises is none.
_MOST_ABOVE_PROMISE = 2.0


@dataclasses.dataclass(frozen=True)
class Selection:
    """Leaves terms out while a rule is trained.

    Attributes:
      steps: of training between two selections.
      triangles: parameters -> the triangular factors of [J r] of some windows, [W, P + 1, P + 1].
      candidates: which parameters may be left out, [P].
      lower: smallest values of the parameters, [P].
      significance: standard errors that a coefficient must be away from zero.
      smallest: change of the predictions that a term must make by itself, as a share of what the
        term with the greatest makes.
      mesh: where the state lies.
    """

    steps: int
    triangles: Callable[[Parameters], np.ndarray]
    candidates: np.ndarray
    lower: np.ndarray
    significance: float
    smallest: float
    mesh: Mesh

    def after(self, step: int, state: TrainState) -> TrainState:
        """The state to go on with after a train step: with fewer terms, if it is time to select."""
        if step % self.steps:
            return state
        flat, unravel = ravel_pytree(jax.device_get(state.parameters))
        support = np.asarray(state.optimiser.support)
        restore = lambda flat: unravel(jnp.asarray(flat, real()))
        new, kept, promised = thresholded(
            self.triangles(state.parameters),
            np.asarray(flat, np.float64),
            support,
            self.candidates,
            self.significance,
            self.smallest,
        )
        parameters = put(restore(np.maximum(new, self.lower)), self.mesh)
        cost = np.sum(self.triangles(parameters)[:, :, -1].astype(np.float64) ** 2)
        if not cost < _MOST_ABOVE_PROMISE * promised:
            logging.info("Selection at step %d: no term can be left out yet.", step)
            return state
        logging.info(
            "Selection at step %d: %d of %d parameters are left, %d before.",
            step, kept.sum(), len(kept), support.sum(),
        )  # fmt: skip
        optimiser = dataclasses.replace(state.optimiser, support=put(jnp.asarray(kept), self.mesh))
        return dataclasses.replace(state, parameters=parameters, optimiser=optimiser)


def build(
    config: ConfigDict,
    sought: Problem,
    train: Sequence[Trajectories | StoredTrajectories],
    mesh: Mesh,
    together: bool,
) -> Selection | None:
    """The selection that a config asks for; None if it asks for none.

    Args:
      config: of the run.
      sought: the rule.
      train: the data, for one size of lattices after the other.
      mesh: where the state lies.
      together: see `training.step.over_windows`.
    """
    fields = config.optimiser.levenberg_marquardt.selection
    if not fields.steps:
        return None
    sampling = streams.Sampling(
        seed=config.seed,
        count=fields.windows,
        window=config.training.window,
        sampling=config.training.sampling,
    )
    batches = [streams.batches(one, sampling).draw(0)["window"] for one in train]
    times = sought.statistics.interval * np.arange(config.training.window + 1)
    parameters = sought.initialise(config.seed)
    return Selection(
        fields.steps,
        findings.triangles(sought, batches, times, mesh, together),
        findings.of_polynomials(sought, parameters),
        np.asarray(ravel_pytree(sought.lower_bounds(parameters))[0]),
        fields.significance,
        fields.smallest,
        mesh,
    )


def thresholded(
    factors: np.ndarray,
    flat: np.ndarray,
    support: np.ndarray,
    candidates: np.ndarray,
    significance: float,
    smallest: float,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Leaves out one candidate after the other, each time the one least told apart from zero.

    Args:
      factors: the triangular factors of [J r] of W windows, [W, P + 1, P + 1].
      flat: the parameters at which they were taken, [P].
      support: which parameters were left before, [P].
      candidates, significance, smallest: see `Selection`.

    Returns:
      The parameters, fitted to the windows as far as the fit is linear; the support; and the sum of
      squared residuals that the linear fit promises.
    """
    factors = np.asarray(factors, np.float64)
    factors = factors[np.isfinite(factors).all((1, 2))]
    support = support.copy()
    while True:
        fitted, residuals = _refit(factors, flat, support)
        jacobians = np.where(support, factors[:, :, :-1], 0.0)
        seen = np.concatenate([jacobians, residuals[..., None]], axis=-1)
        errors = findings.from_triangles(seen)
        certainty = np.abs(fitted) / np.maximum(errors, np.finfo(float).tiny)
        sizes = np.abs(fitted) * np.linalg.norm(jacobians, axis=(0, 1))
        in_question = np.flatnonzero(support & candidates)
        if not len(in_question):
            break
        enough = smallest * sizes[in_question].max()
        doubtful = [
            place
            for place in in_question
            if certainty[place] < significance or sizes[place] < enough
        ]
        if not doubtful:
            break
        # Among those of which nothing at all is known, the one that does least.
        support[min(doubtful, key=lambda place: (certainty[place], sizes[place]))] = False
    return fitted, support, float(np.sum(residuals**2))


def _refit(
    factors: np.ndarray, flat: np.ndarray, support: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best parameters with some at zero, in the linear model, and the residuals [W, P + 1]."""
    jacobians, residuals = factors[:, :, :-1], factors[:, :, -1]
    fitted = np.where(support, flat, 0.0)
    residuals = residuals + jacobians @ (fitted - flat)
    columns = jacobians[:, :, support].reshape(-1, support.sum())
    norms = np.linalg.norm(columns, axis=0)
    norms[norms == 0] = 1.0
    smallest = findings.SMALLEST_SINGULAR_VALUE
    moved, *_ = np.linalg.lstsq(columns / norms, -residuals.reshape(-1), rcond=smallest)
    fitted[support] += moved / norms
    return fitted, residuals + jacobians[:, :, support] @ (moved / norms)
