"""The modes of the command line: the flags that each takes, and what it does."""

import dataclasses
import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from diffpattern import (
    check,
    compare,
    configuration,
    drawing,
    evaluate,
    export,
    plan,
    predict,
    preview,
    sweeps,
    train,
)
from diffpattern.errors import InputError
from diffpattern.interruption import Interruption
from diffpattern.parallel import processes
from diffpattern.run_folder import RunFolder, new_folder
from diffpattern.start_up import start_up


class _Path(flags.ArgumentParser):
    """A flag's path, or several with commas between them; a ~ is the user's home in each.

    Shells expand a ~ at the beginning of a word only, which it is not in --flag=~/path.
    """

    def parse(self, argument: str) -> str:
        return ",".join(map(os.path.expanduser, argument.split(",")))


class _ModeName(flags.ArgumentParser):
    """The name of a mode."""

    def parse(self, argument: str) -> str:
        if argument not in MODES:
            near = difflib.get_close_matches(argument, MODES, n=1)
            hint = f"; the nearest is {near[0]}" if near else ""
            raise ValueError(f"the modes are {'|'.join(MODES)}{hint}")
        return argument


def _path_flag(name: str, told: str) -> flags.FlagHolder[str | None]:
    return flags.DEFINE(_Path(), name, None, told)


_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "a file such as configs/pde.py; --config.FIELD=VALUE changes a field",
)
_WORKDIR = _path_flag("workdir", "the run's folder; train makes a new one in runs/ without it")
_STEP = flags.DEFINE_integer("step", None, "checkpoint to take; without it, the best")
_INPUT = _path_flag("input", "where predict begins: .npy, .npz, or images whose last frame it is")
_TIMES = flags.DEFINE_string(
    "times", None, "FIRST:LAST:STEP of what predict makes; the first is the input's"
)
_SEED = flags.DEFINE_integer("seed", None, "of what is random in predict; without it, the run's")
_SWEEP = flags.DEFINE_integer(
    "sweep", None, "which combination of the config file's get_sweep(), from 0"
)
_WORKDIRS = _path_flag(
    "workdirs", "folders of runs to compare, or of a sweep, such as 'runs/sweep-*'"
)
_OUTPUT = _path_flag(
    "output", "of predict and simulate (.npz, .npy, .tif, or a folder of PNG) and compare"
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of the first of several processes that train one run",
)
_PROCESSES = flags.DEFINE_integer("processes", None, "how many processes train one run")
_PROCESS = flags.DEFINE_integer("process", None, "which of them this is, from 0")


def run() -> None:
    """Runs the mode that the flags ask for.

    Raises:
      InputError: a flag is missing, means nothing to the mode, or cannot be used.
      TrainingError: training cannot go on.
      StopSignal: the run was told to stop.
    """
    mode = _MODE.value
    for name in dict.fromkeys(name for one in MODES.values() for name in one.flags):
        if name not in MODES[mode].flags and flags.FLAGS[name].present:
            takers = [f"--mode={other}" for other, one in MODES.items() if name in one.flags]
            raise InputError(
                f"--{name} is for {' and '.join(takers)}, and means nothing to --mode={mode}; "
                "leave it out."
            )
    MODES[mode].run()


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


def _check() -> None:
    print(check.check(_prepared()[0]))


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
    _require("workdir")
    folder = RunFolder(Path(_WORKDIR.value))
    start_up(folder.config())
    _require_alike([str(folder.path), _STEP.value])
    evaluate.evaluate(folder, _STEP.value)


def _predict() -> None:
    _require("workdir", "input", "times", "output")
    times = predict.times_of(_TIMES.value)
    if _SEED.value is not None:
        configuration.check_seed("--seed", _SEED.value)
    folder = Path(_WORKDIR.value)
    start_up(RunFolder(folder).config())
    told = predict.predict(
        folder, _INPUT.value, times, Path(_OUTPUT.value), step=_STEP.value, seed=_SEED.value
    )
    print(told)


def _simulate() -> None:
    _require("output")
    print(predict.simulated(_prepared()[0], Path(_OUTPUT.value)))


def _report() -> None:
    _require("workdir")
    folder = RunFolder(Path(_WORKDIR.value))
    start_up(folder.config())
    drawing.draw(folder)
    print(f"Report: {folder.report}\nVideos: {folder.videos}")


def _export() -> None:
    _require("workdir")
    folder = RunFolder(Path(_WORKDIR.value))
    start_up(folder.config())
    export.export(folder, _STEP.value)


def _require(*names: str) -> None:
    """Refuses a command line that lacks a flag which the mode needs."""
    for name in names:
        if not flags.FLAGS[name].value:
            # Behind a semicolon stands what is without it, in other modes.
            told = flags.FLAGS[name].help.partition(";")[0]
            raise InputError(f"--mode={_MODE.value} needs --{name}: {told}.")


@dataclasses.dataclass(frozen=True)
class Mode:
    """What the command line can be asked to do.

    Attributes:
      run: does it.
      flags: those that it takes, besides --mode.
      told: what it does, in a line of help.
    """

    run: Callable[[], None]
    flags: tuple[str, ...]
    told: str


_JOINING = ("coordinator", "processes", "process")

MODES = {
    "train": Mode(
        _train_until_told,
        ("config", "workdir", "sweep", "workdirs", *_JOINING),
        "find the rule that a config asks for, or go on with the run in --workdir",
    ),
    "eval": Mode(
        _evaluate, ("workdir", "step", *_JOINING), "score a run again, and write its report"
    ),
    "predict": Mode(
        _predict,
        ("workdir", "step", "input", "times", "output", "seed"),
        "let a run's rule go on from a lattice of yours",
    ),
    "report": Mode(_report, ("workdir",), "draw a run's report again, from what it keeps"),
    "export": Mode(
        _export, ("workdir", "step"), "write a page on which a run's rule runs live in a browser"
    ),
    "simulate": Mode(_simulate, ("config", "output"), "run the known PDE that a config names"),
    "data": Mode(_show_data, ("config", "workdir", "sweep"), "show what a config would train on"),
    "check": Mode(_check, ("config", "sweep"), "try one step of a config: memory, time, stability"),
    "plan": Mode(
        _plan, ("config", "sweep"), "what a step would take on a mesh that need not be there"
    ),
    "sweep": Mode(_list_sweep, ("config", "workdirs"), "list the combinations of a sweep"),
    "compare": Mode(_compare, ("workdirs", "output"), "one page on several runs"),
}

_MODE = flags.DEFINE(_ModeName(), "mode", "train", "what to do")


def described() -> str:
    """The modes and the flags, a line each, as --help tells them."""
    modes = [f"  --mode={name:<9} {mode.told}" for name, mode in MODES.items()]
    names = dict.fromkeys(name for mode in MODES.values() for name in mode.flags)
    joining = f"  {', '.join(f'--{name}' for name in _JOINING)}: see docs/machines.md"
    others = [f"  --{name:<14} {flags.FLAGS[name].help}" for name in names if name not in _JOINING]
    return "\n".join([*modes, "", *others, joining])
