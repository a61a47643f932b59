"""Parts that a user wrote: classes and functions that a config names as "module:name".

The module is any that Python finds; commands look in the folder where they are started, too. What
is asked of each kind of part stands in docs/own_parts.md.
"""

import dataclasses
import difflib
import hashlib
import importlib
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diffpattern.errors import InputError


class MissingPart(InputError):
    """There is no such part here, though there may be elsewhere."""


def is_own(name: object) -> bool:
    """Whether a name in a config is that of a part which a user wrote."""
    return isinstance(name, str) and ":" in name


def load(name: str, field: str) -> Any:
    """The class or function "module:name".

    Args:
      name: of the part.
      field: of the config that names it, for messages.

    Raises:
      MissingPart: there is no such module, it fails, or it has nothing of this name.
    """
    path, _, attribute = name.partition(":")
    asked = f"{field} is {name!r}, but"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if f"{path}.".startswith(f"{error.name}."):
            raise MissingPart(
                f"{asked} there is no module {error.name} here; start in the folder that holds "
                "it, or install it."
            ) from error
        raise MissingPart(
            f"{asked} {path} needs the module {error.name}, which is not installed here."
        ) from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        machinery = (__file__, importlib.__file__)
        inside = [
            f"line {frame.lineno} of {frame.filename}"
            for frame in frames
            if not frame.filename.startswith("<") and frame.filename not in machinery
        ]
        where = inside[0] if inside else path
        raise MissingPart(
            f"{asked} {path} fails in {where}: {type(error).__name__}, {error}."
        ) from error
    if not hasattr(module, attribute):
        names = [name for name in vars(module) if not name.startswith("_")]
        near = difflib.get_close_matches(attribute, names, n=1)
        nearest = f"; the nearest that it has is {near[0]}" if near else ""
        raise MissingPart(f"{asked} {path} has nothing called {attribute!r}{nearest}.")
    return getattr(module, attribute)


def load_class(name: str, field: str, base: type) -> type:
    """The class "module:name", which must derive from another one.

    Raises:
      InputError: as `load` does, or it does not.
    """
    found = load(name, field)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(
            f"{field} is {name!r}, but that is no class that derives from "
            f"{base.__module__}.{base.__qualname__}."
        )
    return found


def load_function(name: str, field: str) -> Any:
    """The function "module:name".

    Raises:
      InputError: as `load` does, or it cannot be called.
    """
    found = load(name, field)
    if not callable(found):
        raise InputError(f"{field} is {name!r}, but that is no function.")
    return found


def attributes(kind: type) -> tuple[str, ...]:
    """What a dataclass, such as any linen module, can be given when it is made."""
    return tuple(
        field.name
        for field in dataclasses.fields(kind)
        if field.init and field.name not in ("parent", "name")
    )


def require_taken(settings: Iterable[str], kinds: Mapping[str, type], section: str) -> None:
    """Refuses settings that no part takes.

    Args:
      settings: their names.
      kinds: the parts, by the names that the config has for them.
      section: of the config in which the settings are.

    Raises:
      InputError: naming the first of them, and what there is.
    """
    taken = {name for kind in kinds.values() for name in attributes(kind)}
    for name in settings:
        if name not in taken:
            raise InputError(
                f"{section}.{name} is set, but {' and '.join(kinds)} has no attribute of that "
                f"name; there are {', '.join(sorted(taken)) or 'none'}."
            )


def source(part: Any) -> str:
    """A digest of the file in which a part stands, so that what is kept under its name can be told
    from what another version of it would make."""
    file = getattr(sys.modules[part.__module__], "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else ""
