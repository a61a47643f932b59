"""A neural cellular automaton that reproduces Gray-Scott snapshots, by Optax.

Cells carry the two species and six hidden channels, see themselves and their Laplacian, and fire
with probability 1/2, 32 times between two snapshots. They train on a pool: each window begins where
the one before has led to, hidden channels included, so that what these hold is right for the long
run; in every other trajectory the species are set to the data as it goes on.

NRMSE on unseen starts: 0.11 for A and 0.14 for B at t = 128 (persistence: 0.93 and 1.1), 0.19 and
0.22 at t = 1024 (1.6 and 1.5). At t = 2048, twice as long as the data, it is 0.36 and 0.39; the
dominant wavelengths are then right to 0.3% and 0.6%, the area with B > 0.1 to 1.3%
(`python -m benchmarks.recipes nca_gray_scott RUN`). 8 minutes from the command to the report on two
cores. Runs differ: with a learning rate of 5e-3 and weights as they are, one came to 0.23 and 0.27,
and one of 2500 steps to 0.66 and 0.68.

Without the pool, hidden channels that were trained over short windows lead long rollouts astray,
and two channels with nothing hidden come to 0.37 at t = 1024.

After Richardson et al., "Learning spatio-temporal patterns with neural cellular automata", PLOS
Computational Biology 20 (2024).
"""

from diffpattern.configs import default


def get_config():
    """See `default` for all fields."""
    config = default.get_config()

    config.model.name = "nca"
    config.model.nca.channels = 8
    config.model.nca.stencils.kernels = ("identity", "laplacian")
    config.model.nca.network.hidden = (64,)
    config.model.nca.steps_per_interval = 32

    config.loss.l2 = 0.0
    config.loss.euclidean = 1.0

    config.optimiser.name = "nadam"
    config.optimiser.optax.learning_rate = 3e-3
    config.optimiser.optax.decay_steps = 1500
    config.optimiser.optax.average_decay = 0.99

    config.training.starts = "pool"
    config.training.pool.begin = "log"
    config.training.pool.reset = 0.05
    config.training.pool.refresh_every = 2
    config.training.steps = 1500
    config.training.checkpoint_every = 250
    config.training.log_every = 10
    return config
