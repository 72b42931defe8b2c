"""Heap: whether freed memory is kept is told by the pages that the system has to clear, which it counts."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

WORDS = """
import ctypes, resource
from DABSegCore import heap
MIB = 2**20

def pages(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        block = library.malloc(ctypes.c_size_t(64 * MIB))
        ctypes.memset(block, 1, 64 * MIB)
        library.free(ctypes.c_void_p(block))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
"""

OF_A_BLOCK = 2**26 // os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs GNU's C library")


def told(words: str, **environment: str) -> list[int]:
    """What a process of its own prints, as numbers."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    run = subprocess.run(
        [sys.executable, "-c", WORDS + words], env=ours | environment, capture_output=True, text=True, check=True
    )
    return [int(word) for word in run.stdout.split()]


def test_kept_memory_is_cleared_once_and_else_every_time() -> None:
    usual, kept, first, later = told("print(pages(4), int(heap.keep_freed_memory()), pages(1), pages(4))")
    assert usual > 3.5 * OF_A_BLOCK
    assert kept == 1
    assert first > 0.9 * OF_A_BLOCK
    assert later < 0.1 * OF_A_BLOCK


def test_kept_memory_is_returned_when_asked() -> None:
    before, kept, after = told(
        "heap.keep_freed_memory(); r = resident(); pages(1); k = resident(); heap.return_freed_memory();"
        "print(r, k, resident())"
    )
    assert kept > before + 60
    assert after < before + 5


def test_settings_of_the_user_stay() -> None:
    assert told("print(int(heap.keep_freed_memory()), pages(4))", MALLOC_TOP_PAD_="131072")[0] == 0


def test_who_asks_what_is_free_has_what_is_kept_returned_first() -> None:
    words = "from DABSegCore.memory import available_memory; heap.keep_freed_memory(); r = resident(); pages(1);"
    before, kept, after = told(words + "k = resident(); available_memory(); print(r, k, resident())")
    assert kept > before + 60
    assert after < before + 5
