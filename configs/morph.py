"""One picture becomes another, and then a third that stays: three grey pictures of scikit-image.

An automaton of 16 channels, of which one is seen, makes bricks out of gravel and a cameraman out
of bricks, 48 steps each, and then holds him. It trains on a pool of what it has made before,
whose slots stay at the last picture. All cells fire at once: that makes pictures sharp.

Mean square errors: 0.00013 for the bricks and 0.00028 for the cameraman at their times (0.19 and
0.23 of a blank picture, 0.0054 and 0.068 of the pictures' means), and 0.00007 for him at ten times
his time (`python -m benchmarks.recipes morph RUN`). 10 minutes from the command to the report on
two cores, which had other work besides.
"""

from diffpattern.configs import default


def get_config():
    """See `default` for all fields."""
    config = default.get_config()

    config.data.name = "images"
    images = config.data.images
    images.train = (("skimage:gravel", "skimage:brick", "skimage:camera"),)
    images.downsample, images.crop, images.interval = 8, 32, 48.0

    config.model.name = "nca"
    config.model.nca.channels = 16
    config.model.nca.stencils.kernels = ("identity", "gradient", "laplacian")
    config.model.nca.network.hidden = (96,)
    config.model.nca.fire_rate, config.model.nca.steps_per_interval = 1.0, 48

    config.loss.l2, config.loss.euclidean = 0.0, 1.0

    config.training.starts = "pool"
    config.training.pool.slots, config.training.pool.at_end = 8, "stay"
    config.training.pool.replace_worst = 1
    config.training.pool.reset = 0.2

    config.optimiser.name = "adam"
    optax = config.optimiser.optax
    optax.learning_rate, optax.normalise_blocks, optax.clip_norm = 2e-3, True, 0.0
    optax.warmup_steps, optax.decay_steps, optax.final_fraction = 10, 2500, 0.05
    optax.average_decay = 0.99

    config.training.steps, config.training.batch = 2500, 8
    config.training.checkpoint_every, config.training.log_every = 250, 10
    return config
