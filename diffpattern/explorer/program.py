"""What a rule's step is as shaders: passes that write textures, and the weights that they share."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Texture:
    """Lattices in layers of four channels.

    Attributes:
      name: of its sampler.
      channels: how many there are.
      scale: cells of the lattice along each axis that one of its own stands for.
    """

    name: str
    channels: int
    scale: int = 1


@dataclass(frozen=True)
class Pass:
    """A shader, run for each cell of a texture.

    Attributes:
      writes: the texture.
      reads: names of the textures that it looks at.
      body: the statements of its main function.
      outputs: an expression for each layer of four channels.
      fetches: how many layers of cells it reads.
      operations: additions and multiplications, functions counted as several of them.
      factors: how many times it looks up four weights.
    """

    writes: Texture
    reads: tuple[str, ...]
    body: str
    outputs: tuple[str, ...]
    fetches: int
    operations: int
    factors: int


@dataclass(frozen=True)
class Program:
    """The passes of a step, in their order; the last one writes the state.

    Attributes:
      passes: the shaders.
      weights: the array that they take numbers from, [N, 4].
      given: textures that are there from the beginning, the state first.
    """

    passes: tuple[Pass, ...]
    weights: np.ndarray
    given: tuple[Texture, ...]

    def per_cell(self) -> dict[str, float]:
        """Reads of layers, writes of layers, operations and weights looked up, per cell and step.

        A cell of a coarser lattice counts as the part of one that it is for each cell.
        """
        total = dict.fromkeys(("reads", "writes", "operations", "weights"), 0.0)
        for one in self.passes:
            share = one.writes.scale**-2
            total["reads"] += share * one.fetches
            total["writes"] += share * len(one.outputs)
            total["operations"] += share * one.operations
            total["weights"] += share * one.factors
        return total
