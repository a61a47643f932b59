"""Every recipe goes its real way, on small data and with a stated budget, and beats its baseline.

What recipes reach with their own budgets stands in their docstrings.
"""

import importlib
import json

import numpy as np
import pytest
from tiny_runs import NCA, run

from benchmarks import recipes
from diffpattern import restored, train
from diffpattern.run_folder import RunFolder
from diffpattern.training.metrics import read_scalars

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("recipes")]

SIMULATED = {
    "data.shape": (16, 16), "data.train": 3, "data.validation": 1, "data.test": 2,
    "training.batch": 4, "mesh.data": 2,
}  # fmt: skip
SMALL_CELLS = {
    "model.nca.channels": 8, "model.nca.network.hidden": (16,),
    "training.checkpoint_every": 1000, "training.log_every": 1,
}  # fmt: skip

QUICK = {
    "optimiser.optax.warmup_steps": 0, "optimiser.optax.learning_rate": 0.01,
    "training.log_every": 1, "training.checkpoint_every": 1000,
}  # fmt: skip

# By its error on unseen starts: fields of the small task, then how many times the error of the rule
# at the last time goes into that of persistence.
FITTED = {
    "pde": (SIMULATED | {"data.end_time": 64.0, "training.steps": 10}, 100.0),
    "pde_neural": (SIMULATED | {"data.end_time": 64.0, "training.steps": 8}, 3.0),
    "pde_noisy": (
        SIMULATED
        | {
            "data.end_time": 128.0,
            "training.steps": 12,
            "training.checkpoint_every": 12,
            "optimiser.levenberg_marquardt.selection.steps": 6,
            "optimiser.levenberg_marquardt.selection.windows": 16,
        },
        10.0,
    ),
    "pde_sparse": (
        SIMULATED
        | {
            "data.end_time": 256.0,
            "training.continuation_steps": 4,
            "training.steps": 24,
            "training.checkpoint_every": 24,
        },
        10.0,
    ),
    "pde_fine": (SIMULATED | {"data.end_time": 128.0, "training.batch": 8}, 10.0),
    "pde_large": (
        SIMULATED
        | {
            "data.end_time": 64.0,
            "model.rda.network.hidden": (8, 8),
            "training.steps": 12,
            "training.checkpoint_every": 12,
        },
        3.0,
    ),
    "pde_nadam": (SIMULATED | {"data.end_time": 64.0, "training.steps": 40}, 1.5),
    "cahn_hilliard": (SIMULATED | {"data.end_time": 16.0, "training.steps": 8}, 20.0),
    "micropattern": (
        SIMULATED
        | {
            # Those of several sizes are in test_sizes.
            "data.further_shapes": (),
            "data.train": 4,
            "training.batch": 8,
            "training.steps": 8,
            "training.checkpoint_every": 8,
        },
        3.0,
    ),
    "keller_segel": (SIMULATED | {"data.end_time": 8.0, "training.steps": 8}, 100.0),
}

# Automata change nothing before they are trained: the untrained rule's errors are persistence's.
# Fields of the small task, then the factor.
GROWN = {
    "nca_gray_scott": (
        SIMULATED
        | QUICK
        | {
            "data.end_time": 64.0, "model.nca.network.hidden": (16,),
            "model.nca.steps_per_interval": 4, "training.steps": 160,
        },
        1.5,
    ),
    "navier_stokes": (
        SIMULATED
        | QUICK
        | {
            "data.shape": (32, 32), "data.end_time": 1.0, "model.nca.channels": 8,
            "model.nca.gated.hidden": (32,), "model.nca.steps_per_interval": 4,
            "training.steps": 240, "training.pool.refresh_every": 1,
        },
        1.5,
    ),
    "grow": (
        SMALL_CELLS
        | {
            "data.images.downsample": 42, "data.images.crop": 12, "training.steps": 240,
            "model.nca.steps_per_interval": 12, "model.nca.step_jitter": 2,
        },
        1.5,
    ),
    "morph": (
        SMALL_CELLS
        | {
            # The change that is asked for first is the greatest, or losses could not fall.
            "data.images.train": (("skimage:camera", "skimage:brick", "skimage:gravel"),),
            "data.images.downsample": 64, "data.images.crop": 8, "training.steps": 60,
            "model.nca.steps_per_interval": 8,
        },
        1.5,
    ),
}  # fmt: skip
# A texture may lie anywhere, so errors by place say nothing. The loss does, which at first is the
# untrained rule's.
TEXTURE = SMALL_CELLS | {
    "data.images.downsample": 16, "data.images.crop": 16, "training.steps": 120,
    "optimiser.optax.learning_rate": 1e-3, "training.pool.reset": 0.7,
    "model.nca.steps_per_interval": 16, "loss.settings.patches.scales": (1,),
}  # fmt: skip


def follow(name, folder, directory, fields):
    """Trains a recipe with some fields changed; returns the scores."""
    config = importlib.import_module(f"diffpattern.configs.{name}").get_config()
    if config.data.name != "images":
        config.data.directory = str(directory)
    config.update_from_flattened_dict(fields)
    config.evaluation.report = False
    return train.train_and_evaluate(config, RunFolder(folder), config_path=f"configs/{name}.py")


def against_persistence(scores):
    """How many times the rule's error goes into that of persistence, at the end, at worst."""
    unchanged = scores["baselines"]["persistence"]["nrmse"]
    return min(unchanged[name][-1] / errors[-1] for name, errors in scores["nrmse"].items())


@pytest.mark.parametrize("name", FITTED)
def test_what_is_fitted_beats_persistence(name, tmp_path):
    fields, times = FITTED[name]
    assert against_persistence(follow(name, tmp_path / "run", tmp_path / "data", fields)) > times


@pytest.mark.parametrize("name", GROWN)
def test_what_is_trained_by_gradients_beats_the_untrained_rule(name, tmp_path):
    fields, times = GROWN[name]
    assert against_persistence(follow(name, tmp_path / "run", tmp_path / "data", fields)) > times
    if name in recipes.RECIPES:
        # So short a training may end in a rule that diverges in the long run: inf is an answer.
        assert all(found >= 0 for found in measure(name, tmp_path / "run"))


def test_a_texture_comes_nearer_than_what_the_untrained_rule_leaves(tmp_path):
    follow("texture", tmp_path / "run", tmp_path / "data", TEXTURE)
    rows = read_scalars(tmp_path / "run" / "metrics" / "scalars.jsonl")
    losses = np.array([row["loss"] for row in rows])
    assert losses[0] > 1.5 * np.median(losses[-10:]), losses
    assert np.isfinite(measure("texture", tmp_path / "run")).all()


def measure(name, folder):
    """All that the benchmark finds of a run, row by row; several rows may have one name."""
    rule = restored.restore(RunFolder(folder))
    return [found for _, found, _ in recipes.RECIPES[name](rule)]


def test_a_pde_learns_from_an_automaton(tmp_path):
    """From the rule of a run; its few steps only have to do something."""
    run(tmp_path, tmp_path / "automaton", **NCA | {"optimiser.optax.learning_rate": 0.02})
    fields = {
        "data.run.folder": str(tmp_path / "automaton"), "data.run.end_time": 4.0,
        "data.run.train": 4, "data.run.validation": 1, "data.run.test": 1, "training.steps": 6,
        "training.window": 1,
        "training.batch": 4, "mesh.data": 2, "solver.dt": 0.5,
    }  # fmt: skip
    scores = follow("nca_to_pde", tmp_path / "run", tmp_path / "data", fields)
    assert against_persistence(scores) > 1.5
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["name"] == "run"
