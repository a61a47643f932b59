"""A reading of a rule as a file, so that its chapter can be drawn again without the rule.

The reading's values, which lie within one another, are a text (JSON); its arrays stand beside it in
the .npz file, and the text has their numbers.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffpattern.files import npz
from diffpattern.records import opened
from diffpattern.report.rule.chapter import RuleReading
from diffpattern.report.rule.phase_plane import HomogeneousState, PhasePlane, ReactionCurve
from diffpattern.report.rule.velocity import VelocityField
from diffpattern.report.rule.weights import FirstLayer, Layer
from diffpattern.stability import Dispersion

_KINDS = {
    kind.__name__: kind
    for kind in (
        Dispersion,
        FirstLayer,
        HomogeneousState,
        Layer,
        PhasePlane,
        ReactionCurve,
        RuleReading,
        VelocityField,
    )
}


def to_npz(reading: RuleReading) -> bytes:
    """A reading as the content of its file."""
    arrays: dict[str, np.ndarray] = {}

    def written(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            fields = {name: written(part) for name, part in vars(value).items()}
            return {"kind": type(value).__name__, "fields": fields}
        if isinstance(value, Mapping):
            return {"mapping": [[key, written(part)] for key, part in value.items()]}
        if isinstance(value, tuple | list):
            return [written(part) for part in value]
        if isinstance(value, np.generic):
            return value.item()
        if hasattr(value, "__array__"):
            name = f"array{len(arrays)}"
            arrays[name] = np.asarray(value)
            return {"array": name}
        return value

    return npz(reading=np.array(json.dumps(written(reading))), **arrays)


def read(path: str | os.PathLike) -> RuleReading:
    """Reads what `to_npz` made.

    Raises:
      InputError: the file cannot be read, or is damaged.
    """

    def value_of(written: Any) -> Any:
        if isinstance(written, list):
            return tuple(map(value_of, written))
        if not isinstance(written, dict):
            return written
        if "array" in written:
            return stored[written["array"]]
        if "mapping" in written:
            return {key: value_of(part) for key, part in written["mapping"]}
        fields = {name: value_of(part) for name, part in written["fields"].items()}
        return _KINDS[written["kind"]](**fields)

    with opened(path) as stored:
        return value_of(json.loads(str(stored["reading"])))
