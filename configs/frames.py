"""Frames of your own, such as six PNG pictures in a folder: an automaton learns to make them.

    python -m diffpattern.main --config=configs/frames.py:my_frames --workdir=runs/mine

What follows the colon is a folder, a pattern in quotes, a stack, or whatever else
`data.images.train` takes. Pixels are averaged until the longer side has at most 64 cells, channels
that never change are left out, and the others go from 0 to 1.

Windows span the whole sequence, or five intervals of a longer one. Half of them begin with the
first frame; the others go on where one has ended, and are held to the last frame, so that the rule
stays there: of what comes next the frames say nothing. `--config.training.pool.at_end=begin` has it
go on freely, which may lead anywhere. Where `validation` and `test` are not named, scores are of
the frames that were trained on. Predictions are to begin with the first frame, as training did:
hidden channels are empty there and nowhere else.

NRMSE at the last of six frames: 0.14 for one species of Gray-Scott on 64 x 64 cells (persistence:
1.4), 0.26 to 0.30 for the colours of one picture that fades into another on 42 x 57 (1.2 to 2.2),
0.11, 0.12 and 0.44 for those of a blob with a ring that grows (1.3, 1.3 and 1.1). Eight times as
long after the first, what they make differs from the last frame by 0.04, 0.10 and 0.04 of full
brightness (root mean square; 0.03, 0.06 and 0.04 at its time) and is between -0.06 and 1.14. 335 s
of processor time on 64 x 64 cells from the command to the report, which on two cores is 193 s by
the clock.
"""

import math

import numpy as np

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
        _suit(config, images.read(where), where)

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


def _suit(config, sequence, where):
    """Fits data and windows to the frames."""
    count, *sides, _ = sequence.frames.shape
    change = np.ptp(sequence.frames, axis=(0, 1, 2)) > 0
    if count < 2 or not change.any():
        what = "one frame alone" if count < 2 else f"{count} frames of one colour"
        raise InputError(f"{where} has {what}; a rule is learnt from two or more that differ.")
    config.data.images.train = (where,)
    config.data.images.downsample = math.ceil(max(sides) / _LONGEST)
    if not change.all():
        config.data.images.select = tuple(np.array(sequence.channels)[change].tolist())
    config.training.window = min(count - 1, _WIDEST)
