"""Messages: what went wrong in a child process or here, as a cause and a cure in the words of the panel."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from DABSegCore.errors import InputError
from DABSegLib.naming import TITLES

TAIL_LINES = 5
"""Last lines of the log that are part of a cause nobody else can tell."""

KILLED = (-9, 137)
"""Exit codes of a process that was killed from outside: its own, and that of a shell around it."""

KILLED_WITHIN = re.compile(r"\] exit abnormally\b")
"""What PythonSlicer, which only launches Python, says when that was killed; it then ends with 1."""

PANEL_WORDS = (
    (r"give some with --weights", "choose a file under Weights"),
    (r"drop --preset or pick other weights", "choose other weights"),
    (r"use --device auto or one of these", "choose auto or one of these under Device"),
    (r"use --device cpu or a newer PyTorch", "choose cpu under Device, or install a newer PyTorch"),
    (r" with --out\b", ""),
    (r"choose another --out, or[^;]*$", "choose another results folder"),
    (r",? or replace it with --overwrite", ""),
    (r"; name them like \S+ or give each by its path", "; choose a volume for each"),
    (r"run: pip install torch\b", "install the extension PyTorch of Slicer, then PyTorch in it"),
    (r"--out\b", "the results folder"),
    (r"--(t1ce|t1|t2|flair)\b", r"\1"),
    (r"--box\b", "the region of interest"),
    (r"--([a-z]+)-?([a-z]*)\b", r"\1 \2"),
)
"""What only a terminal understands -> what the panel calls it; the first that fit are put in, in this order."""

MODALITY_WORD = re.compile(r"(?<![\w/\\.\"-])(t1ce|t1|t2|flair)(?![\w/\\.\"-])")


@dataclass(frozen=True)
class Fault:
    """Why a piece of work failed.

    Args:
        cause: What is wrong, one sentence.
        cure: What to do about it, one sentence; "" where nobody knows.
        code: Stable name, as `DABSegCore.errors.InputError.code`; "bug" for ours.
        log: Everything the process said, for whoever wants to read on.
    """

    cause: str
    cure: str
    code: str
    log: str = ""


class Failure(Exception):
    """Ends the steps of a work with a fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.cause)
        self.fault = fault


def fault_of_error(error: InputError, log: str = "") -> Fault:
    """The fault that an error of ours tells of, whose sentence is "cause; cure"."""
    cause, _, cure = readable(str(error)).rpartition("; ")
    return Fault(_sentence(cause or cure), _sentence(cure) if cause else "", error.code, log)


def fault_of_bug(bug: BaseException) -> Fault:
    """The fault of a mistake of ours, while it is being handled."""
    if isinstance(bug, MemoryError):
        return Fault("Memory ran out.", "Close other programs or scenes.", "out-of-memory", traceback.format_exc())
    return Fault(
        f"The module made a mistake: {type(bug).__name__}: {bug}",
        "Please report it together with the log.",
        "bug",
        traceback.format_exc(),
    )


def fault_of_child(
    error: Mapping[str, Any] | None, returncode: int, log: str, names: Mapping[str, str] | None = None
) -> Fault:
    """The fault of a child process that failed.

    Args:
        error: Its last error event, or None if it sent none.
        returncode: How it ended; 0 where it ended well but without a result.
        log: All it wrote besides its events.
        names: Path of a temporary file -> what the user calls it.
    """
    if error is not None and error.get("code") != "bug":
        told = InputError(readable(str(error.get("message", "")), names), str(error.get("code", "bad-input")))
        return replace(fault_of_error(told), log=log)
    if "No module named 'torch'" in log:
        cure = "Install the extension PyTorch of Slicer, and PyTorch with it."
        return Fault("PyTorch is not installed in the Python that does the computing.", cure, "no-torch", log)
    if returncode in KILLED or KILLED_WITHIN.search(log):
        cure = "Close other programs, switch the quality to fast, or use a computer with more memory."
        return Fault("The system ended the computation, most likely because memory ran out.", cure, "killed", log)
    tail = " / ".join([line.strip() for line in log.splitlines() if line.strip()][-TAIL_LINES:])
    how = "ended without a result" if returncode == 0 else f"ended with the exit code {returncode}"
    cause = f"The computation {how}" + (f": {tail}" if tail else ", and said nothing.")
    return Fault(cause, "Please report it together with the log.", "child-failed", log)


def readable(text: str, names: Mapping[str, str] | None = None) -> str:
    """A child's sentence in the words of the panel.

    Args:
        text: What it said.
        names: Path of a temporary file -> what the user calls it.
    """
    known = sorted(_words_for(names or {}).items(), key=lambda item: -len(item[0]))
    for number, (written, _) in enumerate(known):
        text = re.sub(rf"(?<![\w-]){re.escape(written)}(?![\w-])", f"\0{number}\0", text)
    for pattern, words in PANEL_WORDS:
        text = re.sub(pattern, words, text)
    text = MODALITY_WORD.sub(lambda match: TITLES[match[1]], text)
    text = re.sub(r"\0(\d+)\0", lambda match: known[int(match[1])][1], text)
    return re.sub(r" +(?=[ ,;]|\.(?!\w)|$)", "", text)  # what was taken out leaves a blank; " .nii" has one of its own


def _words_for(names: Mapping[str, str]) -> dict[str, str]:
    """What may stand for a temporary file in a sentence (path, file name) -> the user's name of it in quotes."""
    words = {}
    for path, name in names.items():
        words[path] = words[re.split(r"[/\\]", path)[-1]] = f'"{name}"'
    return words


def _sentence(text: str) -> str:
    """With a capital and a full stop, unless it begins with a name in quotes or ends with a mark of its own."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if not text or text[-1] in ".!?:" else ".")
