"""What a compiled program does on each device: operations, and what devices say to one another.

Read off the program's text, where arrays have the shapes of one device's share. XLA's own analysis
counts the body of a loop once; here it counts as often as the loop turns, where that is known
before it runs, as for every scan.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

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
# How a convolution's axes lie: b the batch, f the features, numbers those in space, of its operand
# and of its result; o and i the kernel's features. What its window is. The lengths of a transform.
_AXES = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
_WINDOW = re.compile(r"window=\{([^}]*)\}")
_LENGTHS = re.compile(r"fft_type=(\w+), fft_length=\{([\d,]+)\}")
_SORTED_ALONG = re.compile(r"dimensions=\{(\d+)\}")
_TARGET = re.compile(r'custom_call_target="([^"]+)"')
# Sums over an axis of the mesh that has one device: every group of those that sum up is of one.
_ALONE = re.compile(r"replica_groups=(?:\{(?:\{\d+\},?)+\}|\[\d+,1\]<=)")


@dataclasses.dataclass(frozen=True)
class Work:
    """What one device does.

    Attributes:
      operations: on numbers, a product and a sum being two.
      traffic: bytes that sums of products and Fourier transforms read and write; what lies between
        them can stay in registers, so that a device moves so many at least.
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


def uncounted(text: str) -> tuple[str, ...]:
    """What a compiled program does that `of_compiled` cannot count, for a person to read.

    Args:
      text: of the program, from `jax.stages.Compiled.as_text`.
    """
    targets = sorted(set(_TARGET.findall(text)))
    names = [f"calls of {name}" for name in targets if not _LAPACK.fullmatch(name)]
    lines = ((_STEP.match(line), line) for line in text.splitlines())
    loops = sum(
        bool(step) and step[3] == "while" and not _TURNS.search(line) for step, line in lines
    )
    if loops:
        names.append(f"all but the first turn of loops that end by what they find ({loops})")
    return tuple(names)


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
        return Work() if _ALONE.search(step.line) else Work(summed=exchanged, sums=1)
    count = _numbers(step.result)
    operands = [beside[name].result for name in step.operands if name in beside]
    if kind == "dot":
        axes = _SUMMED_OVER.search(step.line)[1]
        summed = math.prod(_shape(operands[0])[int(axis)] for axis in axes.split(",") if axis)
        return Work(2 * count * summed, size + sum(map(_bytes, operands)))
    if kind == "reduce":
        # What is reduced, and what each reduction begins with.
        return Work(operations=sum(map(_numbers, operands[: len(operands) // 2])))
    if kind in _COUNTED:
        return _COUNTED[kind](step, operands)
    if kind in _ELEMENTWISE:
        return Work(operations=count)
    called = _CALLED.findall(step.line)
    for branches in _BRANCHES.findall(step.line):
        called += [branch.strip(" %") for branch in branches.split(",")]
    inside = [_of_part(part, parts, known) for part in called]
    if kind == "map":
        return count * sum(inside, Work())
    if kind == "conditional":
        # Devices wait for the one that does most.
        inside = [max(inside, key=lambda work: work.operations + work.sent)]
    turns = _TURNS.search(step.line) if kind == "while" else None
    return (int(turns[1]) if turns else 1) * sum(inside, Work())


def _of_convolution(step: _Step, operands: Sequence[str]) -> Work:
    """Products that fall on the lattice, beside which there is nothing to multiply."""
    at, kernel_at, to = _AXES.search(step.line).groups()
    lattice, kernel, result = map(_shape, (*operands[:2], step.result))
    places, products = 1, kernel[kernel_at.index("i")]
    for axis in sorted(filter(str.isdigit, at)):
        size, found = lattice[at.index(axis)], result[to.index(axis)]
        window = {name: sizes[int(axis)] for name, sizes in _window(step.line).items()}
        low = int(window.get("pad", "0_0").split("_")[0])
        first = int(window.get("stride", 1)) * np.arange(found)
        further = int(window.get("rhs_dilate", 1)) * np.arange(kernel[kernel_at.index(axis)])
        seen, apart = first[:, None] + further - low, int(window.get("lhs_dilate", 1))
        products *= int(np.sum((seen >= 0) & (seen % apart == 0) & (seen < size * apart)))
        places *= found
    return Work(
        2 * products * _numbers(step.result) / places,
        _bytes(step.result) + sum(map(_bytes, operands)),
    )


def _of_transform(step: _Step, operands: Sequence[str]) -> Work:
    """5 N log2 N for N complex numbers, half of it for real ones, as is customary for the FFT."""
    kind, lengths = _LENGTHS.search(step.line).groups()
    # Half of the modes of real numbers stand for all, so the real side has them all.
    numbers = max(_numbers(step.result), _numbers(operands[0]))
    each = 5 * math.log2(math.prod(_sizes(lengths))) / (2 if "R" in kind else 1)
    return Work(numbers * each, _bytes(step.result) + _bytes(operands[0]))


def _of_sort(step: _Step, operands: Sequence[str]) -> Work:
    """Comparisons of a sort by merging."""
    length = _shape(operands[0])[int(_SORTED_ALONG.search(step.line)[1])]
    return Work(_numbers(operands[0]) * math.ceil(math.log2(max(length, 1))))


def _of_scatter(step: _Step, operands: Sequence[str]) -> Work:
    """One operation for each number that is put somewhere."""
    # The arrays that are put into, where to, and as many arrays of what is put there.
    return Work(sum(map(_numbers, operands[len(operands) // 2 + 1 :])))


def _of_reduced_windows(step: _Step, operands: Sequence[str]) -> Work:
    seen = math.prod(map(int, _window(step.line)["size"]))
    return Work(_numbers(step.result) * (seen - 1))


def _of_selected_windows(step: _Step, operands: Sequence[str]) -> Work:
    """Each number of a window is compared, and what is there added to the one that is selected."""
    seen = math.prod(map(int, _window(step.line)["size"]))
    return Work(_numbers(operands[1]) * seen)


# Factors of matrices by reflections, these multiplied out, and triangular systems.
_LAPACK = re.compile(r"lapack_[sd](geqrf|orgqr|trsm)_ffi")


def _of_call(step: _Step, operands: Sequence[str]) -> Work:
    """Golub and Van Loan, Matrix Computations, sections 3.1 and 5.2."""
    routine = _LAPACK.fullmatch(_TARGET.search(step.line)[1])
    if not routine:
        return Work()
    *batch, rows, columns = _shape(operands[0])
    if routine[1] == "trsm":
        operations = _numbers(operands[1]) * columns
    else:
        short, long = sorted((rows, columns))
        operations = math.prod(batch) * (2 * long * short**2 - 2 * short**3 / 3)
    return Work(operations, _bytes(step.result) + sum(map(_bytes, operands)))


_COUNTED: Mapping[str, Callable[[_Step, Sequence[str]], Work]] = {
    "convolution": _of_convolution,
    "custom-call": _of_call,
    "fft": _of_transform,
    "reduce-window": _of_reduced_windows,
    "scatter": _of_scatter,
    "select-and-scatter": _of_selected_windows,
    "sort": _of_sort,
}


def _window(line: str) -> dict[str, list[str]]:
    """What the window of a step is along each axis, by the name of the property."""
    found = _WINDOW.search(line)
    pairs = (item.split("=") for item in found[1].split()) if found else ()
    return {name: sizes.split("x") for name, sizes in pairs}


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
