"""Where data come from besides simulations, by the names that `data.name` has for them.

Each source is a function of its section of the config, and gives the data by split: in memory, or
as what stays in its files.
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from diffpattern.data import hdf5
from diffpattern.data.hdf5 import StoredTrajectories
from diffpattern.data.trajectories import Trajectories

SOURCES: dict[str, Callable[[ConfigDict], dict[str, Trajectories | StoredTrajectories]]] = {
    "the_well": hdf5.load_the_well,
    "pdebench": hdf5.load_pdebench,
}
