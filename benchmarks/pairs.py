"""Two ways to compute the same, timed in turn.

How fast a machine is changes from minute to minute, by its clock and by its other work. So the two
sides of a pair alternate, each round gives one ratio, and the median of the ratios is the result.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


class Unavailable(Exception):
    """What a benchmark compares with is not installed; the message says what would do."""


class Disagreement(Exception):
    """The two sides of a pair do not compute the same."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Our way and another.

    Attributes:
      name: of the benchmark.
      what: one line on what is computed.
      other: the other way, named.
      ours: computes it; returns arrays.
      theirs: computes it the other way.
      difference: the largest difference between what the two ways compute, relative to the
        largest number; measured before anything is timed.
      tolerance: of that difference.
      rounds: how often both are timed.
      target: the ratio that is asked for, or None.
      work: how many times the other's work ours has to do; the ratio is multiplied by it.
    """

    name: str
    what: str
    other: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    difference: Callable[[], float]
    tolerance: float
    rounds: int
    target: float | None = None
    work: float = 1.0


def measure(pair: Pair) -> dict[str, Any]:
    """Compares both sides, warms them up, and times them in turn.

    Returns:
      A row: seconds are medians over the rounds, "ratio" is the median of the rounds' ratios of
      the other's seconds, times the pair's work, to ours, "spread" the smallest and the largest of
      them.

    Raises:
      Disagreement: the two sides differ by more than the pair's tolerance.
    """
    difference = pair.difference()
    if not difference <= pair.tolerance:
        raise Disagreement(
            f"{pair.name}: ours and {pair.other} differ by {difference:.1e} of the largest number, "
            f"of which {pair.tolerance:.0e} is allowed."
        )
    for side in (pair.ours, pair.theirs):
        _seconds(side)
    rounds = [(_seconds(pair.ours), _seconds(pair.theirs)) for _ in range(pair.rounds)]
    ours, theirs = zip(*rounds, strict=True)
    ratios = [pair.work * other / own for own, other in rounds]
    return {
        "name": pair.name,
        "ours_seconds": statistics.median(ours),
        "other": pair.other,
        "other_seconds": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "spread": [min(ratios), max(ratios)],
        "target": pair.target,
        "rounds": pair.rounds,
        "difference": difference,
        "what": pair.what,
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }


def relative_difference(ours: Any, theirs: Any) -> float:
    """The largest difference of two equal structures of arrays, each array's relative to its own
    largest number."""

    def of_leaf(a, b):
        return jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b))

    return float(jnp.max(jnp.stack(jax.tree.leaves(jax.tree.map(of_leaf, ours, theirs)))))


def _seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - began
