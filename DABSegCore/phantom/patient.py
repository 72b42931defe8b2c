"""Patient: one virtual patient, from head, tumour and scanner to images and labels, and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from DABSegCore.errors import packages_for
from DABSegCore.files import make_folder
from DABSegCore.labels import MODALITIES
from DABSegCore.phantom.anatomy import Anatomy, Build, cerebrum, draw_build, grow, tissue_weights, to_anatomy
from DABSegCore.phantom.contrast import acquire, mix
from DABSegCore.phantom.detail import caps, edge, shares, vessels
from DABSegCore.phantom.fields import Grid, lattice, upsample
from DABSegCore.phantom.tumour import (
    Focus,
    TumourFields,
    displace,
    draw_foci,
    effacement,
    grow_tumour,
    label_of,
    on_grid,
)
from DABSegCore.volume import FORMATS, Volume, write_volume

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


@packages_for("making virtual patients")
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

    Raises:
        InputError: If SciPy is not installed.
    """
    head, (target, box) = _head(seed), _grid(shape, spacing_mm)
    images = np.zeros((len(MODALITIES), *shape), dtype=np.float32)
    label = np.zeros(shape, dtype=np.uint8)
    images[(slice(None), *box)], label[box] = _scan(seed, head, target)
    return VirtualPatient(images, label, _affine(shape, spacing_mm))


def patient_id(seed: int) -> str:
    """What the patient of a seed is called: Virtual_005."""
    return f"Virtual_{seed:03d}"


def write_patient(folder: Path, patient: VirtualPatient, case_id: str, ending: str = FORMATS[0]) -> None:
    """Write a patient as a BraTS-2020-named case: `<case_id>_t1.nii.gz` ... `<case_id>_seg.nii.gz`.

    Args:
        folder: Folder of the case; made if absent.
        patient: The patient.
        case_id: Start of every file name.
        ending: One of `FORMATS`.

    Raises:
        InputError: If the folder cannot be made or a file cannot be written.
    """
    folder = make_folder(folder)
    for modality, image in zip(MODALITIES, patient.images, strict=True):
        write_volume(folder / f"{case_id}_{modality}.{ending}", Volume(image, patient.affine))
    write_volume(folder / f"{case_id}_seg.{ending}", Volume(patient.label, patient.affine))


@dataclass(frozen=True)
class _Head:
    """A head with its tumour, as fields on the lattice."""

    build: Build
    foci: tuple[Focus, ...]
    anatomy: Anatomy
    tumour: TumourFields


def _head(seed: int) -> _Head:
    """Draw and grow the head of one patient: skull, tumour, and the brain that the tumour has pushed aside."""
    build = draw_build(seed)
    foci = draw_foci(seed, build)
    points = lattice().points()
    skull_place = to_anatomy(points, build, seed)
    place = to_anatomy(displace(points, cerebrum(skull_place), foci), build, seed)
    anatomy = grow(skull_place, place, build, seed)
    return _Head(build, foci, anatomy, grow_tumour(points, anatomy, build, foci, seed))


def _scan(seed: int, head: _Head, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Images float32 [M, D, H, W] and labels uint8 [D, H, W] of a head on an image grid."""
    tumour = on_grid(head.tumour, lattice(), grid)
    depth, ventricles = (upsample(f, lattice(), grid) for f in (head.anatomy.brain, head.anatomy.ventricles))
    brain = _without_holes(depth > 0)
    weights = tissue_weights(head.anatomy, lattice(), grid, head.build, effacement(tumour.core, head.foci))
    fluid, grey, white, _ = weights
    label = label_of(tumour, np.where(brain, 1 - fluid, 0))
    label[~brain] = 0
    parts = shares(seed, tumour, label, grey, grid)
    parts["oedema"] = np.maximum(parts["oedema"], caps(seed, ventricles, grid) * white)
    blood = vessels(seed, fluid, depth, ventricles, grid) * (label == 0)
    rim = edge(seed, depth, grid)
    images = [acquire(rim * mix(weights, parts, blood, seed, m), brain, grid, seed, m) for m in MODALITIES]
    return np.stack(images), label


def _without_holes(mask: np.ndarray) -> np.ndarray:
    """The mask with every hole filled: all but the largest part of its background [D, H, W]."""
    from scipy import ndimage

    parts, count = ndimage.label(~mask)
    if count == 0:  # a grid that is all brain
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return parts != sizes.argmax()


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
    affine[:3, 3] = 0.0 - corner[2], BRATS_SHAPE[1] - 1 - corner[1], corner[0]
    return affine
