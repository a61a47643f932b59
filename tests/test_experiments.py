"""One trajectory looked at closely: all its channels, times in between, and what damage does."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny
import tiny_runs

from diffpattern import experiments, problem, scores
from diffpattern.data import statistics
from diffpattern.experiments import Experiments
from diffpattern.grid.geometry import Grid
from diffpattern.parallel.mesh import make_mesh
from diffpattern.prediction import make_predictor


def make_experiments(devices=1, trajectory=1, mask=None, **changes):
    config = tiny.config(**changes)
    data = dataclasses.replace(tiny.data(), mask=mask)
    summary = statistics.summarise([data], problem.whitened_degrees(config))
    sought = problem.build(config, summary)
    # Untrained rules change nothing.

    parameters = jax.tree.map(
        lambda x: x + 0.01 * jax.random.normal(jax.random.key(1), x.shape), sought.initialise(0)
    )
    return Experiments(
        sought, parameters, data, trajectory, make_mesh(devices), seed=0, together=True
    )


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("changes", [tiny_runs.LEAST_SQUARES, tiny_runs.NCA])
def test_states_are_those_of_the_prediction_with_what_is_hidden(devices, changes, monkeypatch):
    monkeypatch.setattr(experiments, "_MOMENTS", 9)
    tried = make_experiments(devices, **changes)
    states = tried.states()
    predict = make_predictor(
        tried.problem, tried.truth, tried.mesh, key=jax.random.key(0), together=True
    )
    predicted = predict(tried.parameters)[1]
    np.testing.assert_array_equal(states.times, tried.truth.times)
    np.testing.assert_allclose(states.values[..., :2], predicted, rtol=1e-5, atol=1e-6)
    assert states.values.shape[-1] == tried.problem.channels
    assert np.abs(states.values[-1] - states.values[0]).max() > 1e-3


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("changes", [tiny_runs.LEAST_SQUARES, tiny_runs.NCA])
def test_damage_is_done_in_the_middle_and_to_nothing_else(devices, changes):
    tried = make_experiments(devices, **changes)
    states = tried.states()
    damage = tried.damage(states, np.full(2, 0.01))
    middle = len(tried.truth.times) // 2
    assert damage.times[0] == tried.truth.times[middle]
    assert damage.times[-1] - damage.times[0] == tried.truth.times[-1] - tried.truth.times[0]
    before = states.values[states.times == damage.times[0]][0]
    np.testing.assert_allclose(damage.undamaged[0], before[..., :2], rtol=1e-6)
    outside = ~damage.erased
    np.testing.assert_array_equal(damage.damaged[0][outside], damage.undamaged[0][outside])
    automaton = "model.name" in changes
    filled = np.zeros(2) if automaton else tried.problem.statistics.mean
    inside = damage.damaged[0][damage.erased]
    np.testing.assert_allclose(inside, np.broadcast_to(filled, inside.shape), rtol=1e-6)
    assert damage.erased.sum() == 12  # of 8 x 8 cells those within a distance of 2
    # By the same chance, so that what no signal has reached is the same.
    np.testing.assert_allclose(damage.damaged[1, 0, 0], damage.undamaged[1, 0, 0], atol=1e-5)
    expected = scores.nrmse(damage.damaged[None], damage.undamaged[None], np.full(2, 0.01))[0]
    np.testing.assert_array_equal(damage.nrmse, expected)
    assert (damage.nrmse[0] > 0.1).all()


def test_damage_stays_inside_a_mask():
    mask = np.zeros((3, 8, 8), np.float32)
    mask[:, :4] = 1
    tried = make_experiments(mask=mask, **tiny_runs.LEAST_SQUARES)
    damage = tried.damage(tried.states(), np.full(2, 0.01))
    assert damage.erased.sum() == 6
    assert not damage.erased[4:].any() and not damage.damaged[:, 4:].any()


class Steps:
    """Dynamics of steps of 0.5."""

    def count(self, duration):
        return round(duration / 0.5)


@pytest.mark.parametrize(
    ("times", "most", "expected"),
    [
        ([0, 2, 4], 3, [0, 2, 4]),
        ([0, 2, 4], 5, [0, 1, 2, 3, 4]),
        ([0, 2, 4], 7, [0, 1, 2, 3, 4]),  # 3 parts would be no whole steps
        ([0, 2, 4], 99, np.arange(0, 4.5, 0.5)),
        ([0, 1, 4], 6, [0, 0.5, 1, 2.5, 4]),
        (np.arange(10), 5, [0, 3, 6, 9]),
        (np.arange(11), 5, [0, 3, 6, 9, 10]),
        (np.arange(100), 2, [0, 99]),
    ],
)
def test_moments_are_whole_steps_as_many_as_are_asked_for(times, most, expected):
    moments = experiments.moments(np.asarray(times, float), Steps(), most)
    np.testing.assert_allclose(moments, expected)


def test_steps_of_any_length_are_cut_evenly():
    np.testing.assert_allclose(
        experiments.moments(np.array([0.0, 1.0]), object(), 4), np.linspace(0, 1, 5)
    )


@pytest.mark.parametrize(
    ("grid", "share"),
    [
        (Grid((64,)), 0.5),
        (Grid((64, 64)), np.pi / 16),
        (Grid((32, 64)), np.pi / 32),
        (Grid((64, 64), (1.0, 0.5)), np.pi / 32),  # the shorter side is of length 32
        (Grid((24, 24, 24)), np.pi / 48),
    ],
)
def test_the_disc_is_a_quarter_of_the_shorter_side_in_radius(grid, share):
    erased = experiments.disc(grid)
    assert erased.shape == grid.shape
    assert erased.mean() == pytest.approx(share, rel=0.05)
    np.testing.assert_array_equal(erased, np.flip(erased))
