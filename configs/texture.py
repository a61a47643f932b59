"""A texture out of nothing: the wall of bricks of scikit-image, by patches alone.

An automaton of 12 channels, of which one is seen, learns to fill a lattice with what looks like the
wall wherever one looks. The loss is the sliced Wasserstein distance between patches of 7 x 7 cells
at three scales, which knows no places, so that bricks may come to lie anywhere; a pool keeps the
texture once it is there. No trained network has a part in it.

After Niklasson et al., "Self-organising textures", Distill (2021), with patches instead of
features.

From a part of the wall that it had not seen, what it makes is 0.93 times as far as the part that it
had; 0.92 and 0.96 times when run on for 2 and 8 times as long, the flat start 3.4 times
(`python -m benchmarks.recipes texture RUN`). 6 minutes, while three other programs shared the two
cores.
"""

from diffpattern.configs import default


def get_config():
    """See `default` for all fields."""
    config = default.get_config()

    config.data.name = "images"
    images = config.data.images
    images.train = ("skimage:brick",)
    images.downsample, images.crop = 4, 48
    images.first_frame, images.interval = "mean", 32.0
    images.boundary = ("circular",)

    config.model.name = "nca"
    config.model.nca.channels = 12
    config.model.nca.network.hidden = (64,)
    config.model.nca.steps_per_interval = 32

    config.loss.l2, config.loss.patches = 0.0, 100.0
    config.loss.settings.patches.size = 7
    config.regulariser.out_of_range = 1.0

    config.training.starts = "pool"
    config.training.pool.slots, config.training.pool.at_end = 8, "stay"
    config.training.pool.reset = 0.1
    config.training.steps, config.training.batch = 1500, 2
    config.training.checkpoint_every, config.training.log_every = 250, 10

    config.optimiser.name = "nadam"
    optax = config.optimiser.optax
    optax.learning_rate, optax.normalise_blocks = 2e-3, True
    optax.warmup_steps, optax.decay_steps = 10, 1500
    return config
