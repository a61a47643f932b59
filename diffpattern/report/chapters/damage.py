"""What the rule does when a part of the lattice is erased."""

import numpy as np

from diffpattern.records import Damage
from diffpattern.report import images, mathematics, pattern_charts, videos
from diffpattern.report.chapters.pieces import (
    chosen,
    film,
    moment,
    tiles_in_colours,
    tiles_of_species,
)
from diffpattern.report.contents import RunReport, scale_of
from diffpattern.report.document import chart

_TITLES = ("as it was", "damaged", "difference")


def chapter(report: RunReport) -> str:
    """Pictures of both, how far they are apart over time, and both in motion."""
    damage = report.damage
    if damage is None:
        return ""
    truth, species, times = report.lattices[0][0], report.species, damage.times
    if not np.isfinite(damage.undamaged).all(axis=tuple(range(1, damage.undamaged.ndim))).any():
        return "<p>The prediction is not finite half-way, so that nothing was left to damage.</p>"
    at, unit = chosen(range(len(times)), times), report.unit("time")
    flat, mask = truth.grid.ndim == 1, truth.inside(damage.trajectory)
    parts = [_what_was_done(damage, species, unit)]
    if images.has_colours(species) and not flat:
        both = [truth.in_units(x) for x in (damage.undamaged, damage.damaged)]
        parts.append(tiles_in_colours(_TITLES[:2], both, species, times, at, [""] * len(at), unit))
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            difference = damage.damaged.astype(np.float64) - damage.undamaged
        for channel, name in enumerate(species[: videos.SPECIES_UP_TO]):
            values = [
                images.within(x[..., channel], mask)
                for x in (damage.undamaged, damage.damaged, difference)
            ]
            # What a rule makes late and wrong does not dim the pattern that it was trained on.
            scale = scale_of(truth, damage.trajectory, channel)
            remarks = [f"NRMSE {mathematics.number(damage.nrmse[i, channel], 2)}" for i in at]
            parts.append(tiles_of_species(name, _TITLES, values, scale, times, at, remarks, unit))
    moving = chart(
        lambda theme: pattern_charts.recovery(damage, species, report.unit("time"), theme),
        "NRMSE between the damaged lattice and the one as it was",
        "How far the two are apart, as a share of the pattern's own fluctuation. A curve that "
        "falls to zero is a wound that heals; one that levels off, a scar or another pattern that "
        "is as good; one that grows, damage that spreads.",
    )
    if videos.DAMAGE in report.videos:
        moving += film(
            report.videos[videos.DAMAGE],
            "Animation of the damaged lattice beside the one as it was",
            "The same in motion. Watch from where the gap closes: from its edge inwards, as a "
            "pattern that grows does, or everywhere at once. In the run's folder, "
            f"<code>videos/{videos.DAMAGE}.mp4</code>.",
        )
    return "\n".join([*parts, f"<div class='charts'>{moving}</div>"])


def _what_was_done(damage: Damage, species: tuple[str, ...], unit: str) -> str:
    share = np.mean(damage.erased)
    where = ("the middle", "a disc in the middle", "a ball in the middle")[damage.erased.ndim - 1]
    filling = damage.filling[: len(species)]
    if np.any(damage.filling):
        told = ", ".join(
            f"{mathematics.symbol(name)} = {mathematics.number(float(value), 2)}"
            for name, value in zip(species, filling, strict=True)
        )
        filled = f"set to the mean of the training data ({told})"
    else:
        filled = "set to zero, hidden channels too"
    return (
        f"<p>At {moment(float(damage.times[0]), unit)}, {where}, {share:.0%} of the cells of the "
        f"same prediction, was erased: {filled}. From there the rule went on twice, by the same "
        "chance: from the state as it was, and from the damaged one. See whether the pattern "
        "comes back, whether it is the same one, and whether the rest is disturbed.</p>"
    )
