"""Optax chains from a few names and numbers."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from diffpattern import named_numbers
from diffpattern.errors import InputError
from diffpattern.training import groups
from diffpattern.training.pruning import Pruning, prune
from diffpattern.training.quasi_newton import lbfgs
from diffpattern.training.schedules import Schedule

PyTree = Any

# Optax's update rules that need nothing but gradients and follow a schedule. `rprop` and `sm3` take
# no schedule, `noisy_sgd` needs a key, `polyak_sgd` the least loss that there can be.
RULES = (
    "adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adan",
    "amsgrad", "fromage", "lamb", "lars", "lion", "nadam", "nadamw", "novograd",
    "optimistic_adam_v2", "optimistic_gradient_descent", "radam", "rmsprop", "sgd", "sign_sgd",
    "signum", "yogi",
)  # fmt: skip
LBFGS = "lbfgs"
NAMES = (*RULES, LBFGS)
# Rules that have a decay of weights.
WITH_WEIGHT_DECAY = tuple(
    name for name in RULES if "weight_decay" in inspect.signature(getattr(optax, name)).parameters
)


@dataclasses.dataclass(frozen=True)
class Chain:
    """An Optax optimiser with everything around it.

    Attributes:
      name: of the update rule, one of `NAMES`.
      schedule: of the learning rate, which L-BFGS has none of.
      rates: entries such as "network=2": factors on the updates of groups of parameters (see
        `groups`), and so on their learning rates.
      frozen: groups of parameters that are not trained.
      weight_decay: of rules that have one.
      clip_norm: largest global norm of a gradient; 0 does not clip.
      normalise_blocks: divide the gradient of each array of parameters by its own norm.
      skip_nonfinite: how many steps in a row with a non-finite gradient are passed over.
      average_decay: of the average of the parameters, see `averaging`; 0 keeps none.
      pruning: of kernels.
      lbfgs: what L-BFGS takes, see `quasi_newton.lbfgs`.
    """

    name: str
    schedule: Schedule
    rates: tuple[str, ...]
    frozen: tuple[str, ...]
    weight_decay: float
    clip_norm: float
    normalise_blocks: bool
    skip_nonfinite: int
    average_decay: float
    pruning: Pruning
    lbfgs: Mapping[str, int]

    @classmethod
    def of(cls, name: str, fields: Mapping[str, Any]) -> "Chain":
        """The chain that the fields of the config's section `optimiser.optax` ask for."""
        fields = dict(fields)
        named = {"name": fields.pop("schedule")}
        for field in dataclasses.fields(Schedule):
            if field.name != "name":
                named[field.name] = fields.pop(field.name)
        pruning = Pruning(**fields.pop("pruning"))
        return cls(name, Schedule(**named), pruning=pruning, **fields)

    def build(self, parameters: PyTree) -> optax.GradientTransformationExtraArgs:
        """The transformation, guarded so that a non-finite gradient changes nothing.

        Args:
          parameters: arrays, or their shapes.

        Raises:
          InputError: no update rule has this name, the schedule cannot be, or a group of parameters
            does not exist.
        """
        if self.name not in NAMES:
            raise InputError(
                f"optimiser.name is {self.name!r}; take levenberg_marquardt or one of "
                f"{', '.join(NAMES)}."
            )
        frozen = self.are_frozen(parameters)
        parts = [optax.masked(optax.set_to_zero(), frozen)] if self.frozen else []
        if self.name == LBFGS:
            chain = optax.chain(lbfgs(**self.lbfgs), *parts)
        else:
            chain = optax.chain(*self._by_gradients(parameters), *parts)
        # Optax applies a non-finite update once there were more in a row than it was told; the
        # trainer stops before, so this number only has to be out of its reach.
        guarded = optax.apply_if_finite(chain, self.skip_nonfinite + 2)
        if not self.pruning.sparsity:
            return guarded
        return prune(guarded, self.pruning, self.pruning.kernels(parameters, frozen))

    def _by_gradients(self, parameters: PyTree) -> list[optax.GradientTransformation]:
        """A rule, with what is done to gradients before it and to updates after it."""
        parts = []
        if self.normalise_blocks:
            parts.append(normalise_by_block())
        if self.clip_norm:
            parts.append(optax.clip_by_global_norm(self.clip_norm))
        options = {}
        if self.name in WITH_WEIGHT_DECAY:
            options["weight_decay"] = self.weight_decay
        parts.append(getattr(optax, self.name)(self.schedule.build(), **options))
        if self.rates:
            field = "optimiser.optax.rates"
            named = named_numbers.read_factors(self.rates, field=field, example="diffusion=0.1")
            scale = groups.spread_out(named, 1.0, parameters, field=field)
            parts.append(
                optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, scale))
            )
        return parts

    def are_frozen(self, parameters: PyTree) -> PyTree:
        """Whether each array of parameters is frozen.

        Raises:
          InputError: a group does not exist, or nothing is left to train.
        """
        field = "optimiser.optax.frozen"
        frozen = groups.spread_out(dict.fromkeys(self.frozen, True), False, parameters, field=field)
        if all(jax.tree.leaves(frozen)):
            raise InputError(f"{field} is {self.frozen!r}, which leaves nothing to train.")
        return frozen

    def scheduled(self, step: int) -> dict[str, float]:
        """The learning rate of the update that led to `step`, if none before was passed over, and
        the share of each kernel that is pruned, as far as there are such."""
        numbers = {}
        if self.name != LBFGS:
            numbers["learning_rate"] = float(self.schedule.build()(step - 1))
        if self.pruning.sparsity:
            numbers["sparsity"] = float(self.pruning.share(step))
        return numbers


def normalise_by_block() -> optax.GradientTransformation:
    """Divides the gradient of each array of parameters by its own norm."""

    def normalise(gradient):
        return gradient / (jnp.linalg.norm(gradient.reshape(-1)) + 1e-12)

    return optax.stateless(lambda updates, _: jax.tree.map(normalise, updates))


def held(parameters: PyTree, frozen: PyTree) -> PyTree:
    """The same parameters; a loss of them has no gradient by those that are frozen."""
    hold = lambda still, x: jax.lax.stop_gradient(x) if still else x
    return jax.tree.map(hold, frozen, parameters)


def nonfinite_in_a_row(optimiser_state: Any) -> jax.Array:
    """How many steps up to now had a non-finite gradient, counted from the last good one."""
    return optax.tree.get(optimiser_state, "notfinite_count")
