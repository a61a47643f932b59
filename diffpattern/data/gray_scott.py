"""The data set `gray_scott`: simulated trajectories of the Gray-Scott model."""

import os
from dataclasses import dataclass
from typing import ClassVar

import tensorflow_datasets as tfds

from diffpattern.data import builders
from diffpattern.data.simulation import Simulation
from diffpattern.data.trajectories import Trajectories
from diffpattern.systems import GrayScott


@dataclass(frozen=True, kw_only=True)
class GrayScottData(Simulation):
    """A simulation of Gray-Scott; its parameters are explained in `GrayScott`."""

    diffusion_a: float = GrayScott.diffusion_a
    diffusion_b: float = GrayScott.diffusion_b
    alpha: float = GrayScott.alpha
    gamma: float = GrayScott.gamma

    system_class: ClassVar = GrayScott


class GrayScottBuilder(builders.SimulationBuilder):
    """TFDS builder of the data set `gray_scott`."""

    name = "gray_scott"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    DESCRIPTION = (
        "Trajectories of the Gray-Scott reaction-diffusion model, from smooth random blobs of B in "
        "a bath of A to the patterns that grow out of them. Each example is one trajectory of "
        "snapshots at equal intervals, [T, *space, 2] for A and B; train, validation and test "
        "differ in the random starts alone."
    )
    CITATION = """\
@article{pearson1993complex,
  title = {Complex Patterns in a Simple System},
  author = {Pearson, John E.},
  journal = {Science},
  volume = {261},
  number = {5118},
  pages = {189--192},
  year = {1993},
}"""


def load(
    settings: GrayScottData, directory: str | os.PathLike | None = None
) -> dict[str, Trajectories]:
    """The trajectories of `settings` by split, simulated on first use: see `builders.load`."""
    return builders.load(GrayScottBuilder, settings, directory)
