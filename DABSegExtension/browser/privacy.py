"""Privacy: sentences for a page, without any path of the computer that serves it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from DABSegLib.process.messages import readable

PAGE_WORDS = (
    (r"Install the extension PyTorch of Slicer, and PyTorch with it", "Ask whoever runs this server to install it"),
    (r"install the extension PyTorch of Slicer, then PyTorch in it", "ask whoever runs this server to install it"),
    (r"choose a file under Weights", "ask whoever runs this server for others"),
    (r"choose other weights", "ask whoever runs this server for others"),
    (r" or choose another one in Slicer's settings", ""),
    (r"Close other programs, switch the quality to fast, or use", "Try again later, or use"),
    (r"Close other programs or scenes", "Try again later"),
    (r"Please report it together with the log", "Please tell whoever runs this server; the log is there"),
    (r"press Apply again", "press Run again"),
    (r"The module made a mistake", "The workbench made a mistake"),
    (r"in the module Volumes", "where it was exported"),
)
"""What only the panel inside Slicer has -> what a page has."""

ANY_PATH = re.compile(r"(?<![\w/.<])(?:file://|[A-Za-z]:|\.\.?|~)?(?:[\\/][^\s\\/'\",;:()<>]+){2,}[\\/]?")
"""What looks like a path though nobody knows it: two folders deep or more."""


class Privacy:
    """Knows the folders that nobody is to hear of.

    Args:
        folders: The session's own, those of the cases, and what else there is.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        known = [*folders, Path.home(), Path(tempfile.gettempdir()), Path(__file__).resolve().parents[2]]
        spelled = {str(form) for path in known for form in (path, path.absolute(), path.resolve())}
        roots = sorted((text for text in spelled if len(Path(text).parts) > 1), key=len, reverse=True)
        any_root = "|".join(re.escape(text) for text in roots)
        self._below = re.compile(rf"(?:{any_root})(?![\w-]|\.\w)(?:[\\/][^\s\\/'\",;:()<>]*)*")

    def fit(self, text: str) -> str:
        """A sentence in the words of the page, without paths."""
        text = readable(self.hide(text))  # which takes the blank before ".." away
        for pattern, words in PAGE_WORDS:
            text = re.sub(pattern, words, text)
        return self.hide(text)

    def hide(self, value: Any) -> Any:
        """Text, or what JSON holds, without paths: of each only the file's own name is left."""
        if isinstance(value, str):
            return ANY_PATH.sub(_as_name, self._below.sub(_as_name, value))
        if isinstance(value, Mapping):
            return {self.hide(key): self.hide(item) for key, item in value.items()}
        return [self.hide(item) for item in value] if isinstance(value, list) else value

    def sentence(self, text: str) -> str:
        """As `fit`, with a capital and a full stop, unless it begins with a name in quotes."""
        text = self.fit(text).strip()
        return text[:1].upper() + text[1:] + ("" if not text or text[-1] in ".!?" else ".")


def _as_name(match: re.Match[str]) -> str:
    """The name of a file; a folder of ours has none to tell."""
    path = match[0].rstrip(".")  # which ends the sentence
    name = re.split(r"[\\/]", path)[-1]
    return (name if os.path.splitext(name)[1] else "a file") + match[0][len(path) :]
