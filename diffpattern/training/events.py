"""Event files, which TensorBoard shows: scalars, histograms, pictures and hyperparameters.

CLU writes them. Its writers import TensorFlow, which takes seconds, so a thread of their own does
that while the first step compiles, and writes from then on.

CLU drops videos, and would take pictures as arrays of which it makes PNGs. TensorBoard itself
shows any encoded picture whose kind a browser knows, so pictures are handed on as the bytes that
they are, and a GIF plays.
"""

import contextlib
import io
import os
import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike
from PIL import Image

from diffpattern.errors import TrainingError


class EventFiles(contextlib.AbstractContextManager):
    """Writes event files to a folder, beside those that are there.

    Args:
      folder: of the files.
      hyperparameters: numbers, booleans and texts by name; None: those that the folder has.
    """

    def __init__(self, folder: Path, hyperparameters: Mapping[str, Any] | None = None):
        # TensorFlow only writes files here, and would tell on stderr how it computes.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
        self._folder, self._hyperparameters = folder, hyperparameters
        self._failure: Exception | None = None
        self._waiting: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, daemon=True)
        self._thread.start()

    def write(
        self,
        step: int,
        scalars: Mapping[str, float] | None = None,
        histograms: Mapping[str, ArrayLike] | None = None,
        pictures: Mapping[str, bytes] | None = None,
    ) -> None:
        """Writes what a step has to show, as soon as TensorFlow is there.

        Args:
          step: of training.
          scalars: numbers by tag.
          histograms: arrays by tag, of which the distribution of values is shown.
          pictures: PNGs or GIFs by tag.

        Raises:
          TrainingError: something before could not be written.
        """
        self._tell_failure()
        self._waiting.put((step, scalars or {}, histograms or {}, pictures or {}))

    def close(self) -> None:
        """Waits until everything is on disk.

        Raises:
          TrainingError: something could not be written.
        """
        self._waiting.put(None)
        self._thread.join()
        self._tell_failure()

    def __exit__(self, kind: object, *exception: object) -> None:
        try:
            self.close()
        except TrainingError:
            if kind is None:  # else that is what the user has to hear of
                raise

    def _tell_failure(self) -> None:
        if self._failure is not None:
            reason = str(self._failure).strip().partition("\n")[0].rstrip(".")
            raise TrainingError(
                f"Event files cannot be written to {self._folder} ({reason})."
            ) from self._failure

    def _write_all(self) -> None:
        """The thread: all that touches TensorFlow."""
        try:
            import tensorflow as tf

            # It only writes files here; left alone it would take all of an accelerator's memory.
            for kind in ("GPU", "TPU"):
                tf.config.set_visible_devices([], kind)
            from clu import metric_writers
            from tensorboard.plugins.image import metadata

            writer = metric_writers.SummaryWriter(str(self._folder))
            if self._hyperparameters is not None:
                writer.write_hparams(dict(self._hyperparameters))
            while (item := self._waiting.get()) is not None:
                step, scalars, histograms, pictures = item
                writer.write_scalars(step, scalars)
                writer.write_histograms(step, histograms)
                of_pictures = metadata.create_summary_metadata(display_name=None, description=None)
                writer.write_summaries(
                    step,
                    {tag: _as_summary(picture) for tag, picture in pictures.items()},
                    dict.fromkeys(pictures, of_pictures),
                )
                if pictures:  # rare, and looked for while training goes on
                    writer.flush()
            writer.close()
        except Exception as error:
            self._failure = error


def _as_summary(picture: bytes) -> list[bytes]:
    """A picture as TensorBoard's image summaries have it: width, height and the encoded bytes."""
    with Image.open(io.BytesIO(picture)) as image:
        width, height = image.size
    return [str(width).encode(), str(height).encode(), picture]
