"""Doctor: the command as a user runs it, on this machine and on ones that lack something."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_import_rules import FILES, imported, read
from tiny import process_environment, tiny_weights

from DABSegCore import doctor
from DABSegCore.checkpoint import shipped_weights
from DABSegCore.diagnosis.examine import SHIPPED
from DABSegCore.files import sha256

TALKERS = {"socket", "ssl", "http", "urllib", "requests", "ftplib", "smtplib", "asyncio", "aiohttp", "httpx"}


def run(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "DABSegCore.doctor", *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment or process_environment_of_today(),
    )


def process_environment_of_today() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def a_report(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What the doctor says of this machine and small weights, in a home that these lie in."""
    home = tmp_path_factory.mktemp("home") / "a.person"
    home.mkdir()
    weights = tiny_weights(home / "tiny.pt")
    environment = process_environment_of_today() | {"HOME": str(home), "USERPROFILE": str(home)}
    out = home / "results"
    done = run("--json", "--weights", str(weights), "--out", str(out), environment=environment)
    assert done.returncode == 0, done.stderr
    assert "a.person" not in done.stdout
    assert sorted(home.iterdir()) == [weights]  # nothing was written
    return json.loads(done.stdout) | {"digest": sha256(weights)}


def test_a_machine_that_works_is_told_so(a_report):
    assert a_report["works"]
    assert re.fullmatch(r"Segmenting would work, on \S+ in \w+\.", a_report["verdict"])
    required = [package for package in a_report["packages"] if package["required"]]
    assert {package["state"] for package in required} == {"works"}


def test_the_cpu_has_computed(a_report):
    cpu = a_report["devices"][0]
    assert (cpu["name"], cpu["state"]) == ("cpu", "works")
    assert {"matrix product", "convolution", "network"} <= set(cpu["ms"])
    assert all(0 < ms < 60_000 for ms in cpu["ms"].values())
    assert a_report["processor"]["threads"] == 1


def test_the_weights_are_told_without_the_home_folder(a_report):
    weights = a_report["weights"]
    assert Path(weights["path"]) == Path("~/tiny.pt")
    assert weights["sha256"] == a_report["digest"]
    assert (weights["opened"], weights["preset"], weights["shipped"]) == (True, "custom", False)
    assert Path(a_report["disks"][1]["path"]) == Path("~/results")


def test_without_torch_it_says_so_first_and_still_tells_the_rest(tmp_path):
    done = run(environment=process_environment(tmp_path, absent=("torch",)))
    first, *_ = done.stdout.splitlines()
    assert done.returncode == 1
    assert first.startswith("Segmenting would not work: torch ")
    assert "install" in first
    assert sha256(SHIPPED) in done.stdout
    assert re.search(r"^memory +[\d.]+ GiB", done.stdout, re.MULTILINE)
    assert "Traceback" not in done.stdout + done.stderr


def test_without_anything_it_still_starts(tmp_path):
    absent = ("torch", "numpy", "scipy", "SimpleITK")
    done = run("--json", environment=process_environment(tmp_path, absent=absent))
    assert done.returncode == 1
    report = json.loads(done.stdout)
    states = {package["name"]: package["state"] for package in report["packages"]}
    assert {states[name] for name in absent} <= {"missing", "broken"}
    assert report["verdict"].startswith("Segmenting would not work: numpy")


@pytest.mark.skipif(os.name == "nt", reason="no such signal")
def test_a_torch_that_ends_the_process_is_told_from_outside_it(tmp_path):
    (tmp_path / "torch").mkdir()
    fatal = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"
    (tmp_path / "torch" / "__init__.py").write_text(fatal, encoding="utf-8")
    done = run("--progress", "quiet", environment=process_environment(tmp_path))
    assert done.returncode == 1
    assert "an instruction this processor does not have" in done.stdout.splitlines()[0]
    assert "torch" in done.stdout.splitlines()[0]
    assert re.search(r"^  numpy +\S+ works", done.stdout, re.MULTILINE)  # what came before is kept
    assert done.stderr == ""


def test_damaged_weights_are_the_reason(tmp_path):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"PK\x03\x04 and no more")
    done = run("--progress", "json", "--weights", str(weights))
    *steps, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert {step["event"] for step in steps} == {"stage"}
    assert last["event"] == "done"
    assert "is not a DABSeg checkpoint or is damaged" in last["report"]["verdict"]
    assert last["report"]["devices"][0]["state"] == "works"
    assert last["report"]["weights"]["sha256"] == sha256(weights)


def test_letters_the_terminal_does_not_know_are_written_some_way(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", newline=""))
    doctor._print("J\xfcrgen\n")
    assert written.getvalue() == b"J\\xfcrgen\n"


def test_the_weights_that_ship_are_where_the_network_looks_for_them():
    assert shipped_weights() == SHIPPED


def test_the_doctor_itself_loads_nothing_that_could_fail():
    heavy = "{'torch', 'numpy', 'scipy', 'SimpleITK'}"
    program = f"import sys, DABSegCore.doctor; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("module", FILES)
def test_no_module_talks_to_a_network(module):
    assert not {name.split(".")[0] for name in imported(read(module))} & TALKERS
