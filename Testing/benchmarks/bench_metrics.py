"""Time of the surface metrics of one region of a 240 x 240 x 155 label map, beside MONAI's.

    python Testing/benchmarks/bench_metrics.py --threads 1 --runs 9
    python Testing/benchmarks/bench_metrics.py --prediction FOUND_seg.nii.gz --reference CASE_seg.nii.gz --region WT

Both take turns on the same masks, so that a busy machine slows both; medians and their ratio are printed, and how far
the results are apart. Without files the masks are of a virtual patient, and of the same moved by 1, 2 and 3 voxels.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from DABSegCore.labels import REGIONS, canonical_labels, regions_from_labels
from DABSegCore.metrics import hd95, nsd, region_scores, surface_distances
from DABSegCore.phantom import virtual_patient
from DABSegCore.volume import read_volume

Result = tuple[float, ...]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prediction", type=Path)
    parser.add_argument("--reference", type=Path, help="a label map on the same grid")
    parser.add_argument("--region", choices=REGIONS, default="WT")
    parser.add_argument("--tolerance-mm", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found, there, spacing_mm = masks(args.prediction, args.reference)
    index = REGIONS.index(args.region)
    pair = found[index], there[index]
    ours = our_metrics(*pair, spacing_mm, args.tolerance_mm)
    theirs = monai_metrics(*pair, spacing_mm, args.tolerance_mm)

    sizes = " and ".join(str(np.count_nonzero(mask)) for mask in pair)
    print(f"{args.region}, {sizes} voxels of {pair[0].shape}, {args.threads} threads, {args.runs} runs")
    print(f"{'':20s}{'DABSegCore':>12s}{'MONAI':>12s}{'ratio':>8s}   results")
    for name, function in ours.items():
        mine, other = take_turns(function, theirs.get(name), args.runs)
        shown = " ".join(f"{value:.5f}" for value in function())
        if other is None:
            print(f"{name:20s}{mine * 1000:9.1f} ms")
            continue
        apart = max(abs(a - b) for a, b in zip(function(), theirs[name](), strict=True))
        times = f"{mine * 1000:9.1f} ms{other * 1000:9.1f} ms{other / mine:8.1f}"
        print(f"{name:20s}{times}   {shown}, {apart:.0e} from MONAI's")
    once = take_turns(lambda: region_scores(found, there, spacing_mm), None, args.runs)[0]
    print(f"all metrics of all three regions: {once * 1000:.0f} ms")


def masks(prediction: Path | None, reference: Path | None) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Region masks [R, D, H, W] of two label maps, and their spacing in mm."""
    if prediction is None or reference is None:
        there = regions_from_labels(virtual_patient(0).label)
        return np.roll(there, (1, 2, 3), axis=(1, 2, 3)), there, (1.0, 1.0, 1.0)
    found, there = read_volume(prediction), read_volume(reference)
    return (*(regions_from_labels(canonical_labels(volume.array)) for volume in (found, there)), there.spacing_mm)


def our_metrics(
    found: np.ndarray, there: np.ndarray, spacing_mm: tuple[float, ...], tolerance_mm: float
) -> dict[str, Callable[[], Result]]:
    """Ours by name."""

    def both() -> Result:
        distances = surface_distances(found, there, spacing_mm)
        return distances.hd95(), distances.nsd(tolerance_mm)

    return {
        "HD95": lambda: (hd95(found, there, spacing_mm),),
        "NSD": lambda: (nsd(found, there, spacing_mm, tolerance_mm),),
        "HD95 and NSD": both,
    }


def monai_metrics(
    found: np.ndarray, there: np.ndarray, spacing_mm: tuple[float, ...], tolerance_mm: float
) -> dict[str, Callable[[], Result]]:
    """MONAI's by name; none where it is not installed."""
    try:
        from monai.metrics import compute_hausdorff_distance, compute_surface_dice
    except ImportError:
        print("MONAI is not installed, so there is nothing to compare with (pip install monai)")
        return {}
    warnings.filterwarnings("ignore", message=".*always_return_as_numpy")  # MONAI 1.5 warns of itself
    tensors = [torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (found, there)]
    options = {"include_background": True, "spacing": list(spacing_mm[::-1])}

    def distance() -> Result:
        return (float(compute_hausdorff_distance(*tensors, percentile=95, **options)),)

    def overlap() -> Result:
        return (float(compute_surface_dice(*tensors, [tolerance_mm], **options)),)

    return {"HD95": distance, "NSD": overlap, "HD95 and NSD": lambda: (*distance(), *overlap())}


def take_turns(
    ours: Callable[[], object], theirs: Callable[[], object] | None, runs: int
) -> tuple[float, float | None]:
    """Median seconds of each; the first round warms up."""
    seconds: dict[Callable[[], object], list[float]] = {ours: []} | ({theirs: []} if theirs else {})
    for round_ in range(runs + 1):
        for function, times in seconds.items():
            start = time.perf_counter()
            function()
            if round_:
                times.append(time.perf_counter() - start)
    medians = [statistics.median(times) for times in seconds.values()]
    return medians[0], medians[1] if theirs else None


if __name__ == "__main__":
    main()
