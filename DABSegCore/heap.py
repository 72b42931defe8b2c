"""Heap: memory that tensors gave back is kept for the next ones, where the C library is GNU's; standard library only.

That library returns every large block to the system and asks for it anew, and the system clears it page by page: in a
forward of the published network at 4x128^3 that took a third of the time on one machine, in a step of 96^3 a quarter.
"""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Numbers of `mallopt`'s settings in <malloc.h>."""


def keep_freed_memory() -> bool:
    """From now on, keep what is freed: no large block has a mapping of its own, and the heap's end is never cut off.

    What is kept counts as used until `return_freed_memory`. A user's own settings in the environment stay.

    Returns:
        Whether the C library has done so; False on other systems and libraries.
    """
    own = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    library = _gnu_library()
    if own or library is None:
        return False
    return all(library.mallopt(setting, value) == 1 for setting, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1)))


def return_freed_memory() -> None:
    """Return to the system what is kept and not in use."""
    library = _gnu_library()
    if library is not None:
        library.malloc_trim(0)


@cache
def _gnu_library() -> ctypes.CDLL | None:
    """The C library of this process where it is GNU's, which alone has these functions."""
    if platform.system() != "Linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "gnu_get_libc_version") else None
