"""Devices: which one to compute on, in which number format, and how much memory is left."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from DABSegCore.errors import InputError

PRECISIONS = {"off": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str = "auto") -> torch.device:
    """Device of that name.

    Args:
        name: "auto" (the first of cuda, mps, cpu that exists), "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        InputError: If the device is unknown or absent; the sentence names those that exist.
    """
    present = available_devices()
    if name == "auto":
        return torch.device(present[1] if len(present) > 1 else "cpu")
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in present:
        raise InputError(
            f"the device {name!r} is not on this machine, which has {', '.join(present)}; "
            "use --device auto or one of these",
            code="no-device",
        )
    return torch.device(wanted)


def available_devices() -> list[str]:
    """Names of the devices that torch can use here, the CPU first."""
    present = ["cpu"]
    if torch.cuda.is_available():
        present += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        present.append("mps")
    return present


def half_dtype(device: torch.device, autocast: str = "auto") -> torch.dtype | None:
    """16-bit type for the heavy operations, or None for float32.

    "auto" takes bfloat16 where the hardware multiplies it (float16 on older CUDA cards): on a CPU with
    AVX-512 BF16 a 3-D convolution is 2.5 times faster than in float32, on one without it is slower.

    Args:
        device: Where the network runs.
        autocast: "auto", "off", "bfloat16" or "float16".
    """
    if autocast != "auto":
        if autocast not in PRECISIONS:
            raise InputError(
                f"autocast {autocast!r} is unknown; use auto, {', '.join(PRECISIONS)}", code="bad-argument"
            )
        return PRECISIONS[autocast]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and _cpu_multiplies_bfloat16():
        return torch.bfloat16
    return None


def channels_last_pays(device: torch.device) -> bool:
    """Whether convolutions are faster with channels innermost (on CPUs 2.5 to 5 times)."""
    return device.type == "cpu"


def available_memory() -> int | None:
    """Bytes of main memory that can still be had, or None where nobody need ask.

    Only Linux promises more than it has and kills the process later; other systems refuse at once.
    """
    if platform.system() != "Linux":
        return None
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text("utf-8").splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device; no other fault may look like it."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    phrases = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in phrases)


def _cpu_multiplies_bfloat16() -> bool:
    """AVX-512 BF16 or AMX; the probes are young, so an older torch counts as without."""
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe is not None and probe() for probe in probes)
