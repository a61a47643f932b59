"""Memory: how much a machine has, what is refused before it is asked for, and what is told of it.

A system that is short of memory ends processes without a word, so what cannot fit is not tried.
"""

import os
from pathlib import Path

import jax

from diffpattern.errors import InputError

# Where a container's limit stands (control groups, version 2 and 1); without one: a word, or a
# number beyond any machine.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def of_machine() -> int:
    """Bytes of memory that this machine, or the container on it, has."""
    amounts = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in map(Path, _LIMITS):
        if path.is_file() and (limit := path.read_text().strip()).isdecimal():
            amounts.append(int(limit))
    return min(amounts)


def require(needed: float, what: str, remedy: str) -> None:
    """Refuses what this machine's memory cannot hold, before anything of it is made.

    Args:
      needed: bytes.
      what: takes them, as the subject of a sentence in the plural.
      remedy: what would do, as the end of that sentence.

    Raises:
      InputError: there is not so much.

    Example:
      >>> require(4e3, "The data", "take fewer")
      >>> require(4e18, "The data", "take fewer")
      Traceback (most recent call last):
          ...
      diffpattern.errors.InputError: The data take 4e+03 PB of memory, but this machine has ...
    """
    if needed > (there := of_machine()):
        raise InputError(
            f"{what} take {scaled(needed, 'B')} of memory, but this machine has "
            f"{scaled(there, 'B')}; {remedy}."
        )


def lack(error: Exception) -> str | None:
    """What an error says in a sentence, if it is that memory did not suffice; else None.

    Example:
      >>> lack(MemoryError("Unable to allocate 7 TiB"))
      'Memory does not suffice (Unable to allocate 7 TiB); take a smaller lattice, ...'
      >>> lack(ValueError("no number"))
    """
    told = " ".join(str(error).split()).rstrip(".")
    exhausted = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in told
    if not exhausted and not isinstance(error, MemoryError):
        return None
    return (
        f"Memory does not suffice ({told or 'of which Python says no more'}); take a smaller "
        "lattice, batch or rule, or spread them over more devices (docs/scaling.md)."
    )


def scaled(number: float, unit: str) -> str:
    """A number with a prefix of the metric system."""
    for power, prefix in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            scaled = prefix if unit == "B" else f"x 10^{power} "
            return f"{number / 10**power:.3g} {scaled}{unit}"
    return f"{number:.3g} {unit}"
