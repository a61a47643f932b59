"""Chemotaxis from its snapshots: Keller-Segel cells that climb their own signal, by least squares.

A polynomial reaction of second order, diffusion, and taxis with constant sensitivities, 16
parameters, by Levenberg-Marquardt. Peaks of cells merge and arise anew without end.

NRMSE on unseen starts at t = 64: 8e-6 for the cells and 6e-6 for the signal (persistence: 1.1 and
1.4), wavelengths as of the truth to three digits; 92 s from the command to the report on two busy
cores.
"""

from diffpattern.configs import systems


def get_config():
    """See `default` for all fields."""
    config = systems.get_config("keller_segel")
    config.data.train, config.data.validation, config.data.test = 8, 2, 8
    config.model.rda.terms = ("polynomial", "diffusion", "taxis")
    config.model.rda.polynomial.order = 2
    config.model.rda.diffusion.laplacian = config.data.laplacian
    config.training.batch, config.training.steps = 8, 12
    config.training.checkpoint_every = 4
    return config
