"""Configs: read, checked, compared, stored.

`configs/default.py` says which fields there are and what type they have; here stands which values
make sense together. What a field's own builder checks (a stencil's name, a dt that does not divide)
is not said twice.
"""

import difflib
import json
import math
import re
import runpy
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from diffpattern.configs import default
from diffpattern.data.windows import SAMPLINGS
from diffpattern.errors import InputError
from diffpattern.grid.fluxes import ADVECTION_SCHEMES
from diffpattern.grid.stencils import LAPLACIANS
from diffpattern.models import networks
from diffpattern.models.perception import KERNELS
from diffpattern.systems import SYSTEMS
from diffpattern.training import optimisers

# What may change when a run goes on: how it is operated, not what it is.
OPERATION = (
    "training.steps", "training.windows", "training.checkpoint_every", "training.log_every",
    "optimiser.optax.skip_nonfinite", "mesh", "evaluation.threshold", "evaluation.windows",
    "data.directory",
)  # fmt: skip

_CHOICES = {
    "matmul_precision": ("highest", "high", "default"),
    "data.name": tuple(SYSTEMS),
    "model.name": ("rda", "nca"),
    "model.rda.reaction": ("polynomial", "network"),
    "model.rda.diffusion.laplacian": LAPLACIANS,
    "model.rda.advection.scheme": ADVECTION_SCHEMES,
    "optimiser.name": ("levenberg_marquardt", *optimisers.NAMES),
    "training.sampling": SAMPLINGS,
    "training.windows": ("auto", "together", "apart"),
}

# Each a selection out of some names.
_SELECTIONS = {
    "model.rda.terms": ("reaction", "diffusion", "advection"),
    "model.nca.kernels": tuple(KERNELS),
}

_ACTIVATIONS = (
    "model.rda.network.activation", "model.rda.advection.activation", "model.nca.activation",
)  # fmt: skip

_LAYERS = ("model.rda.network.hidden", "model.rda.advection.hidden")

_POSITIVE = (
    "model.rda.polynomial.order", "model.rda.network.order", "model.nca.channels",
    "model.nca.hidden", "model.nca.fire_rate", "model.nca.steps_per_interval",
    "model.rda.adaptive.relative_tolerance", "model.rda.adaptive.absolute_tolerance",
    "model.rda.adaptive.max_steps", "optimiser.levenberg_marquardt.damping",
    "optimiser.optax.learning_rate", "training.steps", "training.batch", "training.window",
    "training.checkpoint_every", "training.log_every", "evaluation.threshold",
    "evaluation.floor", "evaluation.windows",
)  # fmt: skip

_NOT_NEGATIVE = (
    "seed", "data.seed", "model.rda.dt", "model.rda.diffusion.initial",
    "model.rda.network.last_scale", "model.rda.advection.last_scale",
    "loss.l2", "loss.l1", "loss.euclidean", "loss.spatial_gradient", "optimiser.derivative_steps",
    "optimiser.optax.warmup_steps", "optimiser.optax.decay_steps",
    "optimiser.optax.final_fraction", "optimiser.optax.clip_norm",
    "optimiser.optax.skip_nonfinite", "mesh.cpu_devices",
)  # fmt: skip


# Random keys are made of so many bits; seeds beyond would give the keys of others.
_LARGEST_SEED = 2**32 - 1


def check(config: ConfigDict) -> None:
    """Refuses configs that cannot work, and fields that would be ignored.

    Raises:
      InputError: naming the field, what it holds and what it may hold.
    """
    defaults = default.get_config()
    _check_fields(config)
    for field, choices in _CHOICES.items():
        if (value := get(config, field)) not in choices:
            raise InputError(f"{field} is {value!r}; take one of {', '.join(choices)}.")
    for field, choices in _SELECTIONS.items():
        value = get(config, field)
        if not value or len(set(value)) < len(value) or not set(value) <= set(choices):
            raise InputError(
                f"{field} is {value!r}; take one or more of {', '.join(choices)}, each once."
            )
    for field in _ACTIVATIONS:
        try:
            networks.activation(get(config, field))
        except InputError as error:
            raise InputError(f"{field} cannot be used: {error}") from error
    for field in _LAYERS:
        value = get(config, field)
        if not all(type(units) is int and units > 0 for units in value):
            raise InputError(f"{field} is {value!r}; each layer needs a positive whole number.")
    for field in _POSITIVE:
        if not 0 < (value := get(config, field)) < math.inf:
            raise InputError(f"{field} is {value!r}; it must be positive.")
    for field in _NOT_NEGATIVE:
        if not 0 <= (value := get(config, field)) < math.inf:
            raise InputError(f"{field} is {value!r}; it must be 0 or more.")
    for field in ("seed", "data.seed"):
        if (value := get(config, field)) > _LARGEST_SEED:
            raise InputError(f"{field} is {value!r}; it must be at most {_LARGEST_SEED}.")
    if config.model.nca.fire_rate > 1:
        raise InputError(
            f"model.nca.fire_rate is {config.model.nca.fire_rate}; a probability is at most 1."
        )
    for section, reason in _unused(config):
        for field, value in leaves(get(config, section), section):
            if value != get(defaults, field):
                raise InputError(
                    f"{field} is set to {value!r}, but nothing uses it, since {reason}."
                )
    if config.model.name == "nca" and config.optimiser.derivative_steps:
        raise InputError(
            f"optimiser.derivative_steps is {config.optimiser.derivative_steps}, but only a PDE "
            "has a right-hand side to fit; set it to 0 for model.name='nca'."
        )


def agree(config: ConfigDict, stored: ConfigDict, folder: str) -> None:
    """Refuses to go on with a run under a config that means another run.

    Raises:
      InputError: naming the first field that differs and is not one of operation.
    """
    for field, value in leaves(config):
        if any(field == name or field.startswith(name + ".") for name in OPERATION):
            continue
        if (before := get(stored, field)) != value:
            raise InputError(
                f"{field} is {value!r}, but the run in {folder} was made with {before!r}; give it "
                "that value, or another --workdir."
            )


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuses a command line whose --config, or a --config.FIELD, does not lead to a config.

    Said here, because ml_collections and absl tell it with tracebacks and lists of all fields.

    Raises:
      InputError: see `check_file` and `check_field`; or a field is given before the file.
    """
    path = None
    for position, argument in enumerate(arguments):
        if flag := re.fullmatch(r"--?config(?:=(.*))?", argument):
            path = flag[1] if "=" in argument else " ".join(arguments[position + 1 : position + 2])
            check_file(path)
        elif flag := re.match(r"--?(?:no)?config\.([^=]*)", argument):
            if path is None:
                raise InputError(f"{argument} changes no config; give --config=FILE before it.")
            check_field(flag[1])


def check_file(path: str) -> None:
    """Refuses a file out of which no config comes, saying which line is to blame.

    Args:
      path: of a Python file; what follows a colon is an argument of its `get_config`.

    Raises:
      InputError: there is no such file, it fails, or what it gives is not a config.
    """
    file, *arguments = path.split(":", 1)
    if not Path(file).is_file():
        raise InputError(
            f"--config is {file!r}, where there is no file; it takes a Python file such as "
            "configs/pde.py."
        )
    try:
        config = runpy.run_path(file)["get_config"](*arguments)
    except SyntaxError as error:
        raise InputError(f"{file} is not Python: {error.msg} (line {error.lineno}).") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == file]
        where = f" in line {lines[-1]}" if lines else ""
        raise InputError(f"{file} fails{where}: {type(error).__name__}, {_told(error)}.") from error
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"get_config() of {file} returns a {type(config).__name__}; it must return the config "
            "that it gets from configs/default.py and changes."
        )
    _check_fields(config)


def check_field(field: str) -> None:
    """Refuses the dotted path of a field that there is not, naming the nearest that there is.

    Raises:
      InputError: no field has this path.
    """
    known = [name for name, _ in leaves(default.get_config())]
    if field not in known:
        near = difflib.get_close_matches(field, known, n=1, cutoff=0.0)
        raise InputError(f"The config has no field {field}; the nearest that it has is {near[0]}.")


def to_json(config: ConfigDict) -> str:
    """As text; `from_json` gives an equal config back."""
    return json.dumps(config.to_dict(), indent=2)


def from_json(text: str, path: str) -> ConfigDict:
    """A checked config out of the file `path`, whose content is `text`.

    Raises:
      InputError: it is not JSON, has other fields than a config, or `check` refuses it.
    """
    try:
        config = _filled(default.get_config(), json.loads(text))
        check(config)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} does not hold the config of a run: {_told(error)}; put back the file that "
            "training wrote."
        ) from error
    return config


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
    """Sections that the config's choices leave unused, each with the choice that does."""
    for system in SYSTEMS:
        if system != config.data.name:
            yield f"data.{system}", f"data.name is {config.data.name!r}"
    if config.model.name == "nca":
        yield "model.rda", "model.name is 'nca'"
    else:
        yield "model.nca", "model.name is 'rda'"
        yield from _unused_terms(config.model.rda)
    if config.optimiser.name == "levenberg_marquardt":
        yield "optimiser.optax", "optimiser.name is 'levenberg_marquardt'"
        yield "loss", "optimiser.name is 'levenberg_marquardt', which minimises l2"
    else:
        yield "optimiser.levenberg_marquardt", f"optimiser.name is {config.optimiser.name!r}"
        if not config.optimiser.optax.decay_steps:
            reason = "optimiser.optax.decay_steps is 0, so the learning rate does not decay"
            yield "optimiser.optax.final_fraction", reason
    rda = config.model.rda
    if config.model.name == "nca" or "reaction" not in rda.terms or rda.reaction != "polynomial":
        yield "evaluation.windows", "the rule has no polynomial to give standard errors for"


def _unused_terms(rda: ConfigDict) -> Iterator[tuple[str, str]]:
    for term in ("diffusion", "advection"):
        if term not in rda.terms:
            yield f"model.rda.{term}", f"model.rda.terms has no {term!r}"
    for form in ("polynomial", "network"):
        if form != rda.reaction or "reaction" not in rda.terms:
            yield f"model.rda.{form}", f"the reaction is not {form!r}"
    if "reaction" not in rda.terms:
        yield "model.rda.reaction", "model.rda.terms has no 'reaction'"
    if rda.dt:
        yield "model.rda.adaptive", "model.rda.dt is not 0, so steps are fixed"


def _check_fields(config: ConfigDict) -> None:
    given = dict(leaves(config))
    for field in given:
        check_field(field)
    for field, _ in leaves(default.get_config()):
        if field not in given:
            raise InputError(f"The config has no field {field}; start from configs/default.py.")


def _filled(config: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """`config` with the fields that a JSON file gives; it knows no tuples."""
    if not isinstance(fields, Mapping):
        raise ValueError("it is no JSON object")
    changes = dict(leaves(fields))
    for field, value in changes.items():
        check_field(field)
        changes[field] = tuple(value) if isinstance(value, list) else value
    config.update_from_flattened_dict(changes)
    return config


def _told(error: Exception) -> str:
    """What an error says, in one line, without the list of fields that ml_collections adds."""
    lines = str(error).replace("\\n", "\n")  # escaped, where one error is told by another
    text = re.sub(r" Other fields present: .*", "", lines)
    return " ".join(text.split()).strip("'").rstrip(".")
