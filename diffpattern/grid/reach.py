"""How far a program sees: from how far away a cell's neighbours reach into what becomes of it.

Every border is marked as it is made, and the marks along each way through a program add up. What
goes on beside one another counts once, what follows one another adds up.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

_MARK = "border of "


def bordered_by(x: Array, width: int) -> Array:
    """`x`, marked as having a border of so many cells."""
    return checkpoint_name(x, f"{_MARK}{width}") if width else x


def reach(function: Callable, *arguments: Any) -> int:
    """How many cells away what a function sees may lie.

    Args:
      function: of lattices, which are bordered by `padding.pad`.
      arguments: arrays, or their shapes.
    """
    program = jax.make_jaxpr(function)(*arguments).jaxpr
    return max(_of_program(program, [0] * len(program.invars)), default=0)


def _of_program(program: Jaxpr, given: list[int]) -> list[int]:
    """The reach of each result, given that of each argument."""
    known = dict(zip(program.invars, given, strict=True))
    of = lambda variable: 0 if isinstance(variable, Literal) else known.get(variable, 0)
    for step in program.eqns:
        before = [of(variable) for variable in step.invars]
        farthest = max(before, default=0)
        name = step.params.get("name", "")
        if step.primitive.name == "name" and name.startswith(_MARK):
            farthest += int(name.removeprefix(_MARK))
        for part in _programs(step.params):
            # The last arguments are the part's own; before them may be the number of a choice.
            arguments = ([farthest] * len(part.invars) + before)[-len(part.invars) :]
            added = max(_of_program(part, arguments), default=farthest) - farthest
            farthest += added * (step.params["length"] if step.primitive.name == "scan" else 1)
        known |= dict.fromkeys(step.outvars, farthest)
    return [of(variable) for variable in program.outvars]


def _programs(parameters: dict[str, Any]) -> list[Jaxpr]:
    """The programs within a step: a call's function, a loop's body, the branches of a choice."""
    found = []
    for value in parameters.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, ClosedJaxpr):
                found.append(part.jaxpr)
            elif isinstance(part, Jaxpr):
                found.append(part)
    return found
