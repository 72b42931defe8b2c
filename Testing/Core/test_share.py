"""Cases divided among processes, as `torchrun` starts them."""

import csv
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from DABSegCore.errors import InputError
from DABSegCore.share import Share, shared

REPOSITORY = Path(__file__).parents[2]


def torchrun(count, *words):
    """Run a command of ours in several processes."""
    launch = ["-m", "torch.distributed.run", f"--nproc-per-node={count}", f"--master-port={free_port()}"]
    return subprocess.run(
        [sys.executable, *launch, *map(str, words)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_every_case_has_one_owner():
    for size in (1, 2, 3, 8):
        owners = [[rank for rank in range(size) if Share(rank, size).owns(number)] for number in range(20)]
        assert all(len(found) == 1 for found in owners)
        shares = [sum(found == [rank] for found in owners) for rank in range(size)]
        assert max(shares) - min(shares) <= 1


def test_one_process_alone_is_as_if_nothing_were(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with shared() as share:
        assert (share.rank, share.size, share.leads) == (0, 1, True)
        assert share.gather(["a"]) == [["a"]]
        assert share.device("cuda:3") == "cuda:3"
        assert share.mode("bar") == "bar"


def test_several_processes_for_one_gpu_by_name_are_refused():
    with pytest.raises(InputError, match="cuda:1 is one GPU for 2 processes"):
        Share(0, 2).device("cuda:1")


def test_gpus_are_dealt_out_in_turn_and_shared_where_there_are_fewer(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [Share(n, 5, n).device("auto") for n in range(5)] == ["cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    assert Share(1, 5, 1).device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert Share(1, 2, 1).device("auto") == "auto"


def test_processes_not_of_torchrun_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(InputError, match="start them by torchrun"), shared():
        pass


def test_two_processes_divide_a_folder_and_one_of_them_tells_of_all(a_case_folder, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    for name in ("a", "b", "c"):
        shutil.copytree(a_case_folder, data / name)
        if name != "c":  # which so has the name of no other; b has that of a
            continue
        for path in (data / name).iterdir():
            path.rename(path.with_name(path.name.replace("Virtual_003", "Virtual_004")))
    (data / "d").mkdir()
    shutil.copy(next((data / "c").glob("*t1ce*")), data / "d")  # no case: three modalities are missing
    words = ("--data", data, "--out", out, "--no-picture", "--no-restored", "--device", "cpu", "--progress", "json")
    run = torchrun(2, "-m", "DABSegCore.segment", *words)
    events = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert [(e["cases"], e["failures"]) for e in events if e["event"] == "done"] == [(4, 2)]
    assert run.returncode != 0
    with (out / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case_id"], row["status"]) for row in rows] == [
        ("Virtual_003", "done"),
        ("b", "failed"),
        ("Virtual_004", "done"),
        ("d", "failed"),
    ]
    begun = [e["message"] for e in events if e["event"] == "log" and e["message"].startswith("case ")]
    assert sorted(begun) == [f"case {n} of 4: {name}" for n, name in enumerate("abcd", 1)]


def test_several_processes_for_one_case_are_refused(a_case_folder, tmp_path):
    run = torchrun(2, "-m", "DABSegCore.simulate", "--case", a_case_folder, "--out", tmp_path / "out")
    assert run.returncode != 0
    assert "2 processes were started for one case" in run.stderr
