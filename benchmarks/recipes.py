"""What some recipes are asked for that scores do not tell, measured on a run of theirs.

    python -m benchmarks.recipes grow RUN

The others are told by the scores of their runs.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from diffpattern import dataset, restored, scores
from diffpattern.data import images
from diffpattern.data.preparation import downsample
from diffpattern.grid.geometry import Grid
from diffpattern.parallel.mesh import make_mesh
from diffpattern.prediction import make_predictor
from diffpattern.restored import RestoredRule
from diffpattern.run_folder import RunFolder
from diffpattern.training.losses import LOSSES, Context
from diffpattern.training.step import prefers_together

_KEY = jax.random.key(0)

# A name, what was measured, and the most that is asked for (None: it stands beside the others).
Row = tuple[str, float, float | None]


def grow(rule: RestoredRule) -> Iterator[Row]:
    """A picture out of a seed: how well it is made, kept, and healed, by 24 draws of chance."""
    target = rule.truth[0].values[0, -1]
    seeds = np.tile(rule.truth[0].values[0, 0], (24, 1, 1, 1))
    step = rule.problem.dynamics.dt
    grown, kept = drawn(rule, seeds, [96 * step, 1000 * step])
    left = np.arange(target.shape[1]) < target.shape[1] // 2
    halves = jnp.where(left[None, :, None], 0.0, kept)
    (healed,) = drawn(rule, halves, [200 * step])
    for name, states, most in (
        ("mean square error at step 96", grown, 0.005),
        ("at step 1000", kept, 0.01),
        ("200 steps after its left half was erased", healed, 0.01),
    ):
        yield name, _error(states, target), most
        yield "  at worst", max(_error(state, target) for state in states), None
    yield "with its left half erased", _error(halves, target), None
    yield "of nothing at all", _error(jnp.zeros_like(target), target), None


def morph(rule: RestoredRule) -> Iterator[Row]:
    """A sequence of pictures, of which the last one lasts."""
    truth = rule.truth[0]
    times = truth.times[1:] - truth.times[0]
    start = jnp.asarray(truth.values[0, 0])
    states = run(rule, start, [*times, 10 * times[-1]])
    for time, state, target in zip(times, states, truth.values[0, 1:], strict=False):
        yield f"mean square error at t = {time:g}", _error(state, target), 0.01
        yield "  of a blank picture", float(np.mean(target**2)), None
        yield "  of the picture's mean", float(np.mean((target - target.mean((0, 1))) ** 2)), None
    last = truth.values[0, -1]
    yield f"of the last at t = {10 * times[-1]:g}", _error(states[-1], last), 0.02


def texture(rule: RestoredRule) -> Iterator[Row]:
    """A wall of bricks: how far from a part that was not trained on, over how far two parts are."""
    trained_on, unseen = parts_of_texture(rule)
    grid = rule.truth[0].grid
    settings = rule.config.loss.settings.patches.to_dict() | {"projections": 256}

    def distance(one: Array, other: Array, grid: Grid) -> float:
        prediction, truth, context = one[None], other[None], Context(grid, key=_KEY)
        return float(jnp.sqrt(LOSSES["patches"](prediction, truth, context, **settings)))

    # A part of a picture is not periodic, and its two edges side by side are nothing of the wall's.
    apart = distance(trained_on, unseen, dataclasses.replace(grid, boundary="symmetric"))
    interval = float(rule.truth[0].times[-1] - rule.truth[0].times[0])
    species = trained_on.shape[-1]
    for times in (1, 2, 8):
        (made,) = run(rule, jnp.asarray(rule.truth[0].values[0, 0]), [times * interval])
        ratio = distance(made[..., :species], unseen, grid) / apart
        yield f"distance over that of two parts, at t = {times * interval:g}", ratio, 1.5
    flat = distance(rule.truth[0].values[0, 0], unseen, grid) / apart
    yield "of the flat start", flat, None


def parts_of_texture(rule: RestoredRule) -> tuple[np.ndarray, np.ndarray]:
    """What was trained on, and a corner of the same picture that was not."""
    trained_on = rule.truth[0].values[0, -1]
    fields = rule.config.data.images
    whole = downsample(images.read(fields.train[0]).frames[0], fields.downsample)
    margin = (whole.shape[0] - trained_on.shape[0]) // 2  # the middle was trained on
    return trained_on, whole[:margin, :margin]


def nca_gray_scott(rule: RestoredRule) -> Iterator[Row]:
    """Gray-Scott for twice as long as in training: errors, and what patterns are like then."""
    config = ConfigDict(rule.config.to_dict())
    config.data.end_time = 2048.0
    (truth,) = dataset.of_split(dataset.load(config), "test")
    together = prefers_together(config.training.windows)
    predict = make_predictor(
        rule.problem, truth, make_mesh(-1), key=jax.random.key(0), together=together
    )
    prediction = predict(rule.checkpoint.parameters)
    floor = config.evaluation.floor * np.asarray(rule.statistics.fluctuation)
    errors = np.median(scores.nrmse(prediction, truth.values, floor), axis=0)
    for time in (1024.0, 2048.0):
        for name, error in zip(truth.species, errors[truth.times == time][0], strict=True):
            yield f"NRMSE of {name} at t = {time:g}", error, 0.3 if time == 1024 else None
    found = scores.patterns([prediction], [truth], {"B": 0.1})
    for name, of_species in found["wavelength"].items():
        yield f"wavelength of {name} at t = 2048, relative error", _apart(of_species), 0.05
    yield "area with B > 0.1 at t = 2048, relative error", _apart(found["covered"]["B"]), 0.05


def _apart(curves: dict[str, list[float]]) -> float:
    """How far the rule is from the truth at the last time, relative to the truth."""
    rule, truth = curves["rule"][-1], curves["truth"][-1]
    return abs(rule / truth - 1) if rule is not None and truth else float("inf")


RECIPES: dict[str, Callable[[RestoredRule], Iterator[Row]]] = {
    "nca_gray_scott": nca_gray_scott,
    "grow": grow,
    "morph": morph,
    "texture": texture,
}


def run(rule: RestoredRule, start: Array, times: Sequence[float]) -> Array:
    """States [T, *space, channels] at some times after the start."""
    return drawn(rule, start[None], times)[:, 0]


def drawn(rule: RestoredRule, starts: Array, times: Sequence[float]) -> Array:
    """States [T, N, *space, channels] at some times after each start, each by chance of its own."""

    def states(parameters, start, key):
        times_from_start, forcing = np.array([0.0, *times]), rule.truth[0].forcing(0)
        return rule.problem.states(parameters, start, times_from_start, key, forcing)[1:]

    of_all = jax.jit(jax.vmap(states, (None, 0, 0), out_axes=1))
    return of_all(rule.checkpoint.parameters, starts, jax.random.split(_KEY, len(starts)))


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
