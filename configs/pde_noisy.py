"""The PDE behind noisy Gray-Scott snapshots: the terms that the data need, and no others.

The data have Gaussian noise of 1% of each channel's spread; test data are clean. After 8 steps all
terms of the polynomial are left out that are not told apart from zero, and the others go on.

The five true terms of twenty are left. D is 0.100033 and 0.049987 (truth: 0.1 and 0.05), NRMSE on
unseen starts at t = 1024 is 0.0023 for A and 0.0025 for B, 95 s from the command to the report on
two busy cores (46 s of work).
"""

from diffpattern.configs import pde


def get_config():
    """See `default` for all fields."""
    config = pde.get_config()
    config.data.noise = 0.01
    config.optimiser.levenberg_marquardt.selection.steps = 8
    config.training.steps = 16
    config.training.checkpoint_every = 16
    return config
