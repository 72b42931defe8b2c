"""Machine: program, Python, system, processor, memory and disks; standard library only, so that it is always told."""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from DABSegCore import __version__
from DABSegCore.memory import free_memory, total_memory

CODE = Path(__file__).resolve().parents[1]
"""The folder of the package."""

SETTINGS = (
    *("CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"),
    *("PYTORCH_ENABLE_MPS_FALLBACK", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "LD_LIBRARY_PATH", "PYTHONPATH"),
)
"""Environment variables that have explained a fault before."""


def program() -> dict[str, Any]:
    """Version of DABSeg, where its code lies, the commit if that is a checkout, and Slicer if it runs in one."""
    return {
        "version": __version__,
        "commit": _commit(CODE.parent),
        "code": str(CODE),
        "slicer": os.environ.get("SLICER_HOME"),
    }


def python() -> dict[str, Any]:
    """The interpreter."""
    return {
        "version": platform.python_version(),
        "bits": 8 * struct.calcsize("P"),
        "executable": sys.executable,
        "settings": {name: os.environ[name] for name in SETTINGS if name in os.environ},
    }


def system() -> str:
    """Operating system, its release, and the kind of processor."""
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"] if platform.system() == "Linux" else ""
    except (OSError, KeyError):  # a container may be without
        name = ""
    release = f"macOS {platform.mac_ver()[0]}" if platform.system() == "Darwin" else _kernel()
    return ", ".join(filter(None, (name, release, platform.machine())))


def processor() -> dict[str, Any]:
    """Model of the processor and how many of its cores there are and may be used."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"model": _processor_model() or "unknown", "cores": os.cpu_count(), "usable_cores": usable}


def memory() -> dict[str, int | None]:
    """Main memory in bytes, all of it and what is free; None where the machine does not say."""
    return {"total": total_memory(), "free": free_memory()}


def disk(purpose: str, folder: Path) -> dict[str, Any]:
    """Free space where a folder is or would be made, and whether files can be written there.

    Args:
        purpose: What the folder is for.
        folder: It need not exist; nothing is made.

    Returns:
        `purpose`, `path`, `free` in bytes or None, and `fault`, which is None where all is well.
    """
    answer: dict[str, Any] = {"purpose": purpose, "path": os.path.abspath(folder), "free": None, "fault": None}
    place = Path(answer["path"])
    try:
        while not os.path.lexists(place) and place != place.parent:
            place = place.parent
        answer["free"] = shutil.disk_usage(place).free
        tempfile.TemporaryFile(dir=place).close()
    except (OSError, ValueError) as error:
        answer["fault"] = "it is a file" if place.is_file() else getattr(error, "strerror", None) or str(error)
    return answer


def temporary_folder() -> Path:
    """Where temporary files go; Python refuses to say where none of its candidates can be written."""
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return Path(os.environ.get("TMPDIR", "/tmp"))


def _kernel() -> str:
    """Name and release of the system; a name of the computer is not in it."""
    return " ".join(filter(None, (platform.system(), platform.release())))


def _commit(root: Path) -> str | None:
    """The commit of a checkout, with "-dirty" where files differ from it; None where it is none, or git is absent."""
    if not (root / ".git").exists():
        return None
    words = ("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    return output_of(*words) or "unknown (git did not say)"


def _processor_model() -> str:
    """What the maker calls the processor."""
    if platform.system() == "Darwin":
        return output_of("sysctl", "-n", "machdep.cpu.brand_string")
    if sys.platform == "win32":
        return _windows_processor() or platform.processor()
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return ""
    found = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _windows_processor() -> str:
    """The processor's name as the registry has it; `platform` knows its family only."""
    if sys.platform != "win32":
        return ""
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    except OSError:
        return ""


def output_of(*command: str, limit_s: float = 5.0) -> str:
    """What a program of the system prints, empty where there is none of that name or it does not answer in time."""
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=limit_s, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip()
