"""The PDE behind what an automaton makes: a rule of another kind, taught by the first one.

The data are rollouts of a trained automaton, such as that of nca_gray_scott.py, from its unseen
starts:

    python -m diffpattern.main --config=configs/nca_to_pde.py --config.data.run.folder=RUN

A polynomial reaction with diffusion is fitted to them by Levenberg-Marquardt; what it cannot fit is
what the automaton does otherwise than a PDE of that form. Windows span three intervals, since the
automaton fires at random, and over one that weighs as much as what the rule does wrong.

On unseen starts of nca_gray_scott.py's automaton, NRMSE at t = 512: 0.16 for A and 0.19 for B
(persistence: 1.2 and 1.2; two rollouts of the automaton that differ by chance: 0.04 and 0.05);
wavelengths are 1.0% and 2.4% too short. D is 0.105 and 0.048, where the automaton's own teacher had
0.1 and 0.05. 5 minutes from the command to the report, while three other programs shared the two
cores.
"""

from diffpattern.configs import default


def get_config():
    """See `default` for all fields."""
    config = default.get_config()
    config.data.name = "run"
    config.data.run.train, config.data.run.validation, config.data.run.test = 16, 2, 4
    config.data.run.end_time = 512.0
    config.training.batch, config.training.window, config.training.steps = 32, 3, 12
    config.training.sampling = "uniform"
    config.training.checkpoint_every = 4
    return config
