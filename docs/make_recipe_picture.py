"""Draws what the rule of a recipe's run makes: docs/images/NAME.png.

    python docs/make_recipe_picture.py NAME RUN

Recipes that grow, morph, weave and follow frames are run from their first frame; of all others the
typical unseen trajectory is shown, truth above rule, out of the run's predictions.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import recipes
from diffpattern import restored, scores
from diffpattern.report.images import chosen_times
from diffpattern.restored import RestoredRule
from diffpattern.run_folder import RunFolder, numbered

_TIMES = 6
Row = tuple[str, list[tuple[str, np.ndarray]]]


def grow(rule: RestoredRule) -> list[Row]:
    """From the seed, and from what is left when half is erased."""
    target, seed = rule.truth[0].values[0, -1], rule.truth[0].values[0, 0]
    steps = np.array([20, 40, 60, 96, 1000])
    dt = rule.problem.dynamics.dt
    states = recipes.run(rule, seed, steps * dt)
    half = np.where(np.arange(target.shape[1])[None, :, None] < target.shape[1] // 2, 0, states[-1])
    healing = np.array([10, 25, 50, 100, 200])
    healed = recipes.run(rule, half, healing * dt)
    coloured = lambda lattice: over_white(np.asarray(lattice)[..., :4])
    return [
        ("grows", [("target", coloured(target))] + named("step {}", steps, states, coloured)),
        ("heals", [("erased", coloured(half))] + named("step {}", healing, healed, coloured)),
    ]


def morph(rule: RestoredRule) -> list[Row]:
    """The pictures that are asked for, and what comes at their times and long after."""
    truth = rule.truth[0]
    times = truth.times - truth.times[0]
    late = np.append(times[1:], 10 * times[-1])
    states = recipes.run(rule, truth.values[0, 0], late)
    grey = lambda lattice: np.asarray(lattice)[..., 0]
    return [
        ("asked for", named("t = {:g}", times, truth.values[0], grey)),
        ("made", [("start", grey(truth.values[0, 0]))] + named("t = {:g}", late, states, grey)),
    ]


def texture(rule: RestoredRule) -> list[Row]:
    """The part that was trained on, one that was not, and what the rule makes of nothing."""
    trained_on, unseen = recipes.parts_of_texture(rule)
    interval = float(rule.truth[0].times[-1] - rule.truth[0].times[0])
    times = interval * np.array([1, 2, 4, 8])
    states = recipes.run(rule, rule.truth[0].values[0, 0], times)
    grey = lambda lattice: np.asarray(lattice)[..., 0]
    pictures = [("trained on", grey(trained_on)), ("unseen", grey(unseen))]
    return [("", pictures + named("t = {:g}", times, states, grey))]


def frames(rule: RestoredRule) -> list[Row]:
    """The frames, what the rule makes of the first one, and how it goes on for as long again."""
    truth = rule.truth[0]
    count, times = len(truth.times), truth.times - truth.times[0]
    times = np.append(times, times[-1] + np.diff(times, prepend=0).max() * np.arange(1, count + 1))
    start = truth.values[0, 0]
    made = recipes.run(rule, start, times[1:])[..., : start.shape[-1]]
    states = np.clip(truth.in_units(np.concatenate([start[None], made])), 0, 1)
    picture = lambda lattice: lattice[..., 0] if lattice.shape[-1] < 3 else lattice[..., :3]
    return [
        ("frames", named("t = {:g}", times[:count], truth.in_units(truth.values[0]), picture)),
        ("rule", named("", times[:count], states[:count], picture)),
        ("beyond", named("t = {:g}", times[count:], states[count:], picture)),
    ]


def fitted(folder: RunFolder) -> list[Row]:
    """Truth and rule on lattices of each size, from the start whose error is the median at last."""
    truths, summary = folder.data()
    channel = len(summary.species) - 1 if summary.species == ("A", "B") else 0
    name = summary.species[channel]
    rows = []
    for place, truth in enumerate(truths):
        path = folder.predictions.with_name(numbered(folder.predictions.name, place))
        prediction = np.load(path)["values"]
        actual = truth.in_units(truth.values)
        errors = scores.nrmse(prediction, actual, np.full(actual.shape[-1], 1e-9), truth.mask)
        which = int(np.argsort(errors[:, -1].mean(-1))[(len(errors) - 1) // 2])
        outside = None if truth.mask is None else truth.mask[which] == 0
        chosen = chosen_times(truth.times, _TIMES)
        for title, values in (("truth", actual), ("rule", prediction)):
            lattices = values[which, chosen, ..., channel]
            if outside is not None:
                lattices = np.where(outside, np.nan, lattices)
            rows.append((f"{name}, {title}", named("t = {:g}", truth.times[chosen], lattices)))
    return rows


def named(
    caption: str, numbers: Sequence, states: Sequence, picture: Callable = lambda state: state
) -> list[tuple[str, np.ndarray]]:
    """Pictures of some states, each with its number."""
    return [(caption.format(n), picture(s)) for n, s in zip(numbers, states, strict=True)]


def over_white(lattice: np.ndarray) -> np.ndarray:
    """Premultiplied colours with alpha, on white paper."""
    return np.clip(1 - lattice[..., 3:] + lattice[..., :3], 0, 1)


def draw(rows: list[Row], path: Path) -> None:
    """One line of pictures after the other, all grey or coloured alike."""
    columns = max(len(pictures) for _, pictures in rows)
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(1.4 * columns, 1.6 * len(rows)),
        squeeze=False,
        layout="constrained",
    )
    flat = [picture for _, pictures in rows for _, picture in pictures if picture.ndim == 2]
    limits = {}
    if flat:
        first = np.concatenate([picture.ravel() for picture in flat[: len(rows[0][1])]])
        limits = dict(zip(("vmin", "vmax"), np.nanpercentile(first, [0.5, 99.5]), strict=True))
    for line, (title, pictures) in zip(axes, rows, strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, (caption, picture) in zip(line, pictures, strict=False):
            axis.imshow(picture, cmap="viridis", interpolation="nearest", **limits)
            axis.set_title(caption, fontsize=8)
        line[0].text(
            -0.08, 0.5, title, rotation=90, va="center", ha="right", transform=line[0].transAxes
        )
    figure.savefig(path, dpi=90)


def main(arguments: Sequence[str]) -> None:
    """Draws one recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("run", type=Path, metavar="RUN")
    flags = parser.parse_args(arguments)
    folder = RunFolder(flags.run)
    own = {"grow": grow, "morph": morph, "texture": texture, "frames": frames}.get(flags.name)
    rows = own(restored.restore(folder)) if own else fitted(folder)
    draw(rows, Path(__file__).parent / "images" / f"{flags.name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
