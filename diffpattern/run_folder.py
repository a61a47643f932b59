"""A run's folder: everything that is needed to look at the run again.

    RUN/config.json         the config, complete
    RUN/run.json            digest of the data; versions, commit, devices, command and changed
                            fields of each session, and which combination of a sweep it is; enough
                            to do the run again (`--config=RUN/run.json`)
    RUN/data/               the test data, those on lattices of a second size in test-2.npz, and so
                            on; statistics of the training data
    RUN/checkpoints/        see `training.checkpoints`
    RUN/metrics/            event files for TensorBoard, and scalars.jsonl
    RUN/eval/               scores.json, predictions.npz, reading.npz of the rule, and of one start
                            states.npz and damage.npz
    RUN/videos/             what moves in the report, as GIF and as MP4
    RUN/report.html
    RUN/explorer.html       if --mode=export was asked for it
    RUN/data.png            what it trains on, if --mode=data was asked for it
    RUN/training.lock       held by the process that trains here

Files appear complete or not at all: written beside, then renamed. Where several processes train one
run, the first alone writes them, and all read them: the folder is on a disk that they share.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

import diffpattern
from diffpattern import configuration, systems
from diffpattern.data.sources import GIVEN
from diffpattern.data.statistics import Statistics
from diffpattern.data.trajectories import Trajectories, digest
from diffpattern.errors import InputError
from diffpattern.files import locked, write_whole
from diffpattern.parallel import processes
from diffpattern.training.metrics import read_scalars

# The picture of a run's data, which may be there before the run.
PREVIEW = "data.png"
_LOCK = "training.lock"


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The paths in a run's folder, and what is read from and written to them."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """Folder of the metrics."""
        return self.path / "metrics"

    @property
    def scalars(self) -> Path:
        """The logged scalars, a JSON record a line."""
        return self.metrics / "scalars.jsonl"

    @property
    def profile(self) -> Path:
        """Folder of the trace of some train steps."""
        return self.path / "profile"

    @property
    def scores(self) -> Path:
        """The scores of the last evaluation."""
        return self.path / "eval" / "scores.json"

    @property
    def predictions(self) -> Path:
        """The predictions of the last evaluation, those for the first size of lattices."""
        return self.path / "eval" / numbered("predictions.npz", 0)

    @property
    def states(self) -> Path:
        """All channels of the last evaluation's typical prediction."""
        return self.path / "eval" / "states.npz"

    @property
    def damage(self) -> Path:
        """What became of it after a part had been erased."""
        return self.path / "eval" / "damage.npz"

    @property
    def reading(self) -> Path:
        """What the last evaluation read off the rule."""
        return self.path / "eval" / "reading.npz"

    @property
    def videos(self) -> Path:
        """Folder of the videos."""
        return self.path / "videos"

    @property
    def report(self) -> Path:
        """The page that a person looks at."""
        return self.path / "report.html"

    @property
    def explorer(self) -> Path:
        """The page on which the rule runs live."""
        return self.path / "explorer.html"

    @property
    def is_run(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / "config.json").is_file()

    @property
    def is_free(self) -> bool:
        """Whether it is a folder that holds nothing but, maybe, what does not make it a run's.

        That is what `--mode=data` leaves there, and the lock of a run that began and had to end.
        """
        others = re.compile(rf"{Path(PREVIEW).stem}(-\d+)?\.png|{re.escape(_LOCK)}")
        return self.path.is_dir() and all(
            others.fullmatch(entry.name) for entry in self.path.iterdir()
        )

    def config(self) -> ConfigDict:
        """The config that the run was begun with.

        Raises:
          InputError: the folder is not one of a run, or its config is damaged.
        """
        if self.path.is_file():
            raise InputError(
                f"{self.path} is a file, but --workdir takes a folder: that of a run, in which "
                "training has written config.json."
            )
        if not self.is_run:
            raise InputError(
                f"{self.path} is not the folder of a run: it has no config.json; --workdir takes "
                "a folder that training has made."
            )
        path = self.path / "config.json"
        return configuration.from_json(path.read_text(errors="replace"), str(path))

    def check(self, config: ConfigDict) -> None:
        """Refuses a folder in which training under `config` can neither begin nor go on.

        Raises:
          InputError: the folder belongs to another run or holds other things, or cannot be made.
        """
        if self.is_run:
            configuration.agree(config, self.config(), str(self.path))
            self.facts()
        elif self.path.exists() and not self.is_free:
            raise InputError(
                f"{self.path} exists and is not the folder of a run; --workdir takes a new or "
                "empty folder, or one that training has made."
            )
        present = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
        if not present.is_dir() or not os.access(present, os.W_OK | os.X_OK):
            raise InputError(
                f"{self.path} cannot be written, since {present} is not a folder that you may "
                "write to; --workdir takes another."
            )

    def is_complete(self, steps: int) -> bool:
        """Whether a run of so many steps was trained here, and reported on after that.

        One that is to have no report is scored at least.
        """
        rows = read_scalars(self.scalars)
        reports = not self.is_run or self.config().evaluation.report
        last = self.report if reports else self.scores
        return (
            bool(rows)
            and rows[-1]["step"] >= steps
            and last.is_file()
            and last.stat().st_mtime >= self.scalars.stat().st_mtime
        )

    def record(
        self,
        config: ConfigDict,
        config_path: str,
        data_digest: Mapping[str, str],
        sweep: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes the config, and adds this session to those that run.json tells of.

        Args:
          config: of the run; fields of operation may differ from the last session's.
          config_path: the file that it was made by.
          data_digest: of each split of the data.
          sweep: the combination of a sweep that is in the config: its "number" and "fields".

        Raises:
          InputError: the run was begun on other data, or the folder cannot be written.
        """
        begun = self.facts()
        for split, before in begun.get("data_digest", {}).items():
            if data_digest.get(split) != before:
                name, remedy = config.data.name, "give data.directory where those are"
                if name == GIVEN:
                    remedy = "hand over those"
                elif name != "run" and not systems.is_system(name):
                    remedy = f"have {name!r} read those"
                raise InputError(
                    f"The {split} data are not those on which the run in {self.path} was begun; "
                    f"{remedy}, or give another workdir."
                )
        session = {
            "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": command(),
            "config": config_path,
            "fields": configuration.changes(config),
            "sweep": sweep,
            "commit": _commit(),
            "versions": _versions(),
            "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()],
        }
        sessions = [*begun.get("sessions", []), session]
        if processes.count() > 1:
            session["processes"] = processes.count()
        self.write("config.json", configuration.to_json(config))
        self.write(
            "run.json",
            json.dumps({"data_digest": dict(data_digest), "sessions": sessions}, indent=2),
        )

    def write(self, name: str, content: str | bytes) -> None:
        """Writes a file of the folder, if this is the first process.

        Raises:
          InputError: it cannot be written.
        """
        if processes.is_first():
            write_whole(self.path / name, content)

    def keep_data(self, test: Sequence[Trajectories], statistics: Statistics) -> None:
        """Keeps what evaluation needs, so that it needs nothing but this folder."""
        if not processes.is_first():
            return
        self.write("data/statistics.json", statistics.to_json())
        for place, trajectories in enumerate(test):
            trajectories.save_npz(self.path / "data" / numbered("test.npz", place))

    def data(self) -> tuple[tuple[Trajectories, ...], Statistics]:
        """The test data, for one size of lattices after the other, and the training's statistics.

        Raises:
          InputError: they are missing or damaged, or the data are not those of the run.
        """
        path = self.path / "data" / "statistics.json"
        try:
            statistics = Statistics.from_json(path.read_text())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is missing or damaged ({type(error).__name__}: {error}); training with "
                f"--workdir={self.path} writes it again."
            ) from error
        path = path.with_name("test.npz")
        test = [Trajectories.load_npz(path)]
        while (following := path.with_name(numbered(path.name, len(test)))).is_file():
            test.append(Trajectories.load_npz(following))
        begun = self.facts().get("data_digest", {}).get("test")
        if begun is not None and begun != digest(test):
            raise InputError(
                f"{path} does not hold the data on which the run was begun (run.json has another "
                f"digest); training with --workdir={self.path} writes it again."
            )
        return tuple(test), statistics

    def read_scores(self) -> dict[str, Any] | None:
        """What the last evaluation scored, or None where there was none.

        Raises:
          InputError: it is damaged.
        """
        if not self.scores.is_file():
            return None
        try:
            scores = json.loads(self.scores.read_text())
            for name, errors in scores["nrmse"].items():
                if not len(errors) == len(scores["times"]) or name not in scores["valid_time"]:
                    raise ValueError(f"it has not all of {name}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self.scores} is damaged ({type(error).__name__}: {error}); --mode=eval writes "
                "it again."
            ) from error
        return scores

    def facts(self) -> dict[str, Any]:
        """What run.json says, or nothing where no session has begun.

        Raises:
          InputError: it is damaged.
        """
        path = self.path / "run.json"
        if not path.is_file():
            return {}
        try:
            facts = json.loads(path.read_text())
            return {"data_digest": dict(facts["data_digest"]), "sessions": list(facts["sessions"])}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is damaged ({type(error).__name__}: {error}); put it back, or remove it "
                "to go on without its records."
            ) from error

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Makes the folder and lets one process at a time train in it.

        Of several processes that train together the first holds the lock for all.

        Raises:
          InputError: another process is there, or the folder cannot be made, locked, or is not
            shared.
        """
        if not processes.is_first():
            processes.wait_for_all()
            if not self.path.is_dir():
                raise InputError(
                    f"Process {processes.number()} does not find {self.path}, which process 0 has "
                    "made; --workdir takes a folder on a disk that all processes share."
                )
            yield
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path} cannot be made: {error.strerror}.") from error
        with contextlib.ExitStack() as entered:
            try:
                entered.enter_context(locked(self.path / _LOCK, wait=False))
            except BlockingIOError as error:
                raise InputError(
                    f"Another process is training in {self.path}; wait for it, or give another "
                    "--workdir."
                ) from error
            except OSError as error:
                raise InputError(f"{self.path} cannot be locked: {error.strerror}.") from error
            processes.wait_for_all()
            yield


def numbered(name: str, place: int) -> str:
    """A file's name for the first size of lattices (place 0), with a number for each later one."""
    path = Path(name)
    return name if place == 0 else f"{path.stem}-{place + 1}{path.suffix}"


def new_folder(config_path: str) -> RunFolder:
    """runs/<config>-<time>, not yet made, with a number behind it where that is taken.

    A config.json has the name of its run, without that run's time.
    """
    name = Path(config_path.split(":")[0]).stem
    if config_path.endswith(".json"):
        run = Path(config_path.split(":", 1)[-1]).absolute().parent.name
        name = re.sub(r"-\d{8}-\d{6}(-\d+)?$", "", run)
    time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    path, number = Path("runs") / f"{name}-{time}", 1
    while path.exists():
        number += 1
        path = path.with_name(f"{name}-{time}-{number}")
    return RunFolder(path)


def given_folder(path: str | os.PathLike, name: str) -> RunFolder:
    """The folder at a path that a program gives.

    Args:
      path: of the folder, which need not be there.
      name: of what is given, for messages.

    Raises:
      InputError: it is no path, or that of a file.
    """
    try:
        folder = Path(path).expanduser()
    except (TypeError, RuntimeError) as error:
        raise InputError(
            f"{name} is {path!r}, but must be the path of a run's folder, as text or as a Path."
        ) from error
    if folder.is_file():
        raise InputError(f"{name} is {folder}, a file, but must be the folder of a run.")
    return RunFolder(folder)


def command() -> str:
    """The command line of this process, as it can be typed again."""
    return shlex.join(["python", "-m", "diffpattern.main", *sys.argv[1:]])


def _versions() -> dict[str, str | None]:
    """Of Python and of the packages on which the numbers depend."""
    own = {"diffpattern": diffpattern.__version__, "python": platform.python_version()}
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "diffrax", "numpy")
    return own | {name: _version(name) for name in packages}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that the package is run from, marked if files differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        # An installed package may lie inside the checkout of something else.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
