"""The report of a run, out of what evaluation has left in the run's folder: no rule is run."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from diffpattern import parts, records, rules
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.report import page, videos
from diffpattern.report.contents import RunReport
from diffpattern.report.rule import kept
from diffpattern.run_folder import RunFolder, numbered
from diffpattern.training.metrics import read_scalars


def draw(folder: RunFolder) -> None:
    """Writes the page and the videos of a run that has been evaluated.

    Raises:
      InputError: the folder is not one of a run, it has no predictions yet or damaged ones, or
        cannot be written.
    """
    report = read(folder)
    report = dataclasses.replace(report, videos=videos.make(report))
    for name, video in report.videos.items():
        folder.write(f"{folder.videos.name}/{name}.gif", video.gif)
        folder.write(f"{folder.videos.name}/{name}.mp4", video.mp4)
    folder.write(folder.report.name, page.render(report))


def read(folder: RunFolder) -> RunReport:
    """Everything that the page of a run shows.

    Raises:
      InputError: as `draw` does.
    """
    config, facts = folder.config(), folder.facts()
    scores = folder.read_scores()
    if scores is None:
        raise InputError(
            f"{folder.path} has no predictions yet; --mode=eval --workdir={folder.path} makes them "
            "and draws the report."
        )
    truths, _ = folder.data()
    lattices = [(truth, _predictions(folder, place, truth)) for place, truth in enumerate(truths)]
    sessions = facts.get("sessions") or [{}]
    curves = read_scalars(folder.scalars)
    return RunReport(
        title=f"{config.data.name}: {folder.path.absolute().name}",
        command=sessions[0].get("command", ""),
        config=config.to_dict(),
        scores=scores,
        lattices=lattices,
        curves=curves,
        facts=_facts(config, sessions[-1], scores, curves),
        rule=_form(config),
        unwritten=rules.unwritten(config.model, truths[0].species),
        states=_record(records.States, folder.states),
        damage=_record(records.Damage, folder.damage),
        reading=kept.read(folder.reading) if folder.reading.is_file() else None,
    )


def _predictions(folder: RunFolder, place: int, truth: Trajectories) -> np.ndarray:
    """What evaluation predicted on lattices of one size, in the units of the rule."""
    path = folder.predictions.with_name(numbered(folder.predictions.name, place))
    with records.opened(path) as stored:
        values = stored["values"]
    if values.shape != truth.values.shape:
        raise InputError(
            f"{path} has values of the shape {values.shape}, but the run's test data have "
            f"{truth.values.shape}; --mode=eval --workdir={folder.path} writes it again."
        )
    return truth.from_units(values)


def _record(kind: type[records.Record], path: Path) -> records.Record | None:
    """A record, or None where the run was evaluated before there were any."""
    return records.read(kind, path) if path.is_file() else None


def _facts(
    config: ConfigDict,
    session: dict[str, Any],
    scores: dict[str, Any],
    curves: list[dict[str, float]],
) -> dict[str, str]:
    """Short strings about the run."""
    versions = session.get("versions", {})
    until = [row["seconds"] for row in curves if row["step"] <= scores["step"] and "seconds" in row]
    return {
        "Checkpoint": f"step {scores['step']}",
        "Time": f"{until[-1]:.0f} s until this checkpoint" if until else "not known",
        "Devices": ", ".join(session.get("devices", [])),
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "Commit": session.get("commit") or "not known",
        "NRMSE floor": f"{config.evaluation.floor:g} of the training data's fluctuation",
    }


# The updates of automata in words.
_UPDATES = {
    "network": "a network",
    "gated": "a gated network",
    "attention": "attention",
    "kan": "a Kolmogorov-Arnold network",
}


def _form(config: ConfigDict) -> str:
    """The form of the rule in a sentence, as far as no equation writes it out."""
    if config.model.name == "nca":
        nca = config.model.nca
        return (
            f"The rule is a neural cellular automaton of {nca.channels} channels: each cell sees "
            f"its neighbourhood ({nca.perception.replace('_', ' ')} perception) and changes by "
            f"what {_UPDATES[nca.change]} makes of it."
        )
    if config.model.name == "chemotaxis":
        return (
            f"The first {config.model.chemotaxis.cells} species are cells, which climb learnt "
            "functions of the others; no formula writes out what a network computes."
        )
    if parts.is_own(config.model.name):
        return f"The rule is {config.model.name}, a part of the user's own."
    if set(config.model.rda.terms) <= set(rules.WRITTEN):
        return ""
    return (
        f"The right-hand side is {' + '.join(config.model.rda.terms).replace('_', ' ')}; terms in "
        "brackets are not written out."
    )
