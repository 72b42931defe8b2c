"""Processes: which ones this process has started, at any depth, without a library for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def children(of: int | None = None) -> set[int]:
    """Ids of all living descendants of a process, this one when None; on Windows always empty."""
    parents = _parents_from_proc() if Path("/proc/self/stat").exists() else _parents_from_ps()
    wanted, found = [of or os.getpid()], set()
    while wanted:
        parent = wanted.pop()
        new = {pid for pid, its_parent in parents.items() if its_parent == parent} - found
        found |= new
        wanted += new
    return found


def _parents_from_proc() -> dict[int, int]:
    """Process -> its parent, without the dead that nobody has asked for yet."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it ended between the listing and the reading
            continue
        if state != "Z":
            parents[int(stat.parent.name)] = int(parent)
    return parents


def _parents_from_ps() -> dict[int, int]:
    """The same where there is no /proc."""
    if sys.platform == "win32":
        return {}
    table = subprocess.Popen(["ps", "-A", "-o", "pid=,ppid=,stat="], stdout=subprocess.PIPE, text=True)
    rows = [line.split() for line in table.communicate()[0].splitlines()]
    return {int(pid): int(parent) for pid, parent, state, *_ in rows if state[0] != "Z" and int(pid) != table.pid}
