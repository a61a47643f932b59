"""When a run saves a checkpoint, and shows what it has come to."""

import dataclasses
import time

from diffpattern.parallel import processes


@dataclasses.dataclass
class Saving:
    """When a run saves: after so many steps, and after so much time.

    Only what comes after a number of steps is scored too: the run is then the same, and logs the
    same, whenever time has a checkpoint made in between.

    Attributes:
      every: steps between two checkpoints that are scored.
      minutes: after which one is saved in between; 0: never.
      last: step, which is saved too.
      pictures_every: of so many scored checkpoints one is shown, and the last; 0: none.
    """

    every: int
    minutes: float
    last: int
    pictures_every: int

    def __post_init__(self):
        self._since = time.monotonic()

    def is_scored(self, step: int) -> bool:
        """Whether the checkpoint of this step is due, and to be scored."""
        return step % self.every == 0 or step == self.last

    def is_shown(self, step: int) -> bool:
        """Whether the checkpoint of this step is scored, and shown in pictures and histograms."""
        if not (self.pictures_every and self.is_scored(step)):
            return False
        return step == self.last or step // self.every % self.pictures_every == 0

    def is_time(self) -> bool:
        """Whether enough time has gone by; the same in all processes, which all have to ask."""
        if not self.minutes:
            return False
        return processes.from_first(time.monotonic() - self._since >= 60 * self.minutes)

    def done(self) -> None:
        """Counts time from now on."""
        self._since = time.monotonic()
