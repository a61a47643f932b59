"""Runs in double precision: data, parameters and predictions, and nothing besides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_runs

import diffpattern
from diffpattern import dataset, evaluate, export, precision, restored, train
from diffpattern.run_folder import RunFolder

pytestmark = pytest.mark.xdist_group("test_precision")
slow = pytest.mark.slow

LEAST_SQUARES = {"model.rda.polynomial.order": 2, "training.batch": 3}
METHODS = {
    "dense": LEAST_SQUARES,
    "matrix_free": LEAST_SQUARES | {"optimiser.levenberg_marquardt.form": "matrix_free"},
    "sought_starts": LEAST_SQUARES
    | {
        "optimiser.levenberg_marquardt.form": "matrix_free",
        "optimiser.levenberg_marquardt.start_weight": 1.0,
    },
    "network": {
        "model.rda.terms": ("network", "diffusion", "source"),
        "optimiser.name": "nadam",
        "solver.name": "etdrk2",
    },
    "automaton": tiny_runs.NCA
    | {
        "loss.spectral": 1.0,
        "loss.colours": 1.0,
        "loss.multi_scale": 1.0,
        "loss.sampled_euclidean": 1.0,
        "loss.time_weights": (1.0,),
        "model.nca.finishing": ("alive",),
        "model.nca.alive.channel": 1,
    },
    "pool": tiny_runs.POOL | {"model.nca.perception": "multi_scale"},
    "lbfgs": {"optimiser.name": "lbfgs", "model.rda.polynomial.order": 1},
}


def reals(tree):
    """The types of all real numbers in a tree."""
    leaves = (jnp.asarray(leaf) for leaf in jax.tree.leaves(tree))
    return {str(leaf.dtype) for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)}


@slow
@pytest.mark.parametrize("method", METHODS)
def test_all_that_is_trained_is_double(method):
    fields = {"data.shape": (8, 8), "training.batch": 2, "mesh.data": 1} | METHODS[method]
    config = tiny.config(**fields, precision="float64")
    with precision.of_config(config):
        data = tiny.data.__wrapped__()
        assert data.values.dtype == np.float64
        run = tiny.Run(config, data, 1)
        assert reals(run.state) == {"float64"}
        metrics = run.advance()
        assert np.isfinite(metrics["loss"])
        # A step that gave something else would be compiled again, or restored wrong.
        assert reals(run.state) == {"float64"}


@slow
def test_a_run_in_double_precision_is_scored_loaded_and_exported(tmp_path):
    changes = tiny_runs.FIELDS | tiny_runs.LEAST_SQUARES
    changes |= {"data.directory": str(tmp_path / "data"), "training.steps": 2}
    single, double = tiny.config(**changes), tiny.config(**changes, precision="float64")
    with precision.of_config(double):
        train.train_and_evaluate(double, RunFolder(tmp_path / "double"))
        (data,) = dataset.load(double)
        evaluate.evaluate(RunFolder(tmp_path / "double"))
    (coarse,) = dataset.load(single)
    # Neither is taken for the other, though both are kept in one place.
    assert data["train"].values.dtype == np.float64
    assert coarse["train"].values.dtype == np.float32
    # Loaded in a process of single precision, which stays so.
    run = diffpattern.load(tmp_path / "double")
    assert reals(run.params) == {"float64"}
    start = data["test"].values[:, 0]
    made = run.rollout(start, data["test"].times)
    assert made.dtype == np.float64
    assert jnp.ones(()).dtype == jnp.float32
    # The rule by itself computes as JAX is set to.
    x = jnp.moveaxis(start[0], -1, 0)
    slope = lambda: run.rule.apply({"params": run.params}, x)
    assert slope().dtype == np.float32
    with jax.enable_x64(True):
        x = np.moveaxis(start[0], -1, 0)
        assert slope().dtype == np.float64
    with np.load(RunFolder(tmp_path / "double").predictions) as kept:
        np.testing.assert_array_equal(made, kept["values"])
    # What a program of single precision hands over is double in such a run, too.
    fields = {name: value for name, value in changes.items() if not name.startswith("data.")}
    given = tiny.config(**fields, precision="float64")
    fitted = diffpattern.fit(coarse["train"], given, tmp_path / "given")
    assert reals(fitted.params) == {"float64"} and fitted.test[0].values.dtype == np.float64
    folder = RunFolder(tmp_path / "double")
    with precision.of_config(double):
        exploration = export.explore(restored.restore(folder), folder)
    assert exploration.program.weights.dtype == np.float32
