"""Frames of your own, such as six PNG pictures in a folder: an automaton learns to make them.

    python -m diffpattern.main --config=configs/frames.py:my_frames --workdir=runs/mine

`my_frames` may be whatever `data.images.train` takes. Pixels are averaged until the longer side has
at most 64 cells, and each channel goes from 0 to 1.
"""

import math

from diffpattern.configs import default
from diffpattern.data import images
from diffpattern.errors import InputError

# Cells along the longer side, and intervals of a window, at most.
_LONGEST, _WIDEST = 64, 5


def get_config(where=""):
    """The config for the frames in `where`; see `default` for all fields."""
    config = default.get_config()

    config.data.name = "images"
    config.data.images.normalisation = "range"
    if where:
        config.data.images.train = (where,)
        count, *sides, _ = images.read(where).frames.shape
        if count < 2:
            raise InputError(f"{where} has one frame alone; a rule is learnt from two or more.")
        config.data.images.downsample = math.ceil(max(sides) / _LONGEST)
        config.training.window = min(count - 1, _WIDEST)

    config.model.name = "nca"
    config.model.nca.channels = 12
    config.model.nca.network.hidden = (64,)
    config.model.nca.fire_rate, config.model.nca.steps_per_interval = 1.0, 8

    config.loss.l2, config.loss.euclidean = 0.0, 1.0
    config.regulariser.out_of_range = 1.0

    config.training.starts = "pool"
    config.training.pool.slots, config.training.pool.reset = 4, 0.5
    config.training.pool.at_end = "stay"

    config.optimiser.name = "adam"
    optax = config.optimiser.optax
    optax.learning_rate, optax.normalise_blocks, optax.clip_norm = 4e-3, True, 0.0
    optax.warmup_steps, optax.decay_steps, optax.final_fraction = 10, 1200, 0.05
    optax.average_decay = 0.99

    config.training.steps, config.training.batch = 1200, 2
    config.training.checkpoint_every, config.training.log_every = 300, 10
    return config
