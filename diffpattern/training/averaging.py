"""The average of the parameters over the last train steps, in place of which they are scored.

With the decay d, the parameters p_t after step t are averaged as

    a_t = d a_(t-1) + (1 - d) p_t,    a_0 = 0

and this is divided by the sum of the weights that it has, 1 - d^t. The quotient is what is kept
here, since it obeys a recursion of its own:

    m_t = m_(t-1) + r_t (p_t - m_(t-1)),    r_t = (1 - d) / (1 - d^t)

Source: Polyak and Juditsky, SIAM J. Control and Optimization 30, 838 (1992); the correction is of
Kingma and Ba (2015).
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from diffpattern.training.pruning import Pruned, zeroed
from diffpattern.training.step import Batch, Metrics, Parameters, Step, TrainState


class Averaged(NamedTuple):
    """The optimiser's part of a train state, where parameters are averaged.

    Attributes:
      average: m_t, like the parameters.
      count: t, how many steps it is over.
      inner_state: of the optimiser.
    """

    average: Parameters
    count: Array
    inner_state: Any


def start(parameters: Parameters, inner_state: Any) -> Averaged:
    """Before the first step, whose parameters will be the whole of the average."""
    return Averaged(parameters, jnp.int32(0), inner_state)


def averaged(step: Step, decay: float) -> Step:
    """A train step, any kind of it, that averages the parameters that it leads to.

    Weights that are pruned are zero in the average too.

    Args:
      step: of a state whose optimiser's part is `inner_state`.
      decay: d, above 0 and below 1: the average is over about the last 1 / (1 - d) steps.
    """

    def averaging(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        average, count, inner_state = state.optimiser
        state, metrics = step(state.replace(optimiser=inner_state), batch)
        count = count + 1
        rate = jnp.minimum((1 - decay) / -jnp.expm1(count * math.log(decay)), 1.0)
        average = jax.tree.map(lambda m, p: m + rate * (p - m), average, state.parameters)
        if isinstance(state.optimiser, Pruned):
            average = zeroed(average, state.optimiser.kept)
        return state.replace(optimiser=Averaged(average, count, state.optimiser)), metrics

    return averaging


def exchanged(state: TrainState) -> TrainState:
    """The state with the average in the place of the parameters, and these in the average's.

    A checkpoint keeps it like this, for what it holds as parameters is what will be scored. Done
    twice it changes nothing; nor where nothing is averaged.
    """
    if not isinstance(state.optimiser, Averaged):
        return state
    optimiser = state.optimiser._replace(average=state.parameters)
    return state.replace(parameters=state.optimiser.average, optimiser=optimiser)


def evaluated_parameters(state: TrainState) -> Parameters:
    """What is validated, kept for evaluation and scored: the average, where there is one."""
    return exchanged(state).parameters
