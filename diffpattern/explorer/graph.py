"""What one step of a rule does, number by number: its JAX program as a graph.

A rule is traced on a small lattice, and its program (a jaxpr) is followed without any numbers: an
array becomes a `View`, an array of references to the elements of nodes. Whatever only moves numbers
about (slices, transposes, concatenations, gathers) moves references. So in the end each number of
the result says by itself what it is made of, and no axis has to be known for what it is. One cell's
numbers then tell what all cells do, because a rule is the same everywhere but for borders, chance
and place, which are nodes of their own.

What depends on constants alone is computed while the graph is made.
"""

import bisect
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Primitive

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid


@dataclass(frozen=True, eq=False)
class View:
    """An array of references to elements of a graph's nodes, of any shape."""

    ids: np.ndarray


@dataclass(frozen=True)
class Chance:
    """What is made of a random key and of nothing else."""

    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """Numbers that are made in one way.

    Attributes:
      first: reference to the first element; the others follow it in C order.
      shape: of the elements.
      level: how many borders of computed lattices lie before it, one after the other.
      cost: how many operations an element takes, all that it is made of included.
    """

    first: int
    shape: tuple[int, ...]
    level: int
    cost: int

    @property
    def size(self) -> int:
        """How many elements there are."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Given(Node):
    """Lattices that are given, by name: [C, *space]."""

    name: str


@dataclass(frozen=True, eq=False)
class Told(Node):
    """Numbers that all cells are told alike, by name."""

    name: str


@dataclass(frozen=True, eq=False)
class Constant(Node):
    """Numbers known beforehand."""

    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Place(Node):
    """Where the cells are along an axis: factor * (index + 1/2) / cells."""

    axis: int
    factor: float


@dataclass(frozen=True, eq=False)
class Fires(Node):
    """Whether each cell fires, [*space]: 1 or 0."""


@dataclass(frozen=True, eq=False)
class Pointwise(Node):
    """A function of one or more numbers, element by element.

    Attributes:
      operation: its name as a primitive of JAX.
      operands: references, each of the node's shape.
      power: the exponent of an integer power.
    """

    operation: str
    operands: tuple[np.ndarray, ...]
    power: int = 0


@dataclass(frozen=True, eq=False)
class Product(Node):
    """A constant matrix [O, I] times columns of numbers [I, M]: elements [O, M]."""

    matrix: np.ndarray
    columns: np.ndarray


@dataclass(frozen=True, eq=False)
class Gathered(Node):
    """A sum, or another operation that joins many numbers, over the last axis of `terms` [N, K]."""

    operation: str
    terms: np.ndarray


@dataclass(frozen=True, eq=False)
class Border(Node):
    """A lattice [..., *space] with a border around it.

    Attributes:
      source: references to the lattice.
      moment: reference to the time at which walls that change are met; -1 for those that do not.
      widths: of the border along each axis.
      coefficient: whether the boundary is that of a coefficient (`Grid.for_coefficients`).
      channels: of the state, whose values the walls have for those of the lattice
        (`Grid.for_channels`); None: the first ones.
      normal_axis: as of `padding.pad`.
      computed: whether the lattice has to be computed for all cells before any can ask for it,
        because it takes too much to compute it again for each neighbour.
    """

    source: np.ndarray
    moment: int
    widths: tuple[int, ...]
    coefficient: bool
    channels: tuple[int, ...] | None
    normal_axis: int | None
    computed: bool


# No cost is counted higher.
_MOST = 10**9
# What may cost no more than this is computed again for each neighbour that asks for it.
FOR_EACH_NEIGHBOUR = 3

# Of a lattice and the time, which counts where walls change.
border = Primitive("border")


@border.def_abstract_eval
def _bordered_shape(x, moment, *, widths, coefficient, channels, normal_axis):
    space = x.shape[-len(widths) :]
    wide = tuple(n + 2 * width for n, width in zip(space, widths, strict=True))
    return jax.core.ShapedArray(x.shape[: -len(widths)] + wide, x.dtype)


# Primitives that are functions of their arguments' elements, one for one.
POINTWISE = {
    "abs",
    "add",
    "add_any",
    "and",
    "atan2",
    "ceil",
    "clamp",
    "cos",
    "div",
    "eq",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "ge",
    "gt",
    "integer_pow",
    "is_finite",
    "le",
    "log",
    "log1p",
    "logistic",
    "lt",
    "max",
    "min",
    "mul",
    "ne",
    "neg",
    "not",
    "or",
    "pow",
    "rsqrt",
    "select_n",
    "sign",
    "sin",
    "sqrt",
    "square",
    "sub",
    "tan",
    "tanh",
}
# Those that hand their argument on; truth is 1 and untruth 0, so that no type has to be changed.
_AS_IT_IS = {"convert_element_type", "copy", "copy_p", "name", "reduce_precision", "stop_gradient"}
_JOINING = {"reduce_sum": "add", "reduce_max": "max", "reduce_min": "min"}
_JOINING |= {"reduce_and": "and", "reduce_or": "or"}
_FUNCTIONS = {"pjit", "jit", "closed_call", "core_call", "remat", "remat2", "checkpoint"}
_FUNCTIONS |= {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}


@dataclass
class Graph:
    """The nodes of a step, and its result.

    Attributes:
      space: cells along each axis of the lattice on which it was traced.
      nodes: in an order in which each is made of earlier ones.
      result: of the step, [C, *space].
    """

    space: tuple[int, ...]
    nodes: list[Node] = field(default_factory=list)
    result: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    _firsts: list[int] = field(default_factory=list)
    _alike: dict[bytes, Node] = field(default_factory=dict)
    _end: int = 0

    def node_of(self, reference: int) -> Node:
        """The node that an element belongs to."""
        return self.nodes[bisect.bisect_right(self._firsts, reference) - 1]

    def nodes_of(self, ids: np.ndarray) -> list[Node]:
        """All nodes that some elements belong to."""
        places = np.unique(np.searchsorted(self._firsts, ids.ravel(), side="right") - 1)
        return [self.nodes[place] for place in places]

    def by_node(self, ids: np.ndarray) -> list[tuple[Node, np.ndarray]]:
        """Some elements, apart by the node that they belong to."""
        ids = ids.ravel()
        places = np.searchsorted(self._firsts, ids, side="right") - 1
        return [(self.nodes[place], ids[places == place]) for place in np.unique(places)]

    def constants(self, ids: np.ndarray) -> np.ndarray:
        """The values of elements that are known beforehand; NaN for the others."""
        values = np.full(ids.shape, np.nan)
        for node in self.nodes_of(ids):
            if isinstance(node, Constant):
                own = (ids >= node.first) & (ids < node.first + node.size)
                values[own] = node.values.ravel()[ids[own] - node.first]
        return values

    def add(
        self,
        kind: type[Node],
        shape: Sequence[int],
        *,
        level: int = 0,
        cost: int = 0,
        **fields: Any,
    ) -> View:
        """A new node, or one that is made in the same way; gives all of its elements."""
        digest = hashlib.blake2b(repr((kind, tuple(shape), sorted(fields))).encode())
        for name in sorted(fields):
            digest.update(_bytes(fields[name]))
        node = self._alike.get(digest.digest())
        if node is None:
            node = kind(self._end, tuple(shape), level, cost, **fields)
            self.nodes.append(node)
            self._firsts.append(self._end)
            self._end += node.size
            self._alike[digest.digest()] = node
        return View(node.first + np.arange(node.size, dtype=np.int64).reshape(node.shape))

    def made_of(self, *arrays: np.ndarray) -> dict[str, int]:
        """The highest level of what a node is made of, and the sum of its highest costs."""
        operands = [self.nodes_of(ids) for ids in arrays]
        level = max((node.level for nodes in operands for node in nodes), default=0)
        cost = sum(max((node.cost for node in nodes), default=0) for nodes in operands)
        return {"level": level, "cost": min(1 + cost, _MOST)}


def _bytes(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return repr((value.shape, value.dtype.str)).encode() + np.ascontiguousarray(value).tobytes()
    if isinstance(value, tuple):
        return b"".join(map(_bytes, value)) + b"()"
    return repr(value).encode()


def trace(
    step: Callable[..., jax.Array],
    grid: Grid,
    given: dict[str, int],
    told: dict[str, tuple[int, ...]],
) -> Graph:
    """The graph of one step.

    Args:
      step: (lattices by name [C, *space], numbers by name, key) -> the lattice [C, *space] after
        it; asks for borders by `border`.
      grid: where it is traced, of the rule's own kind of boundary.
      given: how many channels each lattice has that is given.
      told: the shapes of numbers that all cells are told.

    Raises:
      InputError: it does what cannot be followed.
    """
    graph = Graph(grid.shape)
    lattices = {
        name: jax.ShapeDtypeStruct((count, *grid.shape), jnp.float32)
        for name, count in given.items()
    }
    numbers = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in told.items()}
    key = jax.eval_shape(lambda: jax.random.key(0))
    program = jax.make_jaxpr(step)(lattices, numbers, key)
    arguments = [
        *(graph.add(Given, lattices[name].shape, name=name) for name in sorted(given)),
        *(graph.add(Told, told[name], name=name) for name in sorted(told)),
        Chance(()),
    ]
    follower = _Follower(graph)
    (result,) = follower.program(program.jaxpr, program.consts, arguments)
    graph.result = follower.viewed(result).ids
    return graph


class _Follower:
    """Goes through a program and adds to a graph what it does.

    A value is an array of numbers, a View, or Chance.
    """

    def __init__(self, graph: Graph):
        self.graph = graph

    def program(self, program: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]) -> list:
        """The results of a program."""
        known = dict(zip(program.invars, arguments, strict=True))
        known |= dict(zip(program.constvars, map(self._constant, constants), strict=True))
        read = lambda variable: (
            np.asarray(variable.val) if isinstance(variable, Literal) else known[variable]
        )
        for equation in program.eqns:
            results = self._equation(equation, [read(variable) for variable in equation.invars])
            known |= dict(zip(equation.outvars, results, strict=True))
        return [read(variable) for variable in program.outvars]

    def viewed(self, value: Any) -> View:
        """A value by its elements."""
        if isinstance(value, View):
            return value
        if isinstance(value, Chance):
            raise InputError(
                "The rule draws random numbers for more than who fires, which the explorer cannot "
                "do."
            )
        values = np.asarray(value, np.float32)
        return self.graph.add(Constant, values.shape, values=values)

    def _constant(self, value: Any) -> Any:
        """A constant of the program; a line along an axis of the lattice is the cells' place."""
        if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            return Chance(value.shape)
        values = np.asarray(value)
        for axis, cells in enumerate(self.graph.space):
            if values.shape == (cells,) and values[0] != 0:
                line = values[0] * (2 * np.arange(cells) + 1)
                if np.allclose(values, line, rtol=1e-5):
                    factor = float(2 * cells * values[0])
                    return self.graph.add(Place, values.shape, cost=_MOST, axis=axis, factor=factor)
        return values

    def _equation(self, equation: Any, arguments: list) -> list:
        """The results of one step of a program."""
        name, parameters = equation.primitive.name, equation.params
        shapes = [getattr(variable.aval, "shape", ()) for variable in equation.outvars]
        if name in _FUNCTIONS:
            part = next(
                parameters[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in parameters
            )
            closed = part if isinstance(part, ClosedJaxpr) else ClosedJaxpr(part, [])
            return self.program(closed.jaxpr, closed.consts, arguments)
        if name == "scan":
            return self._scan(parameters, arguments)
        if name == "optimization_barrier":
            return arguments
        if any(isinstance(argument, Chance) for argument in arguments):
            return self._by_chance(name, arguments, shapes)
        if name == "border":
            return [self._border(*arguments, parameters, shapes[0])]
        if not any(isinstance(argument, View) for argument in arguments):
            with jax.ensure_compile_time_eval():
                results = equation.primitive.bind(*map(jnp.asarray, arguments), **parameters)
            results = results if equation.primitive.multiple_results else [results]
            return [np.asarray(result) for result in results]
        if name in _AS_IT_IS:
            return arguments
        if name in POINTWISE:
            return [self._pointwise(name, arguments, parameters, shapes[0])]
        if name in _JOINING:
            return [self._joined(_JOINING[name], self.viewed(arguments[0]), parameters["axes"])]
        if name == "dot_general":
            return [self._product(*arguments, parameters["dimension_numbers"])]
        return self._moved(equation, arguments)

    def _by_chance(self, name: str, arguments: list, shapes: list) -> list:
        """What is made of chance; a lattice of it that is remembered says who fires."""
        if name == "name" and shapes[0] == self.graph.space:
            return [self.graph.add(Fires, shapes[0], cost=_MOST)]
        if any(isinstance(argument, View) for argument in arguments):
            return [self.viewed(Chance(()))]
        return [Chance(shape) for shape in shapes]

    def _scan(self, parameters: dict[str, Any], arguments: list) -> list:
        """A loop whose length is known, written out."""
        constants, carried = parameters["num_consts"], parameters["num_carry"]
        fixed, state = arguments[:constants], arguments[constants : constants + carried]
        rows, body = arguments[constants + carried :], parameters["jaxpr"]
        order = range(parameters["length"])
        found = {}
        for index in reversed(order) if parameters["reverse"] else order:
            of_row = [View(r.ids[index]) if isinstance(r, View) else r[index] for r in rows]
            results = self.program(body.jaxpr, body.consts, [*fixed, *state, *of_row])
            state, found[index] = results[:carried], results[carried:]
        stacked = [
            View(np.stack([self.viewed(found[index][place]).ids for index in order]))
            for place in range(len(found.get(0, ())))
        ]
        return [*state, *stacked]

    def _pointwise(
        self, name: str, arguments: list, parameters: dict[str, Any], shape: tuple[int, ...]
    ) -> View:
        operands = [np.broadcast_to(self.viewed(a).ids, shape) for a in arguments]
        result = self._simplified(name, operands)
        if result is not None and (result >= 0).all():
            return View(result)
        made = self.graph.add(
            Pointwise,
            shape,
            **self.graph.made_of(*operands),
            operation="add" if name == "add_any" else name,
            operands=tuple(map(np.ascontiguousarray, operands)),
            power=parameters.get("y", 0) if name == "integer_pow" else 0,
        )
        return made if result is None else View(np.where(result >= 0, result, made.ids))

    def _simplified(self, name: str, operands: list[np.ndarray]) -> np.ndarray | None:
        """Elements that a sum with 0, or a product with 0 or 1, is without being computed; -1 for
        the others."""
        if name not in ("add", "add_any", "sub", "mul", "div"):
            return None
        left, right = operands
        a, b = self.graph.constants(left), self.graph.constants(right)
        neutral = 1.0 if name in ("mul", "div") else 0.0
        result = np.where(b == neutral, left, -1)
        if name in ("add", "add_any", "mul"):
            result = np.where(a == neutral, right, result)
        if name == "mul":
            result = np.where(a == 0, left, np.where(b == 0, right, result))
        return result

    def _joined(self, operation: str, view: View, axes: Sequence[int]) -> View:
        kept = [axis for axis in range(view.ids.ndim) if axis not in axes]
        shape = tuple(view.ids.shape[axis] for axis in kept)
        terms = view.ids.transpose([*kept, *axes]).reshape(math.prod(shape), -1)
        if terms.shape[1] == 1:
            return View(terms.reshape(shape))
        made = self.graph.made_of(*[terms] * terms.shape[1])
        return self.graph.add(Gathered, shape, **made, operation=operation, terms=terms)

    def _product(self, left: Any, right: Any, dimensions: Any) -> View:
        (left_sum, right_sum), (left_batch, right_batch) = dimensions
        left, batch, left_free = _sorted_axes(left, left_batch, left_sum)
        right, _, right_free = _sorted_axes(right, right_batch, right_sum)
        products = [
            self._matrix_product(_at(left, index), _at(right, index))
            for index in range(math.prod(batch))
        ]
        return View(np.stack(products).reshape(batch + left_free + right_free))

    def _matrix_product(self, left: Any, right: Any) -> np.ndarray:
        """References [L, R] to the sums over K of left [L, K] and right [R, K]."""
        if not isinstance(left, View):
            matrix, columns = np.asarray(left, np.float32), right.ids.T
        elif not isinstance(right, View):
            return self._matrix_product(right, left).T
        else:
            factors = np.broadcast_arrays(left.ids[:, None], right.ids[None])
            products = self._pointwise("mul", list(map(View, factors)), {}, factors[0].shape)
            return self._joined("add", products, (2,)).ids
        columns = np.ascontiguousarray(columns)
        shape = (len(matrix), columns.shape[1])
        made = self.graph.made_of(columns)
        made["cost"] += len(columns)
        return self.graph.add(Product, shape, **made, matrix=matrix, columns=columns).ids

    def _border(
        self, lattice: Any, moment: Any, parameters: dict[str, Any], shape: tuple[int, ...]
    ) -> View:
        source = np.ascontiguousarray(self.viewed(lattice).ids)
        moment = int(moment.ids) if isinstance(moment, View) else -1
        if parameters["coefficient"] and parameters["normal_axis"] is None:
            # What is the same everywhere goes on beyond walls.
            space = tuple(range(source.ndim - len(parameters["widths"]), source.ndim))
            known = self.graph.constants(source)
            if (known == known.max(space, keepdims=True)).all():
                same = known.max(space, keepdims=True).astype(np.float32)
                return self.viewed(np.broadcast_to(same, shape))
        made = self.graph.made_of(source)
        computed = made["cost"] - 1 > FOR_EACH_NEIGHBOUR
        level, cost = made["level"] + computed, 2 * FOR_EACH_NEIGHBOUR
        return self.graph.add(
            Border,
            shape,
            level=level,
            cost=cost,
            source=source,
            moment=moment,
            computed=computed,
            **parameters,
        )

    def _moved(self, equation: Any, arguments: list) -> list:
        """References moved about as the numbers would be."""
        name, parameters = equation.primitive.name, equation.params
        if name in _MOVES:
            first, *others = [self.viewed(argument).ids for argument in arguments]
            return list(map(View, _MOVES[name]([first, *others], parameters)))
        if name not in _INDEXED:
            raise InputError(
                f"The rule's program has a step, {name}, that the explorer does not know."
            )
        # The arguments with numbers are where to; JAX itself moves the references there.
        moved, fixed = _INDEXED[name], dict(enumerate(arguments))
        for place in moved:
            fixed[place] = self.viewed(arguments[place]).ids.astype(np.int32)
        if any(isinstance(argument, View) for argument in fixed.values()):
            raise InputError("The rule chooses among cells by values, which no local one may.")
        with jax.ensure_compile_time_eval():
            result = equation.primitive.bind(*map(jnp.asarray, fixed.values()), **parameters)
        return [View(np.asarray(result, np.int64))]


# Arguments that are moved about, of primitives that take indices besides.
_INDEXED = {
    "gather": (0,),
    "scatter": (0, 2),
    "dynamic_slice": (0,),
    "dynamic_update_slice": (0, 1),
}


def _sliced(ids: np.ndarray, parameters: dict[str, Any]) -> np.ndarray:
    strides = parameters["strides"] or (1,) * ids.ndim
    bounds = zip(parameters["start_indices"], parameters["limit_indices"], strides, strict=True)
    return ids[tuple(slice(*one) for one in bounds)]


def _broadcast(ids: np.ndarray, parameters: dict[str, Any]) -> np.ndarray:
    shape, kept = parameters["shape"], parameters["broadcast_dimensions"]
    own = [ids.shape[kept.index(axis)] if axis in kept else 1 for axis in range(len(shape))]
    return np.broadcast_to(ids.reshape(own), shape)


def _split(ids: np.ndarray, parameters: dict[str, Any]) -> list[np.ndarray]:
    return np.split(ids, np.cumsum(parameters["sizes"])[:-1], parameters["axis"])


def _padded(ids: list[np.ndarray], parameters: dict[str, Any]) -> np.ndarray:
    array, fill = ids
    for axis, (low, high, inside) in enumerate(parameters["padding_config"]):
        if inside or low < 0 or high < 0:
            raise InputError("The rule spreads or crops a lattice as the explorer cannot.")
        edges = [(0, 0)] * axis + [(low, high)] + [(0, 0)] * (array.ndim - axis - 1)
        array = np.pad(array, edges, constant_values=int(fill))
    return array


# (arguments, parameters of the primitive) -> results, all of them references.
_MOVES: dict[str, Callable[[list[np.ndarray], dict[str, Any]], Sequence[np.ndarray]]] = {
    "reshape": lambda ids, parameters: [ids[0].reshape(parameters["new_sizes"])],
    "transpose": lambda ids, parameters: [ids[0].transpose(parameters["permutation"])],
    "squeeze": lambda ids, parameters: [ids[0].squeeze(tuple(parameters["dimensions"]))],
    "expand_dims": lambda ids, parameters: [np.expand_dims(ids[0], parameters["dimensions"])],
    "broadcast_in_dim": lambda ids, parameters: [_broadcast(ids[0], parameters)],
    "slice": lambda ids, parameters: [_sliced(ids[0], parameters)],
    "stack": lambda ids, parameters: [np.stack(ids, parameters["axis"])],
    "concatenate": lambda ids, parameters: [np.concatenate(ids, parameters["dimension"])],
    "rev": lambda ids, parameters: [np.flip(ids[0], parameters["dimensions"])],
    "split": lambda ids, parameters: _split(ids[0], parameters),
    "pad": lambda ids, parameters: [_padded(ids, parameters)],
}


def _sorted_axes(value: Any, batch: Sequence[int], summed: Sequence[int]) -> tuple:
    """An argument of a product as [B, F, K], and the shapes of its batch and of its free axes."""
    array = value.ids if isinstance(value, View) else np.asarray(value)
    free = [axis for axis in range(array.ndim) if axis not in (*batch, *summed)]
    batch_shape, free_shape = (tuple(array.shape[a] for a in axes) for axes in (batch, free))
    array = array.transpose([*batch, *free, *summed])
    array = array.reshape(math.prod(batch_shape), math.prod(free_shape), -1)
    return (View(array) if isinstance(value, View) else array), batch_shape, free_shape


def _at(value: Any, index: int) -> Any:
    return View(value.ids[index]) if isinstance(value, View) else value[index]
