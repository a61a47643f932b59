"""What works with what: every combination tried on a tiny task, against the page in docs/.

    python tests/test_matrix.py

writes the page anew. Lattices have a few cells, windows one or two steps: what is asked is whether
a combination works or is refused in a sentence, not whether it learns. Where other tests compare
the numbers of what runs on many devices, it is gone through on shapes here, which finds refusals.
"""

if __name__ == "__main__":
    import conftest  # noqa: F401 (as in a test: eight virtual devices)

import dataclasses
import functools
import re
import tempfile
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import random_vgg
import tiny

from diffpattern import configuration, problem, rules, train
from diffpattern.data import environment, statistics
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.grid.geometry import Grid
from diffpattern.rehearsal import rehearse
from diffpattern.solvers import adaptive as adaptive_solvers
from diffpattern.solvers import explicit, spectral
from diffpattern.training.losses import LOSSES

PAGE = Path(__file__).parents[1] / "docs" / "what_works_with_what.md"

Fields = Mapping[str, Any]
# Tries fields of a config and says what the page is to say, if no sentence refuses them.
Attempt = Callable[[Fields], str]

SMALL = {"solver.dt": 0.5, "training.batch": 2}
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


# --- Attempts -----------------------------------------------------------------------------------


def data(fields, *shape):
    """A trajectory of three snapshots that fade and drift a little, in a mask if asked for."""
    start = np.random.default_rng(0).uniform(0.2, 0.8, (*shape, 2))
    values = np.stack([start, 0.9 * start + 0.02, 0.8 * start + 0.05])[None]
    mask = np.ones((1, *shape)) if "data.mask" in fields else None
    if mask is not None:
        mask[:, 0], values[:, :, 0] = 0.0, 0.0
    walls = fields.get("data.boundary", ("circular",))
    grid = Grid(shape, boundary=walls * len(shape) if len(walls) == 1 else walls)
    trajectories = Trajectories(values, np.arange(3.0), ("A", "B"), grid, mask=mask)
    return environment.added(trajectories, fields.get("data.environment", ()))


def forward(*shape: int) -> Attempt:
    """A rollout on this lattice."""

    def attempt(fields: Fields) -> str:
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
        assert states.shape == truth.values[0].shape and np.isfinite(states).all()
        return "yes"

    return attempt


def training(devices: int, shape=(6,), blocks=(1, 1), **changes: Any) -> Attempt:
    """A train step: its loss is finite, and finite parameters move."""

    def attempt(fields: Fields) -> str:
        config = tiny.config(**SMALL | changes | fields)
        run = tiny.Run(config, data(fields, *shape), devices, blocks=blocks)
        before = jax.device_get(run.state.parameters)
        metrics = run.advance()
        assert np.isfinite(metrics["loss"])
        assert_moved(before, run.state.parameters)
        return "yes"

    return attempt


def rehearsal(devices: int, shape, blocks=(1, 1), **changes: Any) -> Attempt:
    """A train step gone through on shapes, as a run is before it begins.

    Where it gathers the blocks of lattices, the page says so.
    """

    def attempt(fields: Fields) -> str:
        config = tiny.config(**SMALL | changes | fields)
        truth = data(changes | fields, *shape)
        run = tiny.Run(config, truth, devices, blocks=blocks)
        rehearse(config, truth.times, run.sought.statistics, run.mesh)
        program = run.step.trace(run.state, train.draw_batch(run.batches, 0, run.mesh)).jaxpr
        return "yes, put together" if "all_gather" in str(program) else "yes"

    return attempt


def derivative_start(fields: Fields) -> str:
    """The fit of difference quotients."""
    changes = {"optimiser.derivative_steps": 3}
    run = tiny.Run(tiny.config(**SMALL | changes | fields), data(fields, 6), 1)
    state = train.fit_derivatives(
        run.config, run.sought, run.state, [run.trajectories], run.mesh, False
    )
    assert_moved(run.sought.initialise(0), state.parameters)
    return "yes"


def assert_moved(before, after):
    pairs = list(zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))
    assert all(np.isfinite(b).all() for _, b in pairs) and any((a != b).any() for a, b in pairs)


def everywhere(shape, **changes: Any) -> dict[str, Attempt]:
    """Columns: on one device, with the windows on eight, and with lattices in blocks."""
    return {
        "1 device": rehearsal(1, shape, **changes),
        "8 devices": rehearsal(8, shape, **changes),
        "2 x 4 blocks": rehearsal(1, shape, (2, 4), **changes),
    }


# --- Rows ---------------------------------------------------------------------------------------

SOLVERS = {
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

# The smallest rule there is, where it does not matter which.
SMALLEST = terms("diffusion") | {"solver.name": "euler", "model.rda.diffusion.laplacian": "cross"}


def loss(name, **settings):
    """The fields of one loss in place of l2."""
    given = {f"loss.settings.{name}.{field}": value for field, value in settings.items()}
    return {"loss.l2": 0.0, f"loss.{name}": 1.0} | given


# Random weights for the losses that look through a trained network.
FOLDER = tempfile.TemporaryDirectory()
np.savez(Path(FOLDER.name) / "narrow.npz", **random_vgg.state_dict())
PERCEPTUAL = {
    "loss.settings.perceptual.files": (str(Path(FOLDER.name) / "narrow.npz"),),
    "loss.settings.perceptual.red_green_blue": (0, 1, 1),
}
OF_LOSSES = {
    **{(name,): loss(name) for name in LOSSES},
    ("multi_scale",): loss("multi_scale", scales=(1, 2)),
    ("multi_scale of spectral",): loss("multi_scale", of="spectral"),
    ("colours",): loss("colours", projections=2),
    ("patches",): loss("patches", projections=2, size=3, scales=(1,)),
    **{(name,): loss(name) | PERCEPTUAL for name in ("vgg_gram", "lpips")},
    ("l2 with weights",): {"loss.channel_weights": (1.0, 2.0)},
    ("regulariser coverage",): {"model.mask": "trainable", "regulariser.coverage": 1.0},
    ("regulariser outside",): {"data.mask": "ellipse", "regulariser.outside": 1.0},
    ("regulariser out_of_range",): {"regulariser.out_of_range": 1.0},
    ("regulariser sparsity",): {"regulariser.sparsity": 1.0},
}


def wall(kind, value, **times):
    """A wall with a value of its own."""
    return {"kind": kind, "value": value, **times}


WALLS = {
    "circular": "circular",
    "zero": "zero",
    "symmetric": "symmetric",
    "replicate": "replicate",
    "value": wall("value", (0.5, 0.2)),
    "value over time": wall("value", (0.2, 0.5), times=(0.0, 4.0)),
    "flux": wall("flux", 0.1),
    "flux over time": wall("flux", (0.1, 0.2), times=(0.0, 4.0)),
    "symmetric, circular across": ("symmetric", "circular"),
    "zero and symmetric at one axis": (("zero", "symmetric"), "symmetric"),
}
WALLS_OF_EACH = {
    "symmetric": "symmetric",
    "zero": "zero",
    "value": wall("value", (0.5, 0.2)),
    "value over time": wall("value", ((0.5, 0.2), (0.2, 0.5)), times=(0.0, 4.0)),
    "flux": wall("flux", (0.1, -0.1)),
}
OF_WALLS = {
    (name,): {"data.boundary": walls if type(walls) is tuple else (walls,)}
    for name, walls in WALLS.items()
}

SEEING = {"model.nca.perception": "stencils", "data.environment": ("coordinates",)}
OF_RULES_AT_WALLS = {
    **{
        (f"PDE: {name.replace('_', ' ')}",): {"model.rda.terms": (name,)}
        for name in (
            "diffusion", "nonlinear_diffusion", "cross_diffusion", "advection", "taxis",
            "phase_field",
        )
    },
    ("chemotaxis",): {"model.name": "chemotaxis"},
    **{
        (f"automaton: {name.replace('_', ' ')}",): AUTOMATON | {"model.nca.perception": name}
        for name in rules.PERCEPTIONS
    },
    ("automaton: stencils of order 2",): AUTOMATON | {"model.nca.stencils.order": 2},
    ("automaton: stencils, environment",): AUTOMATON | SEEING,
    ("automaton: order 2, environment",): AUTOMATON | SEEING | {"model.nca.stencils.order": 2},
    ("automaton: alive",): AUTOMATON
    | {"model.nca.finishing": ("alive",), "model.nca.alive.channel": 2},
}  # fmt: skip

BY_PRODUCTS = LEAST_SQUARES | {"optimiser.levenberg_marquardt.form": "matrix_free"}
OF_OPTIMISERS = {
    **{(name,): OPTAX | {"optimiser.name": name} for name in ("nadam", "adamw")},
    ("nadam, averaged",): OPTAX | {"optimiser.optax.average_decay": 0.9},
    ("L-BFGS",): {"optimiser.name": "lbfgs"},
    ("Levenberg-Marquardt",): LEAST_SQUARES,
    ("Levenberg-Marquardt by products",): BY_PRODUCTS,
    ("Levenberg-Marquardt with sought starts",): BY_PRODUCTS
    | {"optimiser.levenberg_marquardt.start_weight": 1.0},
}

SMALL_AUTOMATON = AUTOMATON | OPTAX | {"model.nca.fire_rate": 1.0, "training.batch": 8}
POOL = {"training.starts": "pool", "training.pool.slots": 1, "training.batch": 8}


def pooled(*scales):
    """The fields of an automaton that sees blocks of so many cells as well."""
    return {"model.nca.perception": "multi_scale", "model.nca.multi_scale.scales": scales}


OF_PARTS = {
    ("pooled scales 1, 2",): pooled(1, 2),
    ("pooled scales 1, 8",): pooled(1, 8),
    ("steps whose number is drawn",): {"model.nca.step_jitter": 1},
    ("pool",): POOL,
    ("inner steps",): {"training.inner.steps": 1},
    ("damage and noise",): {"augmentation.damage": 0.5, "augmentation.noise": 0.1},
    ("crop",): {"augmentation.crop": 8},
    ("shift",): {"augmentation.shift": True},
    ("turn",): {"augmentation.turn": True},
    ("turn of steerable cells",): {
        "augmentation.turn": True,
        "model.nca.perception": "steerable",
    },
}

# --- The page -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Table:
    """A part of the page.

    Attributes:
      title: what the rows are.
      text: what stands above them.
      names: of the first columns, which name a row.
      rows: fields by these.
      columns: attempts by the names of the further columns.
    """

    title: str
    text: str
    names: tuple[str, ...]
    rows: Mapping[tuple[str, ...], Fields]
    columns: Mapping[str, Attempt]


HEAD = (
    "Each cell was tried on a tiny task by `tests/test_matrix.py`, which fails where this page is "
    "out of date and writes it anew (`python tests/test_matrix.py`). A number stands for the "
    "sentence of refusal at the end. `tests/test_rules.py` tries all rules, and "
    "`tests/test_blocks.py` holds what lattices [cut into blocks](blocks.md) make against what one "
    "device makes."
)
TABLES = (
    Table(
        "Solvers and rules",
        "Solvers are tried with one rule and rules with one solver, since neither knows of the "
        "other, on a lattice of one axis or, where it is cut into blocks, of two. Rollouts, fits, "
        "and training on one device and by Optax on eight ran; the rest, here and in the further "
        "tables, was gone through on shapes, as a run is before it begins.",
        ("solver", "rule"),
        SOLVERS,
        {
            "rollout 1D": forward(6),
            "2D": forward(6, 5),
            "3D": forward(4, 3, 5),
            "Optax, 1 device": training(1, **OPTAX),
            "8 devices": training(8, **OPTAX),
            "Levenberg-Marquardt, 1 device": training(1, **LEAST_SQUARES),
            "8 devices ": rehearsal(8, (6,), **LEAST_SQUARES),
            "derivative start": derivative_start,
            "Optax, 2 x 4 blocks": rehearsal(1, (8, 8), (2, 4), **OPTAX),
            "Levenberg-Marquardt, 2 x 4 blocks": rehearsal(1, (8, 8), (2, 4), **LEAST_SQUARES),
        },
    ),
    Table(
        "Losses and regularisers",
        "What is put together is gathered on every device for the moment of the loss.",
        ("loss",),
        OF_LOSSES,
        everywhere((16, 16), **SMALLEST | OPTAX),
    ),
    Table(
        "Walls",
        "Their kinds are in [docs/boundaries.md](boundaries.md).",
        ("walls",),
        OF_WALLS,
        everywhere((8, 8), **SMALLEST | OPTAX)
        | {
            "Levenberg-Marquardt": rehearsal(1, (8, 8), **SMALLEST | LEAST_SQUARES),
            "Levenberg-Marquardt, 2 x 4 blocks": rehearsal(
                1, (8, 8), (2, 4), **SMALLEST | LEAST_SQUARES
            ),
            "etdrk2": rehearsal(1, (8, 8), **SMALLEST | OPTAX | {"solver.name": "etdrk2"}),
        },
    ),
    Table(
        "Rules at walls",
        "Values and fluxes are given for each of two species; an automaton has a hidden channel "
        "more, whose value and flux are 0.",
        ("rule",),
        OF_RULES_AT_WALLS,
        {
            name: rehearsal(1, (8, 8), **OPTAX, **{"data.boundary": (WALLS_OF_EACH[name],)})
            for name in WALLS_OF_EACH
        },
    ),
    Table(
        "Optimisers",
        "The rules of Optax differ in nothing that asks for devices.",
        ("optimiser",),
        OF_OPTIMISERS,
        everywhere((8, 8), **SMALLEST) | {"from a pool": rehearsal(1, (8, 8), **SMALLEST | POOL)},
    ),
    Table(
        "Parts of an automaton and of its training",
        "Lattices have 16 x 16 cells, and blocks 8 x 4.",
        ("part",),
        OF_PARTS,
        everywhere((16, 16), **SMALL_AUTOMATON)
        | {
            "2 x 4 blocks, borders for two steps": rehearsal(
                1, (16, 16), (2, 4), **SMALL_AUTOMATON | {"mesh.exchange_every": 2}
            )
        },
    ),
)


def cell(attempt, fields) -> str:
    """What the page says of an attempt: that it works, or the sentence of refusal."""
    try:
        return attempt(fields)
    except InputError as error:
        return str(error)


def page() -> str:
    """The page, every cell of which is tried now."""
    lines = ["# What works with what", "", *textwrap.wrap(HEAD, 95)]
    refusals: list[str] = []
    for table in TABLES:
        names = [*table.names, *(name.strip() for name in table.columns)]
        lines += ["", f"## {table.title}", "", *textwrap.wrap(table.text, 95), ""]
        lines += [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
        for row, fields in table.rows.items():
            cells = [cell(attempt, fields) for attempt in table.columns.values()]
            for index, told in enumerate(cells):
                if not told.startswith("yes"):
                    refusals += [] if told in refusals else [told]
                    cells[index] = f"no ({refusals.index(told) + 1})"
            lines.append(f"| {' | '.join([*row, *cells])} |")
    lines += ["", "## Refusals", ""]
    lines += [*(f"{number}. {text}" for number, text in enumerate(refusals, 1)), ""]
    return "\n".join(lines)


@functools.cache
def written() -> dict[str, dict[tuple[str, ...], list[str]]]:
    """What the page says, refusals in words: by the title of the table, and by row."""
    text = PAGE.read_text()
    refusals = dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))
    in_words = lambda told: refusals[told[4:-1]] if told.startswith("no (") else told
    found = {}
    for table in TABLES:
        part = text.partition(f"## {table.title}\n")[2].partition("\n## ")[0]
        rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line[:2] == "| "]
        names = len(table.names)
        found[table.title] = {
            tuple(row[:names]): [in_words(told) for told in row[names:]] for row in rows[2:]
        }
    return found


CASES = [(table, row) for table in TABLES for row in table.rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "row"), CASES, ids=[f"{table.title}: {' '.join(row)}" for table, row in CASES]
)
def test_the_page_says_what_works(table, row, quick_compilation):
    tried = [cell(attempt, table.rows[row]) for attempt in table.columns.values()]
    told = written()[table.title].get(row)
    assert told == tried, f"{PAGE} is out of date; run python tests/test_matrix.py"


def test_the_page_has_no_other_rows():
    assert {title: set(rows) for title, rows in written().items()} == {
        table.title: set(table.rows) for table in TABLES
    }


if __name__ == "__main__":
    jax.config.update("jax_disable_most_optimizations", True)
    PAGE.write_text(page())
