"""Memory: how much the machine has, and how much of it can still be had; standard library only."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from DABSegCore.heap import return_freed_memory


def total_memory(root: Path = Path("/")) -> int | None:
    """Bytes of main memory this process may use: the machine's, or less where a container or batch job has less.

    Args:
        root: Folder that holds `proc` and `sys`.

    Returns:
        None where the machine does not say.
    """
    system = platform.system()
    if system == "Windows":
        return _windows_memory()[0]
    if system == "Darwin":
        return _number(_said("sysctl", "-n", "hw.memsize"))
    kib = _fields(root / "proc" / "meminfo").get("MemTotal:")
    limits = [limit for group in _control_groups(root) for limit in _limits(group)]
    return min([*limits, *([1024 * kib] if kib else [])], default=None)


def free_memory() -> int | None:
    """Bytes of main memory that can be had without pushing other programs out; None where the machine does not say."""
    system = platform.system()
    if system == "Windows":
        return _windows_memory()[1]
    return _free_on_mac(_said("vm_stat")) if system == "Darwin" else available_memory()


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes of main memory that can still be had, or None where nobody need ask.

    Only Linux promises more than it has and kills the process later; other systems refuse at once. A container or a
    batch job may have less than its machine: the scarcest of its control groups decides. What this process has freed
    and kept (`heap`) is returned first, so that it counts as free.

    Args:
        root: Folder that holds `proc` and `sys`.
    """
    if platform.system() != "Linux":
        return None
    return_freed_memory()
    rooms = [_room(group) for group in _control_groups(root)]
    free = _fields(root / "proc" / "meminfo").get("MemAvailable:")
    rooms.append(None if free is None else 1024 * free)
    return min((room for room in rooms if room is not None), default=None)


def _control_groups(root: Path) -> Iterator[Path]:
    """Folders that may limit this process's memory, of versions 1 and 2: its own group and all above it."""
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "sys" / "fs" / "cgroup" / ("memory" if controllers else "")
        parts = PurePosixPath(name).parts[1:]
        yield from (top.joinpath(*parts[:end]) for end in range(len(parts), -1, -1))


def _room(group: Path) -> int | None:
    """Bytes a control group may still take, None where it sets no limit; cached files give way and count as free."""
    for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        numbers = [_text(group / name).strip() for name in (limit, usage)]
        if all(number.isdecimal() for number in numbers):  # absent: "", without limit: "max"
            stat = _fields(group / "memory.stat")
            cached = stat.get("total_inactive_file", stat.get("inactive_file", 0))
            return max(0, int(numbers[0]) - int(numbers[1]) + cached)
    return None


def _fields(path: Path) -> dict[str, int]:
    """Lines of a name and a number, and perhaps more behind it."""
    lines = (line.split() for line in _text(path).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}


def _text(path: Path) -> str:
    """Content of a small file, empty where there is none to read."""
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""


def _limits(group: Path) -> Iterator[int]:
    """Bytes a control group may have, none where it sets no limit."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        number = _number(_text(group / name))
        if number is not None:
            yield number


def _free_on_mac(vm_stat: str) -> int | None:
    """Free memory by what `vm_stat` prints: pages that hold nothing, or what may be dropped."""
    words = vm_stat.partition("page size of ")[2].split()
    size = _number(words[0]) if words else None
    lines = (line.partition(":") for line in vm_stat.splitlines())
    pages = {name.strip(): _number(number.strip(" .")) for name, _, number in lines}
    kinds = ("Pages free", "Pages inactive", "Pages speculative")
    return None if size is None else size * sum(pages.get(kind) or 0 for kind in kinds)


def _windows_memory() -> tuple[int | None, int | None]:
    """Bytes of memory in all, and free ones."""
    if os.name != "nt":
        return None, None
    # MEMORYSTATUSEX: its own length, percent used, then seven 64-bit numbers, of which the first two are ours.
    status = (ctypes.c_uint64 * 8)()
    ctypes.cast(status, ctypes.POINTER(ctypes.c_uint32))[0] = ctypes.sizeof(status)
    if not ctypes.WinDLL("kernel32").GlobalMemoryStatusEx(ctypes.byref(status)):
        return None, None
    return status[1], status[2]


def _said(*command: str) -> str:
    """What a program of the system prints, empty where it does not run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""


def _number(text: str) -> int | None:
    """The whole number a text is, None where it is none ("max", "")."""
    return int(text) if text.strip().isdecimal() else None
