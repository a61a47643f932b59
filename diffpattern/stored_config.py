"""A config file that stands for any JSON: `stored_config.py:RUN/config.json`.

`--config=RUN/config.json`, or the `run.json` beside it, is read through it, so that a run can be
repeated by what it has kept, and its fields changed, as with any config file.
"""

from pathlib import Path

from ml_collections import ConfigDict

from diffpattern import configuration
from diffpattern.errors import InputError


def get_config(path: str) -> ConfigDict:
    """The config in the JSON file `path`, which training has written."""
    try:
        text = Path(path).read_text(errors="replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    return configuration.from_json(text, path)
