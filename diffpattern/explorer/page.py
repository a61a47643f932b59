"""The explorer's page: one HTML file with a rule's shaders, starts of the data, and what to do.

The templates beside this module hold what does not depend on the rule: `prelude.glsl`, the shaders'
common part; `engine.js`, which runs them; `page.js`, `page.html` and `page.css`, what hands and
eyes meet.
"""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import matplotlib
import numpy as np

from diffpattern.explorer.program import Program
from diffpattern.report.style import CSS

MAPS = ("viridis", "cividis", "magma", "gray")
SIZES = (64, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True, eq=False)
class Start:
    """Where the rule may begin.

    Attributes:
      name: as it is offered.
      values: of the species, [rows, columns, C].
      time: of the data's, then.
      given: other lattices that the rule sees, by name, [rows, columns, channels].
    """

    name: str
    values: np.ndarray
    time: float = 0.0
    given: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Exploration:
    """Everything that the page of a rule holds.

    Attributes:
      title: its heading.
      program: the rule's shaders.
      kind: "automaton" or "PDE".
      species: names of the first channels.
      channels: how many there are.
      offset, scale: of each channel; numbers of the data, which the page shows, are
        offset + scale * a number of the rule.
      spacing: between cells along y and x.
      walls: kinds [4] (below and above in y, then in x), their values [4][T][C] and the times of
        these [4][T], empty where they do not change.
      step_size: of the data's, as the rule was trained: dt of a PDE, the factor on an update of an
        automaton.
      time_unit: name of the unit of time; empty where it has none.
      time_per_step_size: time that goes by in a step of size 1.
      speed: steps a frame, at first; a power of 2 from 1/16 to 128.
      fire_rate: share of an automaton's cells that a step updates.
      inputs: numbers that all cells are told alike, at first.
      hidden: what hidden channels begin with: the place of the species that they copy ("alive", or
        None for zero), and the deviation of noise that is added ("noise").
      erased: what damage leaves, for each channel.
      alone: whether a start stands in the middle of a larger lattice, instead of going on there.
      multiple: a lattice must be of a multiple of so many cells.
      ranges: what the ends of the colours stand for, for each channel, in the data's numbers.
      starts: one or more.
      rule: what the rule says, HTML.
      running: how it runs and how fast, HTML.
    """

    title: str
    program: Program
    kind: str
    species: Sequence[str]
    channels: int
    offset: Sequence[float]
    scale: Sequence[float]
    spacing: tuple[float, float]
    walls: Mapping[str, Any]
    step_size: float
    time_unit: str
    time_per_step_size: float
    speed: float
    fire_rate: float
    inputs: Sequence[float]
    hidden: Mapping[str, Any]
    erased: Sequence[float]
    alone: bool
    multiple: int
    ranges: Sequence[tuple[float, float]]
    starts: Sequence[Start]
    rule: str
    running: str


def render(exploration: Exploration) -> str:
    """The page as a string of HTML."""
    parts = {
        "title": html.escape(exploration.title),
        "style": CSS + _file("page.css"),
        "lead": "The trained rule, running as you watch. Drag over the lattice to damage it.",
        "step_name": "Step size" if exploration.kind == "automaton" else "Time step",
        "rule": exploration.rule,
        "running": exploration.running,
        "data": _embedded(data_of(exploration)),
        "prelude": _embedded(_file("prelude.glsl")),
        "engine": _file("engine.js"),
        "script": _file("page.js"),
    }
    page = _file("page.html")
    for name, part in parts.items():
        page = page.replace("{{" + name + "}}", part)
    return page


def data_of(exploration: Exploration) -> dict[str, Any]:
    """What the page's script knows of the rule, as JSON takes it."""
    program = exploration.program
    # A given field has its place on the data's own lattice and nowhere else.
    fixed = len(program.given) > 1
    sizes = [size for size in SIZES if size % exploration.multiple == 0 and not fixed]
    composed = tuple(exploration.species[:4])
    colours = ("red", "green", "blue", "alpha")
    return {
        "kind": exploration.kind,
        "species": list(exploration.species),
        "channels": exploration.channels,
        "colours": len(composed) if composed in (colours, colours[:3]) else 0,
        "offset": list(map(float, exploration.offset)),
        "scale": list(map(float, exploration.scale)),
        "spacing": list(exploration.spacing),
        "walls": exploration.walls,
        "stepSize": exploration.step_size,
        "timeUnit": exploration.time_unit,
        "timePerStepSize": exploration.time_per_step_size,
        "fireRate": exploration.fire_rate,
        "inputs": list(map(float, exploration.inputs)),
        "hidden": dict(exploration.hidden),
        "erased": list(map(float, exploration.erased)),
        "alone": exploration.alone,
        "sizes": sizes,
        "speed": exploration.speed,
        "ranges": [list(map(float, ends)) for ends in exploration.ranges],
        "maps": [{"name": name, "data": _colour_map(name)} for name in MAPS],
        "given": [{"name": one.name, "channels": one.channels} for one in program.given],
        "passes": [
            {
                "writes": vars(one.writes),
                "reads": list(one.reads),
                "body": one.body,
                "outputs": list(one.outputs),
            }
            for one in program.passes
        ],
        "weights": _base64(program.weights.astype("<f4")),
        "starts": [_start(start) for start in exploration.starts],
    }


def _start(start: Start) -> dict[str, Any]:
    rows, columns = start.values.shape[:2]
    packed = {name: _packed(values) for name, values in start.given.items()}
    described = {"name": start.name, "rows": rows, "columns": columns, "time": start.time}
    return described | {"values": _packed(start.values)} | packed


def _packed(values: np.ndarray) -> dict[str, Any]:
    """Numbers [rows, columns, C] in 16 bits between each channel's lowest and highest."""
    values = np.asarray(values, np.float64)
    low, high = values.min((0, 1)), values.max((0, 1))
    width = np.where(high > low, high - low, 1.0)
    levels = np.rint((values - low) / width * 65535).astype("<u2")
    return {"data": _base64(levels), "low": low.tolist(), "high": high.tolist()}


def _colour_map(name: str) -> str:
    colours = matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]
    return _base64(np.rint(255 * colours).astype(np.uint8))


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _embedded(value: Any) -> str:
    """A value as JavaScript within HTML, in which it cannot end the script."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
