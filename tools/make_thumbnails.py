"""Thumbnails: the pictures of the two virtual patients in Slicer's Sample Data, sharp and blurred.

python tools/make_thumbnails.py        # needs Pillow; some ten seconds
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from DABSegCore.figure import REGION_COLOURS, brain_box, cut, tumour_slice
from DABSegCore.labels import MODALITIES, REGIONS, regions_from_labels
from DABSegCore.motion import corrupt_case
from DABSegCore.phantom import patient_id, virtual_patient

ICONS = Path(__file__).parents[1] / "DABSegExtension" / "Resources" / "Icons"
SEED, SEVERITY = 5, 3
SHOWN = "t1ce"
HEIGHT_PX = 280


def thumbnail(image: np.ndarray, regions: np.ndarray, top: float) -> np.ndarray:
    """One slice with the tumour outlined.

    Args:
        image: Intensities [H, W].
        regions: Masks, bool [R, H, W].
        top: The intensity that is white.

    Returns:
        RGB, uint8 [height, width, 3].
    """
    scale = HEIGHT_PX / image.shape[0]
    grey = ndimage.zoom((image / top).clip(0, 1), scale, order=1)
    picture = np.repeat(grey[..., None], 3, axis=-1)
    for region, mask in zip(reversed(REGIONS), regions[::-1], strict=True):
        large = ndimage.gaussian_filter(ndimage.zoom(mask.astype(np.float32), scale, order=1), 1.5) > 0.5
        picture[large & ~ndimage.binary_erosion(large, iterations=2)] = REGION_COLOURS[region]
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def main() -> None:
    patient = virtual_patient(SEED)
    images = torch.from_numpy(patient.images)
    blurred, _ = corrupt_case(images, (1.0, 1.0, 1.0), SEVERITY, patient_id(SEED))
    regions = regions_from_labels(patient.label)
    m = MODALITIES.index(SHOWN)
    brain = patient.images[m] > 0
    k = tumour_slice(regions, brain)
    box = brain_box(brain[k], margin=6)
    top = float(np.percentile(patient.images[m][brain], 99.7))
    for name, volumes in {"VirtualPatient": patient.images, "VirtualPatientBlurred": blurred.numpy()}.items():
        picture = thumbnail(cut(volumes[m, k], box), cut(regions[:, k], box), top)
        Image.fromarray(picture).quantize(96).save(ICONS / f"{name}.png", optimize=True)
        print(f"{name}.png: {picture.shape[1]} x {picture.shape[0]}, {(ICONS / f'{name}.png').stat().st_size} bytes")


if __name__ == "__main__":
    main()
