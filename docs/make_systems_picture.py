"""Draws docs/images/systems.png: every known PDE at the end of its recommended simulation.

python docs/make_systems_picture.py [FILE]
"""

import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from diffpattern.data.simulation import Simulation, simulate
from diffpattern.systems import SYSTEMS

COLUMNS = 5


def main(path: Path) -> None:
    """Writes the picture to `path`."""
    rows = math.ceil(len(SYSTEMS) / COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(2 * COLUMNS, 2.25 * rows))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, system) in zip(axes.flat, SYSTEMS.items(), strict=False):
        settings = Simulation.recommended(system(), train=1, validation=1, test=1)
        pattern = simulate(settings)["train"].values[0, -1, ..., 0]
        axis.imshow(pattern, cmap="viridis", interpolation="nearest")
        axis.set_title(f"{name}\n{system.species[0]} at t = {settings.end_time:g}", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    default = Path(__file__).parent / "images" / "systems.png"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
