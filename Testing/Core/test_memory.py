"""Memory: what machine and container leave, from files and words of machines this one is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from DABSegCore import memory
from DABSegCore.memory import available_memory, free_memory, total_memory


def test_available_memory_is_a_plausible_number_or_unknown() -> None:
    free = available_memory()
    assert free is None or 2**20 < free < 2**50


GIB = 2**30


def a_machine(root: Path, files: dict[str, object]) -> Path:
    """A folder that looks like the root of a Linux machine with 8 GiB to spare and these files."""
    for name, content in {"proc/meminfo": f"MemAvailable: {8 * GIB // 1024} kB", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n", encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        (  # version 2, in a container
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": 4 * GIB, "sys/fs/cgroup/memory.current": GIB},
            3,
        ),
        (  # without a limit
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": "max", "sys/fs/cgroup/memory.current": GIB},
            8,
        ),
        (  # a limit above one's own group; cached files give way
            {
                "proc/self/cgroup": "0::/batch/job 7",
                "sys/fs/cgroup/batch/memory.max": 4 * GIB,
                "sys/fs/cgroup/batch/memory.current": 3 * GIB,
                "sys/fs/cgroup/batch/memory.stat": f"anon {GIB}\ninactive_file {GIB}",
                "sys/fs/cgroup/batch/job 7/memory.max": "max",
                "sys/fs/cgroup/batch/job 7/memory.current": GIB,
            },
            2,
        ),
        (  # version 1 in a container that cannot see its own name
            {
                "proc/self/cgroup": "3:cpu:/docker/f00\n2:memory:/docker/f00",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": 6 * GIB,
                "sys/fs/cgroup/memory/memory.usage_in_bytes": 5 * GIB,
            },
            1,
        ),
        (  # more than its limit: nothing left, not less
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": GIB, "sys/fs/cgroup/memory.current": 2 * GIB},
            0,
        ),
    ],
)
def test_memory_is_what_machine_and_container_leave(
    tmp_path: Path, files: dict[str, object], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory.platform, "system", lambda: "Linux")
    assert available_memory(a_machine(tmp_path, files)) == expected * GIB


def test_memory_is_unknown_where_nothing_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "system", lambda: "Linux")
    assert available_memory(tmp_path) is None
    monkeypatch.setattr(memory.platform, "system", lambda: "Darwin")
    assert available_memory(a_machine(tmp_path, {})) is None


def test_the_total_is_the_machines_or_the_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "system", lambda: "Linux")
    machine = a_machine(tmp_path, {"proc/meminfo": f"MemTotal: {16 * GIB // 1024} kB"})
    assert total_memory(machine) == 16 * GIB
    a_machine(machine, {"proc/meminfo": f"MemTotal: {16 * GIB // 1024} kB", "proc/self/cgroup": "0::/"})
    (machine / "sys/fs/cgroup").mkdir(parents=True)
    (machine / "sys/fs/cgroup/memory.max").write_text(str(4 * GIB), encoding="utf-8")
    assert total_memory(machine) == 4 * GIB
    assert total_memory(tmp_path / "elsewhere") is None


def test_a_mac_is_asked_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:      100.\n"
        "Pages active:   5000.\nPages inactive:   20.\nPages speculative:    3.\n"
    )
    words = {("sysctl", "-n", "hw.memsize"): str(8 * GIB), ("vm_stat",): pages}
    monkeypatch.setattr(memory.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(memory, "_said", lambda *command: words[command])
    assert total_memory() == 8 * GIB
    assert free_memory() == 123 * 16384
    monkeypatch.setattr(memory, "_said", lambda *command: "")
    assert total_memory() is None
    assert free_memory() is None


def test_this_machine_has_more_than_it_has_left() -> None:
    assert 2**20 < free_memory() < total_memory() < 2**50
