"""Files: several at once, and written in parts."""

from __future__ import annotations

import threading

import pytest

from DABSegCore.files import at_once, read_bytes, write_bytes


def test_work_at_once_keeps_the_order_and_truly_overlaps():
    meeting = threading.Barrier(3, timeout=10)  # nobody passes before the third is here

    def double(n: int) -> int:
        meeting.wait()
        return 2 * n

    assert at_once(double, (3, 1, 2)) == [6, 2, 4]
    assert at_once(double, ()) == []


def test_of_several_faults_the_first_in_order_is_told():
    later_failed = threading.Event()

    def fail(n: int) -> None:
        if n == 1:
            later_failed.wait(10)
        else:
            later_failed.set()
        raise ValueError(str(n))

    with pytest.raises(ValueError, match="1"):
        at_once(fail, (1, 2))


def test_a_file_is_written_of_its_parts(tmp_path):
    write_bytes(tmp_path / "a", b"one ", memoryview(b"two"), b"")
    assert read_bytes(tmp_path / "a") == b"one two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
