"""What works with what: every combination tried on a tiny task, against the page in docs/.

    DIFFPATTERN_WRITE_MATRIX=1 python -m pytest tests/test_matrix.py

writes the page anew. Lattices have six cells, windows one or two steps: what is asked is whether a
combination works or is refused in a sentence, not whether it learns.
"""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from diffpattern import configuration, problem, train
from diffpattern.data import statistics
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid

PAGE = Path(__file__).parents[1] / "docs" / "what_works_with_what.md"
WRITE = "DIFFPATTERN_WRITE_MATRIX"

SMALL = {
    "solver.dt": 0.5,
    "training.batch": 2,
}
OPTAX = {"optimiser.name": "nadam", "optimiser.optax.warmup_steps": 0}
LEAST_SQUARES = {"optimiser.levenberg_marquardt.damping": 1.0}
REACTION = {"model.rda.polynomial.order": 1}
NETWORK = {"model.rda.terms": ("network", "diffusion"), "model.rda.network.hidden": (2,)}
DIFFUSION = {"model.rda.diffusion.laplacian": "cross"}
ADVECTION = {"model.rda.advection.hidden": (2,)}
TERMS = {"reaction": REACTION, "diffusion": DIFFUSION, "advection": ADVECTION}


def terms(*names):
    """The fields of an RDA of the named terms."""
    fields = {"model.rda.terms": names}
    for name in names:
        fields |= NETWORK if name == "network" else TERMS[name]
    fields["model.rda.terms"] = tuple("reaction" if n == "network" else n for n in names)
    return fields


USUAL = "reaction + diffusion", terms("reaction", "diffusion")
AUTOMATON = {
    "model.name": "nca",
    "solver.dt": 1.0,
    "model.nca.channels": 3,
    "model.nca.network.hidden": (2,),
    "model.nca.steps_per_interval": 2,
}


def adaptive(solver):
    """The fields of adaptive steps, few and rough."""
    return {
        "solver.name": solver,
        "solver.dt": 0.0,
        "solver.adaptive.max_steps": 8,
        "solver.adaptive.relative_tolerance": 1e-2,
    }


ROWS = [
    *(
        (solver, USUAL[0], USUAL[1] | {"solver.name": solver})
        for solver in ("euler", "heun", "tsit5", "dopri5")
    ),
    *(
        (f"adaptive {solver}", USUAL[0], USUAL[1] | adaptive(solver))
        for solver in ("tsit5", "dopri5", "euler")
    ),
    ("heun", "reaction (network)", terms("network")),
    ("heun", "diffusion", terms("diffusion")),
    ("heun", "advection", terms("advection")),
    ("heun", "reaction + advection", terms("reaction", "advection")),
    ("heun", "diffusion + advection", terms("diffusion", "advection")),
    ("heun", "reaction + diffusion + advection", terms("reaction", "diffusion", "advection")),
    ("its own steps", "NCA", AUTOMATON),
]


def data(*shape):
    """A trajectory of three snapshots that fade and drift a little."""
    start = np.random.default_rng(0).uniform(0.2, 0.8, (*shape, 2))
    values = np.stack([start, 0.9 * start + 0.02, 0.8 * start + 0.05])[None]
    return Trajectories(values, np.arange(3.0), ("A", "B"), Grid(shape))


def forward(*shape):
    """Whether a rollout on this lattice works."""

    def attempt(fields):
        config = tiny.config(**SMALL | OPTAX | fields)
        configuration.check(config)
        truth = data(*shape)
        summary = statistics.summarise(truth, problem.whitened_degrees(config))
        sought = problem.build(config, summary)
        run = lambda start: sought.predict(
            sought.initialise(0), start, truth.times, jax.random.key(0)
        )
        start = truth.values[0, 0]
        states = jax.jit(run)(start)
        return states.shape == truth.values[0].shape and np.isfinite(states).all()

    return attempt


def training(devices, **changes):
    """Whether a train step works: its loss is finite, and finite parameters move."""

    def attempt(fields):
        run = tiny.Run(tiny.config(**SMALL | changes | fields), data(6), devices)
        before = jax.device_get(run.state.parameters)
        metrics = run.advance()
        return np.isfinite(metrics["loss"]) and _moved(before, run.state.parameters)

    return attempt


def derivative_start(fields):
    """Whether the fit of difference quotients works."""
    changes = {"optimiser.derivative_steps": 3}
    run = tiny.Run(tiny.config(**SMALL | changes | fields), data(6), 2)
    state = train.fit_derivatives(
        run.config, run.sought, run.state, run.trajectories, run.mesh, False
    )
    return _moved(run.sought.initialise(0), state.parameters)


def _moved(before, after):
    pairs = list(zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))
    return all(np.isfinite(b).all() for _, b in pairs) and any((a != b).any() for a, b in pairs)


COLUMNS = {
    "rollout 1D": forward(6),
    "2D": forward(6, 5),
    "3D": forward(4, 3, 5),
    "Optax, 1 device": training(1, **OPTAX),
    "8 devices": training(8, **OPTAX),
    "Levenberg-Marquardt, 1 device": training(1, **LEAST_SQUARES),
    "8 devices ": training(8, **LEAST_SQUARES),
    "derivative start": derivative_start,
}


def page() -> str:
    """The page, every cell of which was tried just now."""
    refusals: list[str] = []

    def cell(attempt, fields):
        try:
            assert attempt(fields), (attempt, fields)
            return "yes"
        except InputError as error:
            if str(error) not in refusals:
                refusals.append(str(error))
            return f"no ({refusals.index(str(error)) + 1})"

    lines = [
        "# What works with what",
        "",
        "Each cell was tried on a tiny task by `tests/test_matrix.py`, which also wrote this page",
        f"(`{WRITE}=1 python -m pytest tests/test_matrix.py`) and fails where it is out of date.",
        "A number stands for the sentence of refusal below. Solvers are tried with one rule and",
        "rules with one solver, since neither knows of the other.",
        "",
        "| solver | rule | " + " | ".join(name.strip() for name in COLUMNS) + " |",
        "|" + " --- |" * (2 + len(COLUMNS)),
    ]
    for solver, rule, fields in ROWS:
        cells = [cell(attempt, fields) for attempt in COLUMNS.values()]
        lines.append(f"| {' | '.join([solver, rule, *cells])} |")
    lines += ["", *(f"{number}. {text}" for number, text in enumerate(refusals, 1)), ""]
    return "\n".join(lines)


@pytest.mark.slow
def test_the_page_says_what_works(quick_compilation):
    written = page()
    if os.environ.get(WRITE):
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(written)
    assert PAGE.exists() and PAGE.read_text() == written, (
        f"{PAGE} is out of date; write it anew: {WRITE}=1 python -m pytest tests/test_matrix.py"
    )
