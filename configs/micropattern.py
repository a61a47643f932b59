"""The PDE behind colonies on micropatterns: discs, squares and triangles of two sizes, badly seen.

Colonies of Schnakenberg's two species, of which neither can pass the edge, grow spots from next to
nothing. The data to train on have noise of 2% of each species' spread; u is seen at unequal times,
and its substrate v at five of the 25 alone. A polynomial reaction with diffusion is sought by
Levenberg-Marquardt, in windows that begin where both were seen; once it is there, where its edge
lies is learnt with it.

NRMSE on unseen, clean starts at t = 24: 0.020 for u and for v (persistence: 0.97 and 1.2),
wavelengths as of the truth to 0.4%. D is 0.505 +- 0.003 and 10.2 +- 0.1 (truth: 0.5 and 10); the
edge is found where it was drawn, -0.00001 +- 0.0015 cells farther out. 24 minutes from the command
to the report, while three or four other programs shared the two cores.
"""

from diffpattern.configs import default


def get_config():
    """See `default` for all fields."""
    config = default.get_config()

    data = config.data
    data.name = "schnakenberg"
    data.schnakenberg.diffusion_u, data.schnakenberg.diffusion_v = 0.5, 10.0
    data.shape, data.further_shapes = (32, 32), ((44, 44),)
    data.mask, data.boundary = "micropattern", ("zero",)
    data.dt, data.interval, data.end_time = 0.02, 1.0, 24.0
    data.train, data.validation, data.test = 8, 2, 4
    data.noise = 0.02
    data.seen = ("u=0,1,2,4,6,8,9,10,12,14,16,18,20,24", "v=0,4,8,16,20")

    config.solver.dt = 0.02

    config.model.mask = "edge"
    squares = config.optimiser.levenberg_marquardt
    squares.frozen, squares.frozen_steps = ("mask",), 6

    config.training.batch, config.training.window, config.training.steps = 8, 4, 12
    config.training.checkpoint_every = 6
    return config
