"""A graph divided into passes, each a fragment shader of WebGL2 that computes numbers of one cell.

Whatever a cell asks its neighbours for must lie in a texture: the state does, and a lattice that is
computed on the way, of which a border is then asked, ends a pass. What two passes have in common is
computed by the first and handed on likewise, if that is cheaper.
"""

import numpy as np

from diffpattern.errors import InputError
from diffpattern.explorer.graph import Border, Gathered, Graph, Node, Pointwise, Product
from diffpattern.explorer.program import Program, Texture
from diffpattern.explorer.writer import Target, Writer

# What costs no more than this is computed again in another pass.
_AGAIN = 12


def compile_graph(graph: Graph, given: dict[str, int]) -> Program:
    """The shaders of a step.

    Args:
      graph: of the step.
      given: how many channels each given lattice has; "state" is the one that is advanced.

    Raises:
      InputError: the rule is not alike in all cells but for what the explorer knows of.
    """
    # Alike at two cells, which lie differently in the blocks of coarser lattices: alike anywhere.
    programs = [_Compiler(graph, given, cell).program() for cell in _cells(graph.space)]
    here, there = ([(one.body, one.outputs) for one in program.passes] for program in programs)
    if here != there or not np.array_equal(programs[0].weights, programs[1].weights):
        raise InputError(
            "The rule has numbers of its own for each cell, which the explorer cannot show."
        )
    return programs[0]


def _cells(space: tuple[int, ...]) -> list[tuple[int, ...]]:
    middle = tuple(n // 2 for n in space)
    return [middle, tuple(n + 1 + axis for axis, n in enumerate(middle))]


class _Compiler:
    """Divides a graph into passes, the last first, since each tells what those before must do."""

    def __init__(self, graph: Graph, given: dict[str, int], cell: tuple[int, ...]):
        self.graph, self.given, self.cell = graph, given, cell
        self.weights: list[np.ndarray] = []
        self._count = 0
        self._targets: dict[tuple[int, int], Target] = {}
        self._shared: dict[tuple[int, int], set[int]] = {}
        self._find_what_passes_compute()

    def program(self) -> Program:
        """All passes."""
        last = Target("state", self.graph.made_of(self.graph.result)["level"], 1)
        passes = [Writer(self, last).written(self.graph.result[(slice(None), *self.cell)])]
        while self._targets:
            target = self._targets.pop(max(self._targets))
            if target.channels:
                passes.append(Writer(self, target).written(list(target.channels)))
        names = ("state", *(name for name in self.given if name != "state"))
        given = tuple(Texture(name, self.given[name]) for name in names)
        weights = np.concatenate(self.weights) if self.weights else np.zeros((1, 4), np.float32)
        return Program(tuple(reversed(passes)), weights, given)

    def target(self, level: int, scale: int) -> Target:
        """What the pass of a level computes, on the lattice or on a coarser one."""
        name = f"level{level}" + (f"of{scale}" if scale > 1 else "")
        return self._targets.setdefault((level, scale), Target(name, level, scale))

    def computed_before(self, node: Node, level: int, scale: int) -> Target | None:
        """The pass before `level` that computes a node anyway, if that is worth a texture."""
        if node.cost <= _AGAIN:
            return None
        for (earlier, of_scale), nodes in sorted(self._shared.items()):
            if earlier < level and of_scale == scale and node.first in nodes:
                return self.target(earlier, scale)
        return None

    def keep(self, weights: np.ndarray) -> int:
        """Puts numbers [n, 4] among the weights; gives the place of the first."""
        first = self._count
        self.weights.append(weights.astype(np.float32))
        self._count += len(weights)
        return first

    def scale_of(self, lattice: tuple[int, ...]) -> int:
        """Cells along each axis that a cell of a lattice [..., *space] stands for."""
        return self.graph.space[0] // lattice[-2]

    def _find_what_passes_compute(self) -> None:
        """For each pass but the last, the nodes of which it computes anything."""
        reached: set[int] = set()
        waiting = self.graph.nodes_of(self.graph.result)
        while waiting:
            node = waiting.pop()
            if node.first in reached:
                continue
            reached.add(node.first)
            if isinstance(node, Border) and node.computed:
                place = (node.level - 1, self.scale_of(node.source.shape))
                nodes = self._shared.setdefault(place, set())
                self._reach(self.graph.nodes_of(node.source), nodes)
            waiting += _made_of(self.graph, node)

    def _reach(self, waiting: list[Node], reached: set[int]) -> None:
        while waiting:
            node = waiting.pop()
            if node.first not in reached:
                reached.add(node.first)
                if not isinstance(node, Border):
                    waiting += _made_of(self.graph, node)


def _made_of(graph: Graph, node: Node) -> list[Node]:
    """The nodes whose elements a node takes."""
    match node:
        case Pointwise():
            return [part for operand in node.operands for part in graph.nodes_of(operand)]
        case Product():
            return graph.nodes_of(node.columns)
        case Gathered():
            return graph.nodes_of(node.terms)
        case Border():
            return graph.nodes_of(node.source)
    return []
