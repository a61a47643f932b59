"""How fast a rule may run on a laptop's integrated GPU, from what a cell takes in a step.

The GPU is Intel's Iris Xe with 96 execution units at 1.3 GHz, as in the Core i7-1165G7 (2020): 16
operations of single precision a unit and clock, 48 texels of up to 32 bits a clock, of which one of
128 bits counts for four, and 68 GB/s of memory (LPDDR4X-4267, 128 bits) that it shares with the
processor. A quarter of the arithmetic and half of the rest are taken for reached, one after the
other: an estimate, which leaves room. Weights are the same for all cells, so 16 of them share a
fetch, as they share an instruction.
"""

from collections.abc import Mapping

GPU = "Intel Iris Xe (96 units)"
OPERATIONS = 96 * 16 * 1.3e9
FETCHES = 48 / 4 * 1.3e9
BYTES = 68e9
_BYTES_OF_A_LAYER = 16
_CELLS_OF_AN_INSTRUCTION = 16


def steps_a_second(per_cell: Mapping[str, float], cells: int) -> float:
    """Steps a second of a lattice of so many cells.

    Args:
      per_cell: as of `program.Program.per_cell`.
      cells: of the lattice.
    """
    # Neighbours' reads find what is in the texture cache; a ninth of all go to memory.
    moved = _BYTES_OF_A_LAYER * (per_cell["reads"] / 9 + per_cell["writes"])
    fetches = per_cell["reads"] + per_cell["weights"] / _CELLS_OF_AN_INSTRUCTION
    seconds = (
        per_cell["operations"] / (0.25 * OPERATIONS)
        + fetches / (0.5 * FETCHES)
        + moved / (0.5 * BYTES)
    )
    return 1 / (cells * seconds)
