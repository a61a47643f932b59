"""A run gone through on shapes alone, before anything is simulated, compiled or written.

So that a config that cannot work is refused at once, by the very functions that would refuse it
later.
"""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffpattern import problem
from diffpattern.data import windows
from diffpattern.data.simulation import Simulation, require_stable
from diffpattern.data.statistics import Statistics
from diffpattern.methods import make_training
from diffpattern.models import monomials
from diffpattern.models.monomials import Whitening
from diffpattern.training import least_squares


def rehearse(config: ConfigDict, settings: Simulation, mesh: Mesh) -> None:
    """Builds what a checked config asks for, and traces its rule.

    Args:
      config: of the run.
      settings: of the simulation that will give its data.
      mesh: on which it will run.

    Raises:
      InputError: something cannot work, or does not suit the data.
    """
    require_stable(settings)
    windows.check(settings.times, config.training.window, config.training.sampling)
    sought = problem.build(config, _stand_in(settings, problem.whitened_degrees(config)), mesh.size)
    count = len(settings.system.species)
    initial = jax.eval_shape(lambda: sought.initialise(config.seed))
    make_training(config, sought, initial, mesh, together=True)
    if config.optimiser.derivative_steps:
        least_squares.check_size(initial)
    start = jax.ShapeDtypeStruct((*settings.shape, count), jnp.float32)
    predict = lambda parameters, start: sought.predict(
        parameters, start, settings.times[:2], jax.random.key(0)
    )
    jax.eval_shape(predict, initial, start)


def _stand_in(settings: Simulation, degrees: tuple[int, ...]) -> Statistics:
    """Statistics of the shapes that those of the data will have."""
    species = settings.system.species
    sizes = {degree: len(monomials.exponents(len(species), 1, degree)) for degree in degrees}
    return Statistics(
        species,
        settings.grid,
        settings.interval,
        mean=(0.0,) * len(species),
        fluctuation=(1.0,) * len(species),
        whitening={
            degree: Whitening((0.0,) * size, ((0.0,) * size,) * size)
            for degree, size in sizes.items()
        },
    )
