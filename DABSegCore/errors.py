"""Errors: the one exception type that means "the input is at fault", and how a command line ends on it."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: one sentence with the fact, the bound and the cure.

    Everything else that escapes a command line is our bug and keeps its traceback.

    Args:
        message: The sentence shown to the user.
        code: Stable machine-readable name (`"missing-modality"`), carried by `--progress json`.
    """

    def __init__(self, message: str, code: str = "bad-input") -> None:
        super().__init__(message)
        self.code = code
