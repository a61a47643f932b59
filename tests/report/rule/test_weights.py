"""Weights: where each of them is drawn, and what is told beside it."""

import itertools

import matplotlib
import numpy as np
import pytest

from diffpattern.report import figures
from diffpattern.report.rule.weights import (
    MOST_GROUPS,
    FirstLayer,
    Layer,
    first_layer,
    weights,
)

RANDOM = np.random.default_rng(0)
HIDDEN = Layer(
    "hidden", RANDOM.normal(size=(3, 40)), RANDOM.normal(size=40), ("A", "B", "laplacian A")
)
OUTPUT = Layer("output", 3 * RANDOM.normal(size=(40, 2)), RANDOM.normal(size=2), (), ("A", "B"))


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_matrices_lie_with_their_units_from_left_to_right_and_the_bias_behind_a_gap():
    figure = weights([HIDDEN, OUTPUT])
    (first, second), bars = figure.axes[:2], figure.axes[2:]
    assert [axes.get_title("left") for axes in (first, second)] == ["hidden", "output"]
    drawn = first.images[0].get_array().filled(np.nan)
    np.testing.assert_array_equal(drawn[:3], HIDDEN.weights)
    assert np.isnan(drawn[3]).all()
    np.testing.assert_array_equal(drawn[4], HIDDEN.bias)
    assert labels(first.yaxis) == ["A", "B", "laplacian A", "", "bias"]
    assert (first.get_ylabel(), first.get_xlabel()) == ("input", "output")
    drawn = second.images[0].get_array().filled(np.nan)
    np.testing.assert_array_equal(drawn[:, :40], OUTPUT.weights.T)
    np.testing.assert_array_equal(drawn[:, 41], OUTPUT.bias)
    assert labels(second.yaxis) == ["A", "B"]
    assert (second.get_ylabel(), second.get_xlabel()) == ("output", "input")
    # Of many units some have their numbers, the first and the last among them.
    told = labels(second.xaxis)
    assert told == ["0", "5", "10", "15", "20", "25", "30", "35", "bias"]
    # The colours are symmetric about zero, which is white.
    for axes, layer, bar in zip((first, second), (HIDDEN, OUTPUT), bars, strict=True):
        limit = max(np.abs(layer.weights).max(), np.abs(layer.bias).max())
        low, high = axes.images[0].get_clim()
        assert -low == high == pytest.approx(limit)
        assert labels(bar.yaxis)[1] == "0"
        assert min(axes.images[0].cmap(0.5)) > 0.9


def test_weights_that_are_all_zero_and_matrices_of_other_sides_can_be_drawn():
    figure = weights([Layer("R", np.zeros((2, 3)), None, ("A", "B"), ("1", "A", "B"), ("d", "t"))])
    assert figure.axes[0].images[0].get_clim() == (-1.0, 1.0)
    assert (figure.axes[0].get_ylabel(), figure.axes[0].get_xlabel()) == ("d", "t")


def boxes(figure, texts):
    """Where texts lie in a figure that is drawn, in pixels."""
    figure.draw_without_rendering()
    return [text.get_window_extent() for text in texts if text.get_text()]


def written(axes):
    below, beside = (
        [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        for axis in (axes.xaxis, axes.yaxis)
        for low, high in [sorted(axis.get_view_interval())]
    )
    titles = [axes._left_title, axes.xaxis.label, axes.yaxis.label]
    return below, beside, [*titles, *below, *beside]


POLYNOMIAL = ("1", "cells", "signal", "cells^2", "cells signal", "signal^2")
WIDE = Layer("network, hidden 0", RANDOM.normal(size=(66, 128)), RANDOM.normal(size=128),
             tuple(f"gradient x hidden {n}" for n in range(66)))  # fmt: skip


@pytest.mark.parametrize(
    "layers",
    [
        [Layer("R", np.ones((2, 6)), None, ("cells", "signal"), POLYNOMIAL, ("change of", "term"))],
        [Layer("R", np.ones((2, 10)), None, ("A", "B"),
               ("1", "A", "B", "A^2", "A B", "B^2", "A^3", "A^2 B", "A B^2", "B^3"))],
        [WIDE, HIDDEN, OUTPUT],
    ],
)  # fmt: skip
def test_all_that_is_written_has_room(layers):
    figure = weights(layers)
    width, height = figure.get_size_inches() * figure.dpi
    for axes, layer in zip(figure.axes, layers, strict=False):
        below, beside, everything = written(axes)
        for box in boxes(figure, everything):
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width + 1 and box.y1 <= height
        lowest_first = sorted(boxes(figure, beside), key=lambda box: box.y0)
        assert all(one.y1 <= two.y0 + 1 for one, two in itertools.pairwise(lowest_first))
        if all(text.get_rotation() == 0 for text in below):
            left_first = sorted(boxes(figure, below), key=lambda box: box.x0)
            assert all(one.x1 < two.x0 for one, two in itertools.pairwise(left_first))
        # A picture of a few rows is not squeezed by what is written about it.
        rows = min(layer.weights.shape) + 2 * (layer.bias is not None)
        assert axes.bbox.height / figure.dpi >= min(0.12 * rows, 3.2)
    # All names where there is room, and else every so many.
    places = figure.axes[0].yaxis.get_ticklocs()
    expected = [0, 1] if len(layers) == 1 else [*range(0, 66, 3), 67]
    assert places.tolist() == expected


def test_few_rows_all_have_their_numbers_and_large_weights_are_plain():
    layer = Layer("R", np.full((2, 16), 1700.0), np.ones(16))
    axes, bar = weights([layer]).axes
    assert labels(axes.yaxis) == ["0", "1", "", "bias"]
    assert labels(bar.yaxis) == ["−1700", "0", "1700"]


def test_first_weights_are_grouped_by_kernel_and_by_channel():
    numbers = np.arange(4.0)[:, None] * np.ones((4, 5))
    layer = FirstLayer("x", numbers, ("A", "B", "A", "B"), ("identity",) * 2 + ("laplacian",) * 2)
    by_kernel, by_channel = first_layer(layer).axes
    assert labels(by_kernel.xaxis) == ["identity", "laplacian"]
    assert labels(by_channel.xaxis) == ["A", "B"]
    medians = lambda axes: sorted(
        np.mean(line.get_ydata()) for line in axes.lines if line.get_linewidth() == 2.0
    )
    assert medians(by_kernel) == [0.5, 2.5] and medians(by_channel) == [1.0, 2.0]
    # Of very many, those of the largest weights, in their order.
    names = [f"x{number}" for number in range(2 * MOST_GROUPS)]
    many = np.where(np.arange(2 * MOST_GROUPS) % 2, 2.0, -1.0)[:, None] * np.ones(3)
    (only,) = first_layer(FirstLayer("x", many, tuple(names))).axes
    assert labels(only.xaxis) == names[1::2]
    assert only.get_xlabel().startswith(f"what is seen ({MOST_GROUPS} of {2 * MOST_GROUPS}")
    (only,) = first_layer(FirstLayer("x", numbers, ("A", "B", "A^2", "A B^12"))).axes
    assert labels(only.xaxis) == ["A", "B", "A²", "A B¹²"]


def test_charts_are_the_same_each_time_and_settings_stay():
    before, theme = dict(matplotlib.rcParams), figures.DARK
    first, second = (figures.to_svg(weights([HIDDEN], theme)) for _ in range(2))
    assert dict(matplotlib.rcParams) == before
    # A matrix is a picture.
    assert first == second and first.count(b"<image") >= 1 and len(first) < 120_000
    assert theme.ink.encode() in first
