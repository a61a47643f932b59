"""Writes what one pass computes for one cell, statement by statement.

Whoever wants an element of a graph asks for it (`need`), and so what it is made of is asked for
before, down to what lies in textures: nothing is computed that nobody wants.

Numbers are computed four at a time. Networks are loops over their hidden units, four at a time too,
whose activations are used up as they are made and held nowhere; their weights lie in one array,
`W(n)`, which is a uniform buffer or a texture, as the page finds room for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from diffpattern.explorer.glsl import (
    OPERATIONS,
    Number,
    applied,
    fours,
    function_of,
    literal,
    packed,
)
from diffpattern.explorer.graph import (
    FOR_EACH_NEIGHBOUR,
    Border,
    Constant,
    Fires,
    Gathered,
    Given,
    Graph,
    Node,
    Place,
    Pointwise,
    Product,
    Told,
)
from diffpattern.explorer.program import Pass, Texture

# Products of so many factors are written out with their numbers; longer ones take them from W.
_WRITTEN_OUT = 96
# Rows of four that a product may hold in variables of their own; more are an array.
_ROWS = 8
# Most terms of a sum within a loop; of more, one loop comes after the other.
_TERMS = 64
# Statements beyond which a product is a loop.
_STATEMENTS = 512
# Fewer numbers than so many are not made in a loop.
_LOOPED = 12


@dataclass
class Target:
    """What a pass is to compute: elements by their place among the channels."""

    texture: str
    level: int
    scale: int
    channels: dict[int, int] = field(default_factory=dict)

    def place(self, element: int) -> int:
        """The channel of an element, which is the next one if it has none."""
        return self.channels.setdefault(element, len(self.channels))


class Division(Protocol):
    """What a writer asks of those who divide a graph into passes.

    Attributes:
      graph: which.
      given: how many channels each given lattice has.
      cell: the one whose numbers are written, on the lattice where the graph was traced.
    """

    graph: Graph
    given: dict[str, int]
    cell: tuple[int, ...]

    def target(self, level: int, scale: int) -> Target:
        """What the pass of a level computes, on the lattice or on a coarser one."""

    def computed_before(self, node: Node, level: int, scale: int) -> Target | None:
        """The pass before `level` that computes a node anyway, if that is worth a texture."""

    def keep(self, weights: np.ndarray) -> int:
        """Puts numbers [n, 4] among the weights; gives the place of the first."""

    def scale_of(self, lattice: tuple[int, ...]) -> int:
        """Cells along each axis that a cell of a lattice [..., *space] stands for."""


class Writer:
    """Writes the body of one pass, by asking for what it is to compute."""

    def __init__(self, division: Division, target: Target):
        self.division, self.graph, self.target = division, division.graph, target
        self.cell = tuple(n // target.scale for n in division.cell)
        self.lines: list[str] = []
        # Elements that are there; what has been read of textures; and of which.
        self.known: dict[int, Number] = {}
        self.fetched: dict[tuple, str] = {}
        self.reads: dict[str, None] = {}
        # What is wanted of products, and how many want something of a node.
        self.rows: dict[tuple[int, int], np.ndarray] = {}
        self.uses: dict[int, int] = {}
        # What loops make: how, and in the loop that is being written.
        self.chains: dict[bytes, Callable[[str], str]] = {}
        self.made: dict[bytes, str] = {}
        self.counts = dict.fromkeys(("fetches", "operations", "factors"), 0)
        # How often what is written now will run.
        self.times = 1
        self._names = 0

    def written(self, elements: Sequence[int]) -> Pass:
        """The pass that computes some elements, a channel each."""
        self._find_rows(np.array(elements))
        numbers = self.need(elements)
        outputs = []
        for four in fours(numbers):
            padding = [Number("0.0")] * (4 - len(four))
            outputs.append(packed([*four, *padding]))
        texture = Texture(self.target.texture, len(elements), self.target.scale)
        return Pass(
            texture, tuple(self.reads), "\n".join(self.lines), tuple(outputs), **self.counts
        )

    def _find_rows(self, elements: np.ndarray) -> None:
        """Which rows of each product with a column the pass will ask for, sooner or later, and how
        many other nodes do."""
        asked: dict[int, set[int]] = {}

        def ask(elements: np.ndarray) -> None:
            for node, own in self.graph.by_node(elements):
                if not self._computed_before(node):
                    self.uses[node.first] = self.uses.get(node.first, 0) + 1
                    asked.setdefault(node.first, set()).update(own.tolist())

        ask(elements)
        for node in reversed(self.graph.nodes):
            own = np.array(sorted(asked.pop(node.first, ())), np.int64) - node.first
            if own.size and isinstance(node, Pointwise):
                for operand in node.operands:
                    ask(operand.flat[own])
            elif own.size and isinstance(node, Gathered):
                ask(node.terms[own])
            elif own.size and isinstance(node, Product):
                rows, columns = np.divmod(own, node.shape[1])
                for column in set(columns.tolist()):
                    self.rows[node.first, column] = rows[columns == column]
                    ask(node.columns[:, column])

    def _computed_before(self, node: Node) -> Target | None:
        return self.division.computed_before(node, self.target.level, self.target.scale)

    # Elements of all kinds.

    def need(self, elements: Iterable[int]) -> list[Number]:
        """Elements as numbers, which are computed by statements where they are not known yet."""
        elements = [int(element) for element in elements]
        missing: dict[int, list[int]] = {}
        for element in dict.fromkeys(elements):
            if element not in self.known:
                node = self.graph.node_of(element)
                missing.setdefault(node.first, []).append(element)
        for asked in missing.values():
            left = [element for element in asked if element not in self.known]
            if left:
                self._compute(self.graph.node_of(left[0]), left)
        return [self.known[element] for element in elements]

    def _compute(self, node: Node, elements: list[int]) -> None:
        if (before := self._computed_before(node)) is not None:
            for element in elements:
                self._fetch_own(element, before.texture, before.place(element))
            return
        match node:
            case Constant():
                for element in elements:
                    self.known[element] = Number(literal(node.values.flat[element - node.first]))
            case Told():
                for element in elements:
                    place = f"[{element - node.first}]" if node.shape else ""
                    self.known[element] = Number(node.name + place)
            case Given():
                self._given(node, elements)
            case Place():
                self._place(node, elements)
            case Fires():
                for element in elements:
                    self._count("operations", 20)
                    self.known[element] = Number(self._variable(1, "fires(cell)"))
            case Pointwise():
                self._pointwise(node, elements)
            case Gathered():
                self._gathered(node, elements)
            case Product():
                self._products(node, elements)
            case Border():
                self._border(node, elements)

    def _variable(self, size: int, expression: str) -> str:
        self._names += 1
        kind = "float" if size == 1 else f"vec{size}"
        self.lines.append(f"{kind} v{self._names} = {expression};")
        return f"v{self._names}"

    def _set(self, elements: Sequence[int], name: str) -> None:
        for place, element in enumerate(elements):
            self.known[element] = Number(name, place, len(elements))

    def _count(self, what: str, number: int) -> None:
        self.counts[what] += self.times * number

    def _pointwise(self, node: Pointwise, elements: list[int]) -> None:
        places = np.array(elements) - node.first
        operands = [self.need(operand.flat[places]) for operand in node.operands]
        for four in fours(range(len(elements))):
            packs = [packed([numbers[n] for n in four]) for numbers in operands]
            self._count("operations", len(four) * OPERATIONS.get(node.operation, 1))
            name = self._variable(len(four), function_of(node, packs))
            self._set([elements[n] for n in four], name)

    def _gathered(self, node: Gathered, elements: list[int]) -> None:
        rows = node.terms[np.array(elements) - node.first]
        columns = [self.need(column) for column in rows.T]
        for four in fours(range(len(elements))):
            packs = [packed([numbers[n] for n in four]) for numbers in columns]
            total = packs[0]
            for pack in packs[1:]:
                total = applied(node.operation, [total, pack])
            self._count("operations", len(four) * (len(packs) - 1))
            self._set([elements[n] for n in four], self._variable(len(four), total))

    def _place(self, node: Place, elements: list[int]) -> None:
        axis = "yx"[node.axis]
        for element in elements:
            offset = element - node.first - self.cell[node.axis] + 0.5
            where = f"(float(cell.{axis}) + {literal(offset)}) / float(extent.{axis})"
            self._count("operations", 6)
            name = self._variable(1, f"{literal(node.factor)} * {where}")
            self.known[element] = Number(name)

    # What lies in textures.

    def _given(self, node: Given, elements: list[int]) -> None:
        for element in elements:
            channel, *cell = map(int, np.unravel_index(element - node.first, node.shape))
            self.known[element] = self._fetched(node.name, 1, channel, cell)

    def _fetch_own(self, element: int, texture: str, channel: int) -> None:
        self.known[element] = self._fetched(texture, self.target.scale, channel, self.cell)

    def _border(self, node: Border, elements: list[int]) -> None:
        ndim, scale = len(node.widths), self.division.scale_of(node.source.shape)
        of_cell = tuple(n // scale for n in self.division.cell)
        sources = node.source[(..., *of_cell)]
        again: dict[tuple, list[tuple[int, int, int]]] = {}
        for element in elements:
            place = np.unravel_index(element - node.first, node.shape)
            lead, beyond = place[:-ndim], place[-ndim:]
            cell = tuple(int(n) - w for n, w in zip(beyond, node.widths, strict=True))
            source = int(sources[lead])
            species = int(lead[-1]) if lead else 0
            species = species if node.channels is None else node.channels[species]
            of = self.graph.node_of(source)
            if isinstance(of, Given):
                channel = int(np.unravel_index(source - of.first, of.shape)[0])
                self.known[element] = self._fetched(of.name, 1, channel, cell, node, species)
            elif of.cost > FOR_EACH_NEIGHBOUR:
                target = self.division.target(node.level - 1, scale)
                channel = target.place(source)
                self.known[element] = self._fetched(
                    target.texture, scale, channel, cell, node, species
                )
            else:
                again.setdefault(cell, []).append((element, source, species))
        for cell, asked in again.items():
            self._computed_again(node, scale, cell, asked)

    def _computed_again(
        self, node: Border, scale: int, cell: tuple[int, ...], asked: list[tuple[int, int, int]]
    ) -> None:
        """A neighbour's numbers that are computed from what lies in textures of it."""
        own, self.known = self.known, _Displaced(self, node, cell)
        numbers = self.need([source for _, source, _ in asked])
        self.known = own
        for four in fours(list(zip(asked, numbers, strict=True))):
            species = [one[0][2] for one in four]
            padded = [number for _, number in four] + [Number("0.0")] * (4 - len(four))
            name = self._variable(4, self._walled(packed(padded), node, scale, cell, species))
            for place, ((element, _, _), _) in enumerate(four):
                self.known[element] = Number(name, place, 4)

    def _fetched(
        self,
        texture: str,
        scale: int,
        channel: int,
        cell: Sequence[int],
        border: Border | None = None,
        species: int = 0,
        raw: bool = False,
    ) -> Number:
        """A channel of a cell, or of what lies beyond a wall as a border has it.

        Args:
          texture: which.
          scale: of the texture.
          channel: of it.
          cell: of the lattice on which the graph was traced, at that scale.
          border: by which it is asked for; None where it is the cell's own.
          species: for which of a wall's values it would count.
          raw: whether a wall only says which cell is meant.
        """
        layer, place = divmod(channel, 4)
        offsets = [self._offset(axis, scale, cell[axis]) for axis in range(2)]
        if border is None or self._is_own(scale, cell):
            border, species = None, 0
        first = species - place
        kind = None
        if border is not None:
            kind = (border.coefficient, border.normal_axis, border.moment, raw, first)
        key = (texture, layer, *offsets, kind)
        if key not in self.fetched:
            self.reads[texture] = None
            self._count("fetches", 1)
            if border is None:
                at = f"{offsets[1]}, {offsets[0]}"
                read = f"texelFetch({texture}, ivec3({at}, {layer}), 0)"
            else:
                y, x = (self._along(axis, scale, cell, border) for axis in range(2))
                read = f"texelFetch({texture}, ivec3({x}.cell, {y}.cell, {layer}), 0)"
                if not raw:
                    counted = [first + n for n in range(4)]
                    read = self._walled(read, border, scale, cell, counted)
            self.fetched[key] = self._variable(4, read)
        return Number(self.fetched[key], place, 4)

    def _is_own(self, scale: int, cell: Sequence[int]) -> bool:
        return scale == self.target.scale and tuple(cell) == self.cell

    def _offset(self, axis: int, scale: int, index: int) -> str:
        """Where along an axis a cell lies, as seen from the cell that is computed."""
        own, base = self.cell[axis], f"cell.{'yx'[axis]}"
        if scale < self.target.scale:
            factor = self.target.scale // scale
            own, base = own * factor, f"{base} * {factor}"
        elif scale > self.target.scale:
            factor = scale // self.target.scale
            own, base = own // factor, f"{base} / {factor}"
        if index == own:
            return base
        return f"{base} {'+' if index > own else '-'} {abs(index - own)}"

    def _along(self, axis: int, scale: int, cell: Sequence[int], border: Border) -> str:
        """The variable that tells where a neighbour lies along an axis, and beyond what wall."""
        key = ("along", axis, scale, cell[axis], border.coefficient)
        if key not in self.fetched:
            self._names += 1
            name = self.fetched[key] = f"along{self._names}"
            letter = "yx"[axis]
            walls = "coefficientWalls" if border.coefficient else "walls"
            size = f"extent.{letter}" if scale == 1 else f"extent.{letter} / {scale}"
            self.lines.append(
                f"Along {name} = along({self._offset(axis, scale, cell[axis])}, {size}, "
                f"{walls}.{'xy' if axis == 0 else 'zw'}, {2 * axis}, "
                f"spacing.{letter} * {float(scale)});"
            )
        return self.fetched[key]

    def _walled(
        self,
        value: str,
        border: Border,
        scale: int,
        cell: Sequence[int],
        species: Sequence[int],
    ) -> str:
        """What a border makes of the numbers of the cell that stands for one beyond a wall."""
        y, x = (self._along(axis, scale, cell, border) for axis in range(2))
        if border.coefficient and border.normal_axis is None:
            return value
        most = self.division.given["state"] - 1
        counted = [min(max(n, 0), most) for n in [*species, 0, 0, 0][:4]]
        turned = ["true" if border.normal_axis == axis else "false" for axis in range(2)]
        return (
            f"walled({value}, {y}, {x}, bvec2({', '.join(turned)}), "
            f"ivec4({', '.join(map(str, counted))}), {self._moment(border)})"
        )

    def _moment(self, border: Border) -> str:
        """How much of the step has gone by when a border is asked for, where walls change."""
        if border.moment < 0:
            return "0.0"
        return f"momentOf({self.need([border.moment])[0]})"

    # Products with constant matrices.

    def _products(self, node: Product, elements: list[int]) -> None:
        count = node.shape[1]
        places = [divmod(element - node.first, count) for element in elements]
        for column in dict.fromkeys(column for _, column in places):
            # All rows at once that the pass will ask for; of a neighbour's, only those of now.
            asked = np.array([row for row, of in places if of == column])
            rows = self.rows.get((node.first, column), asked)
            self._product(node, rows, column, (node.first + rows * count + column).tolist())

    def _product(self, node: Product, rows: np.ndarray, column: int, asked: list[int]) -> None:
        """Some rows of a matrix times one column of numbers."""
        matrix, inputs = node.matrix[rows], node.columns[:, column]
        used = np.abs(matrix).max(0) > 0
        matrix, inputs = matrix[:, used], inputs[used]
        if not used.any():
            self.known |= dict.fromkeys(asked, Number("0.0"))
        elif np.count_nonzero(matrix) <= _WRITTEN_OUT and not self._may_be_looped(inputs):
            self._written_out(matrix, inputs, asked)
        else:
            self._from_weights(matrix, inputs, asked)

    def _written_out(self, matrix: np.ndarray, inputs: np.ndarray, asked: list[int]) -> None:
        numbers = self.need(inputs)
        for four in fours(range(len(asked))):
            part, terms = matrix[list(four)], []
            for weights, number in zip(part.T, numbers, strict=True):
                if not weights.any():
                    continue
                pack = packed([Number(literal(weight)) for weight in weights])
                one = pack in ("1.0", f"vec{len(four)}(1.0)")
                terms.append(packed([number] * len(four)) if one else f"{pack} * {number}")
                self._count("operations", (2 - one) * len(four))
            name = self._variable(
                len(four), " + ".join(terms) or packed([Number("0.0")] * len(four))
            )
            self._set([asked[n] for n in four], name)

    def _from_weights(
        self, matrix: np.ndarray, inputs: np.ndarray, asked: list[int], held: bool = False
    ) -> str:
        """A product whose factors are looked up; gives the name of what holds it.

        Args:
          matrix: the rows.
          inputs: the elements that they are multiplied with.
          asked: the element that each row makes.
          held: whether it has to be an array.
        """
        groups, looped = -(-len(asked) // 4), self._may_be_looped(inputs)
        chain = self._chain(inputs) if looped else None
        many = held or groups > _ROWS or (not looped and groups * len(inputs) > _STATEMENTS)
        self._names += 1
        total = f"p{self._names}"
        if many:
            self.lines.append(f"vec4 {total}[{groups}];")
            self._loop("g", groups, [f"{total}[g] = vec4(0.0);"])
            accumulators = [f"{total}[{group}]" for group in range(groups)]
        else:
            accumulators = [f"{total}_{group}" for group in range(groups)]
            self.lines += [f"vec4 {name} = vec4(0.0);" for name in accumulators]
        if chain is None:
            self._sum_of_numbers(matrix, inputs, total if many else "", accumulators)
        else:
            self._sum_of_chain(matrix, inputs, chain, total if many else "", accumulators)
        for n, element in enumerate(asked):
            self.known[element] = Number(accumulators[n // 4], n % 4, 4)
        return total

    def _sum_of_numbers(
        self, matrix: np.ndarray, inputs: np.ndarray, array: str, accumulators: list[str]
    ) -> None:
        """Adds to the accumulators what numbers that are held contribute."""
        groups = len(accumulators)
        padded = np.pad(matrix, ((0, 4 * groups - len(matrix)), (0, 0)))
        weights = padded.reshape(groups, 4, -1).transpose(0, 2, 1)  # [groups, inputs, 4]
        for start in range(0, len(inputs), _TERMS):
            part = weights[:, start : start + _TERMS]
            numbers, count = self.need(inputs[start : start + _TERMS]), part.shape[1]
            base = self.division.keep(part.reshape(-1, 4))
            self._count("operations", 8 * groups * count)
            self._count("factors", groups * count)
            if not array:
                for group, accumulator in enumerate(accumulators):
                    first = base + group * count
                    self.lines += [
                        f"{accumulator} += W({first + n}) * {number};"
                        for n, number in enumerate(numbers)
                    ]
                continue

            place = f"{base} + g * {count}"
            terms = [f"a += W({place} + {n}) * {one};" for n, one in enumerate(numbers)]
            body = [f"vec4 a = {array}[g];", *terms, f"{array}[g] = a;"]
            self._loop("g", groups, body)

    def _sum_of_chain(
        self,
        matrix: np.ndarray,
        inputs: np.ndarray,
        chain: Callable[[str], str],
        array: str,
        accumulators: list[str],
    ) -> None:
        """Adds what numbers contribute that are made four at a time, and used up at once."""
        groups, steps = len(accumulators), -(-len(inputs) // 4)
        padded = np.pad(matrix, ((0, 4 * groups - len(matrix)), (0, 4 * steps - len(inputs))))
        # [steps, 4 inputs, groups, 4 rows]
        weights = padded.reshape(groups, 4, steps, 4).transpose(2, 3, 0, 1)
        base = self.division.keep(weights.reshape(-1, 4))
        self._names += 1
        counter = f"i{self._names}"
        before, self.lines, self.times = self.lines, [], self.times * steps
        self.made.clear()
        value = chain(counter)
        made, self.lines = self.lines, before
        self._count("operations", 8 * 4 * groups)
        self._count("factors", 4 * groups)
        self.times //= steps
        lines = [*made, f"vec4 made = {value};"]
        place = f"{base} + {counter} * {4 * groups}"
        if array:
            terms = " + ".join(
                f"W({place} + {n * groups} + g) * made.{'xyzw'[n]}" for n in range(4)
            )
            lines.append(f"for (int g = 0; g < {groups}; g++) {array}[g] += {terms};")
        else:
            lines += [
                f"{accumulator} += W({place} + {n * groups + group}) * made.{'xyzw'[n]};"
                for group, accumulator in enumerate(accumulators)
                for n in range(4)
            ]
        self._loop(counter, steps, lines)

    def _loop(self, counter: str, count: int, body: list[str]) -> None:
        self.lines.append(f"for (int {counter} = 0; {counter} < {count}; {counter}++) {{")
        self.lines += [f"  {line}" for line in body]
        self.lines.append("}")

    # Many numbers that are made alike, four in each turn of a loop.

    def _may_be_looped(self, elements: np.ndarray) -> bool:
        """Whether many elements are alike: rows of one product, and functions of these."""
        if len(elements) < _LOOPED:
            return False
        if any(int(element) in self.known for element in elements):
            return self._array_of(elements) is not None
        node = self.graph.node_of(elements[0])
        if elements.min() < node.first or elements.max() >= node.first + node.size:
            return False
        if self._computed_before(node):
            return False
        if isinstance(node, Product):
            return len(set((elements - node.first) % node.shape[1])) == 1
        if not isinstance(node, Pointwise):
            return False
        operands = [operand.flat[elements - node.first] for operand in node.operands]
        varied = [ids for ids in operands if not self._is_shared(ids) and not self._is_known(ids)]
        return bool(varied) and all(map(self._may_be_looped, varied))

    def _array_of(self, elements: np.ndarray) -> str | None:
        """The array that holds the elements one after the other, if there is one."""
        first = self.known.get(int(elements[0]))
        if first is None or "[" not in first.name:
            return None
        array = first.name.partition("[")[0]
        held = [Number(f"{array}[{n // 4}]", n % 4, 4) for n in range(len(elements))]
        return array if [self.known.get(int(one)) for one in elements] == held else None

    def _is_shared(self, ids: np.ndarray) -> bool:
        return len(set(ids.tolist())) == 1

    def _is_known(self, ids: np.ndarray) -> bool:
        return not np.isnan(self.graph.constants(ids)).any()

    def _chain(self, elements: np.ndarray) -> Callable[[str], str]:
        """How four of the elements are made in each turn of a loop.

        What all of them share is computed at once, before the loop.

        Returns:
          A function of the loop's counter, which writes statements and gives an expression of the
          four numbers that it counts to.
        """
        key = elements.tobytes()
        if key not in self.chains:
            self.chains[key] = self._new_chain(elements)

        def once_in_a_turn(counter: str) -> str:
            if key not in self.made:
                self.made[key] = self.chains[key](counter)
            return self.made[key]

        return once_in_a_turn

    def _new_chain(self, elements: np.ndarray) -> Callable[[str], str]:
        if (array := self._array_of(elements)) is not None:
            return lambda counter: f"{array}[{counter}]"
        node = self.graph.node_of(elements[0])
        if isinstance(node, Product):
            return self._chain_of_product(node, elements)
        operands = [
            self._chain_of_operand(operand.flat[elements - node.first]) for operand in node.operands
        ]

        def made(counter: str) -> str:
            packs = [operand(counter) for operand in operands]
            self._count("operations", 4 * OPERATIONS.get(node.operation, 1))
            return self._variable(4, function_of(node, packs))

        return made

    def _chain_of_operand(self, ids: np.ndarray) -> Callable[[str], str]:
        if self._is_shared(ids):
            number = self.need(ids[:1])[0]
            return lambda counter: f"vec4({number})"
        if self._is_known(ids):
            base = self.division.keep(_by_fours(self.graph.constants(ids)))

            def constants(counter: str) -> str:
                self._count("factors", 1)
                return f"W({base} + {counter})"

            return constants
        return self._chain(ids)

    def _chain_of_product(self, node: Product, elements: np.ndarray) -> Callable[[str], str]:
        rows, columns = np.divmod(elements - node.first, node.shape[1])
        inputs = node.columns[:, columns[0]]
        if len(inputs) > _TERMS or self.uses[node.first] > 1 or self._may_be_looped(inputs):
            # Too much to be written into the loop, or into several: held, and looked up there.
            array = self._from_weights(node.matrix[rows], inputs, elements.tolist(), held=True)
            return lambda counter: f"{array}[{counter}]"
        numbers = self.need(inputs)
        matrix = np.stack([_by_fours(weights) for weights in node.matrix[rows].T], axis=1)
        base = self.division.keep(matrix.reshape(-1, 4))

        def made(counter: str) -> str:
            place = f"{base} + {counter} * {len(inputs)}"
            self._count("operations", 8 * len(inputs))
            self._count("factors", len(inputs))
            name = self._variable(4, f"W({place}) * {numbers[0]}")
            self.lines += [
                f"{name} += W({place} + {n}) * {number};" for n, number in enumerate(numbers) if n
            ]
            return name

        return made


def _by_fours(values: np.ndarray) -> np.ndarray:
    """Numbers [n] as rows of four, the last one filled up with the last number."""
    return np.pad(values, (0, -len(values) % 4), mode="edge").reshape(-1, 4)


class _Displaced(dict):
    """The known numbers of another cell, of which all that lies in textures is read there."""

    def __init__(self, writer: Writer, border: Border, cell: tuple[int, ...]):
        super().__init__()
        self._writer, self._border, self._there = writer, border, cell

    def __contains__(self, element: int) -> bool:
        return super().__contains__(element) or isinstance(
            self._writer.graph.node_of(element), Given
        )

    def __missing__(self, element: int) -> Number:
        node = self._writer.graph.node_of(element)
        channel = int(np.unravel_index(element - node.first, node.shape)[0])
        number = self._writer._fetched(node.name, 1, channel, self._there, self._border, raw=True)
        self[element] = number
        return number
