"""Rules as pages, and what runs on them: what the tests of the explorer share."""

import base64
import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from browser import Browser
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict

from diffpattern import configuration, export, problem, rules
from diffpattern.data.statistics import summarise
from diffpattern.data.trajectories import Trajectories
from diffpattern.explorer import page
from diffpattern.files import npz
from diffpattern.restored import RestoredRule, restore
from diffpattern.run_folder import RunFolder
from diffpattern.training.checkpoints import Restored

# Numbers to and from the page.
_LOAD = """
const bytes = Uint8Array.from(atob(arguments[0]), (one) => one.charCodeAt(0));
explorer.playing = false;
explorer.engine.load(new Float32Array(bytes.buffer));
[explorer.engine.steps, explorer.engine.time] = [0, arguments[1]];
"""
_READ = """
const bytes = new Uint8Array(explorer.engine.read().buffer);
return btoa(Array.from(bytes, (one) => String.fromCharCode(one)).join(""));
"""


def restored(config: ConfigDict, data: Trajectories, scale: float) -> RestoredRule:
    """A rule that has never been trained, all of its numbers moved off their beginnings."""
    summary = summarise([data], problem.whitened_degrees(config))
    sought = problem.build(config, summary)
    first = sought.initialise(0)
    flat, unravel = ravel_pytree(first)
    random = np.random.default_rng(1)
    widths = jax.tree.map(lambda leaf: np.full(leaf.shape, (leaf.shape or (1,))[0] ** -0.5), first)
    moved = flat + scale * random.normal(size=flat.shape) * ravel_pytree(widths)[0]
    lowest = ravel_pytree(sought.lower_bounds(first))[0]
    parameters = unravel(jnp.where(jnp.isfinite(lowest), jnp.abs(moved), moved))
    checkpoint = Restored(1, parameters, None, {})
    return RestoredRule(config, sought, checkpoint, (data,), summary)


def written(rule: RestoredRule, folder: Path) -> Path:
    """The page of a rule."""
    path = folder / "explorer.html"
    path.write_text(page.render(export.explore(rule, RunFolder(folder))))
    return path


def load(browser: Browser, state: np.ndarray, time: float = 0.0) -> None:
    """Stops the page, and puts a state [rows, columns, C] there."""
    browser.evaluate(_LOAD, base64.b64encode(state.astype("<f4").tobytes()).decode(), time)


def read(browser: Browser, shape: tuple[int, ...]) -> np.ndarray:
    """The state of the page."""
    return np.frombuffer(base64.b64decode(browser.evaluate(_READ)), "<f4").reshape(shape)


def by_jax(rule: RestoredRule, state: np.ndarray, steps: int) -> np.ndarray:
    """The state [rows, columns, C] after some steps in which all cells fire."""
    parameters, truth = rule.checkpoint.parameters, rule.truth[0]
    forcing = rule.problem.acting(parameters, truth.forcing(0))
    dynamics = rule.problem.dynamics
    if rule.config.model.name == "nca":
        automaton = rules.automaton(rule.config.model, rule.statistics).clone(fire_rate=1.0)
        step = lambda parameters, x, key, now: automaton.apply({"params": parameters}, x, key, now)
        dynamics = dataclasses.replace(dynamics, step=step)

    @jax.jit
    def run(x):
        def one(x, index):
            now = forcing.later(index * dynamics.dt)
            return dynamics.step(parameters, x, jax.random.key(0), now), None

        return jax.lax.scan(one, x, jnp.arange(steps))[0]

    return np.moveaxis(np.asarray(run(jnp.moveaxis(jnp.asarray(state), -1, 0))), 0, -1)


def keep(run: Path, folder: Path) -> None:
    """Keeps of a run what its page is made of, a few files to lie among the tests."""
    rule, kept = restore(RunFolder(Path(run))), RunFolder(Path(folder))
    kept.write("config.json", configuration.to_json(rule.config))
    kept.keep_data(rule.truth, rule.statistics)
    leaves = jax.tree_util.tree_leaves_with_path(rule.checkpoint.parameters)
    arrays = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    kept.write("parameters.npz", npz(**arrays))


def kept(folder: Path) -> RestoredRule:
    """The rule that `keep` has kept."""
    run = RunFolder(folder)
    config, (truth, statistics) = run.config(), run.data()
    sought = problem.build(config, statistics)
    with np.load(folder / "parameters.npz") as arrays:
        parameters = jax.tree_util.tree_map_with_path(
            lambda path, _: jnp.asarray(arrays[jax.tree_util.keystr(path)]),
            jax.eval_shape(lambda: sought.initialise(0)),
        )
    return RestoredRule(config, sought, Restored(1, parameters, None, {}), truth, statistics)
