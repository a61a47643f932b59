"""Configs: read, checked, compared, stored.

`configs/default.py` says which fields there are and what type they have; here stands which values
make sense together. What a field's own builder checks (a stencil's name, a dt that does not divide)
is not said twice.
"""

import difflib
import json
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from diffpattern.configs import default
from diffpattern.data.windows import SAMPLINGS
from diffpattern.errors import InputError

# What may change when a run goes on: how it is operated, not what it is.
OPERATION = (
    "training.steps", "training.windows", "training.checkpoint_every", "training.log_every",
    "mesh", "evaluation", "data.directory",
)  # fmt: skip

_CHOICES = {
    "matmul_precision": ("highest", "high", "default"),
    "data.name": ("gray_scott",),
    "model.name": ("rda", "nca"),
    "model.rda.reaction": ("polynomial", "network"),
    "model.rda.advection.scheme": ("central", "upwind"),
    "training.sampling": SAMPLINGS,
    "training.windows": ("auto", "together", "apart"),
}

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
    "seed", "model.rda.dt", "model.rda.diffusion.initial", "optimiser.derivative_steps",
    "optimiser.optax.warmup_steps", "optimiser.optax.decay_steps",
    "optimiser.optax.final_fraction", "optimiser.optax.clip_norm",
    "optimiser.optax.skip_nonfinite", "mesh.cpu_devices",
)  # fmt: skip


def check(config: ConfigDict) -> None:
    """Refuses configs that cannot work, and fields that would be ignored.

    Raises:
      InputError: naming the field, what it holds and what it may hold.
    """
    defaults = default.get_config()
    _check_fields(config, defaults)
    for field, choices in _CHOICES.items():
        if (value := get(config, field)) not in choices:
            raise InputError(f"{field} is {value!r}; take one of {', '.join(choices)}.")
    for field in _POSITIVE:
        if not (value := get(config, field)) > 0:
            raise InputError(f"{field} is {value!r}; it must be positive.")
    for field in _NOT_NEGATIVE:
        if not (value := get(config, field)) >= 0:
            raise InputError(f"{field} is {value!r}; it must be 0 or more.")
    if config.model.nca.fire_rate > 1:
        raise InputError(
            f"model.nca.fire_rate is {config.model.nca.fire_rate}; a probability is at most 1."
        )
    terms = config.model.rda.terms
    known = ("reaction", "diffusion", "advection")
    if not terms or len(set(terms)) < len(terms) or not set(terms) <= set(known):
        raise InputError(
            f"model.rda.terms is {terms!r}; take each of {', '.join(known)} at most "
            "once, and at least one."
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


def to_json(config: ConfigDict) -> str:
    """As text; `from_json` gives an equal config back."""
    return json.dumps(config.to_dict(), indent=2, default=list)


def from_json(text: str, path: str) -> ConfigDict:
    """A config out of the file `path`, whose content is `text`.

    Raises:
      InputError: it is not JSON, or has other fields than a config.
    """
    try:
        fields = json.loads(text)
        return _filled(default.get_config(), fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} does not hold a config of diffpattern: {_line(error)}") from error


def get(config: ConfigDict, field: str) -> Any:
    """The field at a dotted path."""
    for part in field.split("."):
        config = config[part]
    return config


def check_field(field: str) -> None:
    """Refuses the dotted path of a field that there is not, naming the nearest that there is.

    Raises:
      InputError: no field has this path.
    """
    known = [name for name, _ in leaves(default.get_config())]
    if field not in known:
        near = difflib.get_close_matches(field, known, n=1, cutoff=0.0)
        raise InputError(f"The config has no field {field}; the nearest that it has is {near[0]}.")


def _unused(config: ConfigDict) -> Iterator[tuple[str, str]]:
    """Sections that the config's choices leave unused, each with the choice that does."""
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


def _unused_terms(rda: ConfigDict) -> Iterator[tuple[str, str]]:
    for term in ("diffusion", "advection"):
        if term not in rda.terms:
            yield f"model.rda.{term}", f"model.rda.terms has no {term!r}"
    for form in ("polynomial", "network"):
        if form != rda.reaction or "reaction" not in rda.terms:
            yield f"model.rda.{form}", f"the reaction is not {form!r}"
    if rda.dt:
        yield "model.rda.adaptive", "model.rda.dt is not 0, so steps are fixed"


def _check_fields(config: ConfigDict, defaults: ConfigDict) -> None:
    known, given = dict(leaves(defaults)), dict(leaves(config))
    for field in given:
        check_field(field)
    for field in known:
        if field not in given:
            raise InputError(f"The config has no field {field}; start from the default config.")


def leaves(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field that holds a value, by its dotted path."""
    if not isinstance(config, ConfigDict):
        yield prefix, config
        return
    for name in config:
        yield from leaves(config[name], f"{prefix}.{name}" if prefix else name)


def _filled(config: ConfigDict, fields: dict[str, Any]) -> ConfigDict:
    for name, value in fields.items():
        if isinstance(value, dict):
            _filled(config[name], value)
        else:
            config[name] = tuple(value) if isinstance(value, list) else value
    return config


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
