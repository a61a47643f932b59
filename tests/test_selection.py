"""Terms that the data do not need leave, the others are fitted again."""

import hdf5_files
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from diffpattern import selection, train
from diffpattern.data.hdf5 import TheWell
from diffpattern.data.statistics import summarise
from diffpattern.data.stored import index
from diffpattern.parallel.mesh import make_mesh, put
from diffpattern.problem import build as build_problem
from diffpattern.problem import whitened_degrees
from diffpattern.run_folder import RunFolder
from diffpattern.training.least_squares import Fit, triangle
from diffpattern.training.step import TrainState

WINDOWS, ROWS, COLUMNS = 40, 60, 10
TRUE = np.zeros(COLUMNS)
TRUE[[0, 3, 7]] = 1.0, -2.0, 0.5


def problem(seed=0, size=0.3):
    """Rows [W, M, P] that are much alike, and noise [W, M]."""
    random = np.random.default_rng(seed)
    common = random.normal(size=(WINDOWS, ROWS, 1))
    rows = common + 0.3 * random.normal(size=(WINDOWS, ROWS, COLUMNS))
    return rows, size * random.normal(size=(WINDOWS, ROWS))


def factors(rows, errors, flat):
    """The triangular factors of [J r] at some parameters."""
    residuals = rows @ flat - (rows @ TRUE + errors)
    return np.asarray(jax.vmap(triangle)(residuals.astype(np.float32), rows.astype(np.float32)))


def thresholded(rows, errors, flat=TRUE, **changes):
    options = {
        "support": np.ones(COLUMNS, bool),
        "candidates": np.ones(COLUMNS, bool),
        "significance": 4.0,
        "smallest": 1e-3,
    } | changes
    return selection.thresholded(factors(rows, errors, flat), flat, **options)


@pytest.mark.parametrize("seed", range(4))
def test_the_true_terms_are_left_and_fitted_again(seed):
    rows, errors = problem(seed)
    dense = np.linalg.lstsq(rows.reshape(-1, COLUMNS), (rows @ TRUE + errors).reshape(-1))[0]
    assert (dense != 0).all()
    fitted, support, promised = thresholded(rows, errors, flat=dense)
    np.testing.assert_array_equal(support, TRUE != 0)
    columns, target = rows[..., support].reshape(-1, 3), (rows @ TRUE + errors).reshape(-1)
    expected, square, *_ = np.linalg.lstsq(columns, target)
    np.testing.assert_allclose(fitted[support], expected, rtol=1e-4)
    assert not fitted[~support].any()
    assert promised == pytest.approx(square[0], rel=1e-4)
    # Nothing changes any more.
    again, same, _ = thresholded(rows, errors, flat=fitted, support=support)
    np.testing.assert_array_equal(same, support)
    np.testing.assert_allclose(again, fitted, atol=1e-5)


def test_only_candidates_leave():
    candidates = np.ones(COLUMNS, bool)
    candidates[[1, 2]] = False
    _, support, _ = thresholded(*problem(), candidates=candidates)
    np.testing.assert_array_equal(support, (TRUE != 0) | ~candidates)


def test_what_has_left_stays_away():
    support = np.ones(COLUMNS, bool)
    support[3] = False
    _, found, _ = thresholded(*problem(), support=support)
    assert not found[3] and found[0]


def test_of_terms_that_the_data_cannot_tell_apart_one_is_left():
    rows, errors = problem()
    rows[..., 5] = rows[..., 3]
    _, support, _ = thresholded(rows, errors)
    assert support.sum() == 3 and support[[3, 5]].sum() == 1


def test_small_terms_leave_however_sure_they_are():
    rows, errors = problem(size=1e-6)
    small = np.where(np.arange(COLUMNS) == 4, 1e-3, 0.0)
    target = errors + rows @ small
    assert thresholded(rows, target, smallest=1e-5)[1][4]
    _, support, _ = thresholded(rows, target, smallest=1e-2)
    np.testing.assert_array_equal(support, TRUE != 0)


def of_toy(triangles):
    """A selection of the terms of a toy polynomial, and a state to select in."""
    mesh = make_mesh(1)
    flat = np.float32(TRUE + 0.1)
    state = TrainState(jnp.int32(5), {"polynomial": flat}, Fit.start(1e-3, flat))
    lower = np.full(COLUMNS, -np.inf)
    everything = np.ones(COLUMNS, bool)
    chooser = selection.Selection(5, triangles, everything, lower, 4.0, 1e-3, mesh)
    return chooser, put(state, mesh)


def test_a_state_goes_on_with_fewer_terms_when_it_is_time():
    rows, errors = problem()
    chooser, state = of_toy(lambda parameters: factors(rows, errors, parameters["polynomial"]))
    assert chooser.after(4, state) is state
    new = chooser.after(5, state)
    np.testing.assert_array_equal(new.optimiser.support, TRUE != 0)
    np.testing.assert_array_equal(np.asarray(new.parameters["polynomial"]) != 0, TRUE != 0)
    np.testing.assert_allclose(new.parameters["polynomial"], TRUE, atol=0.05)
    assert new.step == state.step and new.optimiser.damping == state.optimiser.damping


def test_a_refit_that_breaks_its_promise_is_none():
    rows, errors = problem()

    def far_from_linear(parameters):
        flat = parameters["polynomial"]
        return factors(rows, errors * (1 if (flat != 0).all() else 100), flat)

    chooser, state = of_toy(far_from_linear)
    assert chooser.after(5, state) is state


def test_it_looks_at_the_windows_that_are_trained_on_also_in_files(tmp_path):
    x = np.random.default_rng(0).random((2, 3, 5, 6, 5))
    spacings = {"x": 1.0, "y": 1.0, "z": 1.0}
    fields = {"A": x[0], "B": x[1]}
    path = hdf5_files.the_well(tmp_path / "well.hdf5", fields, spacings=spacings)
    stored = index([path], TheWell())
    config = tiny.config(
        **{
            "model.rda.polynomial.order": 1,
            "training.window": 3,
            "optimiser.levenberg_marquardt.selection.steps": 1,
            "optimiser.levenberg_marquardt.selection.windows": 4,
        }
    )
    sought = build_problem(config, summarise([stored.read()], whitened_degrees(config)))
    parameters = sought.initialise(0)
    found, expected = (
        selection.build(config, sought, [source], make_mesh(1), False).triangles(parameters)
        for source in (stored, stored.read())
    )
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found).max() > 0


def noisy_run():
    config = tiny.config(
        **{
            "data.noise": 0.003,
            "data.shape": (16, 16),
            "data.end_time": 128.0,
            "data.train": 8,
            "data.validation": 1,
            "data.test": 2,
            "optimiser.levenberg_marquardt.selection.steps": 6,
            "optimiser.levenberg_marquardt.selection.windows": 32,
            "evaluation.windows": 16,
            "evaluation.report": False,
            "training.steps": 12,
            "training.checkpoint_every": 6,
        }
    )
    return config


@pytest.mark.slow
def test_the_terms_of_gray_scott_are_found_in_noisy_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIFFPATTERN_DATA", str(tmp_path / "data"))
    folder = RunFolder(tmp_path / "run")
    scores = train.train_and_evaluate(noisy_run(), folder)
    terms = {name: [entry["term"] for entry in found] for name, found in scores["equation"].items()}
    assert terms == {"A": ["1", "A", "A B^2"], "B": ["B", "A B^2"]}
    assert scores["left_out"]["A"] == ["B", "A^2", "A B", "B^2", "A^3", "A^2 B", "B^3"]
    for name, true in {"A": 0.1, "B": 0.05}.items():
        assert scores["diffusion"][name] == pytest.approx(true, rel=0.02)
        error = abs(scores["diffusion"][name] - true)
        assert error < 5 * scores["diffusion_standard_error"][name]
    assert "left out: B, A^2, A B, B^2" in capsys.readouterr().out
    # A run that goes on from a checkpoint goes on with the same terms.
    config = noisy_run()
    config.training.steps = 14
    again = train.train_and_evaluate(config, folder)
    assert again["left_out"] == scores["left_out"]
