"""Alone: a folder has room for one comparison at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from DABSegCore.comparison.alone import LOCK, alone
from DABSegCore.errors import InputError
from DABSegCore.results import host_name


def test_another_one_is_refused_while_one_works_and_let_in_after(tmp_path: Path):
    with alone(tmp_path):
        words = f"works in .*process {os.getpid()} on {host_name()}"
        with pytest.raises(InputError, match=words) as fault, alone(tmp_path):
            pass
        assert fault.value.code == "busy-folder"
        assert (tmp_path / LOCK).is_file()
    assert not any(tmp_path.iterdir())
    with alone(tmp_path):
        pass


def test_one_that_was_killed_keeps_nobody_out_but_one_elsewhere_does(tmp_path: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / LOCK).write_text(f"{host_name()} {ended.pid}", encoding="utf-8")
    with alone(tmp_path):
        pass
    (tmp_path / LOCK).write_text(f"elsewhere {ended.pid}", encoding="utf-8")
    with pytest.raises(InputError, match=f"on elsewhere.*or remove .*{LOCK}"), alone(tmp_path):
        pass
