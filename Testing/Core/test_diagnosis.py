"""Diagnosis: the parts of `doctor`, on words of machines this one is not."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny import tiny_network

from DABSegCore.diagnosis import examine as examining
from DABSegCore.diagnosis import kernels, machine, probe
from DABSegCore.diagnosis.child import Answer, ask, how_it_ended, read_lines
from DABSegCore.diagnosis.examine import examine
from DABSegCore.diagnosis.nvidia import (
    Driver,
    ask_driver,
    explain_error,
    missing_architecture,
    read_driver,
    why_no_cuda,
)
from DABSegCore.diagnosis.packages import PACKAGES, finding, is_older
from DABSegCore.diagnosis.page import page, without_home
from DABSegCore.diagnosis.verdict import judge, look_at
from DABSegCore.progress import Progress

REPOSITORY = Path(__file__).parents[2]
CPU = torch.device("cpu")
H200 = Driver("550.54", ("NVIDIA H200, 143771 MiB",), None, True)
TOO_OLD = "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update"
NO_CODE = "AcceleratorError: CUDA error: no kernel image is available for execution on the device"


# The machine


def test_a_folder_to_be_made_is_judged_by_the_one_that_is_there(tmp_path):
    found = machine.disk("results", tmp_path / "a" / "b")
    assert found["fault"] is None
    assert found["path"] == str(tmp_path / "a" / "b")
    assert 0 < found["free"] <= shutil.disk_usage(tmp_path).total
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "a").write_text("", encoding="utf-8")
    assert machine.disk("results", tmp_path / "a")["fault"] == "it is a file"
    assert machine.disk("results", tmp_path / "a" / "b")["fault"] == "it is a file"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_checkout_knows_its_commit_and_whether_files_differ(tmp_path):
    def git(*words: str) -> str:
        name = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        return subprocess.check_output(["git", "-C", str(tmp_path), *name, *words], text=True)

    assert machine._commit(tmp_path) is None
    git("init", "-q")
    (tmp_path / "a").write_text("1", encoding="utf-8")
    git("add", "a")
    git("commit", "-q", "-m", "a")
    git("tag", "v1")  # a tag is not asked for
    assert machine._commit(tmp_path) == git("rev-parse", "--short=12", "HEAD").strip()
    (tmp_path / "a").write_text("22", encoding="utf-8")
    assert machine._commit(tmp_path).endswith("-dirty")


def test_this_machine_says_something_of_itself():
    assert machine.processor()["cores"] >= machine.processor()["usable_cores"] >= 1
    assert machine.system()
    assert machine.python()["bits"] in (32, 64)
    assert machine.output_of("no-such-program-anywhere") == ""
    assert machine.output_of(sys.executable, "-c", "import time; time.sleep(9)", limit_s=0.2) == ""


# Packages


def test_the_packages_are_those_of_the_project():
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    run = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', text.split("dependencies = [")[1].split("]")[0]))
    assert {package.name: package.at_least for package in PACKAGES if package.required} == run
    extras = dict(re.findall(r'"([\w-]+)[>=]=([\d.]+)', text.split("optional-dependencies]")[1].split("[tool")[0]))
    for package in PACKAGES:
        if not package.required:
            assert extras[package.name].startswith(package.at_least), package.name


@pytest.mark.parametrize(
    ("version", "needed", "older"),
    [
        *(("2.5.1", "2.6", True), ("2.6", "2.6", False), ("2.13.0+cpu", "2.6", False), ("1.9", "1.11", True)),
        *(("2.6.0a0+git", "2.6", False), ("unknown", "2.6", False), ("3", "2.6", False)),
    ],
)
def test_versions_are_compared_by_number(version, needed, older):
    assert is_older(version, needed) is older


def test_a_package_is_missing_broken_old_or_well(monkeypatch):
    monkeypatch.delenv("SLICER_HOME", raising=False)
    torch_package = next(package for package in PACKAGES if package.name == "torch")
    found = [finding(torch_package, *facts) for facts in ((None,), ("2.9", "OSError: a DLL"), ("2.1",), ("2.9",))]
    assert [one["state"] for one in found] == ["missing", "broken", "old", "installed"]
    assert finding(torch_package, "2.9", works=True)["state"] == "works"
    assert 'pip install "torch>=2.6"' in found[0]["says"]
    assert found[1]["says"].startswith("OSError: a DLL; ")
    monkeypatch.setenv("SLICER_HOME", "/opt/Slicer")
    assert "Slicer's extension PyTorch" in finding(torch_package, None)["says"]


# GPUs


def test_a_driver_that_answers_is_believed():
    said = "550.54, NVIDIA H200, 143771 MiB\n550.54, NVIDIA H200, 143771 MiB"
    assert read_driver(said, None, None) == Driver("550.54", ("NVIDIA H200, 143771 MiB",) * 2, None, True)


def test_a_driver_that_complains_is_quoted():
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\nMake sure it is running."
    found = read_driver(said, None, True)
    assert found.fault == "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver"
    assert (found.version, found.seen) == (None, True)


def test_bus_and_kernel_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("DABSegCore.diagnosis.nvidia.output_of", lambda *command: "")
    assert ask_driver(tmp_path) == Driver(None, (), None, None)
    cards = {"0000:00:01.0": ("0x8086", "0x030000"), "0000:00:02.0": ("0x10de", "0x040300")}
    for card, words in cards.items():
        folder = tmp_path / "sys/bus/pci/devices" / card.replace(":", "_")
        folder.mkdir(parents=True)
        for name, word in zip(("vendor", "class"), words, strict=True):
            (folder / name).write_text(word + "\n", encoding="ascii")
    assert ask_driver(tmp_path).seen is False  # another's display, and NVIDIA's sound
    (folder / "class").write_text("0x030200\n", encoding="ascii")
    assert ask_driver(tmp_path).seen is True
    version = tmp_path / "proc/driver/nvidia/version"
    version.parent.mkdir(parents=True)
    for line in ("x86_64 Kernel Module  535.129.03  Thu", "Open Kernel Module for x86_64  535.129.03"):
        version.write_text(f"NVRM version: NVIDIA UNIX {line}\nGCC version: 12\n", encoding="utf-8")
        assert ask_driver(tmp_path).version == "535.129.03"


@pytest.mark.parametrize(
    ("driver", "build", "error", "visible", "part", "words"),
    [
        (Driver(), None, None, None, "gpu", "no NVIDIA GPU and no NVIDIA driver"),
        (Driver(), "12.8", "RuntimeError: Found no NVIDIA driver on your system.", None, "gpu", "no NVIDIA GPU"),
        (Driver(seen=True), "12.8", None, None, "driver", "no working driver"),
        (H200, None, None, None, "wheel", "built without CUDA"),
        (Driver("550.54", (), None, True), None, None, None, "wheel", "built without CUDA"),
        (H200, "12.8", "RuntimeError: No CUDA GPUs are available", "", "setting", "CUDA_VISIBLE_DEVICES=''"),
        (H200, "12.8", "RuntimeError: No CUDA GPUs are available", "-1", "setting", "unset it"),
        (H200, "12.8", "RuntimeError: No CUDA GPUs are available", "0", "driver", "550.54"),
        (H200, "12.8", TOO_OLD, None, "driver", "too old for this PyTorch, built for CUDA 12.8"),
        (H200, "12.8", "RuntimeError: CUDA unknown error - this may be", None, "driver", "restart"),
    ],
)
def test_why_torch_has_no_cuda(driver, build, error, visible, part, words):
    why = why_no_cuda(driver, build, error, visible)
    assert why.part == part
    assert words in why.sentence


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (NO_CODE, "architecture"),
        (TOO_OLD, "driver"),
        ("RuntimeError: CUDA error: the provided PTX was compiled with an unsupported toolchain.", "driver"),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 MiB", "memory"),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", "wheel"),
        ("OSError: libcublas.so.12: cannot open shared object file", "wheel"),
        ("WrongAnswer: the convolution is wrong by 40% of the largest number", "kernel"),
        ("", "kernel"),
    ],
)
def test_what_failed_by_what_was_said(error, part):
    assert explain_error(error, "driver", "12.8").part == part
    assert explain_error(error, "driver", "12.8", "no code for it").sentence == "no code for it"


@pytest.mark.parametrize(
    ("capability", "architectures", "cure"),
    [
        ((9, 0), ["sm_80", "sm_90"], None),
        ((8, 9), ["sm_80", "sm_90"], None),  # the same generation, newer
        ((8, 0), ["sm_86"], "older"),  # the same generation, but older than the code
        ((6, 1), ["sm_75", "sm_80"], "older"),
        ((12, 0), ["sm_80", "sm_90"], "newer"),
        ((12, 0), ["sm_80", "compute_90"], None),  # translated on arrival
        ((6, 1), ["compute_70"], "older"),
        ((9, 0), ["sm_90a"], None),
        ((9, 1), ["sm_90a"], "newer"),  # for one model only
        ((10, 3), ["sm_100f"], None),  # for a family
        ((9, 0), [], None),  # it does not tell
        ((9, 0), ["gfx90a"], None),
    ],
)
def test_code_fits_a_gpu_or_not(capability, architectures, cure):
    said = missing_architecture(capability, architectures)
    assert (said is None) == (cure is None)
    assert cure is None or f"install an {cure}" in said or f"install a {cure}" in said


# The child


def test_what_a_child_says_is_gathered_until_it_dies():
    program = (
        "import json, os, sys\nprint('hello from a library')\nprint('7')\n"
        "print(json.dumps({'event': 'stage', 'stage': 'one', 'time': 0}))\n"
        "print(json.dumps({'event': 'metric', 'stage': 'one', 'time': 0, 'kind': 'device', 'name': 'cpu'}))\n"
        "sys.stdout.flush()\n"
        "sys.stderr.write('why\\n')\nos._exit(3)\n"
    )
    answer = ask([sys.executable, "-c", program])
    assert answer.findings == [{"kind": "device", "name": "cpu"}]
    assert answer.doing == "one"
    assert answer.end == "the process ended with code 3 (why)"


def test_a_child_that_hangs_is_ended_and_what_it_said_is_kept():
    program = 'import time\nprint(\'{"event": "stage", "stage": "one"}\', flush=True)\ntime.sleep(60)\n'
    answer = ask([sys.executable, "-c", program], limit_s=2)
    assert answer.doing == "one"
    assert answer.end == "it did not answer within 2 seconds"


def test_a_child_that_gets_to_its_end_has_no_fault():
    assert read_lines('{"event": "done"}').end is None
    assert ask([sys.executable, "-c", "pass"]).end == "it ended early"
    assert "did not start" in ask(["no-such-program-anywhere"]).end


@pytest.mark.parametrize(
    ("code", "word"),
    [(0xC0000005, "SIGSEGV"), (0xC000001D - 2**32, "SIGILL"), (0xC000001D, "for a newer one"), (1, "without a word")],
)
def test_an_exit_code_becomes_words(code, word):
    assert word in how_it_ended(code)


def test_a_good_end_needs_no_words():
    assert how_it_ended(0, "noise") == ""


# The kernels


def test_the_slow_convolution_is_torchs():
    generator = torch.Generator().manual_seed(4)
    image, kernel = torch.randn(1, 2, 4, 5, 6, generator=generator), torch.randn(3, 2, 3, 3, 3, generator=generator)
    expected = F.conv3d(image.double(), kernel.double(), padding=1)
    torch.testing.assert_close(kernels.convolve_slowly(image, kernel), expected)


def test_a_cpu_that_computes_passes():
    assert all(ms > 0 for ms in kernels.try_operations(CPU).values())


def test_a_convolution_that_shifts_is_noticed(monkeypatch):
    right = F.conv3d
    monkeypatch.setattr(kernels.F, "conv3d", lambda image, *rest, **more: right(image, *rest, **more).roll(1, -1))
    with pytest.raises(kernels.WrongAnswer, match="convolution is wrong"):
        kernels.try_operations(CPU)


def test_a_product_of_nan_is_noticed(monkeypatch):
    with pytest.raises(kernels.WrongAnswer):
        kernels._timed("product", lambda: torch.full((2,), torch.nan), torch.ones(2, dtype=torch.float64), CPU, 0.1)


def test_a_network_that_says_something_else_is_noticed(monkeypatch):
    model = tiny_network()
    assert kernels.try_network(model, CPU) > 0
    right = kernels.infer(model, torch.zeros(4, 32, 32, 32))
    wrong = dataclasses.replace(right, restored=right.restored + 0.1)
    monkeypatch.setattr(kernels, "infer", lambda *_, autocast="auto", **more: right if autocast == "off" else wrong)
    with pytest.raises(kernels.WrongAnswer, match=r"restored differ from the CPU's by 0\.1 "):
        kernels.try_network(model, CPU)


# The verdict


def an_answer(**changes: Any) -> Answer:
    """What a probe of a sound machine says."""
    packages = [
        {"kind": "package", "name": package.name, "version": "99", "fault": None}
        for package in PACKAGES
        if package.required
    ]
    cpu = {"kind": "device", "name": "cpu", "title": "", "threads": 1, "instructions": "AVX2", "state": "works"}
    cpu |= {"ms": {"convolution": 1.5}, "precision": "float32", "precision_why": "as it is old"}
    weights = {"kind": "weights", "fault": None, "preset": "small", "version": "0.1.0", "parameters": 7}
    gpus = {"kind": "gpus", "cuda": None, "hip": None, "mps_built": False, "error": None, "names": [], "auto": "cpu"}
    return Answer([*packages, cpu, weights, gpus | changes])


def a_gpu(name: str, **changes: Any) -> Answer:
    found = {"kind": "device", "name": name, "title": "A100, sm_80", "state": "works", "ms": {"network": 20.0}}
    found |= {"precision": "bfloat16", "precision_why": "which it multiplies in hardware"}
    return Answer([found | changes])


@pytest.fixture
def look(tmp_path, monkeypatch):
    """Examines with these answers, on a machine with a driver like this; returns the report."""

    def examined(answers: dict[str, Answer], driver: Driver = Driver(), **sizes: Any) -> dict[str, Any]:  # noqa: B008
        monkeypatch.setattr(examining, "ask_driver", lambda: driver)
        monkeypatch.setattr(machine, "memory", lambda: {"total": 2**33, "free": 2**32} | sizes)
        weights = tmp_path / "weights.pt"
        weights.write_bytes(b"12")
        report = examine(weights, tmp_path / "out", lambda name, path: answers[name])
        assert page(report).splitlines()[0] == report["verdict"]
        return report

    return examined


def test_a_sound_machine_without_a_gpu_has_nothing_to_look_at(look):
    report = look({"cpu": an_answer()})
    assert (report["works"], report["look_at"]) == (True, [])
    assert report["verdict"] == "Segmenting would work, on cpu in float32."
    assert [device["name"] for device in report["devices"]] == ["cpu", "cuda", "mps"]


def test_a_gpu_that_torch_was_not_built_for_is_pointed_out(look):
    report = look({"cpu": an_answer()}, H200)
    assert report["works"]
    assert len(report["look_at"]) == 1
    assert "built without CUDA" in report["look_at"][0]


def test_the_gpu_is_what_counts_where_there_is_one(look):
    report = look({"cpu": an_answer(names=["cuda:0"], auto="cuda:0"), "cuda:0": a_gpu("cuda:0")}, H200)
    assert report["verdict"] == "Segmenting would work, on cuda:0 in bfloat16."
    assert [device["name"] for device in report["devices"]] == ["cpu", "cuda:0", "mps"]


def test_a_gpu_that_fails_is_the_reason_and_the_way_out_is_told(look):
    broken = a_gpu("cuda:0", state="fails", part="architecture", says="there is no code for it")
    report = look({"cpu": an_answer(names=["cuda:0"], auto="cuda:0"), "cuda:0": broken}, H200)
    assert not report["works"]
    assert "there is no code for it" in report["verdict"]
    assert report["verdict"].endswith("with --device cpu it would.")


def test_a_second_gpu_that_fails_is_no_reason(look):
    dead = Answer(doing="computing on cuda:1", end="the process died of SIGSEGV (a fault)")
    answers = {"cpu": an_answer(names=["cuda:0", "cuda:1"], auto="cuda:0"), "cuda:0": a_gpu("cuda:0"), "cuda:1": dead}
    report = look(answers, H200)
    assert report["works"]
    assert report["look_at"] == ["cuda:1 is not used: the process died of SIGSEGV (a fault) while computing on cuda:1"]


def test_a_probe_that_dies_among_the_gpus_is_a_reason(look):
    answer = an_answer()
    answer.findings.pop()
    answer.doing, answer.end = "looking for GPUs", "it did not answer within 120 seconds"
    report = look({"cpu": answer}, H200)
    assert not report["works"]
    assert report["verdict"].endswith("it did not answer within 120 seconds while looking for GPUs.")


def test_a_probe_that_dies_in_an_import_makes_that_package_broken(look):
    answer = Answer(an_answer().findings[:1], "importing torch", "the process died of SIGILL (old)")
    report = look({"cpu": answer})
    states = {package["name"]: package["state"] for package in report["packages"][:3]}
    assert states == {"numpy": "works", "torch": "broken", "scipy": "installed"}
    assert "torch" in report["verdict"]
    assert "SIGILL" in report["verdict"]


def test_too_little_memory_and_too_many_threads_are_pointed_out(look):
    answer = an_answer()
    next(found for found in answer.findings if found["kind"] == "device")["threads"] = 10_000
    report = look({"cpu": answer}, free=2**30)
    assert report["works"]
    threads, memory = report["look_at"]
    assert "10000 threads" in threads
    assert memory.startswith("only 1.0 GiB of memory are free")


def test_a_folder_that_cannot_be_written_is_a_reason(look):
    report = look({"cpu": an_answer()})
    report["disks"][1] |= {"fault": "it is a file", "free": 0}
    works, sentence = judge(report)
    assert not works
    assert "it is a file" in sentence
    assert look_at(report) == []  # it is told above
    report["disks"][1] |= {"fault": None, "free": 2**28}
    assert any("0.25 GiB are free" in caution for caution in look_at(report))


def test_missing_packages_come_before_what_follows_from_them(look):
    answer = an_answer()
    answer.findings = [{"kind": "package", "name": "numpy", "absent": False, "fault": "ImportError: old CPU"}]
    report = look({"cpu": answer})
    assert report["verdict"].startswith("Segmenting would not work: numpy ")
    assert "ImportError: old CPU" in report["verdict"]


def test_all_that_is_missing_is_got_with_one_command(look, monkeypatch):
    monkeypatch.delenv("SLICER_HOME", raising=False)
    monkeypatch.setattr(examining, "installed_version", lambda package: None)
    report = look({"cpu": Answer(doing="importing numpy", end="the process ended with code 1 (No module)")})
    assert report["verdict"] == (
        "Segmenting would not work: numpy, torch, scipy and SimpleITK are missing; "
        'pip install "numpy>=1.26" "torch>=2.6" "scipy>=1.11" "SimpleITK>=2.3".'
    )


# The page


def test_the_page_is_narrow_and_holds_digests_whole(look):
    report = look({"cpu": an_answer(names=["cuda:0"], auto="cuda:0"), "cuda:0": a_gpu("cuda:0")}, H200)
    _, *lines = page(report).splitlines()
    assert all(len(line) <= 110 for line in lines if max(map(len, line.split()), default=0) < 80)
    assert report["weights"]["sha256"] in page(report)
    assert "A100, sm_80: works; network 20 ms; bfloat16" in page(report)


def test_the_home_folder_is_hidden_wherever_it_stands():
    home = Path("/home/al")
    given = {"a": ["/home/al/x", "in /home/al: no", "/home/alice/x", "/mnt/home/al", "A=/home/al:/home/al/b", 3, None]}
    shown = ["~/x", "in ~: no", "/home/alice/x", "/mnt/home/al", "A=~:~/b", 3, None]
    if os.name != "nt":
        assert without_home(given, home) == {"a": shown}
    assert without_home("/etc/x", Path("/")) == "/etc/x"


# The probe


@pytest.fixture
def tell():
    """What the probe says of a GPU, which is the CPU by that name here."""

    def told(name: str = "cpu") -> dict[str, Any]:
        written = io.StringIO()
        probe._examine_gpu(name, REPOSITORY / "no-weights.pt", Progress("json", written))
        (found,) = read_lines(written.getvalue()).of("device")
        return found

    return told


def test_a_gpu_that_computes_is_told_with_its_times(tell):
    found = tell()
    assert (found["state"], found["name"]) == ("works", "cpu")
    assert {"matrix product", "convolution"} <= set(found["ms"])


def test_a_gpu_without_code_for_it_is_told_with_what_the_wheel_has(tell, monkeypatch):
    def refuse(device: torch.device) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore words")

    monkeypatch.setattr(kernels, "try_operations", refuse)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80"])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 2**33))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GTX 1080")
    found = tell("cuda:0")
    assert (found["state"], found["part"], found["title"]) == ("fails", "architecture", "GTX 1080, sm_61")
    assert "sm_75 sm_80" in found["says"]
    assert (found["memory_total"], found["memory_free"]) == (2**33, 2**30)


def test_a_gpu_that_cannot_even_be_asked_is_explained(tell, monkeypatch):
    def refuse(*device: torch.device) -> None:
        raise RuntimeError(TOO_OLD)

    monkeypatch.setattr(torch.cuda, "get_device_capability", refuse)
    monkeypatch.setattr(kernels, "try_operations", refuse)
    assert tell("cuda:0")["part"] == "driver"


def test_torchs_words_on_cuda_are_kept(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def refuse() -> None:
        raise RuntimeError("No CUDA GPUs are available")

    monkeypatch.setattr(torch.cuda, "init", refuse)
    found = probe._gpus()
    assert (found["cuda"], found["error"]) == ("12.8", "RuntimeError: No CUDA GPUs are available")
