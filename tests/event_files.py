"""Event files read back, as TensorBoard reads them."""

from pathlib import Path
from typing import Any


def read(folder: Path) -> dict[str, dict[str, list[tuple[int, Any]]]]:
    """What is shown in a folder: {plugin: {tag: [(step, value), ...]}}.

    A scalar is a float, a histogram an array [buckets, 3] of left and right edges and counts, a
    picture the triple of its width, its height and its bytes. Hyperparameters, which have no value,
    are the protocol buffer of their session.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata
    from tensorboard.util.tensor_util import make_ndarray

    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    accumulator.Reload()
    found: dict[str, dict[str, list[tuple[int, Any]]]] = {}
    for tag in accumulator.Tags()["tensors"]:
        plugin = accumulator.SummaryMetadata(tag).plugin_data
        values = [
            (event.step, make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)
        ]
        if plugin.plugin_name == "scalars":
            values = [(step, float(value)) for step, value in values]
        elif plugin.plugin_name == "images":
            values = [(step, (int(w), int(h), data)) for step, (w, h, data) in values]
        elif plugin.plugin_name == "hparams":
            values = [(0, metadata.parse_session_start_info_plugin_data(plugin.content))]
        found.setdefault(plugin.plugin_name, {})[tag] = values
    return found
