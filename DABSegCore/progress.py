"""Progress: what a command is doing, as JSON lines for a program or as a bar for a person."""

from __future__ import annotations

import atexit
import gc
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, NoReturn, TextIO, get_args

from DABSegCore.errors import InputError
from DABSegCore.heap import keep_freed_memory
from DABSegCore.orphan import end_with_parent

Mode = Literal["bar", "json", "quiet"]

_BAR_WIDTH = 24
_REDRAW_S = 0.1  # a terminal
_REPEAT_S = 10.0  # a log file: a line now and then


class Progress:
    """One reporter, handed down from the command line to whatever takes time.

    A command is a row of stages; a stage is `total` steps, or an unknown number. In `json` mode a call writes
    one line `{"event": ..., "time": ..., "stage": ..., ...}`; `event` is stage, step, metric, warning, log,
    error or done, steps carry `step`, `total` and `eta_s`, and `time` is in seconds since 1970. What JSON has
    no word for (NaN, infinity) is written as null.

    Args:
        mode: `json` (to stdout), `bar` (to stderr) or `quiet` (warnings and errors only, to stderr).
        stream: Where to write instead.
    """

    _open: ClassVar[TextIO | None] = None
    """The terminal whose last line is a bar that is still to be ended, by whoever writes next."""

    _lock: ClassVar[threading.RLock] = threading.RLock()
    """Held while a line is written: threads that read cases warn while another one counts them."""

    def __init__(self, mode: Mode = "bar", stream: TextIO | None = None) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"progress mode is one of {', '.join(get_args(Mode))}, not {mode!r}")
        self.mode = mode
        self.stream = stream or (sys.stdout if mode == "json" else sys.stderr)
        self._on_terminal = mode == "bar" and self.stream.isatty()
        self._name: str | None = None
        self._total: int | None = None
        self._done = self._first = 0
        self._started = self._drawn = time.monotonic()

    def stage(self, name: str, total: int | None = None, done: int = 0) -> None:
        """Begin a stage of `total` steps (None: not known), of which some may have been done in an earlier sitting."""
        self._name, self._total, self._done, self._first = name, total, done, done
        self._started = self._drawn = time.monotonic()
        self._emit("stage", f"{name} ...", total=total)

    def step(self, n: int = 1, **metrics: Any) -> None:
        """Report `n` more steps done, with the numbers they gave."""
        self._done += n
        if self.mode == "json":
            self._emit("step", step=self._done, total=self._total, eta_s=self.eta_s(), **metrics)
        elif self.mode == "bar":
            now, last = time.monotonic(), self._done == self._total
            if last or now - self._drawn >= (_REDRAW_S if self._on_terminal else _REPEAT_S):
                self._drawn = now
                self._draw(metrics, last)

    def metric(self, **values: Any) -> None:
        """Report numbers that belong to no single step."""
        self._emit("metric", _pairs(values), **values)

    def warn(self, text: str) -> None:
        """Tell the user what may make the result worse than it looks."""
        self._emit("warning", f"warning: {text}", always=True, message=text)

    def log(self, text: str) -> None:
        """Tell the user what was done."""
        self._emit("log", text, message=text)

    def error(self, message: str, code: str = "bad-input") -> None:
        """Report a failure; a command over many cases may go on after it."""
        self._emit("error", f"error: {message}", always=True, message=message, code=code)

    def done(self, **values: Any) -> None:
        """End the command."""
        self._emit("done", _pairs(values), **values)

    def eta_s(self) -> float | None:
        """Seconds this stage still needs at its mean speed so far; None while that cannot be known."""
        if not self._total or self._done == self._first:
            return None
        elapsed_s = time.monotonic() - self._started
        return round(elapsed_s / (self._done - self._first) * max(self._total - self._done, 0), 1)

    def _emit(self, event: str, text: str = "", *, always: bool = False, **fields: Any) -> None:
        if self.mode == "json":
            line = {"event": event, "time": round(time.time(), 3), "stage": self._name, **_plain(fields)}
            self._print(json.dumps(line))
        elif text and (always or self.mode == "bar"):
            self._print(text)

    def _print(self, line: str) -> None:
        with self._lock:
            self.end_bar()
            self.stream.write(f"{line}\n")  # at once: unbuffered, as under torchrun, `print` ends a line on its own
            self.stream.flush()

    def _draw(self, metrics: dict[str, Any], last: bool) -> None:
        """One line of progress: redrawn in place on a terminal, a line of its own elsewhere."""
        if self._total:
            filled = _BAR_WIDTH * min(self._done, self._total) // self._total
            bar = f"[{'#' * filled}{'-' * (_BAR_WIDTH - filled)}] {self._done}/{self._total}"
        else:
            bar = str(self._done)
        eta = "" if last or self.eta_s() is None else f"  {self.eta_s():.0f} s left"
        text = f"{self._name} {bar}{eta}  {_pairs(metrics)}".rstrip()
        stays_open = self._on_terminal and not last
        text = f"\r{text}\x1b[K" if self._on_terminal else text
        with self._lock:
            print(text, end="" if stays_open else "\n", file=self.stream, flush=True)
            Progress._open = self.stream if stays_open else None

    @classmethod
    def end_bar(cls) -> None:
        """End the line of a bar that is being drawn, if any is."""
        if cls._open is not None:
            print(file=cls._open, flush=True)
            cls._open = None


def run_command(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and leave the process: `if __name__ == "__main__": run_command(main)`.

    Bad input is one sentence on stderr (with `--progress json` an error event on stdout as well) and exit
    code 2, Ctrl-C is 130, and anything else is our bug: it keeps its traceback and exit code 1. Started by another
    program that said so (DABSEG_PARENT), a command ends with it. It keeps the memory that tensors gave back (`heap`).

    Args:
        main: Takes the arguments (None: those of the process), returns the exit code.
        argv: Handed to `main`.
    """
    atexit.register(gc.freeze)  # Python looks through all that torch has made for garbage before it ends: 0.3 s
    try:
        end_with_parent()
        keep_freed_memory()
        try:
            code = main(argv)
        finally:
            Progress.end_bar()
    except InputError as fault:
        words = " ".join(sys.argv[1:] if argv is None else argv).replace("=", " ")
        if "--progress json" in words:
            Progress("json").error(str(fault), fault.code)
        sys.stderr.write(f"error: {fault}\n")
        code = 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    raise SystemExit(code)


def _plain(value: Any) -> Any:
    """The value in JSON's own types; NumPy and torch scalars become floats, non-finite numbers null."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    number = float(value)
    return number if math.isfinite(number) else None


def _pairs(values: dict[str, Any]) -> str:
    short = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in values.items()}
    return "  ".join(f"{key} {value}" for key, value in short.items())
