"""Which videos a run has, and what is seen in them."""

import dataclasses
import io

import numpy as np
from PIL import Image
from tiny_reports import make_report

from diffpattern.records import States
from diffpattern.report import images, videos


def films_of(report):
    return dict(videos._films(report))


def test_a_run_has_videos_of_prediction_damage_and_hidden_channels():
    report = make_report(snapshots=4, hidden=3, moving=True)
    assert set(report.videos) == {"truth_and_prediction", "damage", "hidden_channels"}
    for video in report.videos.values():
        assert Image.open(io.BytesIO(video.gif)).n_frames == 4
        assert video.mp4[4:8] == b"ftyp"
        Image.open(io.BytesIO(video.still)).verify()
    assert set(films_of(make_report())) == {"truth_and_prediction"}
    assert set(films_of(make_report(hidden=0))) == {"truth_and_prediction", "damage"}
    assert not make_report((40,), hidden=3, moving=True).videos


def test_panes_show_the_lattices_in_one_scale_for_both():
    report = make_report(hidden=2)
    film = films_of(report)[videos.PREDICTION]
    assert [[pane.titles[0] for pane in row] for row in film.rows] == [
        ["A, truth", "A, prediction"],
        ["B, truth", "B, prediction"],
    ]
    shown = report.shown[0]
    scale = images.scale_of_states(shown.actual[..., 1], shown.truth.times)
    np.testing.assert_array_equal(
        film.rows[1][1].pictures[4], images.painted(shown.predicted[4, ..., 1], scale)
    )
    hidden = films_of(report)[videos.HIDDEN]
    assert [pane.titles[0] for pane in hidden.rows[0]] == ["hidden 1", "hidden 2"]
    # They begin at zero, the middle of their scales.
    assert hidden.rows[0][0].pictures[0].min() > 240
    assert hidden.rows[0][0].pictures[-1].min() < 100


def test_outside_of_a_mask_films_are_grey():
    mask = np.zeros((3, 16, 20))
    mask[:, 4:12, 5:15] = 1
    films = films_of(make_report(mask=mask, hidden=0))
    grey = images.Scale(0, 1).palette()[images.NOT_FINITE]
    for film in films.values():
        for pane in sum(film.rows, []):
            for picture in pane.pictures:
                np.testing.assert_array_equal((picture == grey).all(-1), mask[0] == 0)


def test_between_two_pictures_the_truth_that_is_to_come_is_seen():
    report = make_report(snapshots=2)
    start, end = report.lattices[0][1][1]
    times = np.linspace(0.0, 16.0, 5)
    between = start + (end - start) * (times / 16)[:, None, None, None]
    film = films_of(dataclasses.replace(report, states=States(1, times, between)))[
        "truth_and_prediction"
    ]
    truth, prediction = film.rows[0]
    assert truth.titles[:2] == ["A, truth at t = 0", "A, truth at t = 16"]
    assert prediction.titles[1] == "A, prediction"
    np.testing.assert_array_equal(truth.pictures[1], truth.pictures[4])
    assert (prediction.pictures[1] != prediction.pictures[4]).any()


def test_colours_are_shown_as_they_are():
    report = make_report(species=("red", "green", "blue", "alpha"))
    (row,) = films_of(report)[videos.PREDICTION].rows
    assert [pane.titles[0] for pane in row] == ["truth", "prediction"]
    red, green, blue, alpha = np.moveaxis(report.shown[0].actual[3], -1, 0)
    np.testing.assert_array_equal(
        row[0].pictures[3][..., 1], np.rint(255 * np.clip(green + (1 - alpha), 0, 1))
    )


def test_many_species_stand_two_in_a_row():
    species = tuple("ABCDEFGH")
    rows = films_of(make_report(species=species))[videos.PREDICTION].rows
    assert [len(row) for row in rows] == [4, 4, 4]  # of the first six
