"""A report of made-up numbers: what the tests of the page share."""

import dataclasses

import numpy as np

from diffpattern import scores
from diffpattern.data.trajectories import Trajectories
from diffpattern.grid.geometry import Grid
from diffpattern.records import Damage, States
from diffpattern.report import videos
from diffpattern.report.contents import RunReport


def make_report(
    shape=(16, 20),
    snapshots=10,
    species=("A", "B"),
    hidden=None,
    moving=False,
    count=3,
    mask=None,
    **changes,
):
    """A report of trajectories of noise, and of a prediction that is everywhere 0.05 more.

    With a number of hidden channels there are states and a damage test too, and videos if asked.
    """
    rng = np.random.default_rng(0)
    values = rng.normal(size=(count, snapshots, *shape, len(species)))
    truth = Trajectories(values, np.arange(snapshots) * 16.0, species, Grid(shape), mask=mask)
    prediction = changes.pop("prediction", truth.values + 0.05)
    summary = scores.summarise(
        [prediction],
        [truth],
        training_mean=np.zeros(len(species)),
        floor=[0.05] * len(species),
        threshold=0.2,
    )
    summary |= scores.patterns([prediction], [truth], {})
    report = RunReport(
        title="A run <of> two species",
        command="python -m diffpattern.main --config=configs/pde.py",
        config={"seed": 0, "training": {"steps": 12, "window": {"span": 16.0}}, "empty": {}},
        scores=summary,
        lattices=[(truth, prediction)],
        curves=[{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.1, "validation": 0.3}],
        facts={"steps": "12", "devices": "1 CPU"},
        rule="A polynomial of order 3.",
    )
    if hidden is not None:
        report = dataclasses.replace(report, states=_states(report, hidden))
        report = dataclasses.replace(report, damage=_damage(report))
    report = dataclasses.replace(report, **changes)
    return dataclasses.replace(report, videos=videos.make(report)) if moving else report


def _states(report: RunReport, hidden: int) -> States:
    """The prediction of one trajectory, with hidden channels that grow out of zero."""
    truth, prediction = report.lattices[0]
    growing = np.arange(len(truth.times)).reshape(-1, *[1] * (truth.grid.ndim + 1))
    shape = (*truth.values.shape[1:-1], hidden)
    channels = growing * np.random.default_rng(1).normal(size=shape)
    return States(1, truth.times, np.concatenate([prediction[1], channels], axis=-1))


def _damage(report: RunReport) -> Damage:
    """The prediction with its first row erased, which comes back by and by."""
    truth, prediction = report.lattices[0]
    erased = np.zeros(truth.grid.shape, bool)
    erased[0] = True
    left = 0.5 ** np.arange(len(truth.times)).reshape(-1, *[1] * (truth.grid.ndim + 1))
    undamaged = np.asarray(prediction[1])
    damaged = undamaged * (1 - left * erased[..., None])
    errors = scores.nrmse(damaged[None], undamaged[None], [0.05] * len(truth.species))[0]
    filling = np.zeros(len(truth.species))
    return Damage(1, truth.times + 80.0, erased, filling, undamaged, damaged, errors)
