"""Devices: which one to compute on, and in which number format."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from DABSegCore.config import PAPER, SMALL, ModelConfig
from DABSegCore.errors import InputError
from DABSegCore.models import build_model

PRECISIONS = {"off": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
PROBES = (
    replace(SMALL, depths=(2, 1, 1)),  # two blocks, so that windows shift
    replace(PAPER, embed_dim=8, decoder_dims=(128, 64, 32, 16), window=4),
)
"""Small networks that between them use every operation there is."""


def resolve_device(name: str = "auto") -> torch.device:
    """Device of that name.

    Args:
        name: "auto" (the first of cuda, mps, cpu that exists and works), "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        InputError: If the device is unknown or absent (the sentence names those that exist) or cannot run the network.
    """
    present = available_devices()
    if name == "auto":
        return torch.device(next(found for found in (*present[1:], "cpu") if found != "mps" or mps_works()))
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in present:
        raise InputError(
            f"the device {name!r} is not on this machine, which has {', '.join(present)}; "
            "use --device auto or one of these",
            code="no-device",
        )
    if wanted == "mps" and not mps_works():
        raise InputError(
            f"PyTorch {torch.__version__} does not run the network rightly on mps; use --device cpu or a newer PyTorch",
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


@lru_cache(maxsize=1)
def mps_works() -> bool:
    """Whether Apple's GPU gives the CPU's answers; its 3-D operations are young, and absent in some versions."""
    try:
        return all(_agrees_with_cpu(config, torch.device("mps")) for config in PROBES)
    except (RuntimeError, TypeError):  # not implemented, or not for this type of number
        return False


@torch.inference_mode()
def _agrees_with_cpu(config: ModelConfig, device: torch.device) -> bool:
    """Whether a network with arbitrary weights says there in float32 what it says on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = build_model(config).eval()
        image = torch.rand(1, config.modalities, 32, 32, 32)
    expected, found = model(image), model.to(device)(image.to(device))
    pairs = ((expected.logits, found.logits), (expected.restored, found.restored))
    return all(torch.allclose(ours, theirs.cpu(), atol=1e-3) for ours, theirs in pairs)


def half_dtype(device: torch.device, autocast: str = "auto") -> torch.dtype | None:
    """16-bit type for the heavy operations, or None for float32.

    "auto" takes bfloat16 where the hardware multiplies it (float16 on older CUDA cards): on a CPU with AVX-512 BF16
    a 3-D convolution is 2.5 times faster than in float32, on one without it is slower. On mps it is always None.

    Args:
        device: Where the network runs.
        autocast: "auto", "off", "bfloat16" or "float16".
    """
    if autocast != "auto":
        if autocast not in PRECISIONS:
            raise InputError(
                f"autocast {autocast!r} is unknown; use auto, {', '.join(PRECISIONS)}", code="bad-argument"
            )
        return None if device.type == "mps" else PRECISIONS[autocast]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and _cpu_multiplies_bfloat16():
        return torch.bfloat16
    return None


def memory_format(device: torch.device) -> torch.memory_format:
    """Order of numbers in memory that suits the network there.

    On CPUs channels innermost: convolutions are 2.5 to 5 times as fast. On CUDA outermost: group norm returns them so
    whatever it is given (`native_group_norm` asks for a contiguous input), and every norm would be two copies.
    """
    return torch.channels_last_3d if device.type == "cpu" else torch.contiguous_format


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
