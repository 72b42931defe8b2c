"""NVIDIA: what the system knows of its GPUs without torch, and in words why torch cannot use them.

Four things must fit: a GPU, a driver, a PyTorch built for CUDA (the wheel), and code in it for that GPU (the
architecture). The sentences are chosen by facts where there are some, and by torch's own words where there are none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from DABSegCore.diagnosis.machine import output_of

NVIDIA, DISPLAY = "0x10de", "0x03"
"""Vendor, and how the class of a display controller begins, on the PCI bus."""

INSTALL_CUDA = "install a PyTorch for CUDA, as PyTorch's own install page says for this system"


class Why(NamedTuple):
    """Why a GPU is not used."""

    part: str
    """What is at fault: "gpu" (there is none, which is no fault), "driver", "wheel", "architecture", "setting",
    "memory" or "kernel"."""
    sentence: str


@dataclass(frozen=True)
class Driver:
    """What the system says of NVIDIA's GPUs.

    Attributes:
        version: Of the driver; None if it does not answer.
        gpus: What the driver calls them.
        fault: What the driver's own tool complains of.
        seen: Whether there is a GPU on the bus, whatever the driver says; None where the bus cannot be read.
    """

    version: str | None = None
    gpus: tuple[str, ...] = ()
    fault: str | None = None
    seen: bool | None = None


def ask_driver(root: Path = Path("/")) -> Driver:
    """Ask the driver's own tool, and the bus.

    Args:
        root: Folder that holds `proc` and `sys`.
    """
    return read_driver(
        output_of("nvidia-smi", "--query-gpu=driver_version,name,memory.total", "--format=csv,noheader"),
        _module_version(root),
        _on_the_bus(root),
    )


def read_driver(said: str, module: str | None, seen: bool | None) -> Driver:
    """Put together what tool, kernel and bus said.

    Args:
        said: Lines "version, name, memory" of `nvidia-smi`, or its complaint.
        module: Version of the driver that the kernel has loaded.
        seen: Whether there is a GPU on the bus.
    """
    rows = [[word.strip() for word in line.split(",")] for line in said.splitlines()]
    gpus = [row for row in rows if len(row) == 3 and re.fullmatch(r"[\d.]+", row[0])]
    if gpus:
        return Driver(gpus[0][0], tuple(f"{name}, {size}" for _, name, size in gpus), None, True)
    return Driver(module, (), said.splitlines()[0].rstrip(".") if said else None, seen)


def why_no_cuda(driver: Driver, build: str | None, error: str | None, visible: str | None) -> Why:
    """Why torch finds no CUDA device.

    Args:
        driver: What the system says.
        build: CUDA version torch was built for; None: it was built without.
        error: Torch's words when told to use CUDA.
        visible: The environment variable CUDA_VISIBLE_DEVICES, None where it is not set.
    """
    words = f"; the driver's tool says: {driver.fault}" if driver.fault else ""
    if driver.version is None and not driver.gpus:
        if driver.seen:
            cure = "install NVIDIA's driver (in a container: hand the GPU to it)"
            return Why("driver", f"there is an NVIDIA GPU but no working driver for it{words}; {cure}")
        return Why("gpu", "no NVIDIA GPU and no NVIDIA driver is found" + words)
    if build is None:
        names = f" ({' and '.join(driver.gpus)})" if driver.gpus else ""
        fact = f"NVIDIA's driver {driver.version} is there{names}, but this PyTorch is built without CUDA"
        return Why("wheel", f"{fact}; {INSTALL_CUDA}")
    if visible is not None and re.fullmatch(r"\s*(-1|none|void|nodevfiles)?\s*", visible, re.IGNORECASE):
        return Why("setting", f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU; unset it")
    return explain_error(error or "torch gives no reason", f"driver {driver.version}{words}", build)


def explain_error(error: str, driver: str, build: str | None, architecture: str | None = None) -> Why:
    """Which of the parts failed, by what torch or CUDA said.

    Args:
        error: Their words.
        driver: What is known of the driver.
        build: CUDA version torch was built for.
        architecture: What is wrong with the architecture, by `missing_architecture`.
    """
    text, first = error.lower(), _first_line(error)
    if architecture is not None or "no kernel image" in text or "not compatible with the current pytorch" in text:
        return Why("architecture", architecture or f"this PyTorch has no code for this GPU ({first}); {INSTALL_CUDA}")
    if "out of memory" in text:
        return Why("memory", f"the GPU's memory is taken ({first}); close what else uses it")
    if any(words in text for words in ("too old", "insufficient", "unsupported toolchain", "forward compatib")):
        cure = "update NVIDIA's driver, or install a PyTorch for an older CUDA"
        return Why("driver", f"the {driver} is too old for this PyTorch, built for CUDA {build} ({first}); {cure}")
    if any(words in text for words in ("cudnn", "cublas", "cannot open shared object", "nvrtc", "symbol")):
        return Why("wheel", f"CUDA libraries that come with PyTorch fail ({first}); install PyTorch again")
    if any(words in text for words in ("unknown error", "no nvidia driver", "no cuda gpus", "system not yet init")):
        cure = "restart the computer; if that does not help, install the driver again"
        return Why("driver", f"the {driver} does not give torch a GPU ({first}); {cure}")
    return Why("kernel", f"{first}; use --device cpu, and tell us")


def missing_architecture(capability: Sequence[int], architectures: Sequence[str]) -> str | None:
    """What is wrong if torch has no code for a GPU; None if it has, or does not tell what it has.

    Machine code (sm_86) runs on GPUs of the same generation that are as new or newer; that of one model (sm_90a)
    only there; and code that is translated on arrival (compute_90) on everything as new or newer.

    Args:
        capability: Compute capability of the GPU, (8, 6).
        architectures: What torch's code is for, as `torch.cuda.get_arch_list` gives it.
    """
    ours = (capability[0], capability[1])
    found = (re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name) for name in architectures)
    codes = [(code[1], (int(code[2]), int(code[3])), code[4]) for code in found if code]
    if not codes or any(_runs_on(ours, *code) for code in codes):
        return None
    oldest = min(theirs for _, theirs, _ in codes)
    cure = "install an older PyTorch" if ours < oldest else "install a newer PyTorch"
    has = " ".join(architectures)
    return f"this PyTorch has code for {has}, but the GPU is sm_{ours[0]}{ours[1]}; {cure}, or use --device cpu"


def _runs_on(ours: tuple[int, int], kind: str, theirs: tuple[int, int], only: str) -> bool:
    """Whether code of a kind ("sm", "compute") for a GPU, or for "only" that model or family, runs on ours."""
    if only == "a":
        return theirs == ours
    if kind == "sm" or only:
        return theirs[0] == ours[0] and theirs <= ours
    return theirs <= ours


def _module_version(root: Path) -> str | None:
    """Version of the driver the kernel has loaded (Linux)."""
    try:
        text = (root / "proc" / "driver" / "nvidia" / "version").read_text("utf-8", "replace")
    except OSError:
        return None
    found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", text)
    return found[1] if found else None


def _on_the_bus(root: Path) -> bool | None:
    """Whether a GPU of NVIDIA's is on the PCI bus (Linux)."""
    bus = root / "sys" / "bus" / "pci" / "devices"
    try:
        cards = os.listdir(bus)
    except OSError:
        return None
    makers = ((_word(bus / card / "vendor"), _word(bus / card / "class")) for card in cards)
    return any(maker == NVIDIA and kind.startswith(DISPLAY) for maker, kind in makers)


def _word(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0].rstrip(".;") if text.strip() else "no reason given"
