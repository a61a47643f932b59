"""Standard errors are those of fits to other data, however the residuals hang together."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny
from jax.flatten_util import ravel_pytree

from diffpattern import findings
from diffpattern.data.windows import Window
from diffpattern.grid.forcing import Forcing
from diffpattern.parallel.mesh import make_mesh
from diffpattern.training.least_squares import triangle

pytestmark = pytest.mark.xdist_group("test_findings")

WINDOWS, ROWS = 400, 24
TRUE = np.array([1.0, -2.0, 0.5])


def problem(random, correlation):
    """Rows [W, M, P] and noise [W, M], of which a share is common to each window."""
    columns = random.normal(size=(WINDOWS, 1, 3)) + random.normal(size=(WINDOWS, ROWS, 3))
    common = np.sqrt(correlation) * random.normal(size=(WINDOWS, 1))
    own = np.sqrt(1 - correlation) * random.normal(size=(WINDOWS, ROWS))
    return columns * [1.0, 10.0, 0.1], 0.3 * (common + own)


def factors(columns, noise, parameters):
    residuals = columns @ parameters - (columns @ TRUE + noise)
    return np.asarray(jax.vmap(triangle)(residuals, columns))


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_errors_are_the_scatter_of_fits(correlation):
    random = np.random.default_rng(0)
    fits, errors = [], []
    for _ in range(300):
        columns, noise = problem(random, correlation)
        fit = np.linalg.lstsq(columns.reshape(-1, 3), (columns @ TRUE + noise).reshape(-1))[0]
        fits.append(fit)
        if len(errors) < 20:
            errors.append(findings.from_triangles(factors(columns, noise, fit)))
    np.testing.assert_allclose(np.median(errors, 0), np.std(fits, 0), rtol=0.2)


def test_errors_know_what_the_data_do_not_tell_apart():
    columns, noise = problem(np.random.default_rng(1), 0.0)
    good = findings.from_triangles(factors(columns, noise, TRUE))
    # The second column twice, then one of zeros, then a sum of the first and the third.
    more = [columns[..., 1], np.zeros((WINDOWS, ROWS))]
    wide = np.concatenate([columns, np.stack(more, -1)], -1)
    residuals = columns @ TRUE - (columns @ TRUE + noise)
    found = findings.from_triangles(np.asarray(jax.vmap(triangle)(residuals, wide)))
    assert np.isinf(found).tolist() == [False, True, False, True, True]
    np.testing.assert_allclose(found[[0, 2]], good[[0, 2]], rtol=0.05)

    collinear = np.concatenate([columns, columns[..., :1] + columns[..., 2:]], -1)
    found = findings.from_triangles(np.asarray(jax.vmap(triangle)(residuals, collinear)))
    assert np.isinf(found).tolist() == [True, False, True, True]
    assert found[1] == pytest.approx(good[1], rel=0.05)


def test_errors_of_combinations_know_what_errs_together():
    columns, noise = problem(np.random.default_rng(3), 0.3)
    # The first column less a little of the third: their sum is known far better than either.
    columns[..., 2] = columns[..., 0] + 0.1 * columns[..., 2]
    whole = factors(columns, noise, TRUE)
    plain = findings.from_triangles(whole)
    combined = findings.from_triangles(whole, np.array([[1.0, 0.0, 1.0], [2.0, 0.0, 0.0]]))
    assert combined[1] == pytest.approx(2 * plain[0])
    assert combined[0] < 0.1 * plain[0]
    # The same fit in other unknowns, of which that sum is one.
    mixed = columns @ np.linalg.inv([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    residuals = columns @ TRUE - (columns @ TRUE + noise)
    other = findings.from_triangles(np.asarray(jax.vmap(triangle)(residuals, mixed)))
    assert combined[0] == pytest.approx(other[0], rel=1e-3)


def test_windows_that_diverge_are_left_out():
    columns, noise = problem(np.random.default_rng(2), 0.3)
    whole = factors(columns, noise, TRUE).copy()
    expected = findings.from_triangles(whole[10:])
    whole[:10, 0, 0] = np.nan
    np.testing.assert_array_equal(findings.from_triangles(whole), expected)
    assert np.isinf(findings.from_triangles(whole[:11])).all()


def read(run, **changes):
    options = {
        "together": False,
        "batch": 4,
        "seed": 0,
        "count": 16,
        "window": 1,
        "sampling": "log",
    } | changes
    return findings.read(
        run.sought, run.state.parameters, [run.trajectories], make_mesh(2), **options
    )


@pytest.fixture(scope="module")
def run():
    """A polynomial after a few steps."""
    run = tiny.Run(tiny.config(**{"model.rda.polynomial.order": 2}), tiny.data(), 2)
    for _ in range(4):
        run.advance()
    return run


@pytest.mark.slow
def test_terms_of_a_polynomial_have_names_and_errors(run):
    found = read(run)
    assert list(found["diffusion"]) == list(found["diffusion_standard_error"]) == ["A", "B"]
    names = ["1", "A", "B", "A^2", "A B", "B^2"]
    coefficients = np.asarray(run.state.parameters["polynomial"]["coefficients"])
    for name, row in zip("AB", coefficients, strict=True):
        terms = found["equation"][name]
        assert [entry["term"] for entry in terms] == names
        np.testing.assert_allclose([entry["coefficient"] for entry in terms], row)
        for entry in terms:
            error = entry["standard_error"]
            within = error is None or abs(entry["coefficient"]) <= 2 * error
            assert entry["determined"] == (not within)
    # Twice the batch, half the variance; as many windows drawn twice, nothing new.
    smaller = read(run, batch=8)["diffusion_standard_error"]
    for name, error in found["diffusion_standard_error"].items():
        assert smaller[name] == pytest.approx(error / np.sqrt(2), rel=1e-5)


@pytest.mark.slow
def test_windows_drawn_twice_are_one_observation(run):
    parameters = run.state.parameters
    values = run.trajectories.values[:, :2]
    window = lambda values: Window(values, Forcing(time=np.zeros(len(values), np.float32)))
    times = np.array([0.0, 2.0])
    once, twice = (
        ravel_pytree(
            findings.standard_errors(
                run.sought, parameters, [window(drawn)], times, make_mesh(1), False, lambda p: p
            )
        )[0]
        for drawn in (values, np.concatenate([values, values]))
    )
    assert ravel_pytree(parameters)[0].shape == once.shape
    finite = np.isfinite(once)
    np.testing.assert_allclose(once[finite], twice[finite], rtol=1e-3)


def test_rules_without_coefficients_have_nothing_to_read():
    nothing = {name: {} for name in findings.KINDS}
    run = tiny.Run(tiny.config(**{"model.name": "nca", "optimiser.name": "nadam"}), tiny.data(), 1)
    assert read(run) == nothing
    run = tiny.Run(tiny.config(**{"model.rda.terms": ("network", "diffusion")}), tiny.data(), 1)
    found = read(run)
    assert found["equation"] == found["diffusion_standard_error"] == {}
    assert found["diffusion"] == pytest.approx({"A": 0.05, "B": 0.05})


@pytest.mark.slow
def test_numbers_of_other_terms_have_names_and_errors():
    fields = {
        "model.rda.terms": ("polynomial", "diffusion", "taxis", "phase_field", "cubic_damping"),
        "model.rda.polynomial.order": 1,
        "model.rda.phase_field.degree": 1,
    }
    run = tiny.Run(tiny.config(**fields), tiny.data(), 1)
    run.advance()
    found = read(run, count=64)
    parameters = run.state.parameters
    told = {name: entry["coefficient"] for name, entry in found["coefficients"].items()}
    a_to_b, b_to_a = map(float, parameters["taxis"]["sensitivity"])
    assert told["sensitivity of A to B"] == a_to_b and told["sensitivity of B to A"] == b_to_a
    assert told["kappa of B"] == parameters["phase_field"]["kappa"][1]
    assert told["B in the potential of A"] == parameters["phase_field"]["coefficients"][0, 1]
    assert told["cubic damping of A"] == parameters["cubic_damping"]["coefficient"][0]
    assert len(told) == 2 + 2 + 4 + 2
    # u in the potential of u is diffusion: the two cannot be told apart, and all else can.
    errors = {name: entry["standard_error"] for name, entry in found["coefficients"].items()}
    blind = {name for name, error in errors.items() if error is None}
    assert blind == {"A in the potential of A", "B in the potential of B"}
    assert found["diffusion_determined"] == {"A": False, "B": False}
    for name, entry in found["coefficients"].items():
        apart = errors[name] is not None and abs(told[name]) > 2 * errors[name]
        assert entry["determined"] == apart


def test_numbers_beside_networks_are_told_without_errors():
    terms = ("cross_diffusion", "network")
    run = tiny.Run(tiny.config(**{"model.rda.terms": terms}), tiny.data(), 1)
    found = read(run)["coefficients"]
    assert found["diffusion of A along A"]["coefficient"] == pytest.approx(0.05)
    assert found["diffusion of A along B"] == {
        "coefficient": 0.0, "standard_error": None, "determined": True,
    }  # fmt: skip


@pytest.mark.slow
def test_the_margin_of_a_learnt_edge_is_read_with_its_error():
    data = tiny.data()
    mask = np.zeros((3, 8, 8), np.float32)
    mask[:, 2:7, 1:6] = 1.0
    masked = dataclasses.replace(data, values=data.values * mask[:, None, ..., None], mask=mask)
    fields = {"model.mask": "edge", "data.mask": "ellipse", "model.rda.polynomial.order": 1}
    run = tiny.Run(tiny.config(**fields), masked, 1)
    run.state.parameters["mask"]["margin"] = run.state.parameters["mask"]["margin"] + 0.25
    edge = read(run)["edge"]
    assert edge["coefficient"] == 0.25 and 0 < edge["standard_error"] < 10


def test_a_rule_of_very_many_parameters_has_no_standard_errors(run, monkeypatch):
    monkeypatch.setattr(findings.least_squares, "MOST_PARAMETERS", 3)
    monkeypatch.setattr(findings, "standard_errors", None)
    found = read(run)
    assert found["diffusion_standard_error"] == {"A": None, "B": None}
    entries = [entry for name in "AB" for entry in found["equation"][name]]
    assert all(entry["standard_error"] is None and entry["determined"] for entry in entries)
