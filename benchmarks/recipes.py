"""What the recipes that grow, morph and weave are asked for, measured on a run of theirs.

    python -m benchmarks.recipes grow RUN

The others are told by the scores of their runs.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffpattern import restored
from diffpattern.data import images
from diffpattern.data.preparation import downsample
from diffpattern.restored import RestoredRule
from diffpattern.run_folder import RunFolder
from diffpattern.training.losses import LOSSES, Context

_KEY = jax.random.key(0)

# A name, what was measured, and the most that is asked for (None: it stands beside the others).
Row = tuple[str, float, float | None]


def grow(rule: RestoredRule) -> Iterator[Row]:
    """A picture out of a seed: how well it is made, kept, and healed."""
    target = rule.truth.values[0, -1]
    seed = jnp.asarray(rule.truth.values[0, 0])
    step = rule.problem.dynamics.dt
    grown, kept = _run(rule, seed, [96 * step, 1000 * step])
    yield "mean square error at step 96", _error(grown, target), 0.005
    yield "at step 1000", _error(kept, target), 0.01
    left = np.arange(target.shape[1]) < target.shape[1] // 2
    half = jnp.where(left[None, :, None], 0.0, kept)
    yield "with its left half erased", _error(half, target), None
    (healed,) = _run(rule, half, [200 * step])
    yield "200 steps later", _error(healed, target), 0.01
    yield "of nothing at all", _error(jnp.zeros_like(target), target), None


def morph(rule: RestoredRule) -> Iterator[Row]:
    """A sequence of pictures, of which the last one lasts."""
    truth = rule.truth
    times = truth.times[1:] - truth.times[0]
    start = jnp.asarray(truth.values[0, 0])
    states = _run(rule, start, [*times, 10 * times[-1]])
    for time, state, target in zip(times, states, truth.values[0, 1:], strict=False):
        yield f"mean square error at t = {time:g}", _error(state, target), 0.01
        yield "  of the picture's mean", float(np.mean((target - target.mean((0, 1))) ** 2)), None
    last = truth.values[0, -1]
    yield f"of the last at t = {10 * times[-1]:g}", _error(states[-1], last), 0.02


def texture(rule: RestoredRule) -> Iterator[Row]:
    """A wall of bricks: how far from a part that was not trained on, over how far two parts are."""
    trained_on = rule.truth.values[0, -1]
    fields = rule.config.data.images
    whole = downsample(images.read(fields.train[0]).frames[0], fields.downsample)
    margin = (whole.shape[0] - trained_on.shape[0]) // 2  # the middle was trained on
    unseen = whole[:margin, :margin]
    context = Context(rule.truth.grid, key=_KEY)

    settings = rule.config.loss.settings.patches.to_dict() | {"projections": 256}

    def distance(one: Array, other: Array) -> float:
        prediction, truth = jnp.asarray(one)[None], jnp.asarray(other)[None]
        return float(jnp.sqrt(LOSSES["patches"](prediction, truth, context, **settings)))

    apart = distance(trained_on, unseen)
    interval = float(rule.truth.times[-1] - rule.truth.times[0])
    species = trained_on.shape[-1]
    for times in (1, 2, 8):
        (made,) = _run(rule, jnp.asarray(rule.truth.values[0, 0]), [times * interval])
        ratio = distance(made[..., :species], unseen) / apart
        yield f"distance over that of two parts, at t = {times * interval:g}", ratio, 1.5
    flat = distance(rule.truth.values[0, 0], unseen) / apart
    yield "of the flat start", flat, None


RECIPES: dict[str, Callable[[RestoredRule], Iterator[Row]]] = {
    "grow": grow,
    "morph": morph,
    "texture": texture,
}


def _run(rule: RestoredRule, start: Array, times: Sequence[float]) -> Array:
    """States [*space, channels] at some times after the start."""
    states = jax.jit(
        lambda parameters, start: rule.problem.states(
            parameters, start, np.array([0.0, *times]), _KEY, rule.truth.forcing(0)
        )
    )
    return states(rule.checkpoint.parameters, start)[1:]


def _error(state: Array, target: np.ndarray) -> float:
    """Mean square over the channels that are seen."""
    return float(jnp.mean((state[..., : target.shape[-1]] - target) ** 2))


def main(arguments: Sequence[str]) -> None:
    """Measures one run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipes", description=__doc__)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run of its config")
    flags = parser.parse_args(arguments)
    rule = restored.restore(RunFolder(flags.run))
    for name, measured, most in RECIPES[flags.recipe](rule):
        asked = "" if most is None else f"at most {most:g}"
        print(f"{name:48}{measured:10.3g}   {asked}".rstrip())


if __name__ == "__main__":
    main(sys.argv[1:])
