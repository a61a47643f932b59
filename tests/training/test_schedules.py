import numpy as np
import pytest

from diffpattern.errors import InputError
from diffpattern.training import schedules
from diffpattern.training.schedules import Schedule

USUAL = {
    "learning_rate": 0.1,
    "warmup_steps": 10,
    "decay_steps": 110,
    "final_fraction": 0.2,
    "piecewise": ("40=0.5", "25=0.1"),
}
# What is left of the top of the rate at a share of the decay, for what decays.
DECAYS = {
    "cosine": lambda share: 0.2 + 0.8 * (1 + np.cos(np.pi * share)) / 2,
    "exponential": lambda share: 0.2**share,
    "linear": lambda share: 1 - 0.8 * share,
}


def rates(name, count=200, **changes):
    schedule = Schedule(name, **USUAL | changes).build()
    return np.array([schedule(step) for step in range(count)])


def test_every_schedule_is_tried_here():
    assert {*DECAYS, "constant", "piecewise"} == set(schedules.NAMES)
    assert set(DECAYS) == set(schedules.DECAYING)


@pytest.mark.parametrize("name", schedules.NAMES)
def test_all_rise_linearly_to_the_top(name):
    np.testing.assert_allclose(rates(name, 11), 0.01 * np.arange(11), rtol=1e-5)


@pytest.mark.parametrize("name", schedules.NAMES)
def test_without_a_rise_all_begin_at_the_top(name):
    assert rates(name, 1, warmup_steps=0) == pytest.approx([0.1])


@pytest.mark.parametrize("name", DECAYS)
def test_a_decay_follows_its_formula_to_its_end_and_stays(name):
    found = rates(name)
    share = np.clip((np.arange(10, 200) - 10) / 100, 0, 1)
    np.testing.assert_allclose(found[10:], 0.1 * DECAYS[name](share), rtol=1e-4)
    assert (np.diff(found[10:111]) < 0).all() and np.ptp(found[110:]) < 1e-8


def test_decays_differ_in_between():
    halfway = [rates(name)[60] for name in DECAYS]
    np.testing.assert_allclose(halfway, [0.06, 0.1 * np.sqrt(0.2), 0.06], rtol=1e-4)
    assert rates("cosine")[35] > 1.05 * rates("linear")[35] > rates("exponential")[35]


def test_a_constant_rate_stays():
    np.testing.assert_allclose(rates("constant")[10:], 0.1, rtol=1e-6)


def test_a_piecewise_rate_has_its_factors_from_their_steps_on():
    found = rates("piecewise")
    np.testing.assert_allclose(found[10:25], 0.1, rtol=1e-6)
    np.testing.assert_allclose(found[25:40], 0.01, rtol=1e-6)
    np.testing.assert_allclose(found[40:], 0.005, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("cosine", {"decay_steps": 10}, ["decay_steps is 10", "warmup_steps (10)", "'constant'"]),
        ("linear", {"decay_steps": 3}, ["decay_steps is 3", "warmup_steps (10)"]),
        ("exponential", {"decay_steps": 0, "warmup_steps": 0}, ["decay_steps is 0"]),
        ("exponential", {"final_fraction": 0.0}, ["final_fraction is 0", "schedule"]),
        ("piecewise", {"piecewise": ()}, ["optimiser.optax.piecewise is empty", "'1000=0.3'"]),
        ("piecewise", {"piecewise": ("10=0.5",)}, ["'10'", "warmup_steps (10)"]),
        ("piecewise", {"piecewise": ("late=0.5",)}, ["optimiser.optax.piecewise", "'late'"]),
        ("piecewise", {"piecewise": ("20=-1",)}, ["optimiser.optax.piecewise", "'20=-1'"]),
    ],
)
def test_schedules_that_cannot_be_are_refused(name, changes, words):
    with pytest.raises(InputError) as error:
        rates(name, **changes)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
