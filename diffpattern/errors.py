"""The errors that a user can mend, each told in one sentence.

Everything else that goes wrong is a defect of the package and keeps its traceback.
"""

# Exit codes: of what the user can mend; and of a run that was told to stop or lost a process, and
# that goes on when it is started again (EX_TEMPFAIL).
MENDABLE = 2
REQUEUE = 75


class InputError(ValueError):
    """Something that the user gave cannot work: a field, a file, a flag.

    The message is one sentence that names the field or path, what was found there and what would
    do. `main` prints it without a traceback and exits with a code that is not 0.
    """


class TrainingError(RuntimeError):
    """Training cannot go on, as when its loss is no longer finite.

    The message names what happened and the last good checkpoint.
    """
