"""Evaluation: restore a run, score its rule on trajectories that it has never seen, report.

What the report shows is computed here and kept in the run's folder, from which `drawing` takes it.
"""

import json
from typing import Any

import jax
import numpy as np
from absl import logging

from diffpattern import configuration, drawing, findings, records, restored, scores
from diffpattern.data import measurement
from diffpattern.data.trajectories import Trajectories
from diffpattern.experiments import Experiments
from diffpattern.files import npz
from diffpattern.parallel import processes
from diffpattern.parallel.mesh import widest_mesh
from diffpattern.prediction import make_predictor
from diffpattern.reading.rule import read_rule
from diffpattern.report import text
from diffpattern.report.rule import kept
from diffpattern.run_folder import RunFolder, numbered
from diffpattern.training.step import prefers_together


def evaluate(folder: RunFolder, step: int | None = None) -> dict[str, Any]:
    """Scores a run's rule on its test data; writes scores, predictions and the report.

    Takes all devices that there are, whatever the run was trained on. Of several processes the
    first one writes.

    Args:
      folder: of the run; nothing else is needed.
      step: of the checkpoint. None: the best by its validation score.

    Returns:
      The scores, as in `eval/scores.json`.

    Raises:
      InputError: the folder is not one of a run, or the checkpoint is missing or damaged.
    """
    # The rule, as it was trained.
    facts = folder.facts()  # what is damaged is told before the long work
    rule = restored.restore(folder, step)
    config, sought, checkpoint = rule.config, rule.problem, rule.checkpoint
    truths, summary = rule.truth, rule.statistics

    logging.info("Evaluating step %d of %s on %s", checkpoint.step, folder.path, jax.devices())

    # Its predictions, and what they are worth.
    mesh = widest_mesh(config.mesh.rows, config.mesh.columns, sought.running)
    together = prefers_together(config.training.windows)
    predictions = [
        make_predictor(sought, truth, mesh, key=jax.random.key(config.seed), together=together)(
            checkpoint.parameters
        )
        for truth in truths
    ]
    floor = config.evaluation.floor * np.asarray(summary.fluctuation)
    result = scores.summarise(
        predictions,
        truths,
        training_mean=np.asarray(summary.mean),
        floor=floor,
        threshold=config.evaluation.threshold,
    )

    levels = configuration.levels(config.evaluation.covered, summary.species)
    result |= scores.patterns(predictions, truths, levels)

    # What it says. Standard errors are those of a fit to data as noisy as the training data.
    deviation = config.data.noise * measurement.spread(truths)
    found = findings.read(
        sought,
        checkpoint.parameters,
        [measurement.noisy(truth, deviation, (config.data.seed, 2)) for truth in truths],
        mesh,
        together=together,
        batch=config.training.batch,
        selected=bool(config.optimiser.levenberg_marquardt.selection.steps),
        seed=config.seed,
        count=config.evaluation.windows,
        window=config.training.window,
        sampling=config.training.sampling,
    )
    result |= {"step": checkpoint.step, "floor_fraction": config.evaluation.floor} | found
    result |= {"units": summary.units()}
    # Where nothing was named to test on, it was the training data that stood in.
    digests = facts.get("data_digest", {})
    result |= {"unseen": "train" not in digests or digests["test"] != digests["train"]}

    # What it does from one start, on lattices of the first size, for people to look at.
    draws = config.evaluation.report
    if draws:
        experiments = Experiments(
            sought,
            checkpoint.parameters,
            truths[0],
            scores.typical(predictions[0], truths[0], floor),
            mesh,
            seed=config.seed,
            together=together,
        )
        states = experiments.states()
        damage = experiments.damage(states, floor)
        result |= {"damage": damage.summary(summary.species)}

    # On disk and on screen.
    if not processes.is_first():
        return result
    folder.write("eval/scores.json", json.dumps(result, indent=1))
    for place, (truth, prediction) in enumerate(zip(truths, predictions, strict=True)):
        folder.write(f"eval/{numbered('predictions.npz', place)}", _to_npz(prediction, truth))
    if draws:
        folder.write("eval/states.npz", records.to_npz(states))
        folder.write("eval/damage.npz", records.to_npz(damage))
        reading = read_rule(config, sought, checkpoint.parameters, truths)
        folder.write("eval/reading.npz", kept.to_npz(reading))
        drawing.draw(folder)
    print(text.table(result))
    print(f"\nScores: {folder.scores}" + (f"\nReport: {folder.report}" if draws else ""))
    return result


def _to_npz(prediction: np.ndarray, truth: Trajectories) -> bytes:
    """Predictions, which need not be finite, in the data's units, with their times and species."""
    values = truth.in_units(prediction)
    return npz(values=values, times=truth.times, species=np.array(truth.species))
