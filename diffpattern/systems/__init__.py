"""Known PDEs as right-hand sides: what makes data, and what a learnt rule is compared with.

A system is a frozen dataclass of its parameters that follows `System`; `SYSTEMS` lists them by the
name under which configs and files know them.
"""

from typing import Any

from ml_collections import ConfigDict

from diffpattern import parts
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


def is_system(name: str) -> bool:
    """Whether `name` is that of a known PDE, or of a class of one that a user wrote."""
    if not parts.is_own(name):
        return name in SYSTEMS
    found = parts.load(name, "data.name")
    return isinstance(found, type) and issubclass(found, System)


def system_named(name: str, field: str = "system") -> type[System]:
    """The class of the system `name`, which may be a user's, "module:Class".

    Args:
      name: of the system.
      field: that names it, for messages.

    Raises:
      InputError: there is none, with a list of all.
    """
    if parts.is_own(name):
        found = parts.load_class(name, field, System)
        for attribute in ("name", "species", "recommended", "fluctuation"):
            if not hasattr(found, attribute):
                raise InputError(
                    f"{field} is {name!r}, a System that does not say its {attribute}; those in "
                    "diffpattern/systems show how."
                )
        return found
    if name not in SYSTEMS:
        raise InputError(
            f"{field} is {name!r}, but must be one of {', '.join(sorted(SYSTEMS))}, or a class of "
            "your own, 'module:Class'."
        )
    return SYSTEMS[name]


def of_config(data: ConfigDict) -> System:
    """The system that the section `data` of a config names, with the parameters that it has there.

    Raises:
      InputError: naming what cannot be.
    """
    kind = system_named(data.name, "data.name")
    where = "own" if parts.is_own(data.name) else data.name
    parameters: dict[str, Any] = dict(data[where])
    parts.require_taken(parameters, {data.name: kind}, f"data.{where}")
    try:
        return kind(**parameters)
    except InputError as error:
        raise InputError(f"data.{where}.{error}") from error
