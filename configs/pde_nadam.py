"""The neural PDE of `pde_neural`, by Optax: the same start, data and windows, with nadam."""

from diffpattern.configs import pde_neural


def get_config():
    """See `default` for all fields."""
    config = pde_neural.get_config()
    config.optimiser.name = "nadam"
    config.optimiser.optax.learning_rate = 2e-3
    config.optimiser.optax.decay_steps = 3000
    config.training.steps = 3000
    config.training.checkpoint_every = 250
    config.training.log_every = 10
    return config
