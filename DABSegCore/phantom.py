"""Phantom: seeded virtual patients - four-modality brain MRI with a glioma and exact labels, on the BraTS grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from DABSegCore.labels import ENHANCING, MODALITIES
from DABSegCore.phantom_anatomy import Anatomy, Build, cerebrum, draw_build, grow, tissue_weights, to_anatomy
from DABSegCore.phantom_contrast import acquire, mix, smooth_noise
from DABSegCore.phantom_fields import Grid, generator, lattice, share, upsample
from DABSegCore.phantom_tumour import (
    Focus,
    TumourFields,
    displace,
    draw_foci,
    effacement,
    grow_tumour,
    label_of,
    on_grid,
)

BRATS_SHAPE = (155, 240, 240)
BRAIN_CENTRE = (73.0, 129.0, 119.5)
"""Where on the BraTS grid a brain's middle lies, (k, j, i) in mm; other grids keep the proportion."""


@dataclass(frozen=True)
class VirtualPatient:
    """One case: images in scanner-like units and exact labels.

    Attributes:
        images: float32 [M, D, H, W], M as in `MODALITIES`; positive in the brain, 0 outside.
        label: Canonical labels, uint8 [D, H, W].
        affine: Voxel index (i, j, k) to RAS mm, float64 [4, 4]; BraTS's own on the BraTS grid.
    """

    images: np.ndarray
    label: np.ndarray
    affine: np.ndarray


def virtual_patient(seed: int, shape: tuple[int, int, int] = BRATS_SHAPE, spacing_mm: float = 1.0) -> VirtualPatient:
    """Make one virtual patient.

    Head, tumour and contrasts are functions of space drawn from the seed, so the same seed on a coarser grid is the
    same patient seen coarsely (scanner noise differs). Draws are bit-exact everywhere; transcendental functions are
    not, so on another machine an intensity may differ by about 1e-5 of itself and a label at a voxel on its boundary.

    Args:
        seed: Any integer.
        shape: Grid [D, H, W].
        spacing_mm: Edge of the cubic voxels; the brain needs about 150 x 185 x 145 mm and is cut by smaller grids.

    Returns:
        The patient.
    """
    source, (target, box), affine = lattice(), _grid(shape, spacing_mm), _affine(shape, spacing_mm)
    build = draw_build(seed)
    foci = draw_foci(seed, build)
    points = source.points()
    skull_place = to_anatomy(points, build, seed)
    place = to_anatomy(displace(points, cerebrum(skull_place), foci), build, seed)
    anatomy = grow(skull_place, place, build, seed)
    tumour = on_grid(grow_tumour(points, anatomy, build, foci, seed), source, target)
    brain = upsample(anatomy.brain, source, target)
    images, label = _image(seed, anatomy, tumour, brain, (source, target), build, foci)
    full = np.zeros((len(MODALITIES), *shape), dtype=np.float32)
    full[(slice(None), *box)] = images
    whole = np.zeros(shape, dtype=np.uint8)
    whole[box] = label
    return VirtualPatient(full, whole, affine)


def write_patient(folder: Path, patient: VirtualPatient, case_id: str) -> None:
    """Write a patient as a BraTS-2020-named case: `<case_id>_t1.nii.gz` ... `<case_id>_seg.nii.gz`.

    Args:
        folder: Folder of the case; made if absent.
        patient: The patient.
        case_id: Start of every file name.

    Raises:
        InputError: If a file cannot be written.
    """
    from DABSegCore.volume import Volume, write_volume

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for modality, image in zip(MODALITIES, patient.images, strict=True):
        write_volume(folder / f"{case_id}_{modality}.nii.gz", Volume(image, patient.affine))
    write_volume(folder / f"{case_id}_seg.nii.gz", Volume(patient.label, patient.affine))


def _image(
    seed: int,
    anatomy: Anatomy,
    tumour: TumourFields,
    brain: np.ndarray,
    grids: tuple[Grid, Grid],
    build: Build,
    foci: tuple[Focus, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Images [M, D, H, W] and label [D, H, W] on the image grid's box."""
    source, target = grids
    voxel = float(target.x[1] - target.x[0])
    weights = tissue_weights(anatomy, source, target, build, effacement(tumour.core, foci))
    mask = brain > 0
    label = label_of(tumour.core, tumour.rim, tumour.oedema, np.where(mask, 1 - weights[0], 0))
    label[~mask] = 0
    ventricles = upsample(anatomy.ventricles, source, target)
    vessels = _vessels(seed, weights[0], brain, ventricles, target) * (label == 0)
    shares = _shares(seed, tumour, label, weights, target, voxel)
    shares["oedema"] = np.maximum(shares["oedema"], _caps(seed, ventricles, target) * weights[2])
    edge = _edge(seed, brain, target)
    images = np.stack(
        [acquire(edge * mix(weights, shares, vessels, seed, m), mask, target, seed, m) for m in MODALITIES]
    )
    return images, label


def _shares(
    seed: int, tumour: TumourFields, label: np.ndarray, weights: np.ndarray, grid: Grid, voxel: float
) -> dict[str, np.ndarray]:
    """How far each voxel looks like oedema, necrosis and enhancing tumour, 0 to 1 [D, H, W] each."""
    rng = generator(seed, "tumour texture")
    strength = np.clip(0.82 + 0.16 * smooth_noise(grid, 18.0, rng, 14), 0.45, 1.0)
    depth = np.clip(0.5 + tumour.oedema / np.float32(9.0), 0, 1)
    cortex = 1 - np.float32(0.35) * weights[1]
    oedema = np.where(label > 0, strength * depth * cortex, 0).astype(np.float32)
    core = share(tumour.core, voxel) * (label > 0)
    rim = np.where(label == ENHANCING, np.clip(0.78 + 0.25 * smooth_noise(grid, 8.0, rng, 40), 0.5, 1.25), 0)
    texture = np.stack([smooth_noise(grid, 20.0, rng, 14), smooth_noise(grid, 8.0, rng, 40)])
    return {"oedema": oedema, "necrosis": core, "enhancing": rim.astype(np.float32), "texture": texture}


def _edge(seed: int, brain: np.ndarray, grid: Grid) -> np.ndarray:
    """How the stripped skull darkens the outermost voxels, patch by patch: a factor in [0.15, 1] [D, H, W]."""
    depth_mm = np.float32(1.2) + smooth_noise(grid, 35.0, generator(seed, "edge"), 12)
    return np.clip(np.maximum(brain / np.maximum(depth_mm, 0.1), 0.15), 0, 1)


def _caps(seed: int, ventricles: np.ndarray, grid: Grid) -> np.ndarray:
    """Share of the harmless bright caps that ageing paints around the ventricles; no part of the tumour [D, H, W]."""
    rng = generator(seed, "caps")
    patches = np.clip(smooth_noise(grid, 30.0, rng, 12), 0, 1)
    return np.float32(0.6 * rng.beta(1.2, 2.5)) * patches * np.exp(np.minimum(ventricles, 0) / np.float32(3.0))


def _vessels(seed: int, fluid: np.ndarray, brain: np.ndarray, ventricles: np.ndarray, grid: Grid) -> np.ndarray:
    """Share of vessel: branches in sulci, choroid plexus, sagittal sinus, remnants of dura at the rim [D, H, W]."""
    rng = generator(seed, "vessels")
    branches = np.clip(2.0 * (smooth_noise(grid, 9.0, rng, 16) - 0.55), 0, 1) * fluid
    choroid = (np.abs(grid.y - 28.0) < 14.0)[:, None] * np.float32(0.5)
    branches *= np.where(ventricles > -1.0, choroid, 1)
    dura = np.clip(smooth_noise(grid, 40.0, rng, 12) - 0.6, 0, 1) * (brain < 2.5)
    sinus = (np.abs(grid.x) < 3.5).astype(np.float32) * (brain < 4.0) * (grid.z[:, None, None] > 0)
    return np.maximum(np.maximum(branches, 0.7 * dura), 0.8 * sinus * fluid).astype(np.float32)


def _grid(shape: tuple[int, int, int], spacing_mm: float) -> tuple[Grid, tuple[slice, slice, slice]]:
    """The part of the image grid that can hold brain, in mm from the brain's centre, and its slices."""
    axes, box = [], []
    for length, centre, full, half in zip(shape, BRAIN_CENTRE, BRATS_SHAPE, (82.0, 98.0, 78.0), strict=True):
        axis = np.arange(length) * spacing_mm - centre / full * length * spacing_mm
        near = np.flatnonzero(np.abs(axis) <= half)
        box.append(slice(int(near[0]), int(near[-1]) + 1))
        axes.append(axis[near])
    return Grid(*axes), tuple(box)


def _affine(shape: tuple[int, int, int], spacing_mm: float) -> np.ndarray:
    """Voxel index (i, j, k) to RAS mm; the middle of the brain keeps its place in space whatever the grid."""
    corner = [c - c / full * n * spacing_mm for c, full, n in zip(BRAIN_CENTRE, BRATS_SHAPE, shape, strict=True)]
    affine = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = -corner[2], BRATS_SHAPE[1] - 1 - corner[1], corner[0]
    return affine
