"""Known PDEs as right-hand sides: what makes data, and what a learnt rule is compared with.

A system is a frozen dataclass of its parameters that follows `System`; `SYSTEMS` lists them by the
name under which configs and files know them.
"""

from diffpattern.errors import InputError
from diffpattern.systems.chemotaxis import HillenPainter, KellerSegel
from diffpattern.systems.flow import KuramotoSivashinsky, NavierStokes
from diffpattern.systems.phase_field import AllenCahn, CahnHilliard, SwiftHohenberg
from diffpattern.systems.reaction_diffusion import (
    Brusselator,
    Chhabra,
    ComplexGinzburgLandau,
    FitzHughNagumo,
    GiererMeinhardt,
    GrayScott,
    Schnakenberg,
)
from diffpattern.systems.system import System

SYSTEMS: dict[str, type[System]] = {
    system.name: system
    for system in (
        GrayScott,
        Brusselator,
        Schnakenberg,
        GiererMeinhardt,
        Chhabra,
        FitzHughNagumo,
        ComplexGinzburgLandau,
        CahnHilliard,
        AllenCahn,
        SwiftHohenberg,
        KellerSegel,
        HillenPainter,
        KuramotoSivashinsky,
        NavierStokes,
    )
}


def system_named(name: str) -> type[System]:
    """The class of the system `name`; raises InputError, with a list of all, if there is none."""
    if name not in SYSTEMS:
        raise InputError(f"system is {name!r}, but must be one of {', '.join(sorted(SYSTEMS))}.")
    return SYSTEMS[name]
