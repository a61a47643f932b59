"""Data that the rule of another run makes, for this one to learn from."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from diffpattern import systems
from diffpattern.configuration import LARGEST_SEED
from diffpattern.data import builders, environment
from diffpattern.data.simulation import SPLITS
from diffpattern.data.trajectories import Trajectories, digest
from diffpattern.errors import InputError
from diffpattern.parallel import processes
from diffpattern.parallel.mesh import widest_mesh
from diffpattern.prediction import make_predictor
from diffpattern.restored import RestoredRule, restore
from diffpattern.run_folder import RunFolder, numbered
from diffpattern.training.step import prefers_together

_PER_TRAJECTORY = ("values", "mask", "environment", "inputs")


def rollouts(
    config: ConfigDict, simulate: Callable[[ConfigDict], tuple[dict[str, Trajectories], ...]]
) -> tuple[dict[str, Trajectories], ...]:
    """What the rule of another run makes, as data by split: see data.run in configs/default.py.

    As many trajectories on lattices of each size that the run's test data have.

    Made once and kept beside simulated data, since other devices would round otherwise.

    Args:
      config: whose section data.run names the rule and says what it is to make.
      simulate: a config of simulated data -> the data; asked where the rule's own test data have
        too few starts.

    Raises:
      InputError: there is no such rule, it cannot make these trajectories, or they are not finite.
    """
    fields = config.data.run
    if not fields.folder:
        raise InputError("data.run.folder is empty; it takes the folder of a run.")
    rule = restore(RunFolder(Path(fields.folder).expanduser()), fields.step or None)
    times = _times(fields, rule.truth[0])
    kept = Path(config.data.directory or builders.default_directory()).expanduser()
    kept = kept / "run" / _digest(rule, fields, times)
    data = []
    for place in range(len(rule.truth)):
        paths = {split: kept / numbered(f"{split}.npz", place) for split in SPLITS}
        there = all(path.is_file() for path in paths.values())
        if not processes.from_first(there):
            logging.info("Running the rule of %s into %s", fields.folder, kept)
            made = _run(rule, _starts(rule, place, config, times, simulate), fields)
            ends = np.cumsum([fields[split] for split in SPLITS])
            for path, end, split in zip(paths.values(), ends, SPLITS, strict=True):
                if processes.is_first():
                    some(made, np.arange(end - fields[split], end)).save_npz(path)
            processes.wait_for_all()
        data.append({split: Trajectories.load_npz(path) for split, path in paths.items()})
    return tuple(data)


def some(trajectories: Trajectories, which: np.ndarray) -> Trajectories:
    """Some of the trajectories, by their numbers."""
    arrays = {name: getattr(trajectories, name) for name in (*_PER_TRAJECTORY, "known")}
    chosen = {name: array[which] for name, array in arrays.items() if array is not None}
    return dataclasses.replace(trajectories, **chosen)


def _times(fields: ConfigDict, truth: Trajectories) -> np.ndarray:
    """The times of the rule's snapshots; without a word of the config, those of its test data."""
    interval = fields.interval or float(truth.times[1] - truth.times[0])
    end = fields.end_time or float(truth.times[-1] - truth.times[0])
    count = round(end / interval)
    if count < 1 or abs(count * interval - end) > 1e-6 * end:
        raise InputError(
            f"data.run.end_time is {end:g}, but must be a multiple of data.run.interval, "
            f"{interval:g}."
        )
    return truth.times[0] + interval * np.arange(count + 1)


def _starts(
    rule: RestoredRule,
    place: int,
    config: ConfigDict,
    times: np.ndarray,
    simulate: Callable[[ConfigDict], tuple[dict[str, Trajectories], ...]],
) -> Trajectories:
    """Where the rule begins, as trajectories that stay there: its test data's starts, in a random
    order, then new ones of its system; of the size of lattices that comes at this place."""
    fields, truth = config.data.run, rule.truth[place]
    random = np.random.default_rng(fields.seed)
    needed = sum(fields[split] for split in SPLITS)
    parts = [some(truth, random.permutation(len(truth.values))[:needed])]
    missing = needed - len(parts[0].values)
    if missing:
        name = rule.config.data.name
        if not systems.is_system(name):
            raise InputError(
                f"data.run asks for {needed} trajectories, but the run in {fields.folder} has "
                f"{len(truth.values)} starts, and its data ({name}) are not simulated, so that "
                "there are no others; ask for fewer."
            )
        new = ConfigDict(rule.config.to_dict())
        new.data.directory = config.data.directory
        new.data.end_time = new.data.interval
        new.data.train, new.data.validation, new.data.test = missing, 1, 1
        # Starts that neither the rule nor another seed of this section has seen.
        new.data.seed = (new.data.seed + 1 + fields.seed) % (LARGEST_SEED + 1)
        others = environment.added(simulate(new)[place]["train"], new.data.environment)
        parts.append(some(others, random.permutation(len(others.values))[:missing]))
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in _PER_TRAJECTORY[1:]
        if getattr(truth, name) is not None
    }
    first = np.concatenate([part.values[:, :1] for part in parts])
    values = np.repeat(first, len(times), axis=1)
    return dataclasses.replace(truth, values=values, times=times, known=None, **arrays)


def _run(rule: RestoredRule, starts: Trajectories, fields: ConfigDict) -> Trajectories:
    """The rule's own trajectories; each draws its noise from a key of its own."""
    predict = make_predictor(
        rule.problem,
        starts,
        widest_mesh(rule.config.mesh.rows, rule.config.mesh.columns, rule.problem.running),
        key=jax.random.key(fields.seed),
        together=prefers_together(rule.config.training.windows),
    )
    values = predict(rule.checkpoint.parameters)
    finite = np.isfinite(values).all(axis=(0, *range(2, values.ndim)))
    if not finite.all():
        raise InputError(
            f"The rule of {fields.folder} leaves the finite numbers by t = "
            f"{starts.times[int(np.argmin(finite))]:g}; take a smaller data.run.end_time."
        )
    return dataclasses.replace(starts, values=values)


def _digest(rule: RestoredRule, fields: ConfigDict, times: np.ndarray) -> str:
    """A name for all that the trajectories depend on."""
    asked = {name: value for name, value in fields.items() if name not in ("folder", "step")}
    described = [rule.config.to_dict(), asked, times.tolist(), digest(rule.truth)]
    of_all = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(rule.checkpoint.parameters):
        of_all.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return of_all.hexdigest()[:16]
