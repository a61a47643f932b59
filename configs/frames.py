"""Frames of your own."""

from diffpattern.configs import default
from diffpattern.data import images

# Cells along the longer side of the lattice.
LONGEST = 64


def get_config(where=""):
    """The config for the frames in `where`; see `default` for all fields."""
    config = default.get_config()

    config.data.name = "images"
    if where:
        config.data.images.train = (where,)
        size = images.read(where).frames.shape[1:3]
        config.data.images.downsample = -(-max(size) // LONGEST)
    config.data.images.normalisation = "range"

    config.model.name = "nca"
    config.model.nca.channels = 12
    config.model.nca.network.hidden = (64,)
    config.model.nca.finishing = ("bounded",)
    config.model.nca.fire_rate, config.model.nca.steps_per_interval = 1.0, 16

    config.loss.l2, config.loss.euclidean = 0.0, 1.0

    config.training.starts = "pool"
    config.training.pool.slots, config.training.pool.at_end = 8, "stay"
    config.training.pool.replace_worst = 1
    config.training.pool.reset = 0.1

    config.optimiser.name = "adam"
    optax = config.optimiser.optax
    optax.learning_rate, optax.normalise_blocks, optax.clip_norm = 2e-3, True, 0.0
    optax.warmup_steps, optax.decay_steps, optax.final_fraction = 10, 1000, 0.05
    optax.average_decay = 0.99

    config.training.steps, config.training.batch = 1000, 4
    config.training.checkpoint_every, config.training.log_every = 250, 10
    return config
