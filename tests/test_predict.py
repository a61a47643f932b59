"""Snapshots for a user, by the command line's own functions."""

import shutil

import jax
import numpy as np
import pytest
import tiny
import tiny_runs
from PIL import Image

import diffpattern
from diffpattern import dataset, predict, train
from diffpattern.errors import InputError
from diffpattern.run_folder import RunFolder

pytestmark = pytest.mark.xdist_group("test_predict")
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    tiny_runs.run(place / "data", place / "run", **tiny_runs.LEAST_SQUARES)
    return place / "run"


@pytest.mark.parametrize(
    ("written", "times"),
    [
        ("0:6:2", [0, 2, 4, 6]),
        ("1:2:0.25", [1, 1.25, 1.5, 1.75, 2]),
        ("0,1,4.5", [0, 1, 4.5]),
        ("-2:0:2", [-2, 0]),
    ],
)
def test_times_have_both_ends(written, times):
    np.testing.assert_allclose(predict.times_of(written), times)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("0:7:2", "does not lead from the first time to the last"),
        ("0:8", "must be FIRST:LAST:STEP"),
        ("soon", "must be FIRST:LAST:STEP"),
        ("0:8:0", "must be FIRST:LAST:STEP"),
        ("8:0:2", "does not lead|two times or more"),
        ("3", "needs two times or more"),
        ("0,2,1", "each later than the one before"),
        ("0:inf:1", "more than 10000000 times"),
        ("-inf:0:1", "more than 10000000 times"),
        ("0:nan:1", "more than 10000000 times"),
        ("0:1e9:1e-3", "take a longer step"),
        ("0,inf", "must be a finite number"),
    ],
)
def test_times_that_cannot_be_are_refused(written, told):
    with pytest.raises(InputError, match=told):
        predict.times_of(written)


@slow
def test_a_prediction_from_a_file_has_the_numbers_of_the_evaluation(run, tmp_path):
    (truth,), _ = RunFolder(run).data()
    np.save(tmp_path / "mine.npy", truth.values[:, 0])
    told = predict.predict(run, str(tmp_path / "mine.npy"), truth.times, tmp_path / "out.npz")
    with np.load(RunFolder(run).predictions) as kept, np.load(tmp_path / "out.npz") as made:
        assert "3 x 5 x 8 x 8 x 2" in told
        for name in ("values", "times", "species"):
            np.testing.assert_array_equal(made[name], kept[name])
    # What it has written, it goes on from.
    later = truth.times + truth.times[-1]
    predict.predict(run, str(tmp_path / "out.npz"), later, tmp_path / "later.npy")
    with np.load(tmp_path / "out.npz") as made:
        end = made["values"][:, -1]
    np.testing.assert_array_equal(np.load(tmp_path / "later.npy")[:, 0], end)


@slow
def test_inputs_that_cannot_be_used_are_refused(run, tmp_path):
    times, output = np.array([0.0, 2.0]), tmp_path / "out.npz"
    (tmp_path / "text.npy").write_text("no array")
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    np.save(tmp_path / "flat.npy", np.zeros((8, 8), np.float32))
    for name, told in (
        ("missing.npy", "missing.npy cannot be read"),
        ("text.npy", "text.npy cannot be read"),
        ("other.npz", "has something, but needs an array called values"),
        ("flat.npy", r"flat.npy has the shape \(8, 8\), but must have 2 axes of space"),
        ("frame.png", "is for runs on images, but this one's data.name is 'gray_scott'"),
    ):
        with pytest.raises(InputError, match=told):
            predict.predict(run, str(tmp_path / name), times, output)
    assert not output.exists()


@slow
def test_a_run_on_images_goes_on_from_the_last_of_its_own(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 16, 16), np.uint8)
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(pixels):
        Image.fromarray(frame).save(folder / f"{number}.png")
    fields = {k: v for k, v in (tiny_runs.FIELDS | tiny_runs.NCA).items() if "data." not in k}
    config = tiny.config(
        **fields
        | {
            "data.name": "images",
            "data.images.train": (str(folder),),
            "data.images.downsample": 2,
            "data.images.normalisation": "range",
            "mesh.data": -1,
        }
    )
    train.train_and_evaluate(config, RunFolder(tmp_path / "run"))
    predict.predict(tmp_path / "run", str(folder), np.array([3.0, 4.0, 5.0]), tmp_path / "out.npy")
    made = np.load(tmp_path / "out.npy")
    assert made.shape == (1, 3, 8, 8, 1)
    block = pixels[-1].reshape(8, 2, 8, 2).mean((1, 3)) / 255
    np.testing.assert_allclose(made[0, 0, ..., 0], block, atol=1e-6)
    run = diffpattern.load(tmp_path / "run")
    expected = run.rollout(block[..., None], [3.0, 4.0, 5.0], key=jax.random.key(config.seed))
    np.testing.assert_allclose(made[0], expected, atol=1e-6)


def test_a_simulation_is_that_of_the_config(tmp_path):
    config = tiny.config(**{"data.directory": str(tmp_path / "data")})
    predict.simulated(config, tmp_path / "out.npz")
    (data,) = dataset.load(config)
    with np.load(tmp_path / "out.npz") as made:
        np.testing.assert_array_equal(made["values"], data["train"].values)
    shutil.rmtree(tmp_path / "data")
    config.data.name = "images"
    with pytest.raises(InputError, match="but --mode=simulate takes a system: gray_scott"):
        predict.simulated(config, tmp_path / "other.npz")
