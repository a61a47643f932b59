"""Learning any known PDE: the default config with data as the system recommends them.

    python -m diffpattern.main --config=configs/systems.py:cahn_hilliard

The rule takes the steps of the simulation.
"""

from diffpattern.configs import default
from diffpattern.systems import system_named


def get_config(name="gray_scott"):
    """The config for the system `name`; see `default` for all fields."""
    config = default.get_config()
    recommended = system_named(name).recommended
    config.data.name = name
    config.data.update(vars(recommended) | {"boundary": (recommended.boundary,)})
    config.solver.dt = recommended.dt
    return config
