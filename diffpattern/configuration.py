"""Configs: read, checked, compared, stored.

`configs/default.py` says which fields there are and what type they have; here stands which values
a field may have, so that the sentence names it, and which make sense together. What only a builder
can tell, such as a dt that does not divide an interval, is left to it.
"""

import copy
import dataclasses
import difflib
import json
import math
import numbers
import os
import re
import runpy
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from diffpattern import named_numbers, parts, problem, rules, systems
from diffpattern.configs import default
from diffpattern.data import environment
from diffpattern.data.preparation import CLOSED, FOUND_MASKS, NO_MASK
from diffpattern.data.simulation import MASKS as SIMULATED_MASKS
from diffpattern.data.simulation import Simulation
from diffpattern.data.sources import CHOICES as SOURCES_CHOICES
from diffpattern.data.sources import GIVEN, SOURCES
from diffpattern.data.windows import SAMPLINGS
from diffpattern.errors import InputError
from diffpattern.grid.fluxes import ADVECTION_SCHEMES
from diffpattern.grid.stencils import GRADIENT_SCHEMES, LAPLACIANS
from diffpattern.models.initialisers import INITIALISERS
from diffpattern.models.masks import MASKS
from diffpattern.models.networks import ACTIVATIONS
from diffpattern.models.perception import KERNELS
from diffpattern.precision import PRECISIONS
from diffpattern.solvers import spectral
from diffpattern.systems import SYSTEMS
from diffpattern.training import augmentation, optimisers, pool, schedules
from diffpattern.training.losses import LOSSES, own_weights
from diffpattern.training.losses.multi_scale import AT_EACH_SCALE

# What may change when a run goes on: how it is operated, not what it is.
OPERATION = (
    "compilation_cache", "profile",
    "training.steps", "training.windows", "training.checkpoint_every", "training.log_every",
    "training.checkpoint_minutes", "training.pictures_every",
    "training.stall_factor", "training.stall_seconds",
    "optimiser.optax.skip_nonfinite", "mesh", "plan", "evaluation.threshold", "evaluation.windows",
    "evaluation.covered", "evaluation.report", "data.directory",
    "data.the_well.train", "data.the_well.validation", "data.the_well.test", "data.the_well.scan",
    "data.pdebench.train", "data.pdebench.validation", "data.pdebench.test", "data.pdebench.scan",
    "data.run.folder",
)  # fmt: skip

# Sections of data that are not those of a system.
_READ = (*SOURCES, "run")

# Sections in which a user's own parts find what fields they please.
_FREE = ("data.own", "model.own")

# Fields that may name parts of a user's own, by their last name where they stand in several places.
_OPEN = ("data.name", "model.name", "kernels", "model.rda.terms")

# What the fields of these names may be, wherever they stand; a whole path where only it is meant.
_CHOICES = {
    "matmul_precision": ("highest", "high", "default"),
    "precision": tuple(PRECISIONS),
    "data.name": (*SYSTEMS, *_READ, GIVEN),
    "loss.settings.multi_scale.of": tuple(AT_EACH_SCALE),
    "data.mask": tuple(SIMULATED_MASKS),
    "model.name": ("rda", "chemotaxis", "nca"),
    "model.mask": tuple(MASKS),
    "model.nca.perception": tuple(rules.PERCEPTIONS),
    "model.nca.change": tuple(rules.UPDATES),
    "solver.name": problem.solver_names(),
    "optimiser.name": ("levenberg_marquardt", *optimisers.NAMES),
    "optimiser.levenberg_marquardt.form": ("dense", "matrix_free"),
    "optimiser.optax.schedule": schedules.NAMES,
    "training.sampling": SAMPLINGS,
    "training.starts": ("data", "pool"),
    "training.pool.begin": pool.BEGINNINGS,
    "training.pool.at_end": pool.ENDS,
    "augmentation.noise_on": augmentation.CHANNELS,
    "training.windows": ("auto", "together", "apart"),
    "activation": tuple(ACTIVATIONS),
    "coefficients": ("constant", "network"),
    "gradient": tuple(GRADIENT_SCHEMES),
    "initialiser": tuple(INITIALISERS),
    "laplacian": LAPLACIANS,
    "potential": ("polynomial", "network"),
    "scheme": ADVECTION_SCHEMES,
} | SOURCES_CHOICES

# Each a selection out of some names.
_SELECTIONS = {"kernels": tuple(KERNELS), "terms": tuple(rules.TERMS)}
_POSSIBLY_EMPTY = {
    "finishing": tuple(rules.FINISHINGS),
    "data.environment": environment.FIELDS,
}

# The fields of `model.nca` that say how an automaton is run, whatever it does.
_OF_ANY_AUTOMATON = (
    "channels",
    "steps_per_interval",
    "step_jitter",
    "start_alive",
    "start_noise",
    "alive",
)

# How much each of some things counts; empty: all alike.
_RATIOS = ("channel_weights", "time_weights")

# Positive whole numbers, as many as one likes.
_COUNTS = ("hidden", "scales")

_POSITIVE = (
    "validation_trajectories", "test_trajectories", "every", "statistics_windows",
    "data.run.train", "data.run.validation", "data.run.test",
    "order", "degree", "cells", "count", "heads", "tokens", "length", "bases", "reach", "channels",
    "kernel_scale", "fire_rate", "step_size", "steps_per_interval", "relative_tolerance",
    "absolute_tolerance", "max_steps", "damping", "learning_rate", "training.steps", "batch",
    "window", "slots", "rate", "checkpoint_every", "log_every", "evaluation.threshold", "floor",
    "stall_seconds",
    "evaluation.windows", "projections", "loss.settings.patches.size",
    "loss.settings.sampled_euclidean.fraction",
    "optimiser.optax.lbfgs.memory", "optimiser.optax.lbfgs.search_steps",
    "iterations", "tolerance", "optimiser.levenberg_marquardt.selection.windows",
    "continuation_steps", "rows", "columns", "exchange_every",
    "plan.operations", "plan.memory_bandwidth", "plan.memory", "plan.link_bandwidth",
)  # fmt: skip

_NOT_NEGATIVE = (
    "profile.steps", "snapshots", "data.run.step", "interval", "end_time",
    "seed", "initial", "last_scale", "period", "channel", "step_jitter", "start_noise",
    "start_weight", "optimiser.levenberg_marquardt.selection.steps", "significance", "smallest",
    "model.rda.polynomial.order",
    "solver.dt", "coverage", "outside", "out_of_range", "sparsity",
    "derivative_steps", "warmup_steps", "decay_steps", "final_fraction", "clip_norm",
    "skip_nonfinite", "cpu_devices", "plan.latency", "crop", "noise", "frozen_steps",
    "damage", "reset", "advance", "checkpoint_minutes", "pictures_every",
    "stall_factor",
    "refresh_every", "replace_worst", "training.inner.steps", "weight_decay", "average_decay",
    "optimiser.optax.pruning.sparsity", "optimiser.optax.pruning.first_step",
    *(f"loss.{name}" for name in LOSSES),
)  # fmt: skip

_BELOW_ONE = ("optimiser.optax.average_decay", "optimiser.optax.pruning.sparsity")

_PROBABILITIES = ("fire_rate", "damage", "reset", "advance")

# Random keys are made of so many bits; seeds beyond would give the keys of others.
LARGEST_SEED = 2**32 - 1

# Steps, channels and cells are counted with so many bits, and a sign.
_LARGEST_COUNT = 2**31 - 1

# The most that makes sense: higher powers are lost in single precision and take long to compile,
# more noise leaves nothing to see, and each refinement takes so many times the cells on each axis.
_AT_MOST = {"order": 8, "degree": 8, "data.noise": 10, "data.refinement": 64}

# Lengths of cells whose powers single precision holds, up to the fourth.
_SPACINGS = 1e-9, 1e9

# What the entries of a field may be: of some other kind than those that it has by default, which
# are texts where it has none. Of those with None what uses them says it.
_ENTRIES = {
    "data.further_shapes": None,
    "data.images.select": None,
    "data.images.train": None,
    "data.images.validation": None,
    "data.images.test": None,
    "data.images.times": float,
    "boundary": None,
    "channel_weights": float,
    "time_weights": float,
    "training.continuation": float,
}
_KINDS = {
    bool: ((bool,), "True or False"),
    int: ((numbers.Integral,), "a whole number"),
    float: ((numbers.Real,), "a number"),
    str: ((str,), "a text"),
    tuple: ((tuple, list), "a tuple"),
}


def check(config: ConfigDict) -> None:
    """Refuses configs that cannot work, and fields that would be ignored.

    Raises:
      InputError: naming the field, what it holds and what it may hold.
    """
    defaults = default.get_config()
    _check_fields(config)
    for field, value in leaves(config):
        if not is_free(field):
            _check_kind(field, value, get(defaults, field))
            _check_value(field, value)
    own_weights(config.loss.own)
    for section, reason in _unused(config):
        for field, value in leaves(get(config, section), section):
            if is_free(field) or value != get(defaults, field):
                raise InputError(
                    f"{field} is set to {value!r}, but nothing uses it, since {reason}."
                )
    parts.require_taken(config.model.own, rules.own_parts(config.model), "model.own")
    if config.optimiser.derivative_steps:
        reason = None
        if rules.is_automaton(config.model):
            reason = (
                f"model.name is {config.model.name!r}, and only a PDE has a right-hand side to fit"
            )
        elif MASKS[mask := config.model.mask].by_cell:
            reason = f"model.mask is {mask!r}, which a right-hand side is not fitted with"
        elif frozen := config.optimiser.optax.frozen:
            reason = f"optimiser.optax.frozen is {frozen!r}, and that fit moves all parameters"
        elif frozen := config.optimiser.levenberg_marquardt.frozen:
            section = "optimiser.levenberg_marquardt"
            reason = f"{section}.frozen is {frozen!r}, and that fit moves all parameters"
        if reason:
            raise InputError(
                f"optimiser.derivative_steps is {config.optimiser.derivative_steps}, but {reason}; "
                "set it to 0."
            )
    nca = config.model.nca
    if config.augmentation.turn and config.model.name == "nca" and nca.perception == "steerable":
        raise InputError(
            "augmentation.turn is True, but model.nca.perception is 'steerable', whose cells have "
            "angles of their own that would not turn with them; leave turn out, or take another "
            "perception."
        )


def _check_value(field: str, value: Any) -> None:
    """Refuses a value that the field cannot have, whatever the others are."""
    last = field.rpartition(".")[2]
    if last == "seed":
        check_seed(field, value)
    else:
        for number in value if isinstance(value, tuple) else (value,):
            if type(number) is int and number > _LARGEST_COUNT:
                raise InputError(
                    f"{field} is {value!r}; {_LARGEST_COUNT} is the most there can be."
                )
    for name in {field, last} & _AT_MOST.keys():
        if value > _AT_MOST[name]:
            raise InputError(f"{field} is {value!r}; it must be at most {_AT_MOST[name]}.")
    least, most = _SPACINGS
    if last == "spacing" and (0 < value < least or value > most):
        raise InputError(
            f"{field} is {value!r}; it must be from {least:g} to {most:g}, so take another unit of "
            "length."
        )
    may_be_own = bool({field, last} & set(_OPEN))
    own = ", or of your own, 'module:name'" if may_be_own else ""
    fits = lambda name, choices: name in choices or (may_be_own and parts.is_own(name))
    if (choices := _CHOICES.get(field) or _CHOICES.get(last)) and not fits(value, choices):
        raise InputError(f"{field} is {value!r}; take one of {', '.join(choices)}{own}.")
    if choices := _SELECTIONS.get(last) or _POSSIBLY_EMPTY.get(field) or _POSSIBLY_EMPTY.get(last):
        missing = not value and last in _SELECTIONS
        known = {name for name in value if fits(name, choices)}
        if missing or len(known) < len(value):
            raise InputError(
                f"{field} is {value!r}; take one or more of {', '.join(choices)}{own}, each once."
            )
        if last == "kernels":
            for name in filter(parts.is_own, value):
                parts.load_function(name, field)
    if last in _COUNTS and not all(type(units) is int and units > 0 for units in value):
        raise InputError(f"{field} is {value!r}; each must be a positive whole number.")
    if last in _RATIOS and not (value == () or _is_ratio(value)):
        raise InputError(f"{field} is {value!r}; none may be negative and one must be positive.")
    # What the numbers of data may be, their simulation or their source says.
    checked = ("seed", "noise", *_READ)
    if field.startswith("data.") and field.split(".")[1] not in checked:
        return
    # A whole path says more than a last name.
    positive = field in _POSITIVE or (last in _POSITIVE and field not in _NOT_NEGATIVE)
    if positive and not 0 < value < math.inf:
        raise InputError(f"{field} is {value!r}; it must be positive.")
    if {field, last} & set(_NOT_NEGATIVE) and not 0 <= value < math.inf:
        raise InputError(f"{field} is {value!r}; it must be 0 or more.")
    if field == "training.stall_factor" and 0 < value <= 1:
        raise InputError(f"{field} is {value!r}; it must be above 1, or 0 to watch nothing.")
    if field in _BELOW_ONE and value >= 1:
        raise InputError(f"{field} is {value!r}; it must be below 1.")
    if last in _PROBABILITIES and value > 1:
        raise InputError(f"{field} is {value}; a probability is at most 1.")
    if field == "loss.settings.sampled_euclidean.fraction" and value > 1:
        raise InputError(f"{field} is {value}; a fraction is at most 1.")


def _check_kind(field: str, value: Any, default: Any) -> None:
    """Refuses a value, or an entry of one, that is of another kind than that of the default."""
    types, told = _KINDS[type(default)]
    if not _is_of(value, types):
        raise InputError(f"{field} is {value!r}; it must be {told}, such as {default!r}.")
    if type(default) is not tuple:
        return
    last = field.rpartition(".")[2]
    kind = type(default[0]) if default else str
    for name in (last, field):
        kind = _ENTRIES.get(name, kind)
    if kind is None:
        return
    types, told = _KINDS[kind]
    for entry in value:
        if not _is_of(entry, types):
            raise InputError(f"{field} is {value!r}, but {entry!r} must be {told}, as each entry.")


def _is_of(value: Any, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def check_seed(name: str, seed: int) -> None:
    """Refuses a seed that no random key is made of.

    Args:
      name: of the field or flag that has it.
      seed: the number.

    Raises:
      InputError: naming it.
    """
    if seed < 0:
        raise InputError(f"{name} is {seed!r}; it must be 0 or more.")
    if seed > LARGEST_SEED:
        raise InputError(f"{name} is {seed!r}; it must be at most {LARGEST_SEED}.")


def is_free(field: str) -> bool:
    """Whether a field is one that only a user's own part knows."""
    return field.startswith(tuple(f"{section}." for section in _FREE))


def _is_ratio(weights: Sequence[float]) -> bool:
    return all(0 <= weight < math.inf for weight in weights) and any(weights)


def agree(config: ConfigDict, stored: ConfigDict, folder: str) -> None:
    """Refuses to go on with a run under a config that means another run.

    Raises:
      InputError: naming the first field that differs and is not one of operation.
    """
    given, kept = dict(leaves(config)), dict(leaves(stored))
    for field in given | kept:
        value = given.get(field)
        if any(field == name or field.startswith(name + ".") for name in OPERATION):
            continue
        if _as_tuples(before := kept.get(field)) != _as_tuples(value):
            raise InputError(
                f"{field} is {value!r}, but the run in {folder} was made with {before!r}; give it "
                "that value, or another --workdir."
            )


def with_stored(arguments: Sequence[str]) -> list[str]:
    """A command line in which `--config=RUN/config.json` names a config file that reads it.

    A ~ with which the path begins is the user's home, as in other flags.
    """
    reader, names = Path(__file__).with_name("stored_config.py"), ("--config", "-config")

    def read(before: str, argument: str) -> str:
        name, equals, path = argument.partition("=")
        if before in names:
            name, equals, path = "", "", argument
        elif name not in names:
            return argument
        path = os.path.expanduser(path)
        return f"{name}{equals}{reader}:{path}" if path.endswith(".json") else name + equals + path

    return list(map(read, ["", *arguments], arguments))


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuses a command line whose --config, or a --config.FIELD, does not lead to a config.

    Said here, because ml_collections and absl tell it with tracebacks and lists of all fields.

    Raises:
      InputError: see `check_file` and `check_field`; or a field is given before the file.
    """
    path, config = None, {}
    for position, argument in enumerate(arguments):
        if flag := re.fullmatch(r"--?config(?:=(.*))?", argument):
            path = flag[1] if "=" in argument else " ".join(arguments[position + 1 : position + 2])
            config = check_file(path)
        elif flag := re.match(r"--?(?:no)?config\.([^=]*)", argument):
            if path is None:
                raise InputError(f"{argument} changes no config; give --config=FILE before it.")
            check_field(flag[1])
            _check_written(flag[1], argument, arguments[position + 1 : position + 2])
            if is_free(flag[1]) and flag[1] not in dict(leaves(config)):
                raise InputError(
                    f"{argument} changes what {path} does not set; write it there, with a value "
                    "of the type that it has."
                )


def _check_written(field: str, argument: str, following: Sequence[str]) -> None:
    """Refuses a text that is not the number which a field needs.

    Args:
      field: its dotted path.
      argument: --config.FIELD=TEXT, or --config.FIELD.
      following: the argument behind that, if there is one, which has the text then.
    """
    value = get(default.get_config(), field) if not is_free(field) else None
    parsers = {
        bool: flags.BooleanParser(),
        int: flags.IntegerParser(),
        float: flags.FloatParser(),
    }
    _, equals, text = argument.partition("=")
    if type(value) not in parsers or (type(value) is bool and not equals):
        return
    text = text if equals else "".join(following)
    try:
        parsers[type(value)].parse(text)
    except (TypeError, ValueError) as error:
        told = _KINDS[type(value)][1]
        raise InputError(
            f"--config.{field} is {text!r}; it must be {told}, such as {value!r}."
        ) from error


def check_file(path: str) -> ConfigDict:
    """The config that a file gives; refuses one that gives none, saying which line is to blame.

    Args:
      path: of a Python file; what follows a colon is an argument of its `get_config`.

    Raises:
      InputError: there is no such file, it fails, or what it gives is not a config.
    """
    config = call(path, "get_config")
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"get_config() of {path.split(':')[0]} returns a {type(config).__name__}; it must "
            "return the config that it gets from configs/default.py and changes."
        )
    _check_fields(config)
    return config


def call(path: str, function: str) -> Any:
    """What a function of a config file returns; what it yields, as a list.

    Args:
      path: of a Python file; what follows a colon is the function's argument.
      function: its name, "get_config" or "get_sweep".

    Raises:
      InputError: there is no such file or function, or one of them fails.
    """
    file, *arguments = path.split(":", 1)
    if not Path(file).is_file():
        raise InputError(
            f"--config is {file!r}, where there is no file; it takes a Python file such as "
            "configs/pde.py."
        )
    try:
        defined = runpy.run_path(file)
        if function in defined:
            result = defined[function](*arguments)
            return list(result) if isinstance(result, Iterator) else result
    except SyntaxError as error:
        raise InputError(f"{file} is not Python: {error.msg} (line {error.lineno}).") from error
    except Exception as error:
        if isinstance(error, InputError) and arguments and arguments[0] in str(error):
            raise  # it names the file that the argument stands for
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == file]
        where = f" in line {lines[-1]}" if lines else ""
        raise InputError(f"{file} fails{where}: {type(error).__name__}, {_told(error)}.") from error
    raise InputError(f"{file} has no {function}(); configs/sweep.py shows what one looks like.")


def changed(config: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """A copy of a config with some fields changed, given by their dotted paths; checked.

    Raises:
      InputError: there is no such field, or it cannot have such a value.
    """
    config = copy.deepcopy(config)
    for field, value in fields.items():
        check_field(field)
        try:
            config.update_from_flattened_dict({field: value})
        except (TypeError, ValueError) as error:
            kind = type(get(config, field)).__name__
            raise InputError(f"{field} is {value!r}; it must be of type {kind}.") from error
    check(config)
    return config


def check_field(field: str) -> None:
    """Refuses the dotted path of a field that there is not, naming the nearest that there is.

    Raises:
      InputError: no field has this path.
    """
    known = [name for name, _ in leaves(default.get_config())]
    if field not in known and not is_free(field):
        near = difflib.get_close_matches(field, known, n=1, cutoff=0.0)
        raise InputError(f"The config has no field {field}; the nearest that it has is {near[0]}.")


def to_json(config: ConfigDict) -> str:
    """As text; `from_json` gives an equal config back."""
    return json.dumps(config.to_dict(), indent=2)


def changes(config: ConfigDict) -> dict[str, Any]:
    """The fields in which a config is not the default one, by their dotted paths."""
    defaults = dict(leaves(default.get_config()))
    return {
        field: value
        for field, value in leaves(config)
        if field not in defaults or _as_tuples(value) != _as_tuples(defaults[field])
    }


def from_json(text: str, path: str) -> ConfigDict:
    """A checked config out of the file `path`, whose content is `text`: config.json or run.json.

    Raises:
      InputError: it is not JSON, has other fields than a config, or `check` refuses it.
    """
    try:
        stored = json.loads(text)
        if isinstance(stored, Mapping) and "sessions" in stored:
            stored = stored["sessions"][-1]["fields"]
        config = _filled(default.get_config(), stored)
        check(config)
    except parts.MissingPart:
        raise
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise InputError(
            f"{path} does not hold the config of a run: {_told(error)}; put back the file that "
            "training wrote."
        ) from error
    return config


def levels(covered: Sequence[str], species: Sequence[str]) -> dict[str, float]:
    """The levels that evaluation.covered gives for some of the species.

    Raises:
      InputError: an entry is not NAME=NUMBER with one of the names.
    """
    return named_numbers.read_single(
        covered,
        lambda name, _: name in species,
        field="evaluation.covered",
        form=f"NAME=LEVEL with one of the species: {', '.join(species)}",
    )


def get(config: ConfigDict, field: str) -> Any:
    """The field at a dotted path."""
    for part in field.split("."):
        config = config[part]
    return config


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field that holds a value, by its dotted path."""
    if not isinstance(config, Mapping | ConfigDict):
        yield prefix, config
        return
    for name, value in config.items():
        yield from leaves(value, f"{prefix}.{name}" if prefix else name)


def _unused(config: ConfigDict) -> Iterator[tuple[str, str]]:
    """Sections and fields that the config's choices leave unused, each with the choice that does.

    Fields, where a choice leaves a part of a section unused.
    """
    yield from _but_the_chosen(config, "data.name", "data", (*SYSTEMS, *_READ))
    yield from _unused_of_data(config.data)
    model, optimiser = config.model, config.optimiser
    automaton = rules.is_automaton(model)
    if parts.is_own(model.name):
        yield from _unused_of_own(config, automaton)
    else:
        yield from _but_the_chosen(config, "model.name", "model", _CHOICES["model.name"])
    if not rules.own_parts(model):
        yield "model.own", "no part of the rule is of your own"
    if automaton:
        yield "solver", f"model.name is {model.name!r}, which takes steps of its own"
    if model.name == "nca":
        yield from _but_the_chosen(config, "model.nca.perception", "model.nca", rules.PERCEPTIONS)
        yield from _but_the_chosen(config, "model.nca.change", "model.nca", rules.UPDATES)
        if "alive" not in model.nca.finishing:
            reason = "model.nca.finishing has no 'alive'"
            yield "model.nca.alive.threshold", reason
            if not model.nca.start_alive:
                yield "model.nca.alive.channel", reason
    if model.name == "rda":
        for term in rules.TERMS:
            if term not in model.rda.terms:
                yield f"model.rda.{term}", f"model.rda.terms has no {term!r}"
        yield from _unused_networks(model.rda)
    if config.solver.dt:
        yield "solver.adaptive", "solver.dt is not 0, so steps are fixed"
    if config.solver.name not in spectral.NAMES:
        yield "solver.exact", f"{config.solver.name!r} is no exponential solver"
    if optimiser.name == "levenberg_marquardt":
        yield "optimiser.optax", "optimiser.name is 'levenberg_marquardt'"
        yield from _unused_losses(config.loss)
        yield "regulariser", "optimiser.name is 'levenberg_marquardt', which minimises l2"
        for section in ("training.starts", "training.inner", "augmentation"):
            yield section, "optimiser.name is 'levenberg_marquardt', which takes data as they are"
        yield from _unused_of_least_squares(config)
    else:
        yield "optimiser.levenberg_marquardt", f"optimiser.name is {optimiser.name!r}"
        yield from _unused_of_optax(optimiser)
        for name in config.loss.settings:
            users = ("vgg_gram", "lpips") if name == "perceptual" else (name,)
            if not any(config.loss[user] for user in users):
                yield f"loss.settings.{name}", f"{' and '.join(users)} have no weight under loss"
    if not automaton:
        for field in ("data.doses", "data.the_well.inputs"):
            yield field, f"model.name is {model.name!r}, and only automata are told of them"
        if not rules.own_parts(model) and not any(
            fields.position for fields in rules.sections(model) if "position" in fields
        ):
            yield "data.environment", "no part of the rule has position=True"
    if config.training.starts == "data":
        yield "training.pool", "training.starts is 'data'"
    else:
        yield "training.sampling", "training.starts is 'pool'"
        yield "training.continuation", "training.starts is 'pool'"
    if not config.training.continuation:
        yield "training.continuation_steps", "training.continuation is empty"
    if not config.training.inner.steps:
        yield "training.inner.rate", "training.inner.steps is 0"
    if not config.augmentation.noise:
        yield "augmentation.noise_on", "augmentation.noise is 0"
    if not MASKS[model.mask].by_cell:
        yield "regulariser.coverage", f"model.mask is {model.mask!r}, and nothing to learn"
    if unmasked := _unmasked(config.data):
        yield "regulariser.outside", f"{unmasked}, so nothing is outside"
    if model.name != "rda" or "polynomial" not in model.rda.terms:
        yield "evaluation.windows", "the rule has no polynomial to give standard errors for"


def _unused_of_own(config: ConfigDict, automaton: bool) -> Iterator[tuple[str, str]]:
    """The fields of `model` that a rule of the user's own leaves unused."""
    reason = f"model.name is {config.model.name!r}"
    for section in ("rda", "chemotaxis"):
        yield f"model.{section}", reason
    for field in config.model.nca:
        if not automaton or field not in _OF_ANY_AUTOMATON:
            yield f"model.nca.{field}", reason


def _but_the_chosen(
    config: ConfigDict, field: str, section: str, names: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Subsections, one of which a field chooses: the others."""
    for name in names:
        if name != get(config, field):
            yield f"{section}.{name}", f"{field} is {get(config, field)!r}"


def _unused_losses(loss: ConfigDict) -> Iterator[tuple[str, str]]:
    """The fields of `loss` that least squares leaves unused: all but those that weigh residuals."""
    for name in loss:
        if name not in _RATIOS:
            yield f"loss.{name}", "optimiser.name is 'levenberg_marquardt', which minimises l2"


def _unused_of_least_squares(config: ConfigDict) -> Iterator[tuple[str, str]]:
    """The fields of `optimiser.levenberg_marquardt` that its form and the rule leave unused."""
    section, fields = "optimiser.levenberg_marquardt", config.optimiser.levenberg_marquardt
    if fields.form == "dense":
        yield f"{section}.conjugate_gradients", f"{section}.form is 'dense'"
        yield f"{section}.start_weight", f"{section}.form is 'dense'"
    if config.model.name != "rda" or "polynomial" not in config.model.rda.terms:
        yield f"{section}.selection", "the rule has no polynomial to select terms of"
    if not fields.selection.steps:
        yield f"{section}.selection", f"{section}.selection.steps is 0"
    else:
        yield f"{section}.frozen", f"{section}.selection fits all terms that are left"
    if not fields.frozen:
        yield f"{section}.frozen_steps", f"{section}.frozen is empty"


def _unused_of_optax(optimiser: ConfigDict) -> Iterator[tuple[str, str]]:
    """The fields of `optimiser.optax` that its rule and its schedule leave unused."""
    name, fields = optimiser.name, optimiser.optax
    if name == optimisers.LBFGS:
        for field in (
            "learning_rate", "warmup_steps", "schedule", "decay_steps", "final_fraction",
            "piecewise", "rates", "clip_norm", "normalise_blocks",
        ):  # fmt: skip
            reason = f"optimiser.name is {name!r}, which takes gradients as they are"
            yield f"optimiser.optax.{field}", f"{reason} and finds the length of a step itself"
    else:
        yield "optimiser.optax.lbfgs", f"optimiser.name is {name!r}"
        reason = f"optimiser.optax.schedule is {fields.schedule!r}"
        if fields.schedule not in schedules.DECAYING:
            yield "optimiser.optax.decay_steps", reason
            yield "optimiser.optax.final_fraction", reason
        if fields.schedule != "piecewise":
            yield "optimiser.optax.piecewise", reason
    if name not in optimisers.WITH_WEIGHT_DECAY:
        yield "optimiser.optax.weight_decay", f"optimiser.name is {name!r}, which has none"
    if not fields.pruning.sparsity:
        for field in ("first_step", "last_step"):
            yield f"optimiser.optax.pruning.{field}", "optimiser.optax.pruning.sparsity is 0"


def _unused_of_data(data: ConfigDict) -> Iterator[tuple[str, str]]:
    """The fields of simulations where data are read, and those of sections that others overrule."""
    if not parts.is_own(data.name):
        yield "data.own", f"data.name is {data.name!r}, which is not of your own"
    if systems.is_system(data.name):
        return
    unused = {"directory", "further_shapes", "doses"}
    unused |= {field.name for field in dataclasses.fields(Simulation)}
    unused -= {"seed"} if data.noise else set()
    # What a run's rule makes is kept as simulations are.
    for field in sorted(unused - {"system"} - ({"directory"} if data.name == "run" else set())):
        yield f"data.{field}", f"data.name is {data.name!r}, which is read and not simulated"
    section, fields = f"data.{data.name}", data.get(data.name, {})
    if "mask" in fields and fields.mask not in FOUND_MASKS:
        yield f"{section}.foreground", f"{section}.mask is {fields.mask!r} and not found in images"
    if fields.get("mask") == NO_MASK:
        for field in ("exterior", "overlap"):
            if field in fields:
                yield f"{section}.{field}", f"{section}.mask is 'none'"
    if fields.get("times"):
        yield f"{section}.interval", f"{section}.times gives every frame its time"
    if not fields.get("stream", True):
        for field in ("statistics_windows", "scan"):
            yield f"{section}.{field}", f"{section}.stream is False"


def _unmasked(data: ConfigDict) -> str:
    """Why the rule meets no mask of the data; empty where it does, or may."""
    section, fields = "data", data
    if data.name in _READ:
        section, fields = f"data.{data.name}", data[data.name]
    if data.name in ("run", GIVEN) or (
        parts.is_own(data.name) and not systems.is_system(data.name)
    ):
        return ""
    if fields.get("mask", NO_MASK) == NO_MASK:
        return f"{section}.mask is 'none'"
    exterior = fields.get("exterior", CLOSED)
    return "" if exterior == CLOSED else f"{section}.exterior is {exterior!r}"


def _unused_networks(rda: ConfigDict) -> Iterator[tuple[str, str]]:
    """The fields of networks that terms could have and have not."""
    plain = {"cross_diffusion": "coefficients", "taxis": "coefficients", "phase_field": "potential"}
    for term, choice in plain.items():
        if rda[term][choice] != "network":
            for field in rules.NETWORK:
                reason = f"model.rda.{term}.{choice} is {rda[term][choice]!r}"
                yield f"model.rda.{term}.{field}", reason
        elif term == "phase_field":
            yield "model.rda.phase_field.degree", "model.rda.phase_field.potential is 'network'"


def _check_fields(config: ConfigDict) -> None:
    given, known = dict(leaves(config)), dict(leaves(default.get_config()))
    for field in given.keys() - known.keys():
        check_field(field)
    for field in known:
        if field not in given:
            raise InputError(f"The config has no field {field}; start from configs/default.py.")


def _filled(config: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """`config` with the fields that a JSON file gives; it knows no tuples."""
    if not isinstance(fields, Mapping):
        raise ValueError("it is no JSON object")
    changes, known = dict(leaves(fields)), dict(leaves(config))
    for field, value in changes.items():
        if field not in known:
            check_field(field)
        changes[field] = _as_tuples(value)
    config.update_from_flattened_dict(changes)
    return config


def _as_tuples(value: Any) -> Any:
    """A value with all its lists tuples, as which JSON cannot keep them."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value


def _told(error: Exception) -> str:
    """What an error says, in one line, without the list of fields that ml_collections adds."""
    lines = str(error).replace("\\n", "\n")  # escaped, where one error is told by another
    text = re.sub(r" Other fields present: .*", "", lines)
    return " ".join(text.split()).strip("'").rstrip(".")
