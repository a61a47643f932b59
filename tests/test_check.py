"""What a run would take is tried, and nothing of it kept."""

import re

import pytest
import tiny
from tiny_runs import FIELDS, LEAST_SQUARES, NCA

from diffpattern import problem
from diffpattern.check import _stability, check, duration
from diffpattern.data.statistics import summarise
from diffpattern.errors import InputError

pytestmark = pytest.mark.slow


def told(tmp_path, monkeypatch, **changes):
    monkeypatch.chdir(tmp_path)
    config = tiny.config(**FIELDS | {"data.directory": str(tmp_path / "data")} | changes)
    text = check(config)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    return text


def test_a_pde_is_tried_and_its_solver_judged(tmp_path, monkeypatch):
    text = told(tmp_path, monkeypatch, **LEAST_SQUARES)
    assert text.startswith("Devices   2 x 1 x 1 (data, rows, columns), cpu\n")
    assert "Data      2 trajectories of 5 snapshots on 8 x 8 cells to train on" in text
    assert "Rule      8 parameters, 2 channels" in text  # two of diffusion, three of each reaction
    assert re.search(r"One step  \S+ s and \S+ [kM]B of memory, for the 2 windows of each", text)
    assert re.search(r"The run   6 steps, about \d+ s, besides", text)
    # Heun's method damps what decays by less than 2 a step; Oono and Puri's Laplacian has -4.
    assert text.endswith("heun with steps of 1 is stable for diffusion coefficients of up to 0.5")


HEUN = "heun with steps of 0.5 is stable for "
ADAPTIVE = {"solver.dt": 0.0, "solver.name": "tsit5"}
ETDRK2 = {"solver.name": "etdrk2"}


@pytest.mark.parametrize(
    ("terms", "changes", "told"),
    [
        (("cubic_damping",), {}, ""),
        (("cubic_damping",), ETDRK2, ""),
        (("cubic_damping",), ADAPTIVE, "tsit5 with adaptive steps, which diffusion of no size "),
        # Oono and Puri's Laplacian has -4, of which kappa's term takes the square.
        (("phase_field",), {}, HEUN + "kappa of the phase field of up to 0.25"),
        (("nonlinear_diffusion",), {}, HEUN + "diffusion coefficients of up to 0.5"),
        (("nonlinear_diffusion",), ETDRK2, ""),
        (("diffusion",), ETDRK2, "etdrk2, which linear diffusion of no size makes unstable"),
        (
            ("diffusion", "phase_field"),
            {"model.rda.diffusion.laplacian": "cross"},
            HEUN + "diffusion coefficients of up to 0.5 or kappa of the phase field of up to 0.25",
        ),
    ],
)
def test_the_solver_is_judged_by_the_terms_that_there_are(terms, changes, told):
    config = tiny.config(**{"model.rda.terms": terms, "solver.dt": 0.5} | changes)
    summary = summarise([tiny.data(end_time=2.0)], problem.whitened_degrees(config))
    found = "".join(_stability(config, problem.build(config, summary)))
    assert found.startswith(f"Solver    {told}") if told else not found


def test_an_automaton_has_no_solver(tmp_path, monkeypatch):
    text = told(tmp_path, monkeypatch, **NCA | {"training.steps": 100_000})
    assert "Solver" not in text and "4 channels" in text
    assert re.search(r"The run   100000 steps, about \d+(\.\d)? (s|min|h), besides", text)


def test_a_rule_that_overflows_at_once_is_told(tmp_path, monkeypatch):
    changes = {"model.rda.diffusion.initial": 1e30, "optimiser.derivative_steps": 0}
    with pytest.raises(InputError, match="loss of the first step is .* take a smaller solver.dt"):
        told(tmp_path, monkeypatch, **LEAST_SQUARES | changes)


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.2, "about 5 s"), (600, "about 10 min"), (9000, "about 2.5 h")]
)
def test_times_are_said_as_a_person_says_them(seconds, text):
    assert duration(seconds) == text
