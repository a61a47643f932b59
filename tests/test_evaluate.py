"""A run is scored from its folder alone, anywhere; what is broken in it is named."""

import json
import math
import shutil

import numpy as np
import pytest
import tifffile
import tiny
import tiny_runs
from absl import logging

from diffpattern import drawing, prediction, train
from diffpattern import evaluate as evaluation
from diffpattern.errors import InputError
from diffpattern.evaluate import evaluate
from diffpattern.parallel.mesh import make_mesh
from diffpattern.run_folder import RunFolder
from diffpattern.training.checkpoints import Checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("test_evaluate")]

REPORT = {"evaluation.report": True}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of a PDE and of an automaton, scored on 8 devices; where they were made is gone."""
    place = tmp_path_factory.mktemp("place")
    scores = {
        "pde": tiny_runs.run(place / "data", place / "pde", **tiny_runs.LEAST_SQUARES | REPORT),
        "nca": tiny_runs.run(place / "data", place / "nca", **tiny_runs.NCA | REPORT),
    }
    moved = tmp_path_factory.mktemp("moved")
    for name in scores:
        shutil.move(place / name, moved / name)
    shutil.rmtree(place)
    return moved, scores


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the PDE's run, to be damaged."""
    return RunFolder(shutil.copytree(trained[0] / "pde", tmp_path / "run"))


def change(folder, **sections):
    """Changes fields of the config in a run's folder."""
    config = json.loads((folder.path / "config.json").read_text())
    for section, fields in sections.items():
        config[section] |= fields
    (folder.path / "config.json").write_text(json.dumps(config))


def without_report(folder):
    """Scores are all that is wanted: the report would take longer than all the rest."""
    change(folder, evaluation={"report": False})


@pytest.fixture
def warnings(monkeypatch):
    told = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: told.append(text % values))
    return told


def numbers(scores):
    """All numbers in nested scores, in order; None as NaN."""
    if isinstance(scores, dict):
        return [number for value in scores.values() for number in numbers(value)]
    if isinstance(scores, list):
        return [number for value in scores for number in numbers(value)]
    return [] if isinstance(scores, str) else [math.nan if scores is None else float(scores)]


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("name", ["pde", "nca"])
def test_scores_do_not_depend_on_place_and_devices(trained, tmp_path, monkeypatch, name, devices):
    moved, expected = trained
    folder = RunFolder(shutil.copytree(moved / name, tmp_path / "run"))
    change(folder, mesh={"data": 64})  # it was trained on more than there are
    if devices == 1:
        without_report(folder)
    monkeypatch.setattr(evaluation, "widest_mesh", lambda *_: make_mesh(devices))
    found = evaluate(folder)
    assert json.loads(folder.scores.read_text()) == found
    for key in ("times", "nrmse", "valid_time", "diffusion", "equation", "baselines"):
        assert key in found
    for key in found:
        np.testing.assert_allclose(numbers(found[key]), numbers(expected[name][key]), rtol=1e-5)
    stored = np.load(folder.predictions)
    assert stored["values"].shape == (3, 5, 8, 8, 2)
    assert stored["times"].tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    if devices == 1:
        return
    assert folder.report.stat().st_size > 10_000
    assert {path.stem for path in folder.videos.iterdir()} >= {"truth_and_prediction", "damage"}


def test_the_best_checkpoint_is_taken_unless_one_is_named(folder, capsys):
    with Checkpoints(folder.checkpoints) as checkpoints:
        best, steps = checkpoints.best, checkpoints.steps()
    other = next(step for step in steps if step != best)
    assert evaluate(folder, other)["step"] == other
    assert f"step {other}" in folder.report.read_text()
    without_report(folder)
    assert evaluate(folder)["step"] == best
    shown = capsys.readouterr().out
    assert f"Checkpoint of step {best}" in shown
    assert f"Checkpoint of step {other}" in shown
    assert str(folder.scores) in shown


def damage(folder, step):
    for file in (folder.checkpoints / str(step) / "parameters").rglob("d/*"):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)


def test_a_damaged_best_checkpoint_is_passed_over_with_a_warning(folder, warnings):
    with Checkpoints(folder.checkpoints) as checkpoints:
        best = checkpoints.best
        newest = max(step for step in checkpoints.steps() if step != best)
    damage(folder, best)
    without_report(folder)
    assert evaluate(folder)["step"] == newest
    assert any(str(folder.checkpoints / str(best)) in text for text in warnings)


def remove(*names):
    def break_it(folder):
        for name in names:
            path = folder.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return break_it


def write(name, content):
    return lambda folder: (folder.path / name).write_bytes(content)


def damage_all(folder):
    with Checkpoints(folder.checkpoints) as checkpoints:
        steps = checkpoints.steps()
    for step in steps:
        damage(folder, step)


def of_another_model(folder):
    polynomial = {"order": 2, "constraints": [], "position": False}
    rda = json.loads((folder.path / "config.json").read_text())["model"]["rda"]
    change(folder, model={"rda": rda | {"polynomial": polynomial}})


@pytest.mark.parametrize(
    ("break_it", "step", "words"),
    [
        (remove("config.json"), None, ["is not the folder of a run"]),
        (remove("checkpoints"), None, ["checkpoints", "no checkpoint"]),
        (remove("data/test.npz"), None, ["data/test.npz"]),
        (remove("data/statistics.json"), None, ["data/statistics.json"]),
        (write("config.json", b"{"), None, ["config.json"]),
        (write("config.json", b'{"training": {"step": 3}}'), None, ["config.json", "steps"]),
        (write("run.json", b"[1]"), None, ["run.json"]),
        (write("data/test.npz", b"PK"), None, ["data/test.npz"]),
        (write("eval", b""), None, ["eval/scores.json", "cannot be written"]),
        (damage_all, None, ["checkpoints", "intact"]),
        (lambda folder: damage(folder, 6), 6, ["checkpoints/6", "damaged"]),
        (lambda folder: None, 999, ["checkpoints/999", "does not exist"]),
        (lambda folder: None, -1, ["checkpoints/-1", "does not exist"]),
        (of_another_model, None, ["another model", "polynomial/coefficients"]),
    ],
)
def test_what_is_broken_is_named_and_nothing_written(folder, break_it, step, words, warnings):
    remove("eval", "report.html")(folder)
    break_it(folder)
    before = tiny_runs.listing(folder.path)
    with pytest.raises(InputError) as error:
        evaluate(folder, step)
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    for word in [str(folder.path), *words]:
        assert word in message
    assert tiny_runs.listing(folder.path) == before


@pytest.fixture
def film(tmp_path):
    """An OME-TIFF of two channels of other sizes about other levels, and its numbers."""
    noise = np.random.default_rng(0).random((6, 8, 8, 2))
    smooth = sum(np.roll(noise, step, axis) for step in range(3) for axis in (1, 2))
    frames = np.float32([500.0, 3.0] + smooth * [200.0, 0.1])
    metadata = {"axes": "TCYX", "Channel": {"Name": ["SOX2", "BRA"]}, "PhysicalSizeX": 0.65}
    path = tmp_path / "film.ome.tif"
    stored = np.moveaxis(frames, -1, 1)
    tifffile.imwrite(
        path, stored, photometric="minisblack", metadata=metadata | {"TimeIncrement": 2.0}
    )
    return path, frames


def test_normalised_data_are_predicted_and_kept_in_units_of_their_own(film, tmp_path, capsys):
    path, frames = film
    fields = {
        "data.name": "images",
        "data.images.train": (str(path),),
        "data.images.normalisation": "standard",
        "training.batch": 2,
        "training.window": 1,
        "training.steps": 2,
        "training.checkpoint_every": 2,
        "mesh.data": 2,
    }
    folder = RunFolder(tmp_path / "run")
    config = tiny.config(**tiny_runs.LEAST_SQUARES | fields | REPORT)
    scores = train.train_and_evaluate(config, folder, config_path="configs/tiny.py")

    # In the file's units: the truth, by what is stored beside it, and the predictions as they are.
    (truth,), _ = folder.data()
    np.testing.assert_allclose(truth.in_units(truth.values)[0], frames, rtol=1e-5)
    predicted = np.load(folder.predictions)["values"]
    np.testing.assert_allclose(predicted[0, 0], frames[0], rtol=1e-5)
    np.testing.assert_allclose(predicted[0].mean((0, 1, 2)), frames.mean((0, 1, 2)), rtol=0.2)

    # What is not in them is told, with what brings it there.
    offset, scale = frames.mean((0, 1, 2)), frames.std((0, 1, 2))
    units = scores["units"]
    assert (units["length"], units["time"]) == ("µm", "s")
    np.testing.assert_allclose(list(units["offset"].values()), offset, rtol=1e-5)
    np.testing.assert_allclose(list(units["scale"].values()), scale, rtol=1e-5)
    shown = " ".join(capsys.readouterr().out.split())
    for told in ("The unit of length is µm.", f"SOX2 = {offset[0]:.4g} + {scale[0]:.4g} * value"):
        assert told in shown and told in folder.report.read_text()


def test_a_rule_that_diverges_is_scored_all_the_same(folder, monkeypatch):
    make = prediction.make_predictor
    monkeypatch.setattr(
        evaluation,
        "make_predictor",
        lambda *arguments, **options: (
            lambda parameters: make(*arguments, **options)(parameters) * np.nan
        ),
    )
    found = evaluate(folder)
    assert found["nrmse"]["A"] == [None] * 5
    assert found["valid_time"] == {"A": 0.0, "B": 0.0}
    assert "Grey: where the prediction is not a finite number" in folder.report.read_text()


def test_what_the_report_shows_is_kept_and_it_is_drawn_again_from_that(trained, tmp_path):
    folder = RunFolder(shutil.copytree(trained[0] / "nca", tmp_path / "nca"))
    kept = tiny_runs.listing(folder.path)
    states, damage = (np.load(path) for path in (folder.states, folder.damage))
    assert states["values"].shape[1:] == (8, 8, 4)
    predicted = np.load(folder.predictions)["values"][states["trajectory"]]
    start, end = states["times"].searchsorted([0.0, 8.0])
    np.testing.assert_allclose(states["values"][start, ..., :2], predicted[0], atol=2e-3)
    assert states["times"][end] == 8.0
    written = json.loads(folder.scores.read_text())["damage"]
    assert written["trajectory"] == states["trajectory"] == damage["trajectory"]
    np.testing.assert_allclose(written["nrmse"]["B"], damage["nrmse"][:, 1])
    assert written["times"][0] == 4.0

    # Neither the rule nor its checkpoints are needed.
    shutil.rmtree(folder.checkpoints)
    remove("report.html", "videos")(folder)
    drawing.draw(folder)
    again = tiny_runs.listing(folder.path)
    assert again == {name: it for name, it in kept.items() if not name.startswith("checkpoints")}
    assert all(
        f'id="{name}"' in folder.report.read_text() for name in ("damage", "hidden-channels")
    )


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (remove("config.json"), ["is not the folder of a run"]),
        (remove("eval"), ["no predictions yet", "--mode=eval"]),
        (remove("eval/predictions.npz"), ["eval/predictions.npz", "No such file", "--mode=eval"]),
        (write("eval/predictions.npz", b"PK"), ["eval/predictions.npz", "damaged", "--mode=eval"]),
        (write("eval/scores.json", b"{"), ["eval/scores.json", "damaged", "--mode=eval"]),
        (write("eval/states.npz", b"PK"), ["eval/states.npz", "damaged", "--mode=eval"]),
        (remove("data/test.npz"), ["data/test.npz"]),
    ],
)
def test_what_cannot_be_drawn_is_told_and_nothing_written(folder, break_it, words):
    remove("report.html", "videos")(folder)
    break_it(folder)
    before = tiny_runs.listing(folder.path)
    with pytest.raises(InputError) as error:
        drawing.draw(folder)
    message = str(error.value)
    assert "\n" not in message and message.endswith(".")
    for word in [str(folder.path), *words]:
        assert word in message
    assert tiny_runs.listing(folder.path) == before


def test_predictions_of_other_data_are_not_drawn(folder):
    values = np.load(folder.predictions)["values"]
    np.savez(folder.predictions, values=values[:, 1:])
    with pytest.raises(InputError, match=r"predictions\.npz .*\(3, 4, 8, 8, 2\).*--mode=eval"):
        drawing.draw(folder)


def test_a_run_that_was_scored_before_there_were_records_has_a_report(folder):
    remove("eval/states.npz", "eval/damage.npz", "videos")(folder)
    drawing.draw(folder)
    assert 'id="damage"' not in folder.report.read_text()
    assert {path.stem for path in folder.videos.iterdir()} == {"truth_and_prediction"}


def test_without_a_report_scores_and_predictions_are_all(trained, folder):
    remove("eval", "report.html", "videos")(folder)
    without_report(folder)
    scores = evaluate(folder)
    assert sorted(path.name for path in (folder.path / "eval").iterdir()) == [
        "predictions.npz",
        "scores.json",
    ]
    assert not folder.report.exists() and not folder.videos.exists()
    assert scores["nrmse"] == trained[1]["pde"]["nrmse"]
