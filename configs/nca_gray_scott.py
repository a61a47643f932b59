"""A neural cellular automaton that reproduces Gray-Scott snapshots, by Optax."""

from diffpattern.configs import default


def get_config():
    """See `default` for all fields."""
    config = default.get_config()
    config.model.name = "nca"
    config.model.nca.channels = 8
    config.model.nca.kernels = ("identity", "laplacian")
    config.model.nca.hidden = 64
    config.loss.l2 = 0.0
    config.loss.euclidean = 1.0
    config.optimiser.name = "nadam"
    config.optimiser.derivative_steps = 0
    return config
