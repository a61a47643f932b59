"""What TensorBoard shows: curves that add up to the scores, and pictures of what was predicted."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from diffpattern import scores, summaries
from diffpattern.data.trajectories import Trajectories
from diffpattern.grid.geometry import Grid
from diffpattern.report import images
from diffpattern.report.images import Scale
from diffpattern.summaries import Row
from diffpattern.validation import Validation

TIMES = 4.0 * np.arange(5)


def validation(shape=(6, 8), hidden=3, known=None, count=2):
    """A validation whose predictions are the truth, shifted."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(count, len(TIMES), *shape, 2)).astype(np.float32)
    grid = Grid(shape, (1.0,) * len(shape))
    truth = Trajectories(values, TIMES, ("A", "B"), grid, known=known)
    prediction = values + 0.5
    revealed = summaries.revealed(truth)
    channels = rng.normal(size=(len(revealed), *shape, hidden)) if hidden else None
    errors = scores.errors_of_all([prediction], [truth], np.full(2, 0.1))
    return Validation(errors, truth, prediction, revealed, channels)


def opened(content):
    return Image.open(io.BytesIO(content))


def test_curves_are_parts_of_the_score():
    rng = np.random.default_rng(1)
    one = validation()
    one.errors[:, 1:] = rng.uniform(0.1, 2.0, one.errors[:, 1:].shape)
    curves = summaries.curves(one)
    by_time = [curves[f"validation/t={time:g}"] for time in TIMES[1:]]
    by_trajectory = [curves[f"validation/trajectory_{n}"] for n in range(2)]
    assert set(curves) - {"validation"} == {
        *(f"validation/t={time:g}" for time in (4, 8, 12, 16)),
        *(f"validation/trajectory_{number}" for number in range(2)),
    }
    assert np.mean(by_time) == pytest.approx(curves["validation"])
    # The median of two is their mean.
    assert np.mean(by_trajectory) == pytest.approx(curves["validation"])
    assert curves["validation"] == scores.overall(one.errors)
    assert by_trajectory[0] == pytest.approx(one.errors[0, 1:].mean())
    assert by_time[0] == pytest.approx(one.errors[:, 1].mean())


def test_there_are_few_curves_of_many_trajectories_and_times():
    one = validation(shape=(3, 3), count=30)
    curves = summaries.curves(one)
    assert sum("trajectory" in name for name in curves) == summaries.TRAJECTORIES
    long = np.ones((2, 99, 3, 3, 2), np.float32)
    truth = Trajectories(long, np.arange(99.0), ("A", "B"), Grid((3, 3), (1.0, 1.0)))
    curves = summaries.curves(Validation(np.ones((2, 99, 2)), truth, long, [0], None))
    times = [name for name in curves if "t=" in name]
    assert len(times) <= summaries.TIMES
    assert times[0] == "validation/t=1" and times[-1] == "validation/t=98"


def test_what_was_not_seen_has_no_curve_and_no_picture():
    known = np.ones((2, 5, 2))
    known[:, 2] = known[:, :, 1] = 0
    one = validation(known=known, hidden=0)
    curves = summaries.curves(one)
    assert "validation/t=8" not in curves
    assert all(math.isfinite(value) for value in curves.values())
    pictures = summaries.pictures(one)
    assert set(pictures) == {"trajectory/A"}
    whole = summaries.pictures(validation(hidden=0))["trajectory/A"]
    assert opened(pictures["trajectory/A"]).width < opened(whole).width


def place(pixels, expected):
    """The upper left corner (y, x) at which a picture [h, w, 3] lies in another."""
    height, width, _ = expected.shape
    for y, x in np.argwhere((pixels == expected[0, 0]).all(-1)):
        if np.array_equal(pixels[y : y + height, x : x + width], expected):
            return y, x
    raise AssertionError("it is not there")


def test_a_sheet_shows_each_cell_in_its_colour_and_each_lattice_in_its_place():
    values = np.array([[0.0, 1.0, 2.0], [3.0, math.nan, 4.0]])
    rows = [
        Row("up", Scale(0.0, 4.0), [values, values[::-1]]),
        Row("down", Scale(-8.0, 8.0), [-values, values[:, ::-1]]),
    ]
    pixels = np.asarray(opened(summaries.sheet(["t = 0", "t = 1"], rows)).convert("RGB"))
    found = []
    for row in rows:
        colours = [row.scale.palette()[row.scale.indices(pane)] for pane in row.panes]
        found += [place(pixels, pane.repeat(38, 0).repeat(38, 1)) for pane in colours]
    (first, second), (third, fourth) = found[:2], found[2:]
    assert first[0] == second[0] < third[0] == fourth[0]
    assert first[1] == third[1] < second[1] == fourth[1]


@pytest.mark.parametrize("shape", [(20,), (6, 8), (4, 90), (90, 4), (4, 5, 6)], ids=str)
def test_pictures_are_of_lattices_of_any_dimension(shape):
    one = validation(shape)
    pictures, film = summaries.pictures(one), summaries.animation(one)
    assert set(pictures) == {"trajectory/A", "trajectory/B", "hidden_channels"}
    for picture in pictures.values():
        assert opened(picture).format == "PNG"
        assert len(opened(picture).getcolors()) > 50
    if len(shape) == 1:
        assert film == {}
    else:
        gif = opened(film["animation"])
        assert (gif.format, gif.n_frames) == ("GIF", len(TIMES))
    more = summaries.pictures(validation(shape, hidden=6))["hidden_channels"]
    assert opened(more).height > 1.7 * opened(pictures["hidden_channels"]).height


def test_predictions_that_diverge_are_drawn_too():
    one = validation()
    one.prediction[0, 2:] = np.nan
    one.hidden[..., 0] = np.inf
    pictures = summaries.pictures(one)
    grey = tuple(Scale(0.0, 1.0).palette()[images.NOT_FINITE])
    for tag in ("trajectory/A", "hidden_channels"):
        colours = {colour for _, colour in opened(pictures[tag]).convert("RGB").getcolors()}
        assert grey in colours


def test_a_rule_without_hidden_channels_has_no_picture_of_them():
    assert "hidden_channels" not in summaries.pictures(validation(hidden=0))


def test_an_animation_of_a_long_trajectory_has_few_frames():
    values = np.random.default_rng(0).normal(size=(1, 200, 5, 5, 1)).astype(np.float32)
    truth = Trajectories(values, np.arange(200.0), ("A",), Grid((5, 5), (1.0, 1.0)))
    one = Validation(np.zeros((1, 200, 1)), truth, values, [0], None)
    assert opened(summaries.animation(one)["animation"]).n_frames == summaries.FRAMES


def test_final_scores_are_numbers():
    result = {
        "times": [0.0, 4.0, 8.0],
        "nrmse": {"A": [0.0, 0.1, 0.3], "B": [0.0, 0.2, None], "C": [0.0, 0.5, None]},
        "valid_time": {"A": 8.0, "B": 4.0, "C": None},
        "known": {"A": [0, 1, 2], "B": [0, 1, 2], "C": [0, 1]},
    }
    assert summaries.of_test(result) == {
        "test/nrmse/A": 0.3,
        "test/valid_time/A": 8.0,
        "test/nrmse/B": math.inf,
        "test/valid_time/B": 4.0,
        "test/nrmse/C": 0.5,
        "test/valid_time/C": 8.0,
    }


def test_histograms_are_of_each_array():
    parameters = {"diffusion": {"coefficient": np.ones(2)}, "out": {"bias": np.zeros(3)}}
    assert {tag: array.shape for tag, array in summaries.histograms(parameters).items()} == {
        "parameters/diffusion/coefficient": (2,),
        "parameters/out/bias": (3,),
    }
