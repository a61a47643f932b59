"""Event files hold what was written, as TensorBoard reads it."""

import io
import os
import subprocess
import sys

import event_files
import numpy as np
import pytest
from PIL import Image

from diffpattern.errors import TrainingError
from diffpattern.training.events import EventFiles


def encoded(kind, count=1):
    first, *rest = [Image.new("L", (7, 5), 40 * index) for index in range(count)]
    content = io.BytesIO()
    more = {"save_all": True, "append_images": rest} if rest else {}
    first.save(content, kind, **more)
    return content.getvalue()


def test_everything_is_read_back(tmp_path):
    values = np.array([0.0, 1.0, 1.0, 4.0], np.float32)
    pictures = {"still": encoded("PNG"), "moving": encoded("GIF", 3)}
    # So short that TensorFlow cannot be there before the end.
    with EventFiles(tmp_path, {"seed": 3, "data.name": "gray_scott", "fast": True}) as files:
        files.write(1, {"loss": 4.0, "norm/a b": 1.0})
        files.write(2, {"loss": float("inf")}, {"weights": values}, pictures)
    with EventFiles(tmp_path) as files:
        files.write(2, {"test/A": 0.5})

    found = event_files.read(tmp_path)
    assert found["scalars"] == {
        "loss": [(1, 4.0), (2, float("inf"))],
        "norm/a b": [(1, 1.0)],
        "test/A": [(2, 0.5)],
    }
    ((step, buckets),) = found["histograms"]["weights"]
    assert step == 2
    assert (buckets[0, 0], buckets[-1, 1], buckets[:, 2].sum()) == (0.0, 4.0, 4)
    assert found["images"] == {tag: [(2, (7, 5, bytes_))] for tag, bytes_ in pictures.items()}
    assert Image.open(io.BytesIO(found["images"]["moving"][0][1][2])).n_frames == 3
    ((_, session),) = found["hparams"]["_hparams_/session_start_info"]
    kinds = {name: value.WhichOneof("kind") for name, value in session.hparams.items()}
    told = {name: getattr(session.hparams[name], kind) for name, kind in kinds.items()}
    assert told == {"seed": 3, "data.name": "gray_scott", "fast": True}


@pytest.mark.slow
def test_a_program_that_is_no_command_hears_nothing_of_tensorflow(tmp_path):
    script = (
        "import jax, pathlib, sys\n"
        "from diffpattern.training.events import EventFiles\n"
        "with EventFiles(pathlib.Path(sys.argv[1])) as files:\n"
        "    files.write(1, {'loss': 4.0})\n"
        "assert 'tensorflow' in sys.modules\n"
    )
    known = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, env=known, check=True, capture_output=True, text=True)
    assert done.stdout + done.stderr == ""
    assert event_files.read(tmp_path)["scalars"] == {"loss": [(1, 4.0)]}


def test_what_is_no_picture_ends_the_run_in_a_sentence(tmp_path):
    told = f"^Event files cannot be written to {tmp_path} \\(.*\\)\\.$"
    with pytest.raises(TrainingError, match=told), EventFiles(tmp_path) as files:
        files.write(1, pictures={"a": b"no picture"})
