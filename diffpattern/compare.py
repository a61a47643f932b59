"""Runs side by side: out of their folders, in which nothing is changed, into one page."""

import glob
import os
import urllib.parse
from collections import Counter
from pathlib import Path

from diffpattern import configuration
from diffpattern.errors import InputError
from diffpattern.files import write_whole
from diffpattern.report import comparison
from diffpattern.report.comparison import ComparedRun
from diffpattern.run_folder import RunFolder, command
from diffpattern.training.metrics import read_scalars

# How a page tells that it is a comparison.
_SIGN = b"<title>Comparison of "


def compare(patterns: str, output: Path) -> None:
    """Compares runs: prints a table of them, and writes a page with that table and their curves.

    Args:
      patterns: of the runs' folders, such as "runs/sweep-*"; several stand between commas.
      output: the page.

    Raises:
      InputError: a pattern matches nothing, a folder is not one of a run or is damaged, or the page
        cannot be written, or something else than an earlier comparison is in its place.
    """
    _require_free(output)
    folders = find(patterns)
    names = Counter(folder.path.name for folder in folders)
    runs = [
        _read(
            folder,
            folder.path.name if names[folder.path.name] == 1 else str(folder.path),
            output.parent,
        )
        for folder in folders
    ]
    write_whole(output, comparison.render(runs, command()))
    print(f"{comparison.as_text(runs)}\n\nPage: {output}")


def _require_free(output: Path) -> None:
    """Refuses to write over anything but a comparison, which is made again as runs go on."""
    try:
        if not output.exists() or (output.is_file() and _SIGN in output.read_bytes()):
            return
    except OSError as error:
        raise InputError(f"{output} cannot be read: {error.strerror or error}.") from error
    raise InputError(
        f"{output} cannot be written: something is there already that is no comparison of runs; "
        "give another --output."
    )


def find(patterns: str) -> list[RunFolder]:
    """The folders that patterns match, each once, in the order of the patterns and of their names.

    Raises:
      InputError: a pattern matches nothing, or something that is not the folder of a run.
    """
    found: dict[Path, RunFolder] = {}
    for pattern in patterns.split(","):
        paths = sorted(glob.glob(pattern))
        if not paths:
            raise InputError(
                f"--workdirs has {pattern!r}, which matches nothing; it takes folders of runs, "
                "such as 'runs/sweep-*', with commas between several patterns."
            )
        for path in map(Path, paths):
            found.setdefault(path.absolute(), RunFolder(path))
    for folder in found.values():
        if not folder.is_run and not folder.is_free:
            raise InputError(
                f"{folder.path} is not the folder of a run: it has no config.json; --workdirs "
                "takes folders that training has made."
            )
    return list(found.values())


def _read(folder: RunFolder, name: str, seen_from: Path) -> ComparedRun:
    """What the comparison shows of a run; a folder in which training has just begun is empty."""
    config = dict(configuration.leaves(folder.config())) if folder.is_run else {}
    report = ""
    if folder.report.is_file():
        report = urllib.parse.quote(os.path.relpath(folder.report, seen_from))
    return ComparedRun(name, config, read_scalars(folder.scalars), folder.read_scores(), report)
