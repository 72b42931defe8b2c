"""Torch offer: whether what the network needs is installed, and PyTorch installed by Slicer's own extension for it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import platform
import re
import sys
from pathlib import Path
from typing import Any

import slicer

from DABSegLib import home

TORCH = "2.6"
"""The oldest PyTorch that will do."""

REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
"""What else is needed, all of which ships with Slicer."""

_NO_EXTENSION = (
    "Install Slicer's extension PyTorch (menu View, Extensions Manager, search for PyTorch), restart Slicer and come "
    "back here."
)


def is_ready() -> bool:
    """Whether motion can be simulated and tumours segmented with what is installed."""
    return not _wrong_packages() and not _wrong_torch()


def explain() -> str:
    """What is missing and how to get it, in sentences; "" where nothing is."""
    sentences = list(_wrong_packages())
    if not _wrong_torch():
        return " ".join(sentences)
    sentences.append(f"Segmenting and simulating motion need PyTorch {TORCH} or newer; {_wrong_torch()}.")
    if _is_intel_mac():
        sentences.append(
            "There is none for Slicer on Intel processors under macOS; use Slicer for Apple silicon, Windows or Linux."
        )
    elif _torch_utils() is None:
        sentences.append(_NO_EXTENSION)
    else:
        sentences.append(
            "Slicer's extension PyTorch can download it (0.2 to 3 GB) with the packages that it needs; you are asked "
            "first."
        )
    return " ".join(sentences)


def can_install() -> bool:
    """Whether `install` could do more than explain."""
    return bool(_wrong_torch()) and _torch_utils() is not None and not _is_intel_mac()


def install() -> str:
    """Let Slicer's extension PyTorch install PyTorch, after it has asked; waits for that, which may take minutes.

    That extension imports torch into this process when it is done; nothing of ours ever does.

    Returns:
        What came of it, in sentences.
    """
    if not _wrong_torch():
        return explain() or "PyTorch is installed; nothing is to be done."
    utils = _torch_utils()
    if utils is None or _is_intel_mac():
        return explain()
    if slicer.app.testingEnabled():  # the extension does not ask then
        return "PyTorch is not installed while Slicer runs its tests."
    if "torch" in sys.modules:
        return "The PyTorch that is too old is in use; restart Slicer and press the button before anything else."
    return _installed_by(utils.PyTorchUtilsLogic())


def _installed_by(logic: Any) -> str:
    """Ask and install; returns what came of it."""
    try:
        torch = logic.installTorch(askConfirmation=True, torchVersionRequirement=f">={TORCH}")
    except Exception as error:  # whatever pip, the network or the disk came up with; it is not ours
        logging.exception("DABSeg: PyTorch was not installed")
        return (
            f"PyTorch was not installed: {error}. Look at the error log for the reason, check the network and the free "
            "space on the disk, restart Slicer and try again."
        )
    if torch is None:
        return "PyTorch was not installed; nothing was changed."
    if _wrong_torch():
        return f"An installation ended, but {_wrong_torch()}; restart Slicer."
    return explain() or f"PyTorch {_version('torch')} is installed."


def _wrong_torch() -> str:
    """What is wrong with PyTorch, as half a sentence; "" if nothing is."""
    if not home.has_torch():
        return "it is not installed yet"
    version = _version("torch")
    return f"PyTorch {version} is installed" if _is_older(version, TORCH) else ""


def _wrong_packages() -> list[str]:
    """A sentence for each package of Slicer's own that is absent or too old."""
    sentences = []
    for name, needed in _requirements():
        version = _version(name)
        if importlib.util.find_spec(name) is None:
            sentences.append(f"The package {name}, which ships with Slicer, is missing; install Slicer again.")
        elif _is_older(version, needed):
            sentences.append(f"{name} {version} is too old ({needed} is needed); install Slicer 5.10 or newer.")
    return sentences


def _requirements() -> list[tuple[str, str]]:
    """Name and oldest version of what is needed beside torch."""
    lines = [line.split("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()]
    return [(name.strip(), version.strip()) for name, _, version in (line.partition(">=") for line in lines) if name]


def _version(package: str) -> str:
    """The version installed; "" where that is not known."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _is_older(version: str, needed: str) -> bool:
    """Whether a version is before another by its numbers; an unknown one is not."""
    return bool(version) and _numbers(version) < _numbers(needed)


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version: (2, 6) for 2.6, 2.6.0 and 2.6.0a1+cpu."""
    release = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in release.group().split(".")] if release else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _torch_utils() -> Any | None:
    """The module of Slicer's extension PyTorch, or None where that is not installed."""
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        if error.name != "PyTorchUtils":
            raise
        return None
    return PyTorchUtils


def _is_intel_mac() -> bool:
    """Whether this Slicer is one for which no new PyTorch is made."""
    return sys.platform == "darwin" and platform.machine() == "x86_64"
