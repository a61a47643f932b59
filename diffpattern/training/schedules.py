"""The learning rate by train step: schedules by name, each after a linear rise."""

import dataclasses

import optax

from diffpattern import named_numbers
from diffpattern.errors import InputError

NAMES = ("constant", "cosine", "exponential", "linear", "piecewise")
# Those that fall until `decay_steps`.
DECAYING = ("cosine", "exponential", "linear")


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A learning rate that rises linearly from zero, and then goes on as its name says.

    With the top a, the fraction f and the share s of the decay that is over,

        constant     a
        cosine       a (f + (1 - f) (1 + cos(pi s)) / 2)
        exponential  a f^s
        linear       a (1 - s + f s)
        piecewise    a times the factors of all steps that are reached

    Attributes:
      name: one of `NAMES`.
      learning_rate: at the top.
      warmup_steps: length of the rise; 0 begins at the top.
      decay_steps: step at which a decay is over, the rise included; the rate stays from there.
      final_fraction: of the top, at the end of a decay.
      piecewise: entries such as "1000=0.3": from step 1000 on, 0.3 times the rate before.
    """

    name: str
    learning_rate: float
    warmup_steps: int
    decay_steps: int
    final_fraction: float
    piecewise: tuple[str, ...]

    def build(self) -> optax.Schedule:
        """The learning rate as a function of how many steps were made.

        Raises:
          InputError: a decay is not longer than its rise or has no end, or the pieces of a
            piecewise schedule are none, or not of its form.
        """
        after = self._after_the_rise()
        if not self.warmup_steps:
            return after
        rise = optax.linear_schedule(0.0, self.learning_rate, self.warmup_steps)
        return optax.join_schedules([rise, after], [self.warmup_steps])

    def _after_the_rise(self) -> optax.Schedule:
        top, last = self.learning_rate, self.final_fraction
        if self.name == "constant":
            return optax.constant_schedule(top)
        if self.name == "piecewise":
            return optax.piecewise_constant_schedule(top, self._pieces())
        length = self.decay_steps - self.warmup_steps
        if length <= 0:
            raise InputError(
                f"optimiser.optax.decay_steps is {self.decay_steps}, which must be more than the "
                f"warmup_steps ({self.warmup_steps}) that it includes; optimiser.optax.schedule="
                "'constant' does not decay at all."
            )
        if self.name == "cosine":
            return optax.cosine_decay_schedule(top, length, last)
        if self.name == "linear":
            return optax.linear_schedule(top, last * top, length)
        if not last:
            raise InputError(
                "optimiser.optax.final_fraction is 0, which an exponential schedule never reaches; "
                "give it a positive one, or take another optimiser.optax.schedule."
            )
        return optax.exponential_decay(top, length, last, end_value=last * top)

    def _pieces(self) -> dict[int, float]:
        """The factors by their step, counted from the end of the rise."""
        field = "optimiser.optax.piecewise"
        if not self.piecewise:
            raise InputError(
                f"{field} is empty, but optimiser.optax.schedule is 'piecewise'; give it steps and "
                "factors, such as '1000=0.3'."
            )
        pieces = {}
        factors = named_numbers.read_factors(self.piecewise, field=field, example="1000=0.3")
        for step, factor in factors.items():
            if not step.isdecimal() or int(step) <= self.warmup_steps:
                raise InputError(
                    f"{field} has a factor for step {step!r}; it must be a whole number above the "
                    f"warmup_steps ({self.warmup_steps})."
                )
            pieces[int(step) - self.warmup_steps] = factor
        return pieces
