"""Sweeps: combinations of fields that a config file lists, each a run of its own.

A config file defines `get_sweep()` beside `get_config()`, which returns a list of combinations,
{dotted path of a field: its value}. `product` and `zipped` make such lists, and `+` joins them:

    from diffpattern import sweeps

    def get_sweep():
        return sweeps.product({"seed": range(3), "optimiser.optax.learning_rate": (1e-3, 1e-2)})

A combination is known by its number in the list, from 0.
"""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from diffpattern import configuration
from diffpattern.errors import InputError
from diffpattern.run_folder import RunFolder

Combination = dict[str, Any]


def product(*parts: Mapping[str, Iterable[Any]] | Iterable[Combination]) -> list[Combination]:
    """Each value of each field with each of the others; the last field changes fastest.

    Args:
      parts: {field: its values}, or a list of combinations (of `zipped`, say) as one factor.

    Raises:
      InputError: a field has a text for its values, or belongs to two parts.
    """
    factors = []
    for part in parts:
        if isinstance(part, Mapping):
            factors += [[{field: value} for value in _values(part, field)] for field in part]
        else:
            factors.append(list(part))
    return [_merged(chosen) for chosen in itertools.product(*factors)]


def zipped(fields: Mapping[str, Iterable[Any]]) -> list[Combination]:
    """The first values of all fields, then the second ones, and so on.

    Raises:
      InputError: fields have different numbers of values, or a text for them.
    """
    columns = {field: _values(fields, field) for field in fields}
    counts = {field: len(values) for field, values in columns.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{field} has {count}" for field, count in counts.items())
        raise InputError(f"zipped needs as many values of each field, but {told}.")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(fields: Mapping[str, Iterable[Any]], field: str) -> list[Any]:
    if isinstance(fields[field], str):
        raise InputError(f"{field} has {fields[field]!r} for its values; give a list of them.")
    return list(fields[field])


def _merged(parts: Iterable[Combination]) -> Combination:
    merged: Combination = {}
    for part in parts:
        if twice := merged.keys() & part.keys():
            raise InputError(f"product has {min(twice)} in two of its parts.")
        merged |= part
    return merged


def read(path: str) -> list[Combination]:
    """The combinations that a config file lists.

    Args:
      path: of the file; what follows a colon is an argument of its `get_sweep`.

    Raises:
      InputError: it has no `get_sweep`, or that fails or lists something else.
    """
    combinations = configuration.call(path, "get_sweep")
    file = path.split(":")[0]
    if not isinstance(combinations, list | tuple):
        raise InputError(
            f"get_sweep() of {file} returns a {type(combinations).__name__}; it must return a list "
            "of combinations, {field: value} each."
        )
    for number, one in enumerate(combinations):
        if not isinstance(one, Mapping) or not all(isinstance(field, str) for field in one):
            raise InputError(
                f"Combination {number} of {file} is {one!r}; it must be a dict, {{field: value}}."
            )
    if not combinations:
        raise InputError(f"get_sweep() of {file} lists no combination.")
    return [dict(one) for one in combinations]


def choose(path: str, number: int) -> Combination:
    """The combination of this number.

    Raises:
      InputError: there is none, or see `read`.
    """
    combinations = read(path)
    if not 0 <= number < len(combinations):
        raise InputError(
            f"--sweep is {number}, but the combinations of {path.split(':')[0]} have the numbers "
            f"0 to {len(combinations) - 1}."
        )
    return combinations[number]


def applied(
    config: ConfigDict, combination: Combination, number: int, given: Iterable[str] = ()
) -> ConfigDict:
    """A copy of the config with the combination's fields, checked.

    Args:
      config: that the combination changes.
      combination: of the sweep.
      number: of the combination, for errors.
      given: fields that were set by hand, and which it must leave alone.

    Raises:
      InputError: such a config cannot work.
    """
    for field in given:
        if field in combination:
            raise InputError(
                f"--config.{field} is given, but combination {number} of the sweep sets that field "
                f"to {combination[field]!r}; leave one of them out."
            )
    try:
        return configuration.changed(config, combination)
    except InputError as error:
        raise InputError(f"Combination {number} of the sweep cannot be: {error}") from error


def folder(path: str, number: int, pattern: str | None = None) -> RunFolder:
    """Where the run of a combination belongs, always the same, so that it is found again.

    Args:
      path: of the config file.
      number: of the combination.
      pattern: path with a `*` for the number; None: runs/<config>-*.

    Raises:
      InputError: the pattern has no such place, or several.
    """
    pattern = pattern or f"runs/{Path(path.split(':')[0]).stem}-*"
    if pattern.count("*") != 1:
        raise InputError(
            f"--workdirs is {pattern!r}; for a sweep it needs one * in the place of the "
            "combination's number, such as 'runs/mine-*'."
        )
    return RunFolder(Path(pattern.replace("*", f"{number:03d}")))


def listing(
    config: ConfigDict, path: str, pattern: str | None = None, given: Iterable[str] = ()
) -> str:
    """All combinations as lines for a person and for `launch/sweep.sh`.

    A line has the combination's number, "complete", "begun" or "new", its folder, and its fields.

    Args:
      config: that the combinations change.
      path: of the config file.
      pattern: see `folder`.
      given: see `applied`.

    Raises:
      InputError: a combination cannot work, or its folder belongs to something else.
    """
    lines = [f"Combinations of {path}:"]
    for number, combination in enumerate(read(path)):
        one, place = applied(config, combination, number, given), folder(path, number, pattern)
        place.check(one)
        state = "new"
        if place.is_run:
            state = "complete" if place.is_complete(one.training.steps) else "begun"
        fields = "  ".join(f"{field}={value}" for field, value in combination.items())
        lines.append(f"{number:>4}  {state:<8}  {place.path}  {fields}")
    return "\n".join(lines)
