"""Optax chains from a few names and numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from diffpattern.errors import InputError

_RULES = {
    "nadam": optax.nadam,
    "adam": optax.adam,
    "adamw": optax.adamw,
    "lion": optax.lion,
    "rmsprop": optax.rmsprop,
    "sgd": optax.sgd,
}
NAMES = tuple(_RULES)


@dataclasses.dataclass(frozen=True)
class Chain:
    """An Optax optimiser with everything around it.

    Attributes:
      name: of the update rule, one of `NAMES`.
      learning_rate: at the top of the schedule.
      warmup_steps: steps of linear rise from zero.
      decay_steps: length of the whole schedule, warm-up included; a cosine falls to
        `final_fraction` of the top until then, and stays there. 0 keeps the rate constant.
      final_fraction: of the learning rate, at the end of the decay.
      clip_norm: largest global norm of a gradient; 0 does not clip.
      normalise_blocks: divide the gradient of each array of parameters by its own norm.
      skip_nonfinite: how many steps in a row with a non-finite gradient are passed over.
    """

    name: str
    learning_rate: float
    warmup_steps: int
    decay_steps: int
    final_fraction: float
    clip_norm: float
    normalise_blocks: bool
    skip_nonfinite: int

    def schedule(self) -> optax.Schedule:
        """The learning rate by step."""
        if not self.decay_steps:
            return optax.schedules.warmup_constant_schedule(
                0.0 if self.warmup_steps else self.learning_rate,
                self.learning_rate,
                self.warmup_steps,
            )
        return optax.schedules.warmup_cosine_decay_schedule(
            0.0 if self.warmup_steps else self.learning_rate,
            self.learning_rate,
            self.warmup_steps,
            self.decay_steps,
            self.final_fraction * self.learning_rate,
        )

    def build(self) -> optax.GradientTransformation:
        """The transformation, guarded so that a non-finite gradient changes nothing.

        Raises:
          InputError: no update rule has this name, or the schedule is shorter than its warm-up.
        """
        if self.name not in _RULES:
            raise InputError(
                f"optimiser.name is {self.name!r}; take levenberg_marquardt or one of "
                f"{', '.join(NAMES)}."
            )
        if self.decay_steps and self.decay_steps <= self.warmup_steps:
            raise InputError(
                f"optimiser.optax.decay_steps is {self.decay_steps}, which must be more than the "
                f"warmup_steps ({self.warmup_steps}) that it includes, or 0 for no decay."
            )
        parts = []
        if self.normalise_blocks:
            parts.append(normalise_by_block())
        if self.clip_norm:
            parts.append(optax.clip_by_global_norm(self.clip_norm))
        parts.append(_RULES[self.name](self.schedule()))
        # Optax applies a non-finite update once there were more in a row than it was told; the
        # trainer stops before, so this number only has to be out of its reach.
        return optax.apply_if_finite(optax.chain(*parts), self.skip_nonfinite + 2)


def normalise_by_block() -> optax.GradientTransformation:
    """Divides the gradient of each array of parameters by its own norm."""

    def normalise(gradient):
        return gradient / (jnp.linalg.norm(gradient.reshape(-1)) + 1e-12)

    return optax.stateless(lambda updates, _: jax.tree.map(normalise, updates))


def nonfinite_in_a_row(optimiser_state: optax.ApplyIfFiniteState) -> jax.Array:
    """How many steps up to now had a non-finite gradient, counted from the last good one."""
    return optimiser_state.notfinite_count
