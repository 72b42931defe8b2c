"""Orphan: a command that another program started ends with it, rather than computing on for nobody.

The starter sets DABSEG_PARENT to its own process id. A pipe on stdin would tell of its end without asking, but
launchers stand between Slicer and its Python, and one that does not hand stdin on would end every command at once.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

VARIABLE = "DABSEG_PARENT"
ASK_EVERY_S = 0.5
TIDY_UP_S = 3.0
"""How long an interrupted command may take to put its files away."""

_SYNCHRONIZE, _TIMED_OUT, _ACCESS_DENIED = 0x00100000, 0x102, 5  # of the Windows API


def end_with_parent() -> None:
    """Watch the program that started this command, if it said so, in a thread of its own.

    When it ends, this process is interrupted as by Ctrl-C, so that unfinished files are put away, and ends for good
    soon after. Asked to terminate, a command that is watched is interrupted the same way.
    """
    parent = os.environ.get(VARIABLE, "")
    if not parent.isdecimal():
        return
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_watch, args=(int(parent),), name="orphan", daemon=True).start()


def is_gone(pid: int) -> bool:
    """Whether a process of this computer has ended; one that may not be asked about is there."""
    if os.name == "nt":
        return _is_gone_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _watch(pid: int, leave: Callable[[int], object] = os._exit) -> None:
    """Wait for the end of a process, then end this one."""
    while not is_gone(pid):
        time.sleep(ASK_EVERY_S)
    if hasattr(signal, "pthread_kill"):  # wakes what sleeps, too
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        _thread.interrupt_main()
    time.sleep(TIDY_UP_S)
    leave(130)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _is_gone_on_windows(pid: int) -> bool:
    """Ask for a handle: `os.kill` would end the process there."""
    if sys.platform != "win32":
        raise OSError("this is not Windows")
    import ctypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(_SYNCHRONIZE, False, pid)
    if not handle:
        return ctypes.get_last_error() != _ACCESS_DENIED
    running = kernel.WaitForSingleObject(ctypes.c_void_p(handle), 0) == _TIMED_OUT
    kernel.CloseHandle(ctypes.c_void_p(handle))
    return not running
