"""The command line: flags, start-up, one call.

python -m diffpattern.main --config=configs/pde.py
python -m diffpattern.main --mode=eval --workdir=RUN
python -m diffpattern.main --mode=report --workdir=RUN
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Before anything imports TensorFlow: it speaks on stderr as it loads.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# One thread for each call of LAPACK: every virtual device makes its own calls, and the threads of
# theirs would wait for one another by spinning (80 times slower on a busy machine).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from diffpattern import compare, configuration, drawing, evaluate, plan, preview, sweeps, train
from diffpattern.errors import MENDABLE, REQUEUE, InputError, StopSignal, TrainingError
from diffpattern.interruption import Interruption
from diffpattern.parallel import processes
from diffpattern.run_folder import RunFolder, new_folder
from diffpattern.start_up import start_up

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "A file such as configs/pde.py; --config.FIELD=VALUE changes a field.",
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The run's folder, where training goes on or begins; without it, runs/<config>-<time>. With "
    "--mode=data, the picture's, else the current one.",
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "eval", "report", "data", "plan", "sweep", "compare"],
    "Train, score again, redraw the report, show data, plan a mesh, list a sweep, compare runs.",
)
_STEP = flags.DEFINE_integer("step", None, "Checkpoint that eval takes; without it, the best.")
_SWEEP = flags.DEFINE_integer(
    "sweep", None, "Which combination of the config file's get_sweep(), from 0."
)
_WORKDIRS = flags.DEFINE_string(
    "workdirs", None, "Folders of runs to compare, or of a sweep, such as 'runs/sweep-*'."
)
_OUTPUT = flags.DEFINE_string("output", None, "The page that compare writes, or compare.html.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of the first of several processes that train one run.",
)
_PROCESSES = flags.DEFINE_integer("processes", None, "How many processes train one run.")
_PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0.")

# The flags that each mode takes besides.
_JOINING = ("coordinator", "processes", "process")
_TAKEN = {
    "train": ("config", "workdir", "sweep", "workdirs", *_JOINING),
    "eval": ("workdir", "step", *_JOINING),
    "report": ("workdir",),
    "data": ("config", "workdir", "sweep"),
    "plan": ("config", "sweep"),
    "sweep": ("config", "workdirs"),
    "compare": ("workdirs", "output"),
}


def main(argv: Sequence[str]) -> None:
    """Runs one mode; what the user can mend is told in a sentence, with exit code 2."""
    try:
        if len(argv) > 1:
            raise InputError(f"{argv[1]!r} is not a flag; flags are given as --name=value.")
        _check_taken(_MODE.value)
        {
            "train": _train_until_told,
            "eval": _evaluate,
            "report": _report,
            "data": _show_data,
            "plan": _plan,
            "sweep": _list_sweep,
            "compare": _compare,
        }[_MODE.value]()
        processes.leave()
    except (InputError, TrainingError) as error:
        processes.end_all(str(error), MENDABLE)
    except KeyboardInterrupt:
        processes.end_all(
            "Interrupted; the same command with --workdir goes on from the last checkpoint.",
            MENDABLE,
        )
    except StopSignal as signal:
        if signal.together:
            processes.wait_for_all()  # until each has written its part
        processes.end_all(str(signal), REQUEUE)
    except Exception:
        if processes.count() > 1:
            processes.end_defective()
        raise


def _check_taken(mode: str) -> None:
    """Refuses flags that the mode would ignore."""
    for name in dict.fromkeys(name for names in _TAKEN.values() for name in names):
        if name not in _TAKEN[mode] and flags.FLAGS[name].present:
            takers = [f"--mode={other}" for other, names in _TAKEN.items() if name in names]
            raise InputError(
                f"--{name} is for {' and '.join(takers)}, and means nothing to --mode={mode}; "
                "leave it out."
            )


def _train_until_told() -> None:
    _join()
    with Interruption() as interruption:
        _train(interruption)


def _train(interruption: Interruption) -> None:
    config, sweep = _prepared()
    path = flags.FLAGS["config"].config_filename
    if _WORKDIR.value and _WORKDIRS.value:
        raise InputError("--workdir and --workdirs both name the run's folder; leave one out.")
    if _WORKDIRS.value and not sweep:
        raise InputError("--workdirs needs --sweep, whose number takes the place of the *.")
    if _WORKDIR.value:
        folder = RunFolder(Path(_WORKDIR.value))
    elif sweep:
        folder = sweeps.folder(path, sweep["number"], _WORKDIRS.value)
    else:
        folder = RunFolder(Path(processes.from_first(str(new_folder(path).path))))
    _require_alike([configuration.to_json(config), str(folder.path)])
    logging.info("Training in %s on %s", folder.path, jax.devices())
    train.train_and_evaluate(
        config, folder, config_path=path, sweep=sweep, interruption=interruption
    )
    logging.info("Run folder: %s", folder.path)


def _show_data() -> None:
    preview.show(_prepared()[0], Path(_WORKDIR.value or "."))


def _plan() -> None:
    config, _ = _prepared(plan.devices)
    print(plan.describe(plan.make(config), config))


def _list_sweep() -> None:
    config, path, given = _config()
    print(sweeps.listing(config, path, _WORKDIRS.value, given))


def _compare() -> None:
    if not _WORKDIRS.value:
        raise InputError("--mode=compare needs --workdirs, such as --workdirs='runs/sweep-*'.")
    compare.compare(_WORKDIRS.value, Path(_OUTPUT.value or "compare.html"))


def _config() -> tuple[ConfigDict, str, list[str]]:
    """The config as the command line has it, its file, and the fields that were given there."""
    if _CONFIG.value is None:
        raise InputError(f"--mode={_MODE.value} needs --config, such as --config=configs/pde.py.")
    flag = flags.FLAGS["config"]
    return _CONFIG.value, flag.config_filename, list(config_flags.get_override_values(flag))


def _prepared(
    virtual: Callable[[ConfigDict], int] = lambda config: 0,
) -> tuple[ConfigDict, dict[str, Any] | None]:
    """The config, checked, once the process is ready for it; and the combination in it, if any.

    Args:
      virtual: see `start_up`.
    """
    config, path, given = _config()
    sweep, number = None, _SWEEP.value
    if number is not None:
        combination = sweeps.choose(path, number)
        config = sweeps.applied(config, combination, number, given)
        sweep = {"number": number, "fields": combination}
    configuration.check(config)
    start_up(config, virtual(config))
    return config, sweep


def _join() -> None:
    """Joins the processes that the command line or the environment tells of."""
    processes.join(processes.of_flags(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value))


def _require_alike(asked: Any) -> None:
    remedy = "start all with the same flags but for --process"
    processes.require_same("config or workdir", asked, remedy)


def _evaluate() -> None:
    _join()
    if not _WORKDIR.value:
        raise InputError("--mode=eval needs --workdir, the folder of a run.")
    folder = RunFolder(Path(_WORKDIR.value))
    start_up(folder.config())
    _require_alike([str(folder.path), _STEP.value])
    evaluate.evaluate(folder, _STEP.value)


def _report() -> None:
    if not _WORKDIR.value:
        raise InputError("--mode=report needs --workdir, the folder of a run.")
    folder = RunFolder(Path(_WORKDIR.value))
    drawing.draw(folder)
    print(f"Report: {folder.report}\nVideos: {folder.videos}")


def _parse(argv: Sequence[str]) -> Sequence[str]:
    """Parses flags; a wrong one, or a wrong config, is told in a sentence too."""
    try:
        configuration.check_arguments(argv)
        return flags.FLAGS(list(argv))
    except (InputError, flags.Error) as error:
        _stop(" ".join(str(error).split()).rstrip("?. ") + ".")


def _stop(sentence: str) -> None:
    print(f"diffpattern: {sentence}", file=sys.stderr)
    sys.exit(MENDABLE)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
