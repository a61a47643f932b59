"""When a run saves, scores and shows."""

import pytest

from diffpattern.training.saving import Saving


@pytest.mark.parametrize(
    ("pictures_every", "shown"), [(0, []), (1, [4, 8, 12, 16, 18]), (2, [8, 16, 18])]
)
def test_pictures_come_with_some_of_the_scored_checkpoints_and_the_last(pictures_every, shown):
    saving = Saving(every=4, minutes=0, last=18, pictures_every=pictures_every)
    assert [step for step in range(1, 19) if saving.is_scored(step)] == [4, 8, 12, 16, 18]
    assert [step for step in range(1, 19) if saving.is_shown(step)] == shown
