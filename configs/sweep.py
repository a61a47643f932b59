"""A sweep: how fast a small cellular automaton learns, and how many hidden units it needs for that.

    bash launch/sweep.sh --config=configs/sweep.py --jobs=2
    python -m diffpattern.main --mode=compare --workdirs='runs/sweep-*'

The task is that of `nca_gray_scott`, on a smaller lattice and for a shorter time. 64 hidden units
at a learning rate of 0.02 come first, with an NRMSE of 0.20 at t = 256 (mean of A and B), and 8 at
0.001 last, with 0.51.
"""

from diffpattern import sweeps
from diffpattern.configs import rules


def get_config():
    """See `default` for all fields."""
    config = rules.get_config("plain")

    config.data.shape = (32, 32)
    config.data.end_time = 256.0
    config.data.train = 8
    config.data.validation = 2
    config.data.test = 4

    config.model.nca.channels = 2
    config.model.nca.stencils.kernels = ("identity", "laplacian")
    config.model.nca.steps_per_interval = 16

    config.optimiser.optax.warmup_steps = 20
    config.optimiser.optax.decay_steps = 300

    config.training.steps = 300
    config.training.checkpoint_every = 25
    config.training.log_every = 5
    return config


def get_sweep():
    """Six runs, numbered 0 to 5."""
    return sweeps.product(
        {
            "model.nca.network.hidden": [(8,), (64,)],
            "optimiser.optax.learning_rate": [1e-3, 5e-3, 2e-2],
        }
    )
