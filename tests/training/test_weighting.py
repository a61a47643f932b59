import jax.numpy as jnp
import numpy as np
import pytest

from diffpattern.data.windows import Window
from diffpattern.errors import InputError
from diffpattern.grid.forcing import UNFORCED
from diffpattern.training.weighting import field_weights


def window(known=None):
    """Four snapshots of two channels."""
    known = None if known is None else jnp.asarray(known, jnp.float32)
    return Window(jnp.zeros((4, 8, 8, 2)), UNFORCED, known)


def test_nothing_given_is_no_weight_at_all():
    assert field_weights(window()) is None


def test_weights_by_channel_and_time_are_multiplied_and_have_mean_one():
    np.testing.assert_allclose(field_weights(window(), channels=(3, 1)), [[1.5, 0.5]] * 3)
    by_time = field_weights(window(), times=(1, 0, 5))
    np.testing.assert_allclose(by_time, [[0.5, 0.5], [0, 0], [2.5, 2.5]])
    both = field_weights(window(), (3, 1), (1, 0, 5))
    np.testing.assert_allclose(both, by_time * np.array([1.5, 0.5]))
    assert both.mean() == pytest.approx(1.0)
    assert (field_weights(window(), (6, 2)) == field_weights(window(), (3, 1))).all()


def test_what_was_not_seen_has_weight_zero_and_the_rest_its_own():
    known = [[1, 1], [1, 0], [0, 0], [1, 1]]
    np.testing.assert_array_equal(field_weights(window(known)), known[1:])
    np.testing.assert_allclose(field_weights(window(known), (3, 1)), [[1.5, 0], [0, 0], [1.5, 0.5]])


def test_a_shorter_window_takes_the_first_weights_by_time():
    np.testing.assert_allclose(
        field_weights(window(), times=(0, 1, 2, 3, 4)), [[0, 0], [0.5, 0.5], [1, 1]]
    )


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"loss.channel_weights is \(1, 2, 3\), .* 2 channels"):
        field_weights(window(), channels=(1, 2, 3))
    with pytest.raises(InputError, match=r"loss.time_weights is \(1, 2\), but .* 3 snapshots"):
        field_weights(window(), times=(1, 2))
