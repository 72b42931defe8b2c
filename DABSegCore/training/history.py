"""History: the numbers of a run as plain CSV files, and as TensorBoard's log where that is installed.

A run that is killed and resumed goes on in the same files: what was logged beyond the checkpoint is taken back, for the
resumed run will log those steps again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from DABSegCore.errors import InputError
from DABSegCore.files import make_folder, read_bytes, write_bytes

STEPS, VALIDATION, BOARD = "steps.csv", "validation.csv", "tensorboard"
WHOLE_NUMBERS = ("step", "severity", "cases", "nearer")
"""Columns of `validation.csv` that count."""

_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_NO_BOARD = (
    "TensorBoard is not installed: its log is left out; steps.csv has the same numbers (pip install tensorboard)"
)


class History:
    """The logs of one run folder, open to be continued after `step`.

    Args:
        out: Folder of the run; made when absent.
        step: Last step of the checkpoint that the run starts from, 0 for a fresh run; later rows are dropped.
        validated: Last step whose validation the checkpoint knows of, if not `step`.
        say: Takes a sentence for the user.

    Raises:
        InputError: If the folder cannot be written or the disk is full, here and on every log.
    """

    def __init__(self, out: Path, step: int, *, say: Callable[[str], object], validated: int | None = None) -> None:
        make_folder(out)
        self._steps = _Table(out / STEPS, step, say)
        self._validation = _Table(out / VALIDATION, step if validated is None else validated, say)
        self._board = _Board(out / BOARD, step, say)

    def log_step(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers of the training; the first row fixes the columns, and a later one may leave some out."""
        self._steps.append([{"step": step, **values}])
        self._board.scalars("train", step, values)

    def log_validation(self, step: int, seconds: float, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log the scores of each group of cases, as `validation.summarise` gives them."""
        self._validation.append([{"step": step, "seconds": seconds, **row} for row in rows])
        for row in rows:
            numbers = {name: value for name, value in row.items() if name not in ("kind", "severity", "cases")}
            self._board.scalars(f"validation_{row['kind']}_S{row['severity']}", step, numbers)

    def log_picture(self, step: int, name: str, rgb: np.ndarray) -> None:
        """Show a picture, uint8 [H, W, 3], in TensorBoard."""
        self._board.picture(name, step, rgb)

    def close(self) -> None:
        """Write what still waits."""
        self._steps.append([])
        self._validation.append([])
        self._board.close()


def read_steps(out: Path) -> dict[str, np.ndarray]:
    """Columns of `steps.csv` by name, float64 [rows], NaN where a row has no value; empty without a log."""
    names, rows = _read_table(out / STEPS)
    return {name: np.array([_number(row[c]) for row in rows]) for c, name in enumerate(names)} if rows else {}


def read_validation(out: Path) -> list[dict[str, Any]]:
    """Rows of `validation.csv`; counts are int, `kind` is str, all else float (NaN where there is no value)."""
    names, rows = _read_table(out / VALIDATION)
    return [{name: _value(name, cell) for name, cell in zip(names, row, strict=True)} for row in rows]


class _Table:
    """One CSV file that only grows, each row whole on disk before the next is made.

    It is opened anew for each write: other programs may read, copy or even move it meanwhile. One that locks it (a
    spreadsheet on Windows does) makes rows wait, for no look at the numbers may end a training.
    """

    def __init__(self, path: Path, step: int, say: Callable[[str], object]) -> None:
        self.path, self.say = path, say
        self.columns: list[str] = []
        self.waiting = b""
        self.told = False
        if path.is_file():
            self._take_back(step)

    def _take_back(self, step: int) -> None:
        """Keep the whole rows up to `step`; set a file aside that is no log."""
        columns, rows = _read_table(self.path)
        if not columns and self.path.stat().st_size:
            damaged = self.path.with_name(f"{self.path.stem}-damaged.csv")
            self.say(f"{self.path} is no log of a run or is damaged: it is now {damaged.name}, and a new one begins")
            os.replace(self.path, damaged)
            return
        kept = [row for row in rows if int(row[0]) <= step]
        self.columns = columns if kept else []  # without rows the columns are free again
        write_bytes(self.path, "".join(map(_line, [self.columns, *kept] if kept else [])).encode())

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows, and those that wait, to the file."""
        for row in rows:
            if not self.columns:
                self.columns = list(row)
                self.waiting += _line(self.columns).encode()
            unknown = [name for name in row if name not in self.columns]
            if unknown:
                raise ValueError(f"{self.path.name} has no column {unknown[0]!r}: its first row fixed {self.columns}")
            self.waiting += _line(_cell(row.get(name)) for name in self.columns).encode()
        if self.waiting:
            self._write()

    def _write(self) -> None:
        try:
            with self.path.open("ab") as file:
                file.write(self.waiting)
            self.waiting = b""
        except PermissionError:
            if not self.told:
                self.say(f"{self.path} is locked by another program or must not be written: its rows wait until it is")
            self.told = True
        except OSError as error:
            self.waiting = b""
            full = error.errno in _FULL
            fact = "the disk is full" if full else error.strerror or str(error)
            raise InputError(
                f"{self.path} was not written: {fact}; free some space, then go on with --resume",
                code="disk-full" if full else "not-writable",
            ) from error


class _Board:
    """TensorBoard's log, or nothing where the package is absent or fails: it must not end a training."""

    def __init__(self, folder: Path, step: int, say: Callable[[str], object]) -> None:
        self.say = say
        self.writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(folder), purge_step=step + 1)
        except ModuleNotFoundError:
            say(_NO_BOARD)
        except Exception as error:  # packages that do not fit each other fail in many ways
            self._give_up(error)

    def scalars(self, group: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._try("add_scalar", f"{group}/{name}", value, step)

    def picture(self, name: str, step: int, rgb: np.ndarray) -> None:
        self._try("add_image", name, rgb, step, dataformats="HWC")

    def close(self) -> None:
        self._try("close")
        self.writer = None

    def _try(self, verb: str, *args: Any, **options: Any) -> None:
        if self.writer is None:
            return
        try:
            getattr(self.writer, verb)(*args, **options)
        except Exception as error:  # its thread hands on whatever struck it, a full disk too
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.writer = None
        self.say(f"TensorBoard fails ({error!s:.200}): its log ends here; steps.csv has the same numbers")


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Names of the columns and the whole rows; both empty where there is no log."""
    if not path.is_file():
        return [], []
    # What follows the last line end is a row that a kill cut short.
    lines = read_bytes(path).decode("utf-8", errors="replace").split("\n")[:-1]
    table = [line.rstrip("\r").split(",") for line in lines]
    if not table or table[0][0] != "step":
        return [], []
    names = table[0]
    return names, [row for row in table[1:] if len(row) == len(names) and row[0].isdecimal()]


def _line(cells: Iterable[str]) -> str:
    return ",".join(cells) + "\n"


def _cell(value: Any) -> str:
    """Six digits of a number, all of a whole one, nothing for None."""
    if value is None or isinstance(value, str):
        return value or ""
    return str(int(value)) if isinstance(value, Integral) else f"{float(value):.6g}"


def _number(cell: str) -> float:
    """The number in a cell; NaN for an empty or a damaged one."""
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _value(name: str, cell: str) -> int | float | str:
    if name == "kind":
        return cell
    number = _number(cell)
    return int(number) if name in WHOLE_NUMBERS and np.isfinite(number) else number
