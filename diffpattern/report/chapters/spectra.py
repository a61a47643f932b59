"""Of what lengths the patterns are made, in truth and in prediction."""

import numpy as np

from diffpattern.report import images, mathematics, pattern_charts
from diffpattern.report.contents import RunReport
from diffpattern.report.document import chart
from diffpattern.spectra import levelled, radial

# As many species have charts, and as many times curves.
_SPECIES_UP_TO = 6
_TIMES = 4
# With fewer times there is no curve.
_WAVELENGTHS_FROM = 3


def chapter(report: RunReport) -> str:
    """Power spectra at some times and the dominant wavelength over all, for each species."""
    species = report.species[:_SPECIES_UP_TO]
    charts = [
        part(report, channel, name)
        for channel, name in enumerate(species)
        for part in (_spectra, _wavelengths)
    ]
    if not any(charts):
        return ""
    left_out = len(report.species) - len(species)
    note = f"<p>Of the first {len(species)} species.</p>" if left_out else ""
    return f"{note}<div class='charts'>{''.join(charts)}</div>"


def _spectra(report: RunReport, channel: int, name: str) -> str:
    """Means over all trajectories on lattices of the first size at which the species was seen."""
    shown, (truth, prediction) = report.shown[0], report.lattices[0]
    # The first time says what the data began with, and the rule the same.
    seen = shown.seen(channel)[1:]
    at = [seen[i] for i in images.chosen_times(truth.times[seen], _TIMES)] if seen else []
    curves = []
    for i in at:
        seen_here = slice(None) if truth.known is None else truth.known[:, i, channel] > 0
        which = np.arange(len(truth.values))[seen_here]
        with np.errstate(invalid="ignore", over="ignore"):
            spectra = [
                [
                    radial(levelled(x[n, i, ..., channel], truth.inside(n)), truth.grid.spacing)
                    for n in which
                ]
                for x in (truth.values, np.asarray(prediction))
            ]
        wavenumbers = spectra[0][0][0]
        powers = [np.mean([power for _, power in of_all], axis=0) for of_all in spectra]
        curves.append((float(truth.times[i]), wavenumbers, *powers))
    if not any(np.any(power > 0) for _, _, power, _ in curves):
        return ""
    told = "" if truth.mask is None else " (outside of the mask all is as on average inside)"
    return chart(
        lambda theme: pattern_charts.spectra(curves, name, report.unit("length"), theme),
        f"Power spectra of {name}",
        f"Species {mathematics.symbol(name)}: how its variance is made up of waves, the mean over "
        f"all trajectories{told}. Lines are the truth, dots the prediction. A peak is the distance "
        "at which structures stand; dots above the line on the right are too much fine detail, "
        "below it too little.",
    )


def _wavelengths(report: RunReport, channel: int, name: str) -> str:
    del channel
    both = report.scores.get("wavelength", {}).get(name)
    if not both or len(both["truth"]) - both["truth"].count(None) < _WAVELENGTHS_FROM:
        return ""
    return chart(
        lambda theme: pattern_charts.wavelengths(report.scores, name, theme),
        f"Dominant wavelength of {name} over time",
        f"Species {mathematics.symbol(name)}: 2\N{NO-BREAK SPACE}\N{GREEK SMALL LETTER PI} over "
        "the mean wavenumber, weighted by power, the median over trajectories. Structures may lie "
        "elsewhere than in the truth and yet be right in kind: then the two curves agree while the "
        "NRMSE is large.",
    )
