"""Draws what was read off the rule of a run: docs/images/reading.png.

    python docs/make_rule_picture.py RUN

The reaction in its phase plane, and how waves on its homogeneous state grow.
"""

import argparse
import io
from pathlib import Path

from PIL import Image

from diffpattern.report.figures import LIGHT
from diffpattern.report.rule import dispersion, kept, phase_plane
from diffpattern.report.rule.drawing import Units
from diffpattern.run_folder import RunFolder

_OUTPUT = Path(__file__).parent / "images" / "reading.png"


def main() -> None:
    """Reads what evaluation has kept, and writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder of an evaluated run of two species")
    folder = RunFolder(parser.parse_args().run)
    reading, units = kept.read(folder.reading), Units.of(folder.read_scores())
    figures = [
        phase_plane.phase_plane(reading.reaction, units, LIGHT),
        dispersion.dispersion(*reading.waves[0], units, LIGHT),
    ]
    pictures = []
    for figure in figures:
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=110, facecolor="white")
        pictures.append(Image.open(content).convert("RGB"))
    size = sum(one.width for one in pictures), max(one.height for one in pictures)
    whole = Image.new("RGB", size, "white")
    left = 0
    for one in pictures:
        whole.paste(one, (left, 0))
        left += one.width
    whole.quantize(128).save(_OUTPUT, optimize=True)


if __name__ == "__main__":
    main()
