"""Examine: everything `doctor` tells, put together; what may end a process is asked in another one."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from DABSegCore.diagnosis import machine
from DABSegCore.diagnosis.child import Answer, ask_probe
from DABSegCore.diagnosis.nvidia import ask_driver, why_no_cuda
from DABSegCore.diagnosis.packages import PACKAGES, Package, finding, installed_version
from DABSegCore.diagnosis.verdict import judge, look_at
from DABSegCore.errors import InputError
from DABSegCore.files import at_once, sha256

SHIPPED = machine.CODE / "weights" / "small.pt"
"""The weights that come with the package."""
NETWORK = "not needed, ever: nothing is downloaded and nothing is sent"

Ask = Callable[[str, Path], Answer]


def examine(
    weights: Path, out: Path, ask: Ask = ask_probe, on_stage: Callable[[str], None] = lambda name: None
) -> dict[str, Any]:
    """The report.

    Args:
        weights: The checkpoint to try.
        out: Where results would go.
        ask: Examines a device ("cpu" with all that is no device's) in a process of its own.
        on_stage: Told of what takes time.
    """
    on_stage("looking at the machine")
    report: dict[str, Any] = {
        "tool": "DABSeg doctor",
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "dabseg": machine.program(),
        "python": machine.python(),
        "system": machine.system(),
        "processor": machine.processor(),
        "memory": machine.memory(),
        "disks": [
            machine.disk("temporary files", machine.temporary_folder()),
            machine.disk("results", out),
        ],
        "network": NETWORK,
    }
    on_stage("importing packages and computing on the CPU")
    answer = ask("cpu", weights)
    report["packages"] = [_package(package, answer) for package in PACKAGES]
    report["weights"] = _weights(weights, answer)
    report["died"] = f"{answer.end} while {answer.doing}" if answer.end else None
    report["devices"], report["auto"] = _devices(answer, weights, ask, on_stage, report["processor"])
    works, sentence = judge(report)
    return {"works": works, "verdict": sentence, "look_at": look_at(report), **report}


def _package(package: Package, answer: Answer) -> dict[str, Any]:
    """What is to be told of a package: what importing it showed, or what is installed by that name."""
    version = installed_version(package)
    said = next((found for found in answer.of("package") if found["name"] == package.name), None)
    if said is None:
        died = answer.end is not None and answer.doing == f"importing {package.name}"
        return finding(package, version, answer.end if died else None)
    if said.get("fault") is None:
        return finding(package, said["version"], works=True)
    if said["absent"] and version is None:
        return finding(package, None)
    return finding(package, version or "of unknown version", said["fault"])


def _weights(path: Path, answer: Answer) -> dict[str, Any]:
    """Path, size and digest of the weights, which need no torch, and what opening them showed."""
    found: dict[str, Any] = {"path": os.path.abspath(path), "shipped": path == SHIPPED, "bytes": None, "sha256": None}
    found["fault"] = None
    try:
        if not path.is_file():  # a folder has no digest of its own, and a pipe would never end
            raise InputError(f"there are no weights at {path}; give an existing file")
        found |= {"sha256": sha256(path), "bytes": path.stat().st_size}
    except (InputError, OSError) as fault:
        found["fault"] = str(fault)
    opened = next(iter(answer.of("weights")), {"fault": found["fault"]})
    return {**found, "opened": "preset" in opened, **{key: opened[key] for key in opened if key != "kind"}}


def _devices(
    answer: Answer, weights: Path, ask: Ask, on_stage: Callable[[str], None], processor: dict[str, Any]
) -> tuple[list[dict[str, Any]], str | None]:
    """What was found on every device, and the name of the one segmenting takes by itself."""
    devices = [_without_kind(found) for found in answer.of("device")]
    for cpu in devices:
        processor |= {key: cpu.pop(key) for key in ("threads", "instructions")}
    gpus = next(iter(answer.of("gpus")), None)
    if gpus is None:
        return [*devices, *_unasked()], devices[0]["name"] if devices else None
    if gpus["names"]:
        on_stage(f"computing on {', '.join(gpus['names'])}")
    devices += at_once(lambda name: _gpu(name, ask(name, weights)), gpus["names"])
    return [*devices, *_absent(gpus)], gpus["auto"]


def _gpu(name: str, answer: Answer) -> dict[str, Any]:
    """What was found on a device beside the CPU."""
    for found in answer.of("device"):
        return _without_kind(found)
    return {"name": name, "title": "", "state": "fails", "part": "driver", "says": f"{answer.end} while {answer.doing}"}


def _absent(gpus: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Kinds of device that torch does not find, and why."""
    if not any(name.startswith("cuda") for name in gpus["names"]):
        if gpus["hip"]:
            part, says = "driver", f"this PyTorch is built for AMD's ROCm {gpus['hip']} and finds no GPU for it"
        else:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            part, says = why_no_cuda(ask_driver(), gpus["cuda"], gpus["error"], visible)
        yield {"name": "cuda", "title": "", "state": "absent", "part": part, "says": says}
    if "mps" not in gpus["names"]:
        apple = "this PyTorch finds no GPU of Apple's" if sys.platform == "darwin" else "only on Apple computers"
        yield {"name": "mps", "title": "", "state": "absent", "part": "gpu", "says": apple}


def _unasked() -> Iterable[dict[str, Any]]:
    """What the system says of GPUs where torch cannot be asked."""
    driver = ask_driver()
    if driver.gpus:
        says = f"{' and '.join(driver.gpus)} by NVIDIA's driver {driver.version}, but torch could not be asked"
        yield {"name": "cuda", "title": "", "state": "absent", "part": "gpu", "says": says}


def _without_kind(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "kind"}
