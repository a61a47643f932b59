"""Evaluation: restore a run, score its rule on trajectories that it has never seen, report."""

import json
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from diffpattern import configuration, findings, restored, scores
from diffpattern.data import measurement
from diffpattern.data.trajectories import Trajectories
from diffpattern.files import npz
from diffpattern.parallel import processes
from diffpattern.parallel.mesh import widest_mesh
from diffpattern.prediction import make_predictor
from diffpattern.report import page, text
from diffpattern.run_folder import RunFolder, numbered
from diffpattern.training.checkpoints import Restored
from diffpattern.training.metrics import read_scalars
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
    facts, rule = folder.facts(), restored.restore(folder, step)
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
    result = scores.summarise(
        predictions,
        truths,
        training_mean=np.asarray(summary.mean),
        floor=config.evaluation.floor * np.asarray(summary.fluctuation),
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

    # On disk and on screen.
    if not processes.is_first():
        return result
    folder.write("eval/scores.json", json.dumps(result, indent=1))
    lattices = list(zip(truths, predictions, strict=True))
    for place, (truth, prediction) in enumerate(lattices):
        folder.write(f"eval/{numbered('predictions.npz', place)}", _to_npz(prediction, truth))
    report = _report(folder, config, facts, result, lattices, checkpoint)
    folder.write("report.html", page.render(report))
    print(text.table(result))
    print(f"\nScores: {folder.scores}\nReport: {folder.report}")
    return result


def _to_npz(prediction: np.ndarray, truth: Trajectories) -> bytes:
    """Predictions, which need not be finite, in the data's units, with their times and species."""
    values = truth.in_units(prediction)
    return npz(values=values, times=truth.times, species=np.array(truth.species))


def _report(
    folder: RunFolder,
    config: ConfigDict,
    facts: dict[str, Any],
    result: dict[str, Any],
    lattices: Sequence[tuple[Trajectories, np.ndarray]],
    checkpoint: Restored,
) -> page.RunReport:
    sessions = facts.get("sessions") or [{}]
    first, last = sessions[0], sessions[-1]
    versions = last.get("versions", {})
    shown = {
        "Checkpoint": f"step {checkpoint.step}",
        "Time": f"{checkpoint.metadata['seconds']:.0f} s until this checkpoint",
        "Devices": ", ".join(last.get("devices", [])),
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "Commit": last.get("commit") or "not known",
        "NRMSE floor": f"{config.evaluation.floor:g} of the training data's fluctuation",
    }
    return page.RunReport(
        title=f"{config.data.name}: {folder.path.absolute().name}",
        command=first.get("command", ""),
        config=config.to_dict(),
        scores=result,
        lattices=lattices,
        curves=read_scalars(folder.scalars),
        facts=shown,
        rule=_form(config),
        unwritten=_unwritten(config),
    )


def _unwritten(config: ConfigDict) -> list[str]:
    """The terms of a PDE that no equation writes out."""
    if config.model.name != "rda":
        return []
    return [term for term in config.model.rda.terms if term not in ("polynomial", "diffusion")]


def _form(config: ConfigDict) -> str:
    """The form of the rule in a sentence, as far as no equation writes it out."""
    if config.model.name == "nca":
        nca = config.model.nca
        return (
            f"The rule is a neural cellular automaton of {nca.channels} channels: each cell sees "
            f"its neighbourhood ({nca.perception.replace('_', ' ')} perception) and changes by "
            f"what its {nca.change.replace('_', ' ')} makes of it."
        )
    if config.model.name == "chemotaxis":
        return (
            f"The first {config.model.chemotaxis.cells} species are cells, which climb learnt "
            "functions of the others; no formula writes out what a network computes."
        )
    if not _unwritten(config):
        return ""
    return (
        f"The right-hand side is {' + '.join(config.model.rda.terms).replace('_', ' ')}; terms in "
        "brackets are not written out."
    )
