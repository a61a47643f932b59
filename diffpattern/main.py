"""diffpattern finds the local rule behind a time series of patterns.

python -m diffpattern.main --config=configs/pde.py
"""

import os
import sys
from collections.abc import Sequence

# Before anything imports JAX or TensorFlow: they speak on stderr as they load.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# One thread for each call of LAPACK: every virtual device makes its own calls, and the threads of
# theirs would wait for one another by spinning (80 times slower on a busy machine).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from absl import app, flags

from diffpattern import commands, configuration, memory
from diffpattern.errors import MENDABLE, REQUEUE, InputError, StopSignal, TrainingError
from diffpattern.parallel import processes


def main(argv: Sequence[str]) -> None:
    """Runs one mode; what the user can mend is told in a sentence, with exit code 2."""
    try:
        if len(argv) > 1:
            raise InputError(f"{argv[1]!r} is not a flag; flags are given as --name=value.")
        commands.run()
        processes.leave()
    except (InputError, TrainingError) as error:
        processes.end_all(str(error), MENDABLE)
    except KeyboardInterrupt:
        processes.end_all(
            "Interrupted; the same command with --workdir goes on from the last checkpoint.",
            MENDABLE,
        )
    except StopSignal as signal:
        if signal.together:
            processes.wait_for_all()  # until each has written its part
        processes.end_all(str(signal), REQUEUE)
    except Exception as error:
        if sentence := memory.lack(error):
            processes.end_all(sentence, MENDABLE)
        if processes.count() > 1:
            processes.end_defective()
        raise


def _parse(argv: Sequence[str]) -> Sequence[str]:
    """Parses flags; a wrong one, or a wrong config, is told in a sentence too."""
    try:
        argv = configuration.with_stored(argv)
        configuration.check_arguments(argv)
        return flags.FLAGS(argv)
    except (InputError, flags.Error) as error:
        _stop(" ".join(str(error).split()).rstrip("?. ") + ".")


def _stop(sentence: str) -> None:
    print(f"diffpattern: {sentence}", file=sys.stderr)
    sys.exit(MENDABLE)


def run() -> None:
    """The console command."""
    # Where a user's own parts are, as `python -m` has it.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    sys.modules["__main__"].__doc__ = f"{__doc__}\n{commands.described()}"
    app.run(main, flags_parser=_parse)


if __name__ == "__main__":
    run()
