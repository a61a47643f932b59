"""The errors that a user can mend, each told in one sentence.

Everything else that goes wrong is a defect of the package and keeps its traceback.
"""

# Exit codes: of what the user can mend; of a run in which something does not answer any more
# (EX_UNAVAILABLE); of one that was told to stop or lost a process, and goes on when it is started
# again (EX_TEMPFAIL).
MENDABLE = 2
UNAVAILABLE = 69
REQUEUE = 75


class InputError(ValueError):
    """Something that the user gave cannot work: a field, a file, a flag.

    The message is one sentence that names the field or path, what was found there and what would
    do. `main` prints it without a traceback and exits with a code that is not 0.

    Example:
      >>> try:
      ...     Grid((8, 0))
      ... except InputError as error:
      ...     print(error)
      grid shape is (8, 0), but must be positive whole numbers.
    """


class TrainingError(RuntimeError):
    """Training cannot go on, as when its loss is no longer finite.

    The message names what happened and the last good checkpoint.

    Example:
      >>> isinstance(TrainingError("The loss is not finite at step 3."), RuntimeError)
      True
    """


class StopSignal(BaseException):
    """The run was told to stop, by SIGTERM, and does so.

    Like KeyboardInterrupt it comes in the middle of anything, and is no `Exception`, which what it
    interrupts might take for a failure of its own. `main` prints the message and exits with
    `REQUEUE`.

    Attributes:
      together: whether all processes stop here, each in its own time.

    Example:
      >>> stopped = StopSignal("Told to stop.", together=True)
      >>> isinstance(stopped, Exception), stopped.together
      (False, True)
    """

    def __init__(self, message: str, together: bool = False):
        super().__init__(message)
        self.together = together
