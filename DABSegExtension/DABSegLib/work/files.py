"""Files: the volumes of a work into temporary files, and these away again, step by step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from DABSegCore.errors import InputError
from DABSegLib.naming import TITLES
from DABSegLib.nodes.bridge import write_volume_steps
from DABSegLib.process.messages import Failure
from DABSegLib.process.scratch import scratch_folder
from DABSegLib.work.follow import START
from DABSegLib.work.runner import Status, Steps

T = TypeVar("T")


def write_steps(volumes: Mapping[str, Any], folder: Path) -> Steps[dict[str, Path]]:
    """Write each volume to `folder/<modality>.nii`.

    Args:
        volumes: Modality -> volume node.
        folder: Made when absent.

    Returns:
        Modality -> file.

    Raises:
        InputError: If one cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {modality: folder / f"{modality}.nii" for modality in volumes}
    for number, (modality, node) in enumerate(volumes.items()):
        status = Status(f"Reading {TITLES.get(modality, modality)}", START.low * number / len(volumes), busy=True)
        yield from told(write_volume_steps(node, paths[modality]), status)
    return paths


def as_options(paths: Mapping[str, Path]) -> list[str]:
    """Files of modalities as words of a command line."""
    return [word for modality, path in paths.items() for word in (f"--{modality}", str(path))]


def told(steps: Iterator[Any] | Generator[Any, None, T], status: Status) -> Steps[T]:
    """Steps that tell nothing, with a status at each; returns what they return. Closed, they are closed too."""
    with contextlib.closing(steps) as open_steps:  # type: ignore[type-var]
        while True:
            try:
                next(open_steps)
            except StopIteration as end:
                return end.value
            yield status


def in_scratch_steps(body: Callable[[Path], Steps[T]], status: Status) -> Steps[T]:
    """Do what needs files in a temporary folder, and remove it: one by one, as large files take their time.

    Args:
        body: Steps that use the folder; they are done with it when they end.
        status: Told while the folder is emptied.

    Returns:
        What the body returns.
    """
    with scratch_folder() as folder:
        try:
            result = yield from body(folder)
            yield from _remove_steps(folder, status)
        except Exception as error:  # cancelled or failed; closed, there is no time for steps
            yield from _remove_steps(folder, Status("Stopping", busy=True))
            if _code(error) == "disk-full" and str(folder) in str(error):
                raise _full(folder.parent) from error
            raise
    return result


def _code(error: Exception) -> str:
    """The name of a user's fault, whoever found it."""
    return error.fault.code if isinstance(error, Failure) else getattr(error, "code", "")


def _full(root: Path) -> InputError:
    """What can be done about a temporary file that did not fit; its own name is nobody's business."""
    return InputError(
        f"{root}, the folder for temporary files, is full; free some space or choose another one in Slicer's settings",
        code="disk-full",
    )


def _remove_steps(folder: Path, status: Status) -> Steps[None]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with contextlib.suppress(OSError):  # the end of the folder tries again
                path.unlink()
            yield status
