"""Dialogs: what would wait for the user is written down and answered at once by what the test has said before."""

from __future__ import annotations

from collections import deque
from typing import Any

from PySide6 import QtWidgets

from standins.flavour import control

asked: list[str] = []
"""The text of every dialog so far, the oldest first."""

answers: deque[Any] = deque()
"""What the user will say, the next one first: a button such as `qt.QMessageBox.Ok`, a path, a text."""


def forget() -> None:
    """Start anew."""
    asked.clear()
    answers.clear()


def answer(text: str) -> Any:
    """The next answer; a dialog that no test has foreseen would hang the application."""
    asked.append(text)
    if not answers:
        raise AssertionError(f"a dialog waits for the user, but no answer was given: {text}")
    return answers.popleft()


class QMessageBox(control(QtWidgets.QMessageBox)):
    """Answers itself."""

    made_by_cpp = True

    def exec_(self) -> Any:
        return answer(self.text)

    exec = exec_

    @staticmethod
    def question(parent: Any, title: str, text: str, *buttons: Any) -> Any:
        return answer(text)

    information = warning = critical = question


class ctkMessageBox(QMessageBox):
    """CTK's box with "do not show again"."""

    made_by_cpp = True
    dontShowAgainSettingsKey = ""


class QFileDialog(QtWidgets.QFileDialog):
    """The user has chosen a path; an empty one is a cancel."""

    @staticmethod
    def getOpenFileName(parent: Any = None, title: str = "", *rest: Any) -> str:
        return str(answer(title))

    getSaveFileName = getExistingDirectory = getOpenFileName


class QInputDialog(QtWidgets.QInputDialog):
    """The user has typed a text; an empty one is a cancel."""

    @staticmethod
    def getText(parent: Any, title: str, label: str = "", *rest: Any) -> str:
        return str(answer(f"{title}: {label}"))
