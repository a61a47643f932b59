"""A picture that grows out of one cell, keeps its shape, and heals: the logo of scikit-image.

An automaton of 16 channels, of which red, green, blue and alpha are seen, learns to make the logo's
disc out of a seed, and from a pool of what it has made before to hold and to restore it: in each
batch the worst lattice begins anew and some older ones lose a disc.

A window lasts 16 to 96 steps. That is what keeps seeds alive: who is alive is a matter of a
threshold, through which nothing can be differentiated, so a rule that is asked for the picture at
the end alone lets the alpha of young seeds drift, until one in ten dies out, and later all; where
nobody lives there is no gradient to come back by. Asked for the picture early, it keeps them.

Over 24 draws of chance the mean square error over red, green, blue and alpha is 0.0035 at step 96
(0.0053 at worst; 0.39 of an empty lattice), 0.0018 at step 1000, and 0.0022 when 200 steps have
passed since half of it was erased (`python -m benchmarks.recipes grow RUN`). 20 minutes from the
command to the report on two cores, which had other work besides.

After Mordvintsev et al., "Growing neural cellular automata", Distill (2020).
"""

from diffpattern.configs import default


def get_config():
    """See `default` for all fields."""
    config = default.get_config()

    config.data.name = "images"
    images = config.data.images
    images.train = ("skimage:logo",)
    images.mask, images.exterior = "ellipse", "cleared"
    images.downsample, images.crop = 16, 32
    images.first_frame, images.interval = "alpha", 56.0
    images.boundary = ("zero",)

    config.model.name = "nca"
    config.model.nca.channels = 16
    config.model.nca.stencils.kernels = ("identity", "gradient")
    config.model.nca.network.hidden = (96,)
    config.model.nca.finishing, config.model.nca.start_alive = ("alive",), True
    config.model.nca.fire_rate = 0.75
    config.model.nca.steps_per_interval, config.model.nca.step_jitter = 56, 40

    config.loss.l2, config.loss.euclidean = 0.0, 1.0

    config.training.starts = "pool"
    config.training.pool.slots, config.training.pool.at_end = 32, "stay"
    config.training.pool.replace_worst, config.training.pool.reset = 1, 0.3
    config.augmentation.damage = 0.3

    config.optimiser.name = "adam"
    optax = config.optimiser.optax
    optax.learning_rate, optax.normalise_blocks, optax.clip_norm = 1e-3, True, 0.0
    optax.schedule, optax.final_fraction = "exponential", 0.05
    optax.warmup_steps, optax.decay_steps, optax.average_decay = 50, 4000, 0.99

    config.training.steps, config.training.batch = 4000, 8
    config.training.checkpoint_every, config.training.log_every = 250, 10
    return config
