"""What works with what: every combination tried on a tiny task, against the page in docs/.

    python tests/test_matrix.py

writes the page anew. Lattices have six cells, windows one or two steps: what is asked is whether a
combination works or is refused in a sentence, not whether it learns.
"""

if __name__ == "__main__":
    import conftest  # noqa: F401 (as in a test: eight virtual devices)

import functools
import re
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
from diffpattern.solvers import adaptive as adaptive_solvers
from diffpattern.solvers import explicit, spectral

PAGE = Path(__file__).parents[1] / "docs" / "what_works_with_what.md"

SMALL = {
    "solver.dt": 0.5,
    "training.batch": 2,
}
OPTAX = {"optimiser.name": "nadam", "optimiser.optax.warmup_steps": 0}
LEAST_SQUARES = {"optimiser.levenberg_marquardt.damping": 1.0}
USUAL = {"model.rda.polynomial.order": 1, "model.rda.diffusion.laplacian": "cross"}


def terms(*names):
    """The fields of a PDE of these terms, their networks of two units."""
    fields = {"model.rda.terms": names}
    for name in names:
        if name in ("network", "advection", "split"):
            fields[f"model.rda.{name}.hidden"] = (2,)
    return fields


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


ROWS = {
    **{
        (solver, "polynomial + diffusion"): USUAL | {"solver.name": solver}
        for solver in (*explicit.NAMES, *spectral.NAMES)
    },
    **{
        (f"adaptive {solver}", "polynomial + diffusion"): USUAL | adaptive(solver)
        for solver in (*adaptive_solvers.NAMES, "euler")
    },
    ("etdrk2", "network + phase field"): terms("network", "phase_field")
    | {"solver.name": "etdrk2"},
    ("heun", "network"): terms("network"),
    ("heun", "diffusion"): terms("diffusion"),
    ("heun", "advection"): terms("advection"),
    ("heun", "split + diffusion + advection"): terms("split", "diffusion", "advection"),
    ("heun", "trainable mask"): USUAL | {"model.mask": "trainable"},
    ("heun", "learnt edge"): USUAL | {"model.mask": "edge", "data.mask": "ellipse"},
    ("etdrk4", "trainable mask"): USUAL | {"model.mask": "trainable", "solver.name": "etdrk4"},
    ("its own steps", "automaton"): AUTOMATON,
}


def data(fields, *shape):
    """A trajectory of three snapshots that fade and drift a little, in a mask if asked for."""
    start = np.random.default_rng(0).uniform(0.2, 0.8, (*shape, 2))
    values = np.stack([start, 0.9 * start + 0.02, 0.8 * start + 0.05])[None]
    mask = np.ones((1, *shape)) if "data.mask" in fields else None
    if mask is not None:
        mask[:, 0], values[:, :, 0] = 0.0, 0.0
    return Trajectories(values, np.arange(3.0), ("A", "B"), Grid(shape), mask=mask)


def forward(*shape):
    """Whether a rollout on this lattice works."""

    def attempt(fields):
        config = tiny.config(**SMALL | OPTAX | fields)
        configuration.check(config)
        truth = data(fields, *shape)
        summary = statistics.summarise([truth], problem.whitened_degrees(config))
        sought = problem.build(config, summary)
        run = lambda start: sought.predict(
            sought.initialise(0), start, truth.times, jax.random.key(0), truth.forcing(0)
        )
        start = truth.values[0, 0]
        states = jax.jit(run)(start)
        return states.shape == truth.values[0].shape and np.isfinite(states).all()

    return attempt


def training(devices, shape=(6,), blocks=(1, 1), **changes):
    """Whether a train step works: its loss is finite, and finite parameters move."""

    def attempt(fields):
        config = tiny.config(**SMALL | changes | fields)
        run = tiny.Run(config, data(fields, *shape), devices, blocks=blocks)
        before = jax.device_get(run.state.parameters)
        metrics = run.advance()
        return np.isfinite(metrics["loss"]) and _moved(before, run.state.parameters)

    return attempt


def derivative_start(fields):
    """Whether the fit of difference quotients works."""
    changes = {"optimiser.derivative_steps": 3}
    run = tiny.Run(tiny.config(**SMALL | changes | fields), data(fields, 6), 1)
    state = train.fit_derivatives(
        run.config, run.sought, run.state, [run.trajectories], run.mesh, False
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
    "Optax, 2 x 4 blocks": training(1, (8, 8), (2, 4), **OPTAX),
    "Levenberg-Marquardt, 2 x 4 blocks": training(1, (8, 8), (2, 4), **LEAST_SQUARES),
}


def cell(attempt, fields) -> str:
    """What the page says of an attempt: that it works, or the sentence of refusal."""
    try:
        assert attempt(fields), (attempt, fields)
        return "yes"
    except InputError as error:
        return str(error)


def page() -> str:
    """The page, every cell of which is tried now."""
    lines = [
        "# What works with what",
        "",
        "Each cell was tried on a tiny task by `tests/test_matrix.py`, which fails where this",
        "page is out of date and writes it anew (`python tests/test_matrix.py`). A number stands",
        "for the sentence of refusal below. Solvers are tried with one rule and rules with one",
        "solver, since neither knows of the other; training is on a lattice of one axis, or of two",
        "that are cut into blocks ([docs/blocks.md](blocks.md)).",
        "`tests/test_rules.py` tries all rules.",
        "",
        "| solver | rule | " + " | ".join(name.strip() for name in COLUMNS) + " |",
        "|" + " --- |" * (2 + len(COLUMNS)),
    ]
    refusals: list[str] = []
    for (solver, rule), fields in ROWS.items():
        cells = [cell(attempt, fields) for attempt in COLUMNS.values()]
        for index, told in enumerate(cells):
            if told != "yes":
                refusals += [] if told in refusals else [told]
                cells[index] = f"no ({refusals.index(told) + 1})"
        lines.append(f"| {' | '.join([solver, rule, *cells])} |")
    lines += ["", *(f"{number}. {text}" for number, text in enumerate(refusals, 1)), ""]
    return "\n".join(lines)


@functools.cache
def written() -> dict[tuple[str, str], list[str]]:
    """What the page says, refusals in words."""
    lines = PAGE.read_text().splitlines()
    numbered = (re.match(r"(\d+)\. (.*)", line) for line in lines)
    refusals = {match[1]: match[2] for match in numbered if match}
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][2:]
    in_words = lambda told: refusals[told[4:-1]] if told.startswith("no (") else told
    return {(solver, rule): [in_words(told) for told in cells] for solver, rule, *cells in rows}


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_the_page_says_what_works(row, quick_compilation):
    tried = [cell(attempt, ROWS[row]) for attempt in COLUMNS.values()]
    assert written().get(row) == tried, f"{PAGE} is out of date; run python tests/test_matrix.py"


def test_the_page_has_no_other_rows():
    assert set(written()) == set(ROWS)


if __name__ == "__main__":
    jax.config.update("jax_disable_most_optimizations", True)
    PAGE.write_text(page())
