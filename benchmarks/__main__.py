"""Runs the benchmarks, prints a table, and writes its rows as JSON.

python -m benchmarks [--only=NAME] --json=FILE
"""

import argparse
import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.nca import nca
from benchmarks.pairs import Disagreement, Pair, Unavailable, measure
from benchmarks.rda import rda
from benchmarks.rules import RULES, rule
from benchmarks.sensitivities import sensitivities

BENCHMARKS: dict[str, Callable[[], Pair]] = {
    "rda": rda,
    "sensitivities": sensitivities,
    "nca_16": lambda: nca(steps=16, rounds=5),
    "nca_64": lambda: nca(steps=64, rounds=3),
} | {f"rule_{name}": functools.partial(rule, name) for name in RULES}


def main(arguments: Sequence[str]) -> int:
    """Runs what the arguments ask for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", metavar="FILE", help="file for the rows")
    flags = parser.parse_args(arguments)

    rows, failed = [], False
    try:
        _write(flags.json, rows)  # a file that cannot be written is told before the long wait
    except OSError as error:
        parser.error(f"--json={flags.json} cannot be written: {error.strerror}.")
    print(_line("name", "ours [s]", "other [s]", "ratio", "from", "to", "target", "other"))
    for name in [flags.only] if flags.only else BENCHMARKS:
        try:
            rows.append(measure(BENCHMARKS[name]()))
        except (Unavailable, Disagreement) as error:
            # Without --only, what is not installed is passed over.
            failed |= isinstance(error, Disagreement) or flags.only is not None
            print(f"{name}: {error}", file=sys.stderr)
            continue
        print(_told(rows[-1]), flush=True)
        _write(flags.json, rows)
    return 1 if failed else 0


def _write(path: str | None, rows: list[dict[str, Any]]) -> None:
    if path:
        Path(path).write_text(json.dumps(rows, indent=2) + "\n")


def _told(row: dict[str, Any]) -> str:
    numbers = (row["ratio"], *row["spread"], row["target"])
    return _line(
        row["name"],
        f"{row['ours_seconds']:.4f}",
        f"{row['other_seconds']:.4f}",
        *("" if number is None else f"{number:.2f}" for number in numbers),
        f"{row['other']}; {row['rounds']} rounds; {row['what']}",
    )


def _line(name: str, *columns: str) -> str:
    *numbers, text = columns
    return f"{name:14}" + "".join(f"{number:>10}" for number in numbers) + f"  {text}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
