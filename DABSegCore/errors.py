"""Errors: the one exception type that means "the input is at fault", and how a command line ends on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


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


@contextmanager
def packages_for(task: str) -> Iterator[None]:
    """Tell of a package that is not installed in one sentence, where something beyond torch and NumPy is imported.

    Training runs on a machine with nothing but these two, so all others are imported by the functions that use them:
    within a `with` of this, or in a function it decorates.

    Args:
        task: What needs the package, to begin the sentence with: "making virtual patients".

    Raises:
        InputError: If a module is not found.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or str(error)).split(".")[0]
        raise InputError(
            f"{task} needs the package {package}, which is not installed; run: pip install {package}",
            code="missing-package",
        ) from error
