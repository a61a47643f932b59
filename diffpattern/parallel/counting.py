"""What a compiled program does on each device: operations, and what devices say to one another.

Read off the program's text, where arrays have the shapes of one device's share. XLA's own analysis
counts the body of a loop once; here it counts as often as the loop turns, where that is known
before it runs, as for every scan.
"""

import dataclasses
import math
import re
from collections.abc import Sequence

# XLA's names of what takes one operation for each number of its result.
_ELEMENTWISE = frozenset({
    "abs", "add", "and", "atan2", "cbrt", "ceil", "clamp", "compare", "cosine", "divide", "erf",
    "exponential", "exponential-minus-one", "floor", "is-finite", "log", "log-plus-one", "logistic",
    "maximum", "minimum", "multiply", "negate", "not", "or", "popcnt", "power", "remainder",
    "round-nearest-afz", "round-nearest-even", "rsqrt", "select", "shift-left",
    "shift-right-arithmetic", "shift-right-logical", "sign", "sine", "sqrt", "subtract", "tan",
    "tanh", "xor",
})  # fmt: skip

# In the text of a program: the head of a part of it; a step's name, result, kind and operands; the
# parts that a step runs; how often a loop turns; which axes of the first operand are summed over.
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_STEP = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.+?) ([a-z][\w\-]*)\(([^)]*)")
_CALLED = re.compile(r"(?:body|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_SUMMED_OVER = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Work:
    """What one device does.

    Attributes:
      operations: on numbers, a product and a sum being two.
      traffic: bytes that sums of products read and write; what lies between them can stay in
        registers, so that a device moves so many at least.
      sent: bytes that go to neighbours.
      messages: in how many pieces.
      summed: bytes that go into sums over devices, or are gathered from them.
      sums: how many sums and gatherings there are.
    """

    operations: float = 0.0
    traffic: float = 0.0
    sent: float = 0.0
    messages: float = 0.0
    summed: float = 0.0
    sums: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Work(*(one + another for one, another in pairs))

    def __rmul__(self, times: int) -> "Work":
        return Work(*(times * number for number in dataclasses.astuple(self)))


@dataclasses.dataclass(frozen=True)
class _Step:
    """A line of a program."""

    result: str
    kind: str
    operands: tuple[str, ...]
    line: str


def of_compiled(text: str) -> Work:
    """What each device does when a compiled program runs once.

    Args:
      text: of the program, from `jax.stages.Compiled.as_text`.
    """
    parts: dict[str, dict[str, _Step]] = {}
    entry = name = ""
    for line in text.splitlines():
        if head := _HEAD.match(line):
            name = head[2]
            parts[name], entry = {}, name if head[1] else entry
        elif step := _STEP.match(line):
            operands = tuple(re.findall(r"%([\w.\-]+)", step[4]))
            parts[name][step[1]] = _Step(step[2], step[3], operands, line)
    return _of_part(entry, parts, {})


def _of_part(name: str, parts: dict[str, dict[str, _Step]], known: dict[str, Work]) -> Work:
    """What one part of a program does, and those that it runs."""
    if name not in known:
        steps = parts[name]
        known[name] = sum((_of_step(step, steps, parts, known) for step in steps.values()), Work())
    return known[name]


def _of_step(
    step: _Step,
    beside: dict[str, _Step],
    parts: dict[str, dict[str, _Step]],
    known: dict[str, Work],
) -> Work:
    kind, size = step.kind, _bytes(step.result)
    if kind.endswith("-done"):
        return Work()
    # What is only begun here says where it reads from as well.
    exchanged = size / 2 if kind.endswith("-start") else size
    if kind.startswith("collective-permute"):
        return Work(sent=exchanged, messages=1)
    if kind.startswith(("all-", "reduce-scatter")):
        return Work(summed=exchanged, sums=1)
    count = _numbers(step.result)
    operands = [beside[name].result for name in step.operands if name in beside]
    if kind == "dot":
        axes = _SUMMED_OVER.search(step.line)[1]
        summed = math.prod(_shape(operands[0])[int(axis)] for axis in axes.split(",") if axis)
        return Work(2 * count * summed, size + sum(map(_bytes, operands)))
    if kind in ("reduce", "reduce-window"):
        # What is reduced, and what each reduction begins with.
        return Work(operations=sum(map(_numbers, operands[: len(operands) // 2])))
    if kind in _ELEMENTWISE:
        return Work(operations=count)
    called = _CALLED.findall(step.line)
    for branches in _BRANCHES.findall(step.line):
        called += [branch.strip(" %") for branch in branches.split(",")]
    if kind in ("sort", "scatter", "select-and-scatter", "map", "custom-call"):
        return Work()
    inside = [_of_part(part, parts, known) for part in called]
    if kind == "conditional":
        # Devices wait for the one that does most.
        inside = [max(inside, key=lambda work: work.operations + work.sent)]
    turns = _TURNS.search(step.line) if kind == "while" else None
    return (int(turns[1]) if turns else 1) * sum(inside, Work())


def _shape(result: str) -> tuple[int, ...]:
    """Of the first array in the description of a result."""
    return tuple(_sizes(_ARRAY.search(result)[3]))


def _numbers(result: str) -> int:
    """How many numbers the arrays in the description of a result have."""
    return sum(math.prod(_sizes(shape)) for _, _, shape in _ARRAY.findall(result))


def _bytes(result: str) -> float:
    """How many bytes they take."""
    return sum(
        int(bits or 8) / 8 * math.prod(_sizes(shape)) for _, bits, shape in _ARRAY.findall(result)
    )


def _sizes(shape: str) -> Sequence[int]:
    return [int(size) for size in shape.split(",") if size]
