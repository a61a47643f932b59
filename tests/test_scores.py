"""Scores against values worked out by hand."""

import json

import numpy as np
import pytest

from diffpattern import scores
from diffpattern.data.trajectories import Trajectories
from diffpattern.grid.geometry import Grid


def _trajectories(values, species=("A",)):
    """Trajectories on a line of cells from values [N, T, X] or [N, T, X, C]."""
    values = np.asarray(values, np.float32)
    if values.ndim == 3:
        values = values[..., None]
    times = np.arange(values.shape[1]) * 10.0
    return Trajectories(values, times, species, Grid((values.shape[2],)))


def test_nrmse_is_error_over_fluctuation():
    truth = np.array([[[1.0, 3.0], [2.0, 6.0]]])[..., None]  # fluctuation 1, then 2
    prediction = truth + np.array([0.5, -0.5])[:, None]
    np.testing.assert_allclose(scores.nrmse(prediction, truth, [0.0])[..., 0], [[0.5, 0.25]])


def test_nrmse_treats_each_channel_and_trajectory_by_itself():
    rng = np.random.default_rng(0)
    truth, error = rng.normal(size=(2, 3, 4, 5, 6, 2)), rng.normal(size=(2, 3, 4, 5, 6, 2))
    result = scores.nrmse(truth + error, truth, [0.0, 0.0])
    assert result.shape == (2, 3, 2)
    one, wrong = truth[1, 2, ..., 1], error[1, 2, ..., 1]
    expected = np.linalg.norm(wrong) / np.linalg.norm(one - one.mean())
    np.testing.assert_allclose(result[1, 2, 1], expected)


def test_a_lattice_of_copies_scores_alike():
    truth = np.array([1.0, 3.0, 2.0])[None, None, :, None]
    large = np.tile(truth, (1, 1, 7, 1))
    for floor in ([0.0], [10.0]):
        small_score = scores.nrmse(truth + 0.1, truth, floor)
        np.testing.assert_allclose(scores.nrmse(large + 0.1, large, floor), small_score)


def test_floor_replaces_a_smaller_denominator_only():
    truth = np.array([[[1.0, 1.0], [0.0, 4.0]]])[..., None]  # fluctuation 0, then 2
    np.testing.assert_allclose(scores.nrmse(truth + 1, truth, [0.5])[..., 0], [[2.0, 0.5]])


def test_without_floor_a_uniform_truth_scores_zero_or_infinity():
    truth = np.ones((1, 1, 4, 2))
    prediction = truth + np.array([0.0, 0.1])
    np.testing.assert_array_equal(scores.nrmse(prediction, truth, [0.0, 0.0])[0, 0], [0.0, np.inf])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_scores_infinity(bad):
    truth = np.random.default_rng(0).normal(size=(1, 3, 4, 1)).astype(np.float32)
    prediction = truth.copy()
    prediction[0, 1, 2] = bad
    np.testing.assert_array_equal(scores.nrmse(prediction, truth, [0.1])[0, :, 0], [0, np.inf, 0])


def test_nrmse_refuses_shapes_that_differ():
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 1\).*\(1, 3, 3, 1\)"):
        scores.nrmse(np.zeros((1, 2, 3, 1)), np.zeros((1, 3, 3, 1)), [1.0])


def test_valid_time_is_the_first_time_above_the_threshold():
    times = [0, 5, 10, 20]
    assert scores.valid_time([0.0, 0.2, 0.21, 0.1], times, 0.2) == 10
    assert scores.valid_time([0.0, 0.2, 0.1, 0.2], times, 0.2) is None
    assert scores.valid_time([0.0, 0.2, np.inf, 0.2], times, 0.2) == 10
    assert scores.valid_time([0.3, 0.0, 0.0, 0.0], times, threshold=0.25) == 0


def test_baselines():
    truth = np.arange(12.0).reshape(1, 3, 2, 2)
    np.testing.assert_array_equal(scores.persistence(truth)[0], np.stack([truth[0, 0]] * 3))
    assert (scores.mean([7.0, 8.0], truth) == [7.0, 8.0]).all()
    assert scores.mean([7.0, 8.0], truth).shape == truth.shape


def test_summary_holds_medians_ranges_and_baselines():
    # Three trajectories whose fluctuation is 1 throughout and whose mean grows by 1 a snapshot.
    truth = np.array([[[-1.0, 1.0], [0.0, 2.0], [1.0, 3.0]]] * 3)
    error = np.array([[0.0, 0.1, 0.1], [0.0, 0.1, 0.3], [0.0, 0.25, 0.5]])
    summary = scores.summarise(
        [(truth + error[..., None])[..., None]],
        [_trajectories(truth)],
        training_mean=[1.0],
        floor=[0.05],
        threshold=0.2,
    )
    assert summary["times"] == [0.0, 10.0, 20.0]
    assert summary["trajectories"] == 3
    assert summary["threshold"] == 0.2
    assert summary["floor"] == {"A": 0.05}
    assert summary["nrmse"]["A"] == pytest.approx([0.0, 0.1, 0.3], abs=1e-6)
    assert summary["nrmse_range"]["A"]["low"] == pytest.approx([0.0, 0.1, 0.1], abs=1e-6)
    assert summary["nrmse_range"]["A"]["high"] == pytest.approx([0.0, 0.25, 0.5], abs=1e-6)
    assert summary["valid_time"] == {"A": 20.0}  # the median of never, 20 and 10
    assert summary["valid_time_range"] == {"A": {"low": 10.0, "high": None}}
    persistence = summary["baselines"]["persistence"]
    assert persistence["nrmse"]["A"] == pytest.approx([0.0, 1.0, 2.0], abs=1e-6)
    assert persistence["valid_time"] == {"A": 10.0}
    average = summary["baselines"]["mean"]
    assert average["nrmse"]["A"] == pytest.approx(np.sqrt([2.0, 1.0, 2.0]), abs=1e-6)
    assert average["valid_time"] == {"A": 0.0}


def test_summary_is_json_and_null_where_not_finite():
    truth = np.array([[[0.0, 1.0, 2.0]] * 3] * 2)[..., None] * [1.0, 2.0]
    prediction = truth.astype(np.float32)
    prediction[:, 1:, 0, 1] = np.nan
    summary = scores.summarise(
        [prediction],
        [_trajectories(truth, ("A", "B"))],
        training_mean=[1.0, 2.0],
        floor=[0.1, 0.1],
        threshold=0.2,
    )
    stored = json.loads(json.dumps(summary, allow_nan=False))
    assert stored["nrmse"] == {"A": [0.0, 0.0, 0.0], "B": [0.0, None, None]}
    assert stored["nrmse_range"]["B"] == {"low": [0.0, None, None], "high": [0.0, None, None]}
    assert stored["valid_time"] == {"A": None, "B": 10.0}


def test_what_was_not_seen_is_not_scored():
    values = np.random.default_rng(2).normal(size=(3, 4, 8, 2))
    known = np.ones((3, 4, 2))
    known[:, 2, 0] = 0  # nobody's A
    known[0, 3, 1] = 0  # one trajectory's B
    truth = Trajectories(values, np.arange(4.0), ("A", "B"), Grid((8,)), known=known)
    wrong = truth.values + 1.0
    errors = scores.nrmse(wrong, truth.values, [0.1, 0.1], known=truth.known)
    assert (np.isnan(errors) == (known == 0)).all()
    result = scores.summarise(
        [wrong], [truth], training_mean=[0.0, 0.0], floor=[0.1, 0.1], threshold=0.2
    )
    assert result["nrmse"]["A"][2] is None and result["known"] == {
        "A": [0, 1, 3],
        "B": [0, 1, 2, 3],
    }
    assert result["nrmse"]["B"][3] == pytest.approx(np.median(errors[1:, 3, 1]))
    assert scores.known_times(result, "A") == [0, 1, 3]
    seen = [np.nanmedian(errors[:, t, c]) for t, c in ((1, 0), (3, 0), (1, 1), (2, 1), (3, 1))]
    assert scores.overall(errors) == pytest.approx(np.mean(seen))
    json.dumps(result, allow_nan=False)


def test_patterns_by_hand():
    cells = np.arange(24)
    wave = lambda periods: np.sin(2 * np.pi * periods * cells / 24)
    truth = _trajectories([[wave(2) + 1, wave(3) + 1], [wave(2) + 1, wave(4) + 1]])
    prediction = truth.values[:, :, ::-1].copy()  # mirrored: another place, the same pattern
    prediction[0, 1] += 0.5
    found = scores.patterns([prediction], [truth], {"A": 1.0})
    assert found["wavelength"]["A"]["truth"] == pytest.approx([12.0, (8.0 + 6.0) / 2], rel=1e-5)
    assert found["wavelength"]["A"]["rule"] == pytest.approx([12.0, (8.0 + 6.0) / 2], rel=1e-5)
    covered = found["covered"]["A"]
    assert covered["truth"][0] == pytest.approx(np.mean(truth.values[:, 0] > 1.0))
    assert covered["level"] == 1.0 and covered["rule"][1] > covered["truth"][1]
    assert found["drift"]["A"]["truth"] == pytest.approx(0.0, abs=1e-6)
    assert found["drift"]["A"]["rule"] == pytest.approx(0.5, rel=1e-5)
    flat = scores.patterns([np.full_like(prediction, np.nan)], [truth], {})
    assert flat["wavelength"]["A"]["rule"] == [None, None] and flat["covered"] == {}
    json.dumps(flat, allow_nan=False)


def test_only_species_whose_sum_the_truth_keeps_are_conserved():
    start = np.random.default_rng(0).normal(size=(8, 8))
    values = np.stack([np.stack([start, start[::-1]]), np.stack([start, 1.01 * start])], -1)[None]
    truth = Trajectories(values, [0.0, 1.0], ("A", "B"), Grid((8, 8)))
    found = scores.patterns([truth.values * np.nan], [truth], {})
    assert scores.conserved(found) == {"A": found["drift"]["A"]}
    assert found["drift"]["A"]["rule"] is None
    assert scores.conserved({}) == {}


def test_what_lies_outside_of_a_mask_has_no_part_in_a_pattern():
    values = np.random.default_rng(0).normal(size=(1, 2, 8, 8, 1)) + 3.0
    mask = np.zeros((1, 8, 8))
    mask[:, :, :4] = 1
    truth = Trajectories(values, [0.0, 1.0], ("A",), Grid((8, 8)), mask=mask)
    other = np.where(mask[:, None, ..., None] > 0, truth.values, 77.0)
    inside, disturbed = (
        scores.patterns([prediction], [truth], {"A": 3.0}) for prediction in (truth.values, other)
    )
    assert inside["wavelength"] == disturbed["wavelength"]
    assert inside["covered"] == disturbed["covered"]
    assert inside["covered"]["A"]["truth"][0] == pytest.approx((values[0, 0, :, :4] > 3).mean())
