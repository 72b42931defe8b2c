"""Benchmark: one forward at 4x128^3 of every preset beside the published network in its published form.

    python Testing/benchmarks/bench_presets.py [--device cpu|cuda] [--size 128] [--rounds 5] [--variants]

`published` is the released network restated module by module (Testing/published_reference.py): float32, contiguous,
eager, as its authors run it. Ours run the way `segment` runs them. The forms take turns, so that drift of the machine
hits all alike; medians and ratios are printed as a table. With `--variants`, `base` runs beside what it would be with
one choice undone: the figures behind the choices in `DABSegCore/config.py`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from DABSegCore.config import BASE, PRESETS, ModelConfig
from DABSegCore.devices import channels_last_pays, half_dtype, resolve_device
from DABSegCore.models import build_model
from Testing.published_reference import PublishedNetwork


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variants", action="store_true")
    args = parser.parse_args()
    device = resolve_device(args.device)
    x = torch.rand(1, 4, args.size, args.size, args.size, device=device)
    configs = {"base": BASE, **VARIANTS} if args.variants else PRESETS
    forms = {} if args.variants else {"published": published(device)}
    forms |= {f"{name}, {kind}": ours(configs[name], kind, device) for name in configs for kind in KINDS}
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for round_ in range(args.rounds + 1):
        for name, forward in forms.items():
            elapsed_s = timed(forward, x)
            if round_:  # the first round warms up
                seconds[name].append(elapsed_s)
    first = next(iter(forms))
    base = statistics.median(seconds[first])
    print(f"\n4x{args.size}^3 on {device}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'form':<34}{'median s':>10}{'min':>8}{'max':>8}   {first} / this")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:<34}{median:>10.3f}{min(times):>8.3f}{max(times):>8.3f}{base / median:>18.2f}")


KINDS = ("float32", "autocast")

VARIANTS = {
    "windows of 8": replace(BASE, window=8),
    "cross-attention in pairs": replace(BASE, cross="pairs"),
    "depthwise feed-forward": replace(BASE, mlp="depthwise"),
    "full-resolution tail": replace(BASE, tail="full"),
    "published stem": replace(BASE, stem="fdmds", stem_width=16),
}


def published(device: torch.device) -> Callable[[Tensor], object]:
    """The published network, as published."""
    return PublishedNetwork().eval().to(device)


def ours(config: ModelConfig, kind: str, device: torch.device) -> Callable[[Tensor], object]:
    """A network of ours in the memory format and precision that `inference` chooses."""
    torch.manual_seed(0)
    layout = torch.channels_last_3d if channels_last_pays(device) else torch.contiguous_format
    model = build_model(config).eval().to(device, memory_format=layout)
    dtype = half_dtype(device) if kind == "autocast" else None

    def forward(x: Tensor) -> object:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            return model(x.to(memory_format=layout))

    return forward


@torch.inference_mode()
def timed(forward: Callable[[Tensor], object], x: Tensor) -> float:
    """Seconds of one call."""
    if x.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    forward(x)
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
