"""Export: restore a run, and write its rule as a page on which it runs live."""

import dataclasses
import html
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict

from diffpattern import parts, restored, rules
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError
from diffpattern.explorer import page, passes, speed, steps
from diffpattern.explorer.program import Program
from diffpattern.grid.boundary import Boundary
from diffpattern.grid.forcing import Forcing
from diffpattern.report import mathematics, text
from diffpattern.report.document import settings_table
from diffpattern.report.equations import of_diffusion
from diffpattern.restored import RestoredRule
from diffpattern.run_folder import RunFolder
from diffpattern.solvers import explicit

MOST_CHANNELS = 32
# Of the page without its starts.
LARGEST = 1_000_000
# Trajectories of which the first snapshots are offered.
_STARTS = 3
# The data's time goes by in so many frames at first, about ten seconds.
_FRAMES = 600
# The part of the longest stable step that is taken where the run has no step of its own.
_OF_STABLE = 0.5


def export(folder: RunFolder, step: int | None = None) -> page.Exploration:
    """Writes the explorer of a run's rule into its folder.

    Args:
      folder: of the run; nothing else is needed.
      step: of the checkpoint. None: the best by its validation score.

    Returns:
      What the page holds.

    Raises:
      InputError: the folder is not one of a run, its checkpoint is missing or damaged, or its rule
        is one that the explorer cannot run.
    """
    exploration = explore(restored.restore(folder, step), folder)
    content = page.render(exploration)
    without = page.render(dataclasses.replace(exploration, starts=()))
    if len(without) > LARGEST:
        raise InputError(
            f"The rule has {exploration.program.weights.size} numbers in its shaders, with which "
            f"the explorer would take {len(without) / 1e6:.1f} MB; it may take "
            f"{LARGEST / 1e6:.0f} MB, so export a rule with fewer hidden units or features."
        )
    folder.write("explorer.html", content)
    logging.info(
        "The page takes %.2f MB, without its starts %.2f", len(content) / 1e6, len(without) / 1e6
    )
    print(f"Explorer: {folder.explorer}")
    return exploration


def explore(rule: RestoredRule, folder: RunFolder) -> page.Exploration:
    """A trained rule made into what its page holds.

    Raises:
      InputError: the explorer cannot run it.
    """
    config, statistics, truth = rule.config, rule.statistics, rule.truth[0]
    scores = folder.read_scores() or {}
    channels = rule.problem.channels
    if channels > MOST_CHANNELS:
        raise InputError(
            f"The rule has {channels} channels, but the explorer takes up to {MOST_CHANNELS}; "
            "train one with fewer (model.nca.channels)."
        )
    automaton = rules.is_automaton(config.model)
    seen = [_seen(rule, which) for which in range(len(truth.values))]
    given = {"state": channels} | {name: field.shape[-1] for name, field in seen[0].items()}
    solver, size, note = ("", 0.0, "") if automaton else _solver(rule)
    # Shaders compute in single precision, whatever the run did.
    parameters = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float32), rule.checkpoint.parameters
    )
    with jax.enable_x64(False):
        graph = steps.graph_of(config, statistics, parameters, solver, given)
    program = passes.compile_graph(graph, given)
    nca = config.model.nca
    size = getattr(rule.problem.rule, "step_size", 1.0) if automaton else size
    time = statistics.interval / nca.steps_per_interval if automaton else size
    return page.Exploration(
        title=f"{config.data.name}: {folder.path.absolute().name}",
        program=program,
        kind="automaton" if automaton else "PDE",
        species=statistics.species,
        channels=channels,
        offset=[*truth.offset, *[0.0] * (channels - len(truth.species))],
        scale=[*truth.scale, *[1.0] * (channels - len(truth.species))],
        spacing=statistics.grid.spacing,
        walls=_walls(rule, channels),
        step_size=size,
        time_unit=truth.time_unit,
        time_per_step_size=time / size,
        speed=_speed(program, truth, time),
        fire_rate=getattr(rule.problem.rule, "fire_rate", 1.0) if automaton else 1.0,
        inputs=_inputs(truth),
        hidden={
            "alive": nca.alive.channel if automaton and nca.start_alive else None,
            "noise": nca.start_noise if automaton else 0.0,
        },
        erased=_erased(truth, channels),
        alone=automaton and "alive" in nca.finishing,
        multiple=int(np.lcm.reduce(steps.scales(config))),
        ranges=_ranges(truth, channels),
        starts=_starts(truth, seen, "unseen start" if text.unseen(scores) else "start"),
        rule=_rule(rule, scores),
        running=_running(program, config, solver, size, note),
    )


def _seen(rule: RestoredRule, which: int) -> dict[str, np.ndarray]:
    """The mask and the environment of a trajectory as the rule meets them, [rows, columns, E]."""
    forcing = rule.problem.of_size(rule.truth[0].grid.shape).acting(
        rule.checkpoint.parameters, rule.truth[0].forcing(which)
    )
    seen = {"environment": forcing.environment}
    seen["mask"] = None if forcing.mask is None else forcing.mask[None]
    return {
        name: np.moveaxis(np.asarray(field), 0, -1)
        for name, field in seen.items()
        if field is not None
    }


def _inputs(truth: Trajectories) -> list[float]:
    """The inputs of the first trajectory, at first where they change."""
    if truth.inputs is None:
        return []
    first = truth.inputs[0]
    return list(first if first.ndim == 1 else first[0])


def _starts(
    truth: Trajectories, seen: list[dict[str, np.ndarray]], called: str
) -> list[page.Start]:
    """First snapshots of test trajectories, and the last one of the first."""
    starts: list[page.Start] = []
    for which, (values, given) in enumerate(zip(truth.values[:_STARTS], seen, strict=False)):
        if any(np.array_equal(values[0], start.values) for start in starts) and not given:
            continue
        name = f"{called} {which + 1}"
        starts.append(page.Start(name, values[0], float(truth.times[0]), given))
    name = f"{starts[0].name} at t = {truth.times[-1]:g} {truth.time_unit}".strip()
    starts.append(page.Start(name, truth.values[0, -1], float(truth.times[-1]), seen[0]))
    return starts


def _speed(program: Program, truth: Trajectories, time: float) -> float:
    """Steps a frame: what shows the data's time in a while, and no more than a laptop does.

    Args:
      program: of a step.
      truth: the data.
      time: that goes by in a step.
    """
    wanted = (truth.times[-1] - truth.times[0]) / time / _FRAMES
    done = speed.steps_a_second(program.per_cell(), math.prod(truth.grid.shape)) / 60
    return 2.0 ** round(math.log2(min(max(min(wanted, done), 2**-4), 2**7)))


def _erased(truth: Trajectories, channels: int) -> list[float]:
    """What damage leaves: what most cells of a start are, which is nothing where pictures grow."""
    first = np.s_[:1, :1]
    numbers = _numbers(truth.values[first], truth.seen()[first])
    return [*(float(np.median(one)) for one in numbers), *[0.0] * (channels - len(numbers))]


def _numbers(values: np.ndarray, seen: np.ndarray) -> list[np.ndarray]:
    """The numbers of each species that were seen, or all of them if none was."""
    columns = [values[..., n] for n in range(values.shape[-1])]
    parts = [column[seen[..., n]] for n, column in enumerate(columns)]
    return [part if part.size else column for part, column in zip(parts, columns, strict=True)]


def _ranges(truth: Trajectories, channels: int) -> list[tuple[float, float]]:
    """Ends of each species' colours: they span 99% of the data; hidden channels' are fitted."""
    numbers = _numbers(truth.in_units(truth.values), truth.seen())
    ends = np.array([np.percentile(one, [0.5, 99.5]) for one in numbers], np.float64)
    ends[:, 1] = np.where(ends[:, 1] > ends[:, 0], ends[:, 1], ends[:, 0] + 1)
    # No finer than their distance gives reason for: 0, and not 2e-8.
    decimals = 3 - np.ceil(np.log10(ends[:, 1] - ends[:, 0])).astype(int)
    ends = [np.round(pair, places) for pair, places in zip(ends, decimals.tolist(), strict=True)]
    return [*map(tuple, ends), *[(-1.0, 1.0)] * (channels - len(ends))]


def _walls(rule: RestoredRule, channels: int) -> dict[str, Any]:
    """The four walls as the page takes them, with their values over time for each channel."""
    walls = [wall for along in rule.statistics.grid.boundary for wall in (along.lower, along.upper)]
    return {
        "kinds": [wall.kind for wall in walls],
        "values": [_wall_values(wall, channels) for wall in walls],
        "times": [list(wall.times) for wall in walls],
    }


def _wall_values(wall: Boundary, channels: int) -> list[list[float]]:
    rows = wall.value if wall.times else (wall.value,)
    return [
        [row] * channels if isinstance(row, float) else [*row, *[0.0] * (channels - len(row))]
        for row in rows
    ]


def _solver(rule: RestoredRule) -> tuple[str, float, str]:
    """The solver, its step, and a sentence where they are not those of the run."""
    fields = rule.config.solver
    if fields.name in explicit.NAMES and fields.dt:
        return fields.name, fields.dt, ""
    name = fields.name if fields.name in explicit.NAMES else "heun"
    size = _OF_STABLE * explicit.stability_limit(name, _fastest(rule))
    if fields.dt:
        size = min(size, fields.dt)
    size = float(f"{size:.2g}")
    how = "" if fields.dt else " with adaptive steps"
    return (
        name,
        size,
        f"The run was solved by {fields.name}{how}; here the same right-hand side is taken by "
        f"{name} with a fixed step, {_OF_STABLE:g} of the longest that is stable at the run's "
        "starts, or shorter.",
    )


def _fastest(rule: RestoredRule, iterations: int = 40) -> float:
    """The largest rate, per unit of time, at which the right-hand side changes small waves.

    By power iteration of its Jacobian at a test trajectory's first and last snapshots.
    """
    truth, parameters = rule.truth[0], rule.checkpoint.parameters
    here = dataclasses.replace(rule.statistics, grid=truth.grid)
    right_hand_side = rules.pde(rule.config.model, here)
    forcing: Forcing = rule.problem.of_size(truth.grid.shape).acting(parameters, truth.forcing(0))
    slope = lambda x: right_hand_side.apply({"params": parameters}, x, forcing)

    @jax.jit
    def rate(x):
        def iterate(change, _):
            change = jax.jvp(slope, (x,), (change,))[1]
            size = jnp.linalg.norm(change)
            return change / size, size

        first = jax.random.normal(jax.random.key(0), x.shape)
        return jax.lax.scan(iterate, first / jnp.linalg.norm(first), length=iterations)[1][-1]

    snapshots = [np.moveaxis(truth.values[0, place], -1, 0) for place in (0, -1)]
    return max(float(rate(jnp.asarray(snapshot))) for snapshot in snapshots)


# What stands beside the lattice.


def _rule(rule: RestoredRule, scores: dict[str, Any]) -> str:
    config, told = rule.config, []
    if config.model.name == "rda":
        terms = config.model.rda.terms
        told.append(f"<p>{_equation_form(terms)}</p>")
        told += _equations(scores, rules.unwritten(config.model, rule.statistics.species))
    truth = rule.truth[0]
    if normalised := text.conversions(truth.species, truth.offset, truth.scale):
        told.append(
            "<p class='note'>The rule works on normalised numbers (the data's field "
            f"normalisation){', of which its equation is' if len(told) > 1 else ''}. The page "
            f"shows the data's own: {html.escape('; '.join(normalised))}.</p>"
        )
    count = ravel_pytree(rule.checkpoint.parameters)[0].size
    rows = [*_shape(config, rule), ("Trained numbers", f"{count:,}")]
    rows.append(("Checkpoint", f"step {rule.checkpoint.step}"))
    return "".join(told) + settings_table(rows)


def _equation_form(terms: tuple[str, ...]) -> str:
    derivative = "\N{PARTIAL DIFFERENTIAL}<i>x</i>/\N{PARTIAL DIFFERENTIAL}<i>t</i>"
    return f"{derivative} = {html.escape(' + '.join(terms).replace('_', ' '))}"


def _equations(scores: dict[str, Any], unwritten: dict[str, tuple[str, ...]]) -> list[str]:
    """The equation of each species, as the last evaluation found it."""
    diffusion = of_diffusion(scores)
    return [
        mathematics.equation(name, terms, diffusion.get(name), others=unwritten[name])
        for name, terms in (scores.get("equation") or {}).items()
    ]


def _shape(config: ConfigDict, rule: RestoredRule) -> list[tuple[str, str]]:
    """The rule's form, part by part."""
    model = config.model
    if model.name == "nca":
        nca = model.nca
        species, sees = len(rule.statistics.species), dict(nca[nca.perception])
        return [
            ("Rule", "neural cellular automaton"),
            ("Channels", f"{nca.channels}: {species} seen, {nca.channels - species} hidden"),
            ("Each cell sees", f"{nca.perception} ({_fields(sees)})".replace("_", " ")),
            ("and does", f"{nca.change} ({_fields(dict(nca[nca.change]))})".replace("_", " ")),
            ("then", ", ".join(nca.finishing) or "nothing else"),
        ]
    if model.name == "chemotaxis":
        return [
            ("Rule", "chemotaxis: cells climb learnt functions of signals"),
            ("Parts", _fields(dict(model.chemotaxis)).replace("_", " ")),
        ]
    rows = [("Rule", "reaction-diffusion-advection PDE")]
    if parts.is_own(model.name):
        rows = [("Rule", "automaton" if rules.is_automaton(model) else "PDE")]
    rows += [("Own part", name) for name in rules.own_parts(model)]
    rows += [("Its settings", _fields(dict(model.own)))] if model.own else []
    return rows + [
        (name.replace("_", " "), _fields(dict(model.rda[name])).replace("_", " "))
        for name in rules.known_terms(model)
    ]


def _fields(fields: dict[str, Any]) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, tuple | list):
            return ", ".join(map(shown, value)) or "none"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:g}" if isinstance(value, float) else str(value)

    return "; ".join(f"{name} {shown(value)}" for name, value in fields.items())


def _running(program: Program, config: ConfigDict, solver: str, size: float, note: str) -> str:
    per_cell = program.per_cell()
    pace = speed.steps_a_second(per_cell, 256 * 256)
    rows = [
        ("Passes a step", str(len(program.passes))),
        ("Texture reads per cell and step", f"{per_cell['reads']:,.4g} of four channels"),
        ("Texture writes", f"{per_cell['writes']:,.4g} of four channels"),
        ("Additions and multiplications", f"{per_cell['operations']:,.0f}"),
        (
            "Weights looked up",
            f"{per_cell['weights']:,.0f} times four" if per_cell["weights"] else "none",
        ),
        (
            f"Estimate for {speed.GPU}",
            f"{pace:,.0f} steps a second of 256 \N{MULTIPLICATION SIGN} 256 cells",
        ),
    ]
    if solver:
        rows.insert(0, ("Solver", f"{solver}, time step {size:g}"))
    notes = [note] if note else []
    if config.solver.exact:
        notes.append("Waves decay by the stencil's factor here, and by their exact one in the run.")
    told = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in notes)
    return told + settings_table(rows)
