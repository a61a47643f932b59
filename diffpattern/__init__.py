"""Finds the local rule behind a time series of patterns, and lets a person look at it.

What a notebook needs stands here: `load`, `fit`, `simulate`, `default_config` and `Trajectories`
(see `diffpattern.api`). It is imported when it is first asked for, so that a program that wants one
module of the package does not wait for all.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffpattern.api.fitting import default_config, fit
    from diffpattern.api.loading import Run, load
    from diffpattern.api.simulating import simulate
    from diffpattern.data.trajectories import Trajectories
    from diffpattern.errors import InputError, TrainingError
    from diffpattern.grid.geometry import Grid
    from diffpattern.models.term import Term
    from diffpattern.report.equations import Equation
    from diffpattern.systems.system import Recommended, System

__version__ = "0.1.0"

_WHERE = {
    "Equation": "report.equations",
    "Grid": "grid.geometry",
    "InputError": "errors",
    "Recommended": "systems.system",
    "Run": "api.loading",
    "System": "systems.system",
    "Term": "models.term",
    "TrainingError": "errors",
    "Trajectories": "data.trajectories",
    "default_config": "api.fitting",
    "fit": "api.fitting",
    "load": "api.loading",
    "simulate": "api.simulating",
}
# Written out, so that checkers of types and editors, which import nothing, know them too.
__all__ = [
    "Equation",
    "Grid",
    "InputError",
    "Recommended",
    "Run",
    "System",
    "Term",
    "TrainingError",
    "Trajectories",
    "default_config",
    "fit",
    "load",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
