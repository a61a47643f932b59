"""A run's folder: everything that is needed to look at the run again.

    RUN/config.json         the config, complete
    RUN/run.json            versions, commit, devices, digest of the data, command
    RUN/data/               the test data, and statistics of the training data
    RUN/checkpoints/        see `training.checkpoints`
    RUN/metrics/            event files for TensorBoard, and scalars.jsonl
    RUN/eval/               scores.json and predictions.npz
    RUN/report.html

Files appear complete or not at all: written beside, then renamed.
"""

import dataclasses
import datetime
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from diffpattern import configuration
from diffpattern.data.statistics import Statistics
from diffpattern.data.trajectories import Trajectories
from diffpattern.errors import InputError


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
    def scores(self) -> Path:
        """The scores of the last evaluation."""
        return self.path / "eval" / "scores.json"

    @property
    def predictions(self) -> Path:
        """The predictions of the last evaluation."""
        return self.path / "eval" / "predictions.npz"

    @property
    def report(self) -> Path:
        """The page that a person looks at."""
        return self.path / "report.html"

    @property
    def is_run(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / "config.json").is_file()

    def config(self) -> ConfigDict:
        """The config that the run was begun with.

        Raises:
          InputError: the folder is not one of a run.
        """
        if not self.is_run:
            raise InputError(
                f"{self.path} is not the folder of a run: it has no config.json; --workdir takes "
                "a folder that training has made."
            )
        path = self.path / "config.json"
        return configuration.from_json(path.read_text(), str(path))

    def begin(self, config: ConfigDict) -> None:
        """Makes the folder for a new run, or checks that `config` goes on with the one in it.

        Raises:
          InputError: the folder belongs to another run or holds other things, or cannot be made.
        """
        if self.is_run:
            configuration.agree(config, self.config(), str(self.path))
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise InputError(
                f"{self.path} exists and is not the folder of a run; --workdir takes a new or "
                "empty folder, or one that training has made."
            )
        self.write("config.json", configuration.to_json(config))

    def write(self, name: str, text: str) -> None:
        """Writes a file of the folder.

        Raises:
          InputError: it cannot be written.
        """
        path = self.path / name
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(text)
            os.replace(beside, path)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error

    def keep_data(self, test: Trajectories, statistics: Statistics) -> None:
        """Keeps what evaluation needs, so that it needs nothing but this folder."""
        self.write("data/statistics.json", statistics.to_json())
        test.save_npz(self.path / "data" / "test.npz")

    def data(self) -> tuple[Trajectories, Statistics]:
        """The test data and the statistics of the training data.

        Raises:
          InputError: they are missing or damaged.
        """
        path = self.path / "data" / "statistics.json"
        try:
            statistics = Statistics.from_json(path.read_text())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is missing or damaged ({error}); training with --workdir={self.path} "
                "writes it again."
            ) from error
        return Trajectories.load_npz(self.path / "data" / "test.npz"), statistics

    def record(self, **facts: Any) -> None:
        """Writes run.json: what made the run, beside the given facts."""
        packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "diffrax", "numpy")
        self.write(
            "run.json",
            json.dumps(
                {
                    "command": command(),
                    "versions": {
                        "diffpattern": _version("diffpattern"),
                        "python": platform.python_version(),
                    }
                    | {name: _version(name) for name in packages},
                    "commit": _commit(),
                    "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()],
                }
                | facts,
                indent=2,
            ),
        )

    def facts(self) -> dict[str, Any]:
        """What `record` wrote, or nothing."""
        path = self.path / "run.json"
        return json.loads(path.read_text()) if path.is_file() else {}


def new_folder(config_path: str) -> RunFolder:
    """runs/<config>-<time>, not yet made."""
    time = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return RunFolder(Path("runs") / f"{Path(config_path).stem}-{time}")


def command() -> str:
    """The command line of this process, as a person would type it."""
    return " ".join(["python -m diffpattern.main", *sys.argv[1:]])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that the package is run from, marked if files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if status.strip() else "")
