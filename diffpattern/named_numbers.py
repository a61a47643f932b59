"""Entries of config fields that give numbers by name, as "diffusion=0.1" or "A=0,16,32" do."""

import math
from collections.abc import Callable, Sequence

from diffpattern.errors import InputError


def read(
    entries: Sequence[str], is_right: Callable[[str, list[float]], bool], *, field: str, form: str
) -> dict[str, list[float]]:
    """The numbers of each name, all of them finite.

    Args:
      entries: each a name, "=" and numbers with commas between them.
      is_right: whether a name may have such numbers.
      field: of the config, which the entries come from.
      form: what would do as an entry, as the end of a sentence.

    Raises:
      InputError: an entry is not of this form, or a name comes twice.
    """
    found: dict[str, list[float]] = {}
    for entry in entries:
        name, _, written = str(entry).rpartition("=")
        try:
            numbers = [float(number) for number in written.split(",")]
        except ValueError:
            numbers = []
        if not numbers or not all(map(math.isfinite, numbers)) or not is_right(name, numbers):
            raise InputError(f"{field} has the entry {entry!r}; write {form}.")
        if name in found:
            raise InputError(f"{field} names {name!r} twice; give it one entry.")
        found[name] = numbers
    return found


def read_single(
    entries: Sequence[str], is_right: Callable[[str, float], bool], *, field: str, form: str
) -> dict[str, float]:
    """`read` where each name has one number."""
    found = read(
        entries,
        lambda name, numbers: len(numbers) == 1 and is_right(name, numbers[0]),
        field=field,
        form=form,
    )
    return {name: number for name, (number,) in found.items()}


def read_factors(entries: Sequence[str], *, field: str, example: str) -> dict[str, float]:
    """`read_single` where any name will do and the numbers are positive.

    Args:
      entries: each a name, "=" and a positive number.
      field: of the config, which the entries come from.
      example: of an entry, for who got one wrong.
    """
    return read_single(
        entries,
        lambda name, number: bool(name) and number > 0,
        field=field,
        form=f"a name, '=' and a positive number, such as {example!r}",
    )
