"""A real TensorBoard shows what runs have written."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import event_files
import jax
import many
import numpy as np
import pytest
from PIL import Image
from tiny_runs import LEAST_SQUARES, NCA, run

from diffpattern import evaluate
from diffpattern.training.checkpoints import Checkpoints
from diffpattern.training.metrics import read_scalars

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("test_tensorboard")]

CURVES = {
    "loss", "seconds", "validation", "validation/trajectory_0", "validation/t=2",
    "validation/t=4", "validation/t=6", "validation/t=8",
}  # fmt: skip
FINAL = {f"test/{score}/{species}" for score in ("nrmse", "valid_time") for species in "AB"}
GRADIENTS = {"learning_rate", "gradient_norm"} | {
    f"gradient_norm/update/network/{layer}" for layer in ("hidden_0", "output")
}
STEPS = {"accepted", "damping", "diverged", "trial_loss"} | {
    f"step_norm/{term}" for term in ("diffusion", "polynomial")
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of two runs: `automaton`, and `pde`, which is not evaluated."""
    folder = tmp_path_factory.mktemp("runs")
    jax.config.update("jax_disable_most_optimizations", True)
    with pytest.MonkeyPatch.context() as patch:
        run(folder / "data", folder / "automaton", **NCA)
        patch.setattr(evaluate, "evaluate", lambda folder: {})
        run(folder / "data", folder / "pde", **LEAST_SQUARES | {"optimiser.derivative_steps": 0})
    yield folder
    jax.config.update("jax_disable_most_optimizations", False)


def test_event_files_hold_the_run(runs):
    found = event_files.read(runs / "automaton" / "metrics")
    assert set(found["scalars"]) == CURVES | GRADIENTS | FINAL
    assert set(event_files.read(runs / "pde" / "metrics")["scalars"]) == CURVES | STEPS

    # The same numbers as in the log, which has them as they are.
    rows = read_scalars(runs / "automaton" / "metrics" / "scalars.jsonl")
    for name in ("loss", "gradient_norm/update/network/output", "validation/t=6"):
        logged = [(row["step"], np.float32(row[name])) for row in rows if name in row]
        assert found["scalars"][name] == logged
    assert [step for step, _ in found["scalars"]["validation"]] == [2, 4, 6]
    for row in rows:
        layers = [value for name, value in row.items() if name.startswith("gradient_norm/")]
        assert np.linalg.norm(layers) == pytest.approx(row["gradient_norm"], rel=1e-5)
    result = json.loads((runs / "automaton" / "eval" / "scores.json").read_text())
    final = (result["step"], np.float32(result["nrmse"]["B"][-1]))
    assert found["scalars"]["test/nrmse/B"] == [final]

    # Histograms count the parameters of each checkpoint.
    with Checkpoints(runs / "automaton" / "checkpoints") as kept:
        parameters = kept.restore(step=6).parameters
    kernel = np.asarray(parameters["update"]["network"]["output"]["kernel"])
    histogram = found["histograms"]["parameters/update/network/output/kernel"]
    assert [step for step, _ in histogram] == [2, 4, 6]
    buckets = histogram[-1][1]
    assert buckets[:, 2].sum() == kernel.size
    assert (buckets[0, 0], buckets[-1, 1]) == pytest.approx((kernel.min(), kernel.max()))

    # Pictures: two species and two hidden channels, each row as high.
    pictures = found["images"]
    assert set(pictures) == {"trajectory/A", "trajectory/B", "hidden_channels", "animation"}
    assert [step for step, _ in pictures["hidden_channels"]] == [2, 4, 6]
    (width, height, content), (_, other, _) = (
        pictures[tag][-1][1] for tag in ("trajectory/A", "hidden_channels")
    )
    assert Image.open(io.BytesIO(content)).size == (width, height)
    assert height == other
    ((step, (width, height, gif)),) = pictures["animation"]
    image = Image.open(io.BytesIO(gif))
    assert (step, image.format, image.size) == (6, "GIF", (width, height))
    assert image.n_frames == 5


def test_pictures_change_nothing_of_a_run(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "evaluate", lambda folder: {})
    for changes in ({"training.steps": 3, "training.pictures_every": 0}, {}):
        run(runs / "data", tmp_path, **NCA | changes)
    found = event_files.read(tmp_path / "metrics")
    assert [step for step, _ in found["images"]["trajectory/A"]] == [4, 6]
    logs, ends = [], []
    for folder in (tmp_path, runs / "automaton"):
        rows = read_scalars(folder / "metrics" / "scalars.jsonl")
        # The end of the first session, at step 3, is scored too.
        logs.append([row | {"seconds": 0} for row in rows if row["step"] != 3])
        with Checkpoints(folder / "checkpoints") as kept:
            ends.append(kept.restore(step=6).parameters)
    assert logs[0] == logs[1]
    jax.tree.map(np.testing.assert_array_equal, *ends)


class Board:
    """What a TensorBoard tells over HTTP."""

    def __init__(self, port: int):
        self._address = f"http://127.0.0.1:{port}/data/plugin"

    def ask(self, path: str, order: dict | None = None, **query: str) -> bytes:
        url = f"{self._address}/{path}?{urllib.parse.urlencode(query)}"
        data = None if order is None else json.dumps(order).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    def tags(self, plugin: str) -> dict[str, set[str]]:
        return {run: set(tags) for run, tags in json.loads(self.ask(f"{plugin}/tags")).items()}


@pytest.fixture(scope="module")
def board(runs):
    """TensorBoard over the runs, once it has read them."""
    port = many.free_port()
    program = Path(sys.executable).with_name("tensorboard")
    arguments = ["--logdir", runs, "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(
        [program, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    ) as process:
        board, has_read = Board(port), False
        last = time.monotonic() + 120
        while not has_read:
            assert process.poll() is None and time.monotonic() < last
            time.sleep(0.3)
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                tags = board.tags("scalars")
                has_read = len(tags) == 2 and tags["automaton/metrics"] >= FINAL
        yield board
        process.kill()


def test_tensorboard_shows_all_of_it(board):
    assert board.tags("scalars") == {
        "automaton/metrics": CURVES | GRADIENTS | FINAL,
        "pde/metrics": CURVES | STEPS,
    }
    of_species = {"trajectory/A", "trajectory/B", "animation"}
    assert board.tags("images") == {
        "automaton/metrics": of_species | {"hidden_channels"},
        "pde/metrics": of_species,
    }
    assert board.tags("histograms")["pde/metrics"] == {
        "parameters/diffusion/coefficient",
        "parameters/polynomial/coefficients",
    }


def test_tensorboard_plays_the_animation(board):
    of_run = {"run": "automaton/metrics", "tag": "animation"}
    (picture,) = json.loads(board.ask("images/images", sample="0", **of_run))
    assert picture["step"] == 6
    served = board.ask("images/individualImage", **dict(urllib.parse.parse_qsl(picture["query"])))
    image = Image.open(io.BytesIO(served))
    assert (image.format, image.n_frames) == ("GIF", 5)


def test_tensorboard_shows_hyperparameters_beside_final_scores(board):
    experiment = json.loads(board.ask("hparams/experiment", {"experimentName": ""}))
    differing = {info["name"] for info in experiment["hparamInfos"] if info.get("differs")}
    assert {"model.name", "optimiser.name"} <= differing
    metrics = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert FINAL | {"validation"} <= metrics
