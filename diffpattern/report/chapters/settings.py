"""How the run was made: its training and all its settings."""

from collections.abc import Iterator, Mapping
from typing import Any

from diffpattern.report import figures
from diffpattern.report.contents import RunReport
from diffpattern.report.document import chart, settings_table


def training(report: RunReport) -> str:
    """Loss and validation over the steps, and facts about the run."""
    parts = []
    if report.curves:
        parts.append(
            chart(
                lambda theme: figures.loss_curve(report.curves, theme),
                "Loss against training step",
                "Both on one logarithmic axis, each in its own units. A validation score that "
                "rises while the training loss still falls would speak of overfitting.",
            )
        )
    if report.facts:
        parts.append(settings_table(report.facts.items()))
    return f"<div class='charts'>{''.join(parts)}</div>" if parts else ""


def configuration(report: RunReport) -> str:
    """All settings, folded."""
    return (
        "<details><summary>All settings, by the names that "
        "<code>--config.NAME=VALUE</code> takes</summary>"
        f"{settings_table(_flattened(report.config))}</details>"
    )


def _flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Settings by their dotted names."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + str(name), value
