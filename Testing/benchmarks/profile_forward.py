"""Where the time of one forward goes, by kind of operation, from PyTorch's profiler.

    python Testing/benchmarks/profile_forward.py published paper base small --size 128
    python Testing/benchmarks/profile_forward.py small --size 96 --rounds 5

Shares are of an operation's own time (what it calls not counted), summed over rounds after one that warms up; networks
run as in `bench.py --parts forward`. On a GPU it is the time of its kernels.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parents[2]))

from DABSegCore.devices import half_dtype, resolve_device
from Testing.benchmarks.forms import one_forward

KINDS = {
    "convolution": ("conv",),
    "attention": ("scaled_dot_product", "bmm", "softmax", "baddbmm"),
    "linear": ("addmm", "linear", "aten::mm"),
    "normalisation": ("norm",),
    "copies and casts": ("copy", "cat", "index", "roll", "contiguous", "clone", "_to_copy"),
    "one voxel at a time": ("add", "mul", "relu", "clamp", "gelu", "sigmoid", "div", "sub", "sum", "mean", "ne", "any"),
}
"""Kind -> what names of its operations contain; the first that fits counts."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="published, or any network by name")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    device = resolve_device(args.device)
    table = {name: shares(name, args.size, device, args.rounds) for name in args.names}
    print("| share of the time | " + " | ".join(table) + " |\n|---|" + "---:|" * len(table))
    for kind in [*KINDS, "other"]:
        print(f"| {kind} | " + " | ".join(f"{found[kind]:.0%}" for found, _, _ in table.values()) + " |")
    print("| operations | " + " | ".join(str(count) for _, count, _ in table.values()) + " |")
    print("| one forward, s | " + " | ".join(f"{seconds:.2f}" for _, _, seconds in table.values()) + " |")


def shares(name: str, size: int, device: torch.device, rounds: int) -> tuple[dict[str, float], int, float]:
    """Share of the time by kind, operations of one forward, and its seconds without the profiler."""
    form = one_forward(name, size, device, name != "published" and half_dtype(device) is not None)
    on_gpu = device.type == "cuda"
    form.run()
    began = time.perf_counter()
    form.run()
    if on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(rounds):
            form.run()
    spent: Counter[str] = Counter()
    count = 0
    for event in profiler.key_averages():
        own = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        spent[kind_of(event.key)] += own
        count += event.count if own else 0
    total = sum(spent.values())
    return {kind: spent[kind] / total for kind in [*KINDS, "other"]}, count // rounds, seconds


def kind_of(operation: str) -> str:
    """Kind of an operation."""
    return next((kind for kind, parts in KINDS.items() if any(part in operation for part in parts)), "other")


if __name__ == "__main__":
    main()
