"""The PDE behind Gray-Scott snapshots: neural reaction, by Levenberg-Marquardt.

84 numbers in all: two diffusion coefficients, and a pointwise network of the two species with one
hidden layer of 16 tanh units. It starts from a fit of difference quotients.

NRMSE on unseen starts at t = 1024: 0.010 for A and 0.013 for B, 145 s from the command to the
report on two cores.
"""

from diffpattern.configs import default


def get_config():
    """See `default` for all fields."""
    config = default.get_config()
    config.model.rda.terms = ("network", "diffusion")
    config.optimiser.derivative_steps = 25
    config.training.steps = 80
    config.training.checkpoint_every = 10
    return config
