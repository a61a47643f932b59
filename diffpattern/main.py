"""The command line: flags, start-up, one call.

python -m diffpattern.main --config=configs/pde.py
python -m diffpattern.main --mode=eval --workdir=RUN
"""

import logging as std_logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Before anything imports TensorFlow: it speaks on stderr as it loads.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from diffpattern import configuration, evaluate, train
from diffpattern.errors import InputError, TrainingError
from diffpattern.run_folder import RunFolder, new_folder

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The run's config; --config.FIELD=VALUE changes a field of it."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder. Without it, training makes runs/<config>-<time>."
)
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval"], "Train and score a rule, or score a trained one again."
)
_STEP = flags.DEFINE_integer(
    "step", None, "Checkpoint that eval takes; without it, the best by its validation score."
)


def main(argv: Sequence[str]) -> None:
    """Runs one mode; what the user can mend is told in a sentence, with exit code 2."""
    try:
        if len(argv) > 1:
            raise InputError(f"{argv[1]!r} is not a flag; flags are given as --name=value.")
        run()
    except (InputError, TrainingError) as error:
        _stop(error)


def run() -> None:
    """Runs the mode that the flags name."""
    folder = RunFolder(Path(_WORKDIR.value)) if _WORKDIR.value else None
    if _MODE.value == "eval":
        if folder is None:
            raise InputError("--mode=eval needs --workdir, the folder of a run.")
        config = folder.config()
    else:
        if _CONFIG.value is None:
            raise InputError("--mode=train needs --config, such as --config=configs/pde.py.")
        config = _CONFIG.value
        folder = folder or new_folder(config_flags.get_config_filename(flags.FLAGS["config"]))
        configuration.check(config)
    start_up(config)
    logging.info("%s on %s", folder.path, jax.devices())
    if _MODE.value == "eval":
        evaluate.evaluate(folder, _STEP.value)
    else:
        train.train_and_evaluate(config, folder)


def start_up(config: ConfigDict) -> None:
    """Settings of the process, before JAX starts any device."""
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(_is_ours)
    jax.config.update("jax_default_matmul_precision", config.matmul_precision)
    # XLA has as many threads as there are cores. A device that waits for the others in a sum holds
    # one of them, so with as many virtual devices none may be left for the last to arrive.
    os.environ.setdefault("NPROC", str(4 * os.cpu_count()))
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", config.mesh.cpu_devices or os.cpu_count())


def _is_ours(record: std_logging.LogRecord) -> bool:
    """Whether a line of log is this package's, or a warning; Orbax and others tell a lot."""
    ours = str(Path(__file__).parent)
    return record.pathname.startswith(ours) or record.levelno >= std_logging.WARNING


def _parse(argv: Sequence[str]) -> Sequence[str]:
    """absl's flags; a wrong flag, config file or field is told in a sentence too."""
    try:
        for argument in argv:
            if argument.startswith("--config."):
                configuration.check_field(argument.removeprefix("--config.").partition("=")[0])
        return flags.FLAGS(list(argv))
    except FileNotFoundError as error:
        _stop(f"--config names {error.filename}, which does not exist; it takes a Python file.")
    except flags.Error as error:
        _stop(f"{error}; see --help.")
    except Exception as error:
        _stop(f"--config cannot be used: {str(error).strip().splitlines()[0]}")


def _stop(error: Exception | str) -> None:
    print(f"diffpattern: {error}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
