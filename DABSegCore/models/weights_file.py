"""Weights file: plain tensors out of a file of `torch.save`, whatever else may be hidden in it."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from DABSegCore.errors import InputError

ZIP_START = b"PK\x03\x04"
NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)
"""Types of number that weights come in."""


def read_weights_file(path: Path, fault: InputError) -> object:
    """The content of a file of `torch.save`; code hidden in it never runs.

    Args:
        path: The file.
        fault: Raised where the file is damaged or holds more than plain data.

    Raises:
        InputError: If the file is absent or unreadable, or `fault`.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a folder; a pipe would wait for ever
            raise FileNotFoundError
        with path.open("rb") as file:
            return _content(file, fault)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"there are no weights at {path}; give an existing file", code="missing-weights") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); check its permissions and the drive", code="unreadable"
        ) from error


def _content(file: BinaryIO, fault: InputError) -> object:
    """What an open file holds.

    Torch's older tar and bare-pickle formats had loading holes even with `weights_only` (CVE-2025-32434). Torch tells
    the formats apart by the first four bytes and so must we: a zip archive appended to a pickle makes it no zip file.
    """
    if file.read(len(ZIP_START)) != ZIP_START:
        raise fault
    file.seek(0)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes surface as half a dozen unrelated types, all meaning the same
        raise fault from error


def is_plain(value: object) -> bool:
    """Whether a value is a dense tensor of ordinary numbers that holds every number its shape speaks of."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and value.dtype in NUMBERS
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )
