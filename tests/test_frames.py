"""Frames of one's own: a folder with six pictures is all that `configs/frames.py` needs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_recipes import against_persistence

from diffpattern import configuration, predict, train
from diffpattern.data import images
from diffpattern.errors import InputError
from diffpattern.run_folder import RunFolder

CONFIG = Path(__file__).parents[1] / "configs" / "frames.py"
# Pixels down and across, more than the lattice may have cells.
SIZE = (40, 72)


def written(folder, count=6):
    """A red disc that grows on blue, as opaque pictures in a folder."""
    folder.mkdir()
    y, x = np.indices(SIZE)
    away = np.hypot(y - SIZE[0] / 2, x - SIZE[1] / 2)
    for number in range(count):
        inside = 1 / (1 + np.exp((away - 6 - 2 * number) / 2))
        opaque = np.ones(SIZE)
        pixels = np.stack([inside, 0.3 * inside**2, 1 - inside, opaque], axis=-1)
        Image.fromarray((255 * pixels).astype(np.uint8)).save(folder / f"frame{number}.png")
    return folder


def config_of(folder):
    return configuration.call(f"{CONFIG}:{folder}", "get_config")


def test_the_lattice_fits_the_frames_and_the_windows_their_number(tmp_path):
    config = config_of(written(tmp_path / "six"))
    configuration.check(config)
    assert config.data.images.downsample == 2 and config.training.window == 5
    assert config.data.images.select == ("red", "green", "blue")
    assert config_of(written(tmp_path / "three", 3)).training.window == 2
    for count, told in ((1, "one frame alone"), (0, "is a folder without images")):
        with pytest.raises(InputError, match=told):
            config_of(written(tmp_path / str(count), count))


@pytest.mark.slow
def test_six_pictures_become_a_rule_and_its_pictures(tmp_path):
    folder = written(tmp_path / "frames")
    config = config_of(folder)
    config.update_from_flattened_dict(
        {
            "model.nca.steps_per_interval": 3,
            "training.steps": 60,
            "training.checkpoint_every": 60,
            "optimiser.optax.learning_rate": 0.01,
            "optimiser.optax.average_decay": 0.0,
            "evaluation.report": False,
        }
    )
    scores = train.train_and_evaluate(config, RunFolder(tmp_path / "run"))
    assert not scores["unseen"]
    assert against_persistence(scores) > 1.5

    # From the first picture on, twice as long as the data, without running away.
    times, first = np.arange(11.0), folder / "frame0.png"
    predict.predict(tmp_path / "run", str(first), times, tmp_path / "out.npy")
    made = np.load(tmp_path / "out.npy")
    assert made.shape == (1, 11, 20, 36, 3) and made.min() > -1 and made.max() < 2
    predict.predict(tmp_path / "run", str(first), times, tmp_path / "pictures")
    pictures = images.read(tmp_path / "pictures")
    assert pictures.frames.shape == (11, 20, 36, 3)
    np.testing.assert_allclose(pictures.frames, np.clip(made[0], 0, 1), atol=0.003)
