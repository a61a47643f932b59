"""Known PDEs as right-hand sides: what makes data, and what a learnt rule is compared with.

A system is a frozen dataclass of its parameters that follows `System`; `SYSTEMS` lists them by the
name under which configs and files know them.
"""

from typing import ClassVar, Protocol

from jax import Array

from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.systems.reaction_diffusion import GrayScott


class System(Protocol):
    """A PDE, dx/dt = f(x), and the starts from which it is usually run."""

    species: ClassVar[tuple[str, ...]]

    def right_hand_side(self, x: Array, grid: Grid, laplacian: str) -> Array:
        """dx/dt of the lattice x, [C, *space], with a Laplacian's stencil by its name."""

    def fastest_decay(self, wavenumber_squared: float) -> float:
        """Rate at which the linear terms damp a wave; it bounds the step of an explicit solver."""

    def start(self, key: Array, grid: Grid) -> Array:
        """A random start, [C, *space]: one key, one field, on every lattice over one box."""


SYSTEMS: dict[str, type[System]] = {"gray_scott": GrayScott}


def system_named(name: str) -> type[System]:
    """The class of the system `name`; raises InputError, with a list of all, if there is none."""
    if name not in SYSTEMS:
        raise InputError(f"system is {name!r}, but must be one of {', '.join(sorted(SYSTEMS))}.")
    return SYSTEMS[name]
