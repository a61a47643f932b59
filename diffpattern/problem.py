"""What a config asks for, built: the rule, its dynamics, and how it is differentiated.

Here the floors meet: rules know nothing of rollouts, rollouts nothing of configs, and the trainer
and the scores nothing of whether an automaton or a PDE runs.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from diffpattern.data.statistics import Statistics
from diffpattern.errors import InputError
from diffpattern.grid.forcing import UNFORCED, Forcing
from diffpattern.models.advection import NetworkAdvection
from diffpattern.models.diffusion import LinearDiffusion
from diffpattern.models.nca import NeuralCellularAutomaton
from diffpattern.models.perception import Stencils
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.models.reaction import NetworkReaction, PolynomialReaction
from diffpattern.models.term import Term
from diffpattern.models.updates import Network
from diffpattern.rollout import Adaptive, Dynamics, Stepped, rollout, runge_kutta
from diffpattern.training import least_squares

Parameters = Any


@dataclasses.dataclass(frozen=True)
class Problem:
    """A rule that is sought, with all that is done to it.

    Attributes:
      rule: the linen module; it works on lattices species first.
      initialise: seed -> the rule's first parameters.
      dynamics: what a rollout runs.
      with_sensitivities: the same for a state and its sensitivities, where the rule has the
        structure for it.
      channels: of a lattice; the species come first, the rest is hidden and starts at zero.
      statistics: of the data that it is to reproduce.
    """

    rule: nn.Module
    initialise: Callable[[int], Parameters]
    dynamics: Dynamics
    with_sensitivities: Stepped | None
    channels: int
    statistics: Statistics

    def predict(
        self,
        parameters: Parameters,
        start: Array,
        times: np.ndarray,
        key: Array,
        forcing: Forcing = UNFORCED,
    ) -> Array:
        """Snapshots of the species, [T, *space, C], from a lattice of the species [*space, C]."""
        hidden = [(0, 0)] * (start.ndim - 1) + [(0, self.channels - start.shape[-1])]
        states = rollout(self.dynamics, parameters, jnp.pad(start, hidden), times, key, forcing)
        return states[..., : start.shape[-1]]

    def lower_bounds(self, parameters: Parameters) -> Parameters:
        """The smallest value that each parameter may take, like `parameters`."""
        if isinstance(self.rule, ReactionDiffusionAdvection):
            return self.rule.lower_bounds(parameters)
        return jax.tree.map(lambda x: jnp.full_like(x, -jnp.inf), parameters)

    def residuals(self, times: np.ndarray) -> least_squares.Residuals:
        """Prediction minus truth over a window, for least squares."""

        def residuals(parameters, window, key):
            predicted = self.predict(parameters, window.values[0], times, key, window.forcing)
            return (predicted[1:] - window.values[1:]).reshape(-1)

        return residuals

    def linearisation(self, times: np.ndarray) -> least_squares.Linearisation:
        """Residuals and their Jacobian over a window."""
        if self.with_sensitivities is None:
            return least_squares.by_forward_mode(self.residuals(times))
        return least_squares.by_sensitivities(self.with_sensitivities, times)

    @property
    def replication_is_checked(self) -> bool:
        """Whether JAX can check what is equal on all devices: not in Diffrax's adaptive loop."""
        return not isinstance(self.dynamics, Adaptive)


def build(config: ConfigDict, statistics: Statistics) -> Problem:
    """The problem of a checked config (see `configuration.check`) and of its data.

    Raises:
      InputError: a name in it is not known, or a step does not divide the data's interval.
    """
    return _BUILDERS[config.model.name](config.model[config.model.name], statistics)


def whitened_degrees(config: ConfigDict) -> tuple[int, ...]:
    """Up to which degrees the config's rule takes whitened monomials."""
    rda = config.model.rda
    return tuple(sorted({1, rda.network.order}))


def _rda(fields: ConfigDict, statistics: Statistics) -> Problem:
    terms = {name: _TERMS[name](fields, statistics) for name in fields.terms}
    rule = ReactionDiffusionAdvection(**terms)
    lattice = jnp.zeros((len(statistics.species),) + statistics.grid.shape)
    right_hand_side = lambda parameters, x, forcing: rule.apply({"params": parameters}, x, forcing)
    if fields.dt:
        dynamics = runge_kutta(right_hand_side, fields.solver, fields.dt)
        pair = runge_kutta(rule.with_sensitivities, fields.solver, fields.dt)
        dynamics.count(statistics.interval)
    else:
        dynamics = Adaptive(right_hand_side, fields.solver, **fields.adaptive)
        pair = None
    return Problem(
        rule,
        lambda seed: jax.jit(rule.init)(jax.random.key(seed), lattice)["params"],
        dynamics,
        pair,
        len(statistics.species),
        statistics,
    )


def _nca(fields: ConfigDict, statistics: Statistics) -> Problem:
    if fields.channels < len(statistics.species):
        raise InputError(
            f"model.nca.channels is {fields.channels}, but the data have {len(statistics.species)} "
            "species, which come first among the channels."
        )
    rule = NeuralCellularAutomaton(
        statistics.grid,
        Stencils(tuple(fields.kernels)),
        Network((fields.hidden,), fields.activation),
        fire_rate=fields.fire_rate,
    )
    lattice = jnp.zeros((fields.channels,) + statistics.grid.shape)
    key = jax.random.key
    return Problem(
        rule,
        lambda seed: jax.jit(rule.init)(key(seed), lattice, key(seed))["params"],
        Stepped(
            lambda parameters, x, key, forcing: rule.apply({"params": parameters}, x, key, forcing),
            statistics.interval / fields.steps_per_interval,
        ),
        None,
        fields.channels,
        statistics,
    )


def _reaction(fields: ConfigDict, statistics: Statistics) -> Term:
    if fields.reaction == "polynomial":
        return PolynomialReaction(**fields.polynomial)
    return NetworkReaction(whitening=statistics.whitening[fields.network.order], **fields.network)


def _diffusion(fields: ConfigDict, statistics: Statistics) -> Term:
    return LinearDiffusion(statistics.grid, **fields.diffusion)


def _advection(fields: ConfigDict, statistics: Statistics) -> Term:
    return NetworkAdvection(statistics.grid, statistics.whitening[1], **fields.advection)


_BUILDERS = {"rda": _rda, "nca": _nca}
_TERMS = {"reaction": _reaction, "diffusion": _diffusion, "advection": _advection}
