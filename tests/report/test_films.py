"""Films: how many frames there are, of what size and colours, read back from what was written."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from diffpattern.report import films, images
from diffpattern.report.films import Film, Pane


def make_film(frames=5, shape=(8, 12), colours=None):
    """Two rows of two panes: noise on a colour scale, or plain colours that change with time."""
    rng = np.random.default_rng(0)
    scale = images.Scale(0.0, 1.0)
    pictures = images.painted(rng.random((4, frames, *shape)), scale)
    if colours is not None:
        pictures = np.broadcast_to(np.uint8(colours)[:, :, None, None], (4, frames, *shape, 3))
    panes = [Pane(["noise"] * frames, of_pane) for of_pane in pictures]
    return Film([panes[:2], panes[2:]], np.arange(float(frames)))


def read_mp4(content):
    """The frames of a video [F, rows, columns, 3], and its stream."""
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return np.stack(frames), stream.codec_context


def test_a_gif_has_a_frame_for_each_time_and_exact_colours():
    film = make_film()
    gif = Image.open(io.BytesIO(films.to_gif(film)))
    assert gif.n_frames == 5
    assert gif.info["loop"] == 0
    assert gif.size == Image.open(io.BytesIO(films.last_frame(film))).size
    for index in (0, 3):
        gif.seek(index)
        np.testing.assert_array_equal(np.asarray(gif.convert("RGB")), film.frame(index))


def test_a_gif_of_many_colours_comes_near_them():
    # As those of photographs, most alike.
    colours = np.random.default_rng(0).integers(120, 220, (32, 24, 3), dtype=np.uint8)
    film = Film([[Pane(["a photograph"] * 2, np.stack([colours, 255 - colours]))]], np.arange(2.0))
    frame = np.asarray(Image.open(io.BytesIO(films.to_gif(film))).convert("RGB")).astype(float)
    assert np.abs(frame - film.frame(0)).mean() < 8
    np.testing.assert_allclose(frame[0, 0], film.frame(0)[0, 0], atol=3)  # the ground


def test_a_gif_drops_frames_to_stay_small(monkeypatch):
    film = make_film(frames=30, shape=(32, 32))
    full = films.to_gif(film)
    monkeypatch.setattr(films, "GIF_BYTES", len(full) // 2)
    small = films.to_gif(film)
    assert len(small) <= len(full) // 2
    assert 2 < Image.open(io.BytesIO(small)).n_frames < 30


@pytest.mark.parametrize("shape", [(8, 12), (7, 33)])
def test_an_mp4_has_all_frames_in_colours_that_come_near(shape):
    colours = np.array([[253, 231, 37], [68, 1, 84], [20, 90, 160], [150, 150, 150]])
    film = make_film(6, shape, np.repeat(colours[:, None], 6, axis=1))
    frames, stream = read_mp4(films.to_mp4(film))
    expected = film.frame(0, scale=2)
    assert frames.shape == (6, *expected.shape)
    assert not np.any(np.array(expected.shape[:2]) % 2)
    assert (stream.name, stream.pix_fmt) == ("h264", "yuv420p")
    # Inside of the panes, that is away from edges, where colours are shared by four pixels.
    inside = (expected == np.roll(expected, (5, 5), (0, 1))).all(-1)
    inside &= (expected == np.roll(expected, (-5, -5), (0, 1))).all(-1)
    off = np.abs(frames[0].astype(float) - expected)[inside]
    assert off.mean() < 3 and np.percentile(off, 99) < 12


def test_an_mp4_gets_coarser_to_stay_small(monkeypatch):
    film = make_film(frames=4, shape=(32, 32))
    fine = films.to_mp4(film)
    monkeypatch.setattr(films, "MP4_BYTES", len(fine) - 1)
    coarse = films.to_mp4(film)
    assert len(coarse) < len(fine)
    assert len(read_mp4(coarse)[0]) == 4


def test_frames_tell_the_time_and_small_lattices_are_enlarged():
    film = make_film(3)
    first, last = film.frame(0), film.frame(2)
    assert film.magnification == 16
    height = 2 * (16 * 8) + 2 * (24 + 8) + 24 + 8
    assert first.shape == (height, 3 * 8 + 2 * 16 * 12, 3)
    # The line below: the number, and the bar.
    assert (first[-24:] != last[-24:]).any()
    assert (last[-14, :, 0] > 200).sum() > 5 * (first[-14, :, 0] > 200).sum()


def test_a_short_film_is_slow_enough_to_follow():
    film = make_film()
    assert film.seconds(3) == films.LONGEST
    assert film.seconds(20) == pytest.approx(0.2)
    assert film.seconds(96) == films.SHORTEST
    assert film.shown() == [0, 1, 2, 3, 4]
