"""The command line: flags, start-up, one call.

python -m diffpattern.main --config=configs/pde.py
python -m diffpattern.main --mode=eval --workdir=RUN
python -m diffpattern.main --mode=data --config=configs/pde.py
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Before anything imports TensorFlow: it speaks on stderr as it loads.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# One thread for each call of LAPACK: every virtual device makes its own calls, and the threads of
# theirs would wait for one another by spinning (80 times slower on a busy machine).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from diffpattern import configuration, evaluate, preview, train
from diffpattern.errors import InputError, TrainingError
from diffpattern.run_folder import RunFolder, new_folder
from diffpattern.start_up import start_up

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "A Python file with the run's config, such as configs/pde.py; --config.FIELD=VALUE changes a "
    "field of it (configs/default.py explains them all).",
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The run's folder: training goes on with the run in it, or begins one there. Without it, "
    "training makes runs/<config>-<time>. With --mode=data, where the picture goes; without it, "
    "into the current folder.",
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "eval", "data"],
    "Train and score a rule, score a trained one again, or show what a config would train on.",
)
_STEP = flags.DEFINE_integer(
    "step", None, "Checkpoint that eval takes; without it, the best by its validation score."
)


def main(argv: Sequence[str]) -> None:
    """Runs one mode; what the user can mend is told in a sentence, with exit code 2."""
    try:
        if len(argv) > 1:
            raise InputError(f"{argv[1]!r} is not a flag; flags are given as --name=value.")
        {"train": _train, "eval": _evaluate, "data": _show_data}[_MODE.value]()
    except (InputError, TrainingError) as error:
        _stop(error)
    except KeyboardInterrupt:
        _stop("Interrupted; the same command with --workdir goes on from the last checkpoint.")


def _train() -> None:
    config, path = _prepared(), flags.FLAGS["config"].config_filename
    folder = RunFolder(Path(_WORKDIR.value)) if _WORKDIR.value else new_folder(path)
    logging.info("Training in %s on %s", folder.path, jax.devices())
    train.train_and_evaluate(config, folder, config_path=path)
    logging.info("Run folder: %s", folder.path)


def _show_data() -> None:
    preview.show(_prepared(), Path(_WORKDIR.value or "."))


def _prepared() -> ConfigDict:
    """The config, checked, once the process is ready for it."""
    if _CONFIG.value is None:
        raise InputError(f"--mode={_MODE.value} needs --config, such as --config=configs/pde.py.")
    if _STEP.value is not None:
        raise InputError("--step is for --mode=eval; training goes on from the newest checkpoint.")
    configuration.check(_CONFIG.value)
    start_up(_CONFIG.value)
    return _CONFIG.value


def _evaluate() -> None:
    if _CONFIG.value is not None:
        raise InputError("--mode=eval takes the config out of --workdir; leave --config out.")
    if not _WORKDIR.value:
        raise InputError("--mode=eval needs --workdir, the folder of a run.")
    folder = RunFolder(Path(_WORKDIR.value))
    start_up(folder.config())
    evaluate.evaluate(folder, _STEP.value)


def _parse(argv: Sequence[str]) -> Sequence[str]:
    """Parses flags; a wrong one, or a wrong config, is told in a sentence too."""
    try:
        configuration.check_arguments(argv)
        return flags.FLAGS(list(argv))
    except (InputError, flags.Error) as error:
        _stop(" ".join(str(error).split()).rstrip("?. ") + ".")


def _stop(error: Exception | str) -> None:
    print(f"diffpattern: {error}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
