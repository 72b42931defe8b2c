"""Runner: the one piece of work the panel is doing, with its progress, its log and the button that stops it."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Generator
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from DABSegLib.process.messages import Fault
from DABSegLib.work import Status, Work

POLL_MS = 50
"""Between looks at a child process; a hundredth of a core, and quick enough for an eye."""

DOUBLE_CLICK_S = 0.5
"""A press that comes as soon after another was not meant to undo it."""


class Runner:
    """Advances one work at a time in small steps, from a timer, so that the application stays alive.

    Args:
        ui: The panel's widgets.
        on_change: Called when a work begins or ends, for what is enabled then.
    """

    def __init__(self, ui: Any, on_change: Callable[[], None]) -> None:
        self._ui = ui
        self._on_change = on_change
        self._work: Work | None = None
        self._on_done: Callable[[Any], None] | None = None
        self._button: Any = None
        self._caption = ""
        self._begun_s = 0.0
        self._lines: list[str] = []
        self._notes: list[str] = []
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._tick)
        ui.logButton.toggled.connect(self._show_log)
        ui.copyLogButton.clicked.connect(self._copy_log)
        self._show_log(False)
        self._show_progress(False)
        self.say("")

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return self._work is not None

    def owns(self, button: Any) -> bool:
        """Whether what is being done was started by a button, which stops it now."""
        return self.busy and button is not None and self._button is button

    @property
    def is_new(self) -> bool:
        """Whether what is being done was begun so lately that another press is the second of a double click."""
        return self.busy and time.monotonic() - self._begun_s < DOUBLE_CLICK_S

    def start(
        self,
        steps: Generator[Status, None, Any],
        button: Any | None,
        on_done: Callable[[Any], None],
        title: str,
        goes_on: bool = False,
    ) -> None:
        """Begin a work.

        Args:
            steps: What is done, in small steps.
            button: The button that was pressed; until the end it says Cancel. None for what takes a second only.
            on_done: Called with the result when all went well.
            title: First line in the log.
            goes_on: It follows by itself from the work before, whose notes are to stay.
        """
        if self.busy:
            raise RuntimeError("one work at a time; the buttons of the others are disabled meanwhile")
        if not goes_on:
            self._forget()
        self.log("info", title)
        self._begun_s = time.monotonic()
        self._work, self._on_done, self._button = Work(steps), on_done, button
        if button is not None:
            self._caption, button.text = button.text, _("Cancel")
        self._show_progress(True)
        self._show(Status(_("Starting"), None, None, True))
        self._timer.start(0)
        self._on_change()

    def _forget(self) -> None:
        """Begin a new log."""
        self._lines.clear()
        self._notes.clear()
        self._ui.logText.setPlainText("")
        self.say("")

    def cancel(self) -> None:
        """Stop what is being done, which is over when its process has ended; the scene is as it was before."""
        if self._work is not None:
            self._work.cancel()
            self._timer.start(0)

    def drop(self) -> None:
        """Stop at once and say nothing: the scene is being closed, or the panel is."""
        self._timer.stop()
        if self._work is not None:
            self._work.close()
            self._end()
        self.say("")

    def log(self, level: str, text: str) -> None:
        """Keep a line; warnings are shown at once, too, and stay until the next work."""
        line = text if level == "info" else f"{level}: {text}"
        self._lines.append(line)
        self._ui.logText.appendPlainText(line)
        if level == "warning":
            note = _("Note: {text}").format(text=html.escape(text))
            self._notes += [note] if note not in self._notes else []
            self.say("<br>".join(self._notes))

    def say(self, rich_text: str) -> None:
        """Show one message under the progress bar, or none."""
        self._ui.messageLabel.text = rich_text
        self._ui.messageLabel.visible = bool(rich_text)
        self._ui.logButton.visible = self._ui.copyLogButton.visible = bool(self._lines)

    def conclude(self, rich_text: str) -> None:
        """Show what came of a work, below its warnings."""
        self.say("<br>".join([*self._notes, rich_text]))

    def fail(self, fault: Fault) -> None:
        """Show what went wrong and what helps; the log is a click away."""
        for line in (f"error: {fault.cause}", fault.cure, fault.log):
            if line:
                self._lines.append(line)
                self._ui.logText.appendPlainText(line)
        self.say(f"<b>{html.escape(fault.cause)}</b> {html.escape(fault.cure)}")

    def _tick(self) -> None:
        """One small step, and when to take the next."""
        work = self._work
        if work is None:
            return
        if slicer.mrmlScene.IsBatchProcessing():  # Slicer loads a file, and lets the event loop run in the middle
            self._timer.start(POLL_MS)
            return
        work.advance()
        if self._work is not work:  # a step may have closed the scene, and with it this work
            return
        if not work.finished:
            self._show(work.status)
            self._timer.start(0 if work.status.busy else POLL_MS)
            return
        on_done = self._on_done
        self._end()
        if work.outcome == "done":
            on_done(work.result)
        elif work.outcome == "cancelled":
            self.say(_("Cancelled. The scene is as it was before."))
        else:
            self.fail(work.fault)

    def _end(self) -> None:
        """Back to idle."""
        self._timer.stop()
        self._work = None
        if self._button is not None:
            self._button.text = self._caption
        self._button = None
        self._show_progress(False)
        self._on_change()

    def _show(self, status: Status) -> None:
        """Stage, per cent, time left."""
        bar = self._ui.progressBar
        bar.maximum = 1000 if status.fraction is not None else 0  # 0: a bar that only moves
        bar.value = round(1000 * (status.fraction or 0))
        parts = [status.stage]
        if status.fraction is not None:
            parts.append(f"{status.fraction:.0%}")
        if status.left_s is not None:
            parts.append(_("about {time} left").format(time=duration(status.left_s)))
        self._ui.statusLabel.text = ", ".join(parts)

    def _show_progress(self, on: bool) -> None:
        self._ui.progressBar.visible = self._ui.statusLabel.visible = on

    def _show_log(self, on: bool) -> None:
        self._ui.logText.visible = on
        self._ui.logButton.text = _("Hide log") if on else _("Show log")

    def _copy_log(self, *_args: Any) -> None:
        qt.QApplication.clipboard().setText("\n".join(self._lines))


def duration(seconds: float) -> str:
    """Seconds for a person: "8 s", "3 min"."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
