"""The PDE behind what an automaton makes: a rule of another kind, taught by the first one.

The data are rollouts of a trained automaton, such as that of nca_gray_scott.py, from its unseen
starts:

    python -m diffpattern.main --config=configs/nca_to_pde.py --config.data.run.folder=RUN

A polynomial reaction with diffusion is fitted to them by Levenberg-Marquardt; what it cannot fit is
what the automaton does otherwise than a PDE of that form.
"""

from diffpattern.configs import default


def get_config():
    """See `default` for all fields."""
    config = default.get_config()
    config.data.name = "run"
    config.data.run.train, config.data.run.validation, config.data.run.test = 16, 2, 4
    config.data.run.end_time = 512.0
    config.training.steps = 12
    config.training.checkpoint_every = 4
    return config
