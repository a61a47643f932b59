"""What a program does on each device: operations, and what devices say to one another.

XLA's own analysis of a compiled program counts the body of a loop once, however often it runs; here
it counts as often as it does. Operations are counted before a program is compiled, inside
`shard_map`, where shapes are those of one device's share. What devices exchange is read off the
compiled program, since XLA leaves out what would be said twice.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

# Primitives that move or make numbers and compute none.
_FREE = frozenset({
    "broadcast_in_dim", "reshape", "transpose", "squeeze", "slice", "dynamic_slice", "pad",
    "dynamic_update_slice", "concatenate", "gather", "scatter", "rev", "iota", "copy", "copy_p",
    "convert_element_type", "bitcast_convert_type", "stop_gradient", "name", "pvary", "pcast",
    "split", "random_wrap", "random_unwrap", "optimization_barrier", "device_put", "axis_index",
    "sharding_constraint", "reduce_precision",
})  # fmt: skip
# Of sums over devices and the like, nothing is computed here.
_EXCHANGES = frozenset({
    "ppermute", "psum", "psum_invariant", "pmax", "pmin", "all_gather", "all_gather_invariant",
    "reduce_scatter", "all_to_all",
})  # fmt: skip
# Sums and extremes over axes of an array, and sums of products.
_REDUCTIONS = ("reduce_", "cum", "arg")


class _Sums:
    """Numbers that add up, and may be taken several times."""

    def __add__(self, other):
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return type(self)(*(one + another for one, another in pairs))

    def __rmul__(self, times: float):
        return type(self)(*(times * number for number in dataclasses.astuple(self)))


@dataclasses.dataclass(frozen=True)
class Work(_Sums):
    """What one device computes.

    Attributes:
      operations: on numbers, a product and a sum being two.
      traffic: bytes that sums of products and convolutions read and write; what lies between them
        can stay in registers.
    """

    operations: float = 0.0
    traffic: float = 0.0


@dataclasses.dataclass(frozen=True)
class Exchange(_Sums):
    """What one device says to others.

    Attributes:
      sent: bytes that go to neighbours.
      messages: in how many pieces.
      summed: bytes that go into sums over devices, or are gathered from them.
      sums: how many sums and gatherings there are.
    """

    sent: float = 0.0
    messages: float = 0.0
    summed: float = 0.0
    sums: float = 0.0


def of_function(function: Any, *arguments: Any) -> Work:
    """What a function does with arguments of these shapes."""
    return of_program(jax.make_jaxpr(function)(*arguments).jaxpr)


def of_program(program: Jaxpr) -> Work:
    """What all steps of a program do."""
    return sum((_of_step(step) for step in program.eqns), Work())


def _of_step(step: JaxprEqn) -> Work:
    name, parts = step.primitive.name, _programs(step.params)
    if name == "cond":
        # Devices wait for the one that does most.
        return max((of_program(part) for part in parts), key=lambda work: work.operations)
    if parts:
        # Of a loop that ends by what it finds, one turn is counted.
        times = step.params["length"] if name == "scan" else 1
        return times * sum((of_program(part) for part in parts), Work())
    if name in _EXCHANGES:
        return Work()
    read = sum(_bytes(variable) for variable in step.invars)
    written = sum(_bytes(variable) for variable in step.outvars)
    count = sum(math.prod(variable.aval.shape) for variable in step.outvars)
    if name == "dot_general":
        (contracted, _), _ = step.params["dimension_numbers"]
        each = math.prod(step.invars[0].aval.shape[axis] for axis in contracted)
        return Work(operations=2 * count * each, traffic=read + written)
    if name == "conv_general_dilated":
        kernel = step.invars[1].aval.shape
        features = kernel[step.params["dimension_numbers"].rhs_spec[0]]
        each = math.prod(kernel) // features
        return Work(operations=2 * count * each, traffic=read + written)
    if name.startswith(_REDUCTIONS):
        count = sum(math.prod(variable.aval.shape) for variable in step.invars)
    return Work() if name in _FREE else Work(operations=count)


def _programs(parameters: dict[str, Any]) -> list[Jaxpr]:
    """The programs within a step: a loop's body, a call's function, the branches of a choice."""
    found = []
    for value in parameters.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, ClosedJaxpr):
                found.append(part.jaxpr)
            elif isinstance(part, Jaxpr):
                found.append(part)
    return found


def _bytes(variable: Any) -> int:
    aval = variable.aval
    if not hasattr(aval, "shape") or jax.dtypes.issubdtype(aval.dtype, jax.dtypes.extended):
        return 0
    return math.prod(aval.shape) * aval.dtype.itemsize


# In the text of a compiled program: the head of a part of it, a step with its result and what it
# does, the parts that a step runs, and how often a loop turns.
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_STEP = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (.+?) ([a-z][\w\-]*)\(")
_CALLED = re.compile(r"(?:body|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_ARRAY = re.compile(r"\b([a-z]\w*?)(\d+)\[([\d,]*)\]")


def of_compiled(text: str) -> Exchange:
    """What each device says to others when a compiled program runs once.

    Args:
      text: of the program, from `jax.stages.Compiled.as_text`.
    """
    parts, entry, name = {}, "", ""
    for line in text.splitlines():
        if head := _HEAD.match(line):
            name = head[2]
            parts[name], entry = [], name if head[1] else entry
        elif step := _STEP.match(line):
            parts[name].append((step[2], step[1], line))
    known: dict[str, Exchange] = {}
    return _of_part(entry, parts, known)


def _of_part(
    name: str, parts: Mapping[str, list[tuple[str, str, str]]], known: dict[str, Exchange]
) -> Exchange:
    """What is said in one part of a program, and in those that it runs."""
    if name not in known:
        total = Exchange()
        for kind, result, line in parts[name]:
            size = sum(
                int(bits) // 8 * math.prod(int(n) for n in shape.split(",") if n)
                for _, bits, shape in _ARRAY.findall(result)
            )
            if kind.startswith("collective-permute") and not kind.endswith("-done"):
                # One that is only begun here says where it reads from as well.
                total += Exchange(sent=size / (2 if kind.endswith("-start") else 1), messages=1)
            elif kind.startswith(("all-", "reduce-scatter")) and not kind.endswith("-done"):
                total += Exchange(summed=size, sums=1)
            called = _CALLED.findall(line) if not kind.startswith(("all-", "reduce")) else []
            for branches in _BRANCHES.findall(line):
                called += [branch.strip(" %") for branch in branches.split(",")]
            turns = _TURNS.search(line) if kind == "while" else None
            inside = [_of_part(part, parts, known) for part in called]
            if kind == "conditional":
                inside = [max(inside, key=lambda exchange: exchange.sent + exchange.summed)]
            total += (int(turns[1]) if turns else 1) * sum(inside, Exchange())
        known[name] = total
    return known[name]
