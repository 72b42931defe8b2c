"""Score: regions against a reference, restored images against sharp ones, fused ones against what they are made of.

    python -m DABSegCore.score --out scores.json --region ET FOUND_ET.nii TRUE_ET.nii --region WT FOUND.nii TRUE.nii
    python -m DABSegCore.score --out scores.json --image t1 SHARP_T1.nii BLURRED_T1.nii PSEUDO_CLEAR_T1.nii
    python -m DABSegCore.score --out scores.json --fusion T1.nii FLAIR.nii FUSED.nii

Masks are volumes that are not 0 where the region is. Likeness is taken in the brain, where the sharp image is not 0, on
the intensity window of its 1st to 99th percentile. A fused image and its two sources are seen in their brain, each on
the window of its own percentiles: RMR-Fusion's measures, but without the background, over which they are others. What
is infinite or has no answer is null in the JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from DABSegCore.errors import InputError
from DABSegCore.files import at_once, write_bytes
from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.metrics import (
    average_gradient,
    dice,
    entropy,
    fmi,
    hd95,
    psnr,
    scd,
    sensitivity,
    ssim,
    surroundings,
)
from DABSegCore.preprocess import apply_windows, window_intensities
from DABSegCore.progress import Progress, run_command
from DABSegCore.volume import Volume, read_volume, resample, same_grid

Scores = dict[str, float | None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Raises:
        InputError: If an option or a file is bad, or the scores cannot be written.
    """
    args = _parse(argv)
    regions, images = _named(args.region, "--region", REGIONS), _named(args.image, "--image", MODALITIES)
    if not regions and not images and not args.fusion:
        raise InputError(
            "nothing to score was given; use --region, --image or --fusion, the first two as often as needed",
            code="bad-argument",
        )
    progress = Progress(args.progress)
    progress.stage("score", len(regions) + len(images) + bool(args.fusion))
    scores: dict[str, dict] = {"regions": {}, "images": {}}
    for region, paths in regions.items():
        scores["regions"][region] = score_region(*paths)
        progress.step(region=region)
    for modality, paths in images.items():
        scores["images"][modality] = score_image(*paths, progress)
        progress.step(image=modality)
    if args.fusion:
        scores["fusion"] = score_fusion(*map(Path, args.fusion), progress)
        progress.step(fusion=args.fusion[-1])
    write_bytes(args.out, (json.dumps(scores, indent=2) + "\n").encode())
    progress.done(out=str(args.out))
    return 0


def score_region(prediction: Path, truth: Path) -> Scores:
    """Agreement of two masks in files, and their volumes.

    Raises:
        InputError: If one cannot be read, or they lie on different grids.
    """
    found, there = read_volume(prediction), read_volume(truth)
    if not same_grid(found, there):
        raise InputError(
            f"{prediction} and {truth} lie on different grids, but masks are compared voxel by voxel; put both on one",
            code="different-grids",
        )
    masks = found.array != 0, there.array != 0
    voxel_ml = math.prod(found.spacing_mm) / 1000
    predicted_ml, truth_ml = (round(np.count_nonzero(mask) * voxel_ml, 4) for mask in masks)
    return {
        "dice": _number(dice(*masks)),
        "hd95_mm": _number(hd95(*masks, found.spacing_mm)),
        "sensitivity": _number(sensitivity(*masks)),
        "predicted_ml": predicted_ml,
        "truth_ml": truth_ml,
    }


def score_image(sharp: Path, corrupted: Path, restored: Path, progress: Progress) -> dict[str, Scores]:
    """Likeness of a corrupted and a restored image to the sharp one; all on the restored one's grid.

    Raises:
        InputError: If one cannot be read, they do not overlap, or the sharp one has no contrast.
    """
    grid, corrupted_volume, sharp_volume = at_once(read_volume, (restored, corrupted, sharp))
    truth = _onto(grid, sharp_volume, sharp, "restored", progress)
    images = {"corrupted": _onto(grid, corrupted_volume, corrupted, "restored", progress), "restored": grid.array}
    box = surroundings(truth != 0)  # nothing else is looked at
    truth, brain = truth[box], truth[box] != 0
    reference, window = _windowed(truth, brain, sharp)

    def likeness(name: str) -> tuple[float | None, float | None]:
        image = apply_windows(images[name][box][None], brain, window)[0]
        return _number(psnr(image, reference[0], brain)), _number(ssim(image, reference[0], brain))

    scores = dict(zip(images, at_once(likeness, images), strict=True))
    return {
        "psnr_db": {name: values[0] for name, values in scores.items()},
        "ssim": {name: values[1] for name, values in scores.items()},
    }


def score_fusion(first: Path, second: Path, fused: Path, progress: Progress) -> Scores:
    """What an image fused of two others is worth, in the brain of these; all on the fused one's grid.

    Raises:
        InputError: If one cannot be read, they do not overlap, or one has no contrast there.
    """
    grid, *volumes = at_once(read_volume, (fused, first, second))
    sources = [
        _onto(grid, volume, path, "fused", progress) for volume, path in zip(volumes, (first, second), strict=True)
    ]
    brain = np.any([source != 0 for source in sources], axis=0)
    box = surroundings(brain)  # nothing else is looked at
    brain = brain[box]
    pairs = zip((*sources, grid.array), (first, second, fused), strict=True)
    a, b, f = (_windowed(image[box], brain, path)[0][0] for image, path in pairs)
    return {
        "entropy_bits": _number(entropy(f, brain)),
        "fmi": _number(fmi(f, (a, b), brain)),
        "average_gradient": _number(average_gradient(f, brain)),
        "scd": _number(scd(f, a, b, brain)),
    }


def _windowed(image: np.ndarray, brain: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """As `window_intensities`, of one image [D, H, W]."""
    try:
        return window_intensities(image[None], brain)
    except InputError as fault:  # which would call it T1
        raise InputError(
            f"{path} has one value, or none above 0, in nearly all of the brain, but an image must show something; "
            "give intensities, not a mask",
            code=fault.code,
        ) from fault


def _onto(grid: Volume, volume: Volume, path: Path, whose: str, progress: Progress) -> np.ndarray:
    """Voxels [D, H, W] on a grid, resampled and said so where they lie on another."""
    if same_grid(volume, grid):
        return volume.array
    progress.warn(f"{path.name} lies on another grid than the {whose} image: resampled onto it to be compared")
    return resample(volume, grid).array


def _number(value: float) -> float | None:
    """A number as JSON has it: null for what is infinite or none."""
    return round(value, 4) if math.isfinite(value) else None


def _named(given: list[list[str]], option: str, names: Sequence[str]) -> dict[str, list[Path]]:
    """Files by name, in the order of the names."""
    found: dict[str, list[Path]] = {}
    for name, *paths in given:
        if name not in names or name in found:
            fault = "is given twice" if name in found else f"is none of {', '.join(names)}"
            raise InputError(f"{option} {name} {fault}; give each name once, and its files after it", "bad-argument")
        found[name] = [Path(path) for path in paths]
    return {name: found[name] for name in names if name in found}


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(
        prog="python -m DABSegCore.score",
        description="Compare regions with a reference, restored images with sharp ones, and fused ones with what they "
        "were made of (research use only).",
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, help="JSON file to write")
    several = {"action": "append", "default": []}
    region, image = ("REGION", "FOUND", "TRUTH"), ("MODALITY", "SHARP", "BLURRED", "RESTORED")
    parser.add_argument("--region", nargs=3, metavar=region, **several, help=f"two masks of {', '.join(REGIONS)}")
    parser.add_argument("--image", nargs=4, metavar=image, **several, help=f"three of {', '.join(MODALITIES)}")
    fusion = {"nargs": 3, "metavar": ("SOURCE", "OTHER", "FUSED")}
    parser.add_argument("--fusion", **fusion, help="two images, and one made of both")
    parser.add_argument("--progress", choices=("bar", "json", "quiet"), default="bar")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
