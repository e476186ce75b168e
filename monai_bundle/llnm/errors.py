"""The errors that end a run with a message a user can act on.

Comes in: nothing. Goes out: exceptions that carry the exit code documented for the command line. A message names the
file or field, says what is wrong and what to do next, on one line.
"""

from __future__ import annotations


class LLNMError(Exception):
    """A failure that is reported as one line; the base class stands for a defect of ours (exit code 1)."""

    exit_code = 1


class InputError(LLNMError):
    """The input cannot be used: a file, a field, a mask or a setting (exit code 2)."""

    exit_code = 2


class MissingExtraError(LLNMError):
    """An optional part is not installed (exit code 4)."""

    exit_code = 4

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; install it with: pip install 'slicer-llnm[{extra}]'")
