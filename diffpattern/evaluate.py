"""Evaluation: restore a run, score its rule on trajectories that it has never seen, report."""

import json
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict

from diffpattern import problem, scores
from diffpattern.data import windows
from diffpattern.data.trajectories import Trajectories
from diffpattern.models import monomials
from diffpattern.models.rda import ReactionDiffusionAdvection
from diffpattern.models.reaction import PolynomialReaction
from diffpattern.parallel.mesh import make_mesh
from diffpattern.prediction import make_predictor
from diffpattern.problem import Problem
from diffpattern.report.page import RunReport, write_report
from diffpattern.run_folder import RunFolder
from diffpattern.training import least_squares
from diffpattern.training.checkpoints import Checkpoints, Restored
from diffpattern.training.metrics import read_scalars
from diffpattern.training.step import prefers_together

Parameters = Any


def evaluate(folder: RunFolder, step: int | None = None) -> dict[str, Any]:
    """Scores a run's rule on its test data; writes scores, predictions and the report.

    Args:
      folder: of the run; nothing else is needed.
      step: of the checkpoint. None: the best by its validation score.

    Returns:
      The scores, as in `eval/scores.json`.

    Raises:
      InputError: the folder is not one of a run, or the checkpoint is missing or damaged.
    """
    config = folder.config()
    truth, summary = folder.data()
    sought = problem.build(config, summary)
    template = jax.eval_shape(lambda: sought.initialise(config.seed))
    restored = _restore(folder, template, step)

    predict = make_predictor(
        sought,
        truth,
        make_mesh(config.mesh.data),
        seed=config.seed,
        together=prefers_together(config.training.windows),
    )
    prediction = predict(restored.parameters)
    result = scores.summarise(
        prediction,
        truth,
        training_mean=np.asarray(summary.mean),
        floor=config.evaluation.floor * np.asarray(summary.fluctuation),
        threshold=config.evaluation.threshold,
    )
    result |= {"step": restored.step, "floor_fraction": config.evaluation.floor}
    result |= _read_rule(config, sought, restored.parameters, truth)

    folder.write("eval/scores.json", json.dumps(result, indent=1))
    Trajectories(prediction, truth.times, truth.species, truth.grid).save_npz(folder.predictions)
    _write_report(folder, config, result, truth, prediction, restored)
    print(_table(result))
    print(f"Scores: {folder.scores}\nReport: {folder.report}")
    return result


def _restore(folder: RunFolder, template: Any, step: int | None) -> Restored:
    with Checkpoints(folder.checkpoints) as checkpoints:
        if step is None and (best := checkpoints.best) is not None:
            try:
                return checkpoints.restore(template, step=best)
            except Exception as error:
                logging.warning("The best checkpoint cannot be used, taking the newest: %s", error)
        return checkpoints.restore(template, step=step)


def _read_rule(
    config: ConfigDict, sought: Problem, parameters: Parameters, truth: Trajectories
) -> dict[str, Any]:
    """What can be read off the rule: its diffusion coefficients, and its equation."""
    rule = sought.rule
    if not isinstance(rule, ReactionDiffusionAdvection):
        return {}
    species = truth.species
    named = lambda values: dict(zip(species, map(float, values), strict=True))
    result: dict[str, Any] = {}
    readable = isinstance(rule.reaction, PolynomialReaction) and rule.advection is None
    if readable:
        unravel = ravel_pytree(parameters)[1]
        errors = unravel(standard_errors(config, sought, parameters, truth))
    if rule.diffusion is not None:
        result["diffusion"] = named(parameters["diffusion"]["coefficient"])
        if readable:
            result["diffusion_standard_error"] = named(errors["diffusion"]["coefficient"])
    if readable:
        terms = monomials.names(monomials.exponents(len(species), 0, rule.reaction.order), species)
        rows = zip(
            species,
            np.asarray(parameters["reaction"]["coefficients"], float),
            np.asarray(errors["reaction"]["coefficients"], float),
            strict=True,
        )
        result["equation"] = {
            name: [
                {
                    "term": term,
                    "coefficient": coefficient,
                    "standard_error": error if np.isfinite(error) else None,
                    "determined": bool(abs(coefficient) > 2 * error),
                }
                for term, coefficient, error in zip(terms, row, row_errors, strict=True)
            ]
            for name, row, row_errors in rows
        }
    return result


def standard_errors(
    config: ConfigDict, sought: Problem, parameters: Parameters, truth: Trajectories
) -> np.ndarray:
    """Standard error of each parameter, flattened, from windows of one interval.

        cov = s^2 (J'J)^-1,    s^2 = |r|^2 / (M - P)

    with the residuals r and the Jacobian J of all M predicted values, by QR of scaled columns.
    The residuals of a deterministic misfit are not independent, so this is a lower bound of what
    the data leave open. Infinite where they determine nothing.
    """
    times = sought.statistics.interval * np.arange(2)
    linearise = sought.linearisation(times)
    batch = windows.draw(
        truth, 0, seed=config.seed, count=config.evaluation.windows, window=1, sampling="log"
    )

    @jax.jit
    def factors(parameters, values):
        key = jax.random.key(config.seed)
        one = lambda window: least_squares.triangle(*linearise(parameters, window, key))
        return jax.lax.map(one, values)

    rows = np.asarray(factors(parameters, batch["values"]), np.float64)
    factor = np.linalg.qr(rows.reshape(-1, rows.shape[-1]), mode="r")
    r = factor[:-1, :-1]
    norms = np.maximum(np.linalg.norm(r, axis=0), 1e-300)
    count = batch["values"][:, 1:].size - r.shape[1]
    spread = np.sqrt(np.sum(factor[:, -1] ** 2) / count)
    try:
        inverse = np.linalg.inv(r / norms)
    except np.linalg.LinAlgError:
        return np.full(r.shape[1], np.inf, np.float32)
    return (spread * np.linalg.norm(inverse, axis=1) / norms).astype(np.float32)


def _write_report(
    folder: RunFolder,
    config: ConfigDict,
    result: dict[str, Any],
    truth: Trajectories,
    prediction: np.ndarray,
    restored: Restored,
) -> None:
    record = folder.facts()
    versions = record.get("versions", {})
    facts = {
        "Checkpoint": f"step {restored.step}",
        "Time": f"{restored.metadata.get('seconds', 0):.0f} s until this checkpoint",
        "Devices": ", ".join(record.get("devices", [])),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Commit": str(record.get("commit")),
        "NRMSE floor": f"{config.evaluation.floor:g} of the training data's fluctuation",
    }
    forms = {
        "rda": "The right-hand side is " + " + ".join(config.model.rda.terms) + ".",
        "nca": "The rule is a neural cellular automaton: each cell sees its neighbourhood through "
        f"{', '.join(config.model.nca.kernels)}, and one hidden layer of "
        f"{config.model.nca.hidden} units changes its {config.model.nca.channels} channels.",
    }
    write_report(
        folder.report,
        RunReport(
            title=f"{config.data.name}: {folder.path.name}",
            command=record.get("command", ""),
            config=config.to_dict(),
            scores=result,
            truth=truth,
            prediction=prediction,
            curves=read_scalars(folder.scalars),
            facts=facts,
            rule="" if "equation" in result else forms[config.model.name],
        ),
    )


def _table(result: dict[str, Any]) -> str:
    """The scores as a person reads them in a terminal."""
    times = result["times"]
    shown = [i for i, t in enumerate(times) if i and (i & (i - 1) == 0 or i == len(times) - 1)]
    lines = [
        f"Checkpoint of step {result['step']}, {result['trajectories']} unseen trajectories, "
        "median NRMSE (lowest to highest):"
    ]
    persistence = result["baselines"]["persistence"]["nrmse"]
    mean = result["baselines"]["mean"]["nrmse"]
    for name, errors in result["nrmse"].items():
        spread = result["nrmse_range"][name]
        for i in shown:
            lines.append(
                f"  {name}  t = {times[i]:<6g} {_number(errors[i])} "
                f"({_number(spread['low'][i])} to {_number(spread['high'][i])})   "
                f"persistence {_number(persistence[name][i])}   mean {_number(mean[name][i])}"
            )
        valid = result["valid_time"][name]
        lines.append(
            f"  {name}  valid " + ("to the end" if valid is None else f"until t = {valid:g}")
        )
    for name, coefficient in result.get("diffusion", {}).items():
        error = result.get("diffusion_standard_error", {}).get(name)
        lines.append(
            f"  diffusion of {name}: {coefficient:.5g}" + (f" +- {error:.1g}" if error else "")
        )
    for name, terms in result.get("equation", {}).items():
        lines.append(f"  reaction of {name}:")
        for term in terms:
            error = term["standard_error"]
            lines.append(
                f"    {term['coefficient']:+.5f} {term['term']:<6}"
                + (f" +- {error:.1g}" if error is not None else "")
                + ("" if term["determined"] else "   not told apart from 0")
            )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "   inf" if value is None else f"{value:6.4f}"
