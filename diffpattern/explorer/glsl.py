"""Numbers and operations as GLSL writes them: four at a time, by their places in variables."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffpattern.errors import InputError
from diffpattern.explorer.graph import Pointwise

# What a function counts for, in additions and multiplications; others count as one.
OPERATIONS = {"exp": 4, "exp2": 4, "log": 4, "sqrt": 4, "rsqrt": 4, "div": 4, "pow": 8}
OPERATIONS |= {"sin": 4, "cos": 4, "tan": 8, "atan2": 8, "tanh": 10, "logistic": 9}
OPERATIONS |= {"log1p": 8, "expm1": 8}

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "and": "*"}
_SAME = "abs ceil cos exp exp2 expm1 floor log log1p logistic max min pow sign sin sqrt tan"
_CALLS = {name: name for name in _SAME.split()}
_CALLS |= {"rsqrt": "inversesqrt", "or": "max", "atan2": "atan", "tanh": "tanhOf"}
_CALLS |= {"is_finite": "isFinite", "select_n": "chosen"}
_CALLS |= {"lt": "isBelow", "gt": "isAbove", "le": "isAtMost", "ge": "isAtLeast"}
_CALLS |= {"eq": "isEqual", "ne": "isNotEqual"}


@dataclass(frozen=True)
class Number:
    """A number in a shader: a component of a variable, or a whole one of a single component."""

    name: str
    place: int = 0
    size: int = 1

    def __str__(self) -> str:
        return self.name if self.size == 1 else f"{self.name}.{'xyzw'[self.place]}"


def packed(numbers: Sequence[Number]) -> str:
    """Several numbers as a vector."""
    if len(numbers) == 1:
        return str(numbers[0])
    if len(set(numbers)) == 1:
        return f"vec{len(numbers)}({numbers[0]})"
    runs: list[list[Number]] = []
    for number in numbers:
        if runs and number.size > 1 and runs[-1][0].name == number.name:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = []
    for run in runs:
        swizzle = "".join("xyzw"[number.place] for number in run) if run[0].size > 1 else ""
        whole = swizzle == "xyzw"[: run[0].size]
        parts.append(run[0].name if whole or not swizzle else f"{run[0].name}.{swizzle}")
    return parts[0] if len(parts) == 1 else f"vec{len(numbers)}({', '.join(parts)})"


def literal(value: float) -> str:
    """A number as GLSL writes it, to the last bit of single precision."""
    value = np.float32(value)
    if not np.isfinite(value):
        return f"uintBitsToFloat({value.view(np.uint32)}u)"
    text = str(value)
    return text if any(mark in text for mark in ".en") else text + ".0"


def fours(items: Sequence) -> list[Sequence]:
    """Items by fours, the last ones fewer."""
    return [items[start : start + 4] for start in range(0, len(items), 4)]


def function_of(node: Pointwise, packs: list[str]) -> str:
    """What a node makes of its operands."""
    if node.operation == "integer_pow":
        power = abs(node.power)
        product = " * ".join([f"({packs[0]})"] * power) if power else "1.0"
        return product if node.power >= 0 else f"1.0 / ({product})"
    return applied(node.operation, packs)


def applied(operation: str, packs: list[str]) -> str:
    """An operation in GLSL."""
    if operation in _INFIX:
        return f"{packs[0]} {_INFIX[operation]} {packs[1]}"
    if operation == "neg":
        return f"-({packs[0]})"
    if operation == "not":
        return f"1.0 - {packs[0]}"
    if operation == "square":
        return f"{packs[0]} * {packs[0]}"
    if operation == "clamp":
        return f"clamp({packs[1]}, {packs[0]}, {packs[2]})"
    if operation not in _CALLS:
        raise InputError(f"The rule computes {operation}, which the explorer does not know.")
    return f"{_CALLS[operation]}({', '.join(packs)})"
