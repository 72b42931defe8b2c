"""Time to corrupt one 240 x 240 x 155 volume, beside TorchIO's RandomMotion where that is installed.

    python Testing/benchmarks/bench_motion.py --threads 2 --runs 5
    python Testing/benchmarks/bench_motion.py --image CASE_t1.nii.gz --severity 3

Both take turns on the same volume, so that a busy machine slows both; medians and their ratio are printed, of the time
on the wall and of the processor time over all threads, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from DABSegCore.motion import corrupt_volume
from DABSegCore.phantom import virtual_patient
from DABSegCore.volume import read_volume


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, help="a skull-stripped volume (default: T2 of a virtual patient)")
    parser.add_argument("--severity", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    array = read_volume(args.image).array if args.image else virtual_patient(0).images[2]
    volume = torch.from_numpy(array).to(args.device)

    contestants: dict[str, Callable[[int], object]] = {"DABSegCore": lambda run: ours(volume, args.severity, run)}
    theirs = torchio_motion(volume.cpu())
    if theirs is None:
        print("TorchIO is not installed, so there is nothing to compare with (pip install torchio)")
    else:
        contestants["TorchIO"] = theirs

    wall: dict[str, list[float]] = {name: [] for name in contestants}
    busy: dict[str, list[float]] = {name: [] for name in contestants}
    for run in range(args.runs + 1):  # the first warms up
        for name, corrupt in contestants.items():
            start, start_busy = time.perf_counter(), time.process_time()
            corrupt(run)
            if args.device != "cpu":
                torch.cuda.synchronize()
            if run:
                wall[name].append(time.perf_counter() - start)
                busy[name].append(time.process_time() - start_busy)
    print(f"{tuple(volume.shape)} on {args.device}, S{args.severity}, {args.threads} threads, {args.runs} runs")
    for label, times in (("wall", wall), ("processor", busy)):
        medians = {name: statistics.median(seconds) for name, seconds in times.items()}
        for name, seconds in times.items():
            print(f"{label:10s}{name:11s} median {medians[name]:.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")
        if theirs is not None:
            print(f"{label:10s}ratio       {medians['TorchIO'] / medians['DABSegCore']:.1f}")


def ours(volume: Tensor, severity: int, run: int) -> Tensor:
    """Draw (with recentring) and apply; another trajectory every run."""
    corrupted, _ = corrupt_volume(volume, (1.0, 1.0, 1.0), severity, "bench", "t2", brain=volume != 0, draw=run)
    return corrupted


def torchio_motion(volume: Tensor) -> Callable[[int], object] | None:
    """TorchIO's RandomMotion with two transforms, or None."""
    try:
        import torchio
    except ImportError:
        return None
    transform = torchio.RandomMotion(num_transforms=2)
    image = torchio.ScalarImage(tensor=volume[None].permute(0, 3, 2, 1))
    return lambda run: transform(image)


if __name__ == "__main__":
    main()
