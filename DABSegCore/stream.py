"""Stream: training cases, fresh motion over whole volumes, and aligned patches cut from both twins at one place.

Motion is simulated on whole volumes only (k-space has no meaning in a patch). It costs more than a training step, so
corrupted volumes live in a small pool: every few patches the oldest leaves and a fresh draw enters.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from DABSegCore.augment import (
    change_intensity,
    random_bias,
    random_flips,
    random_intensity,
    random_theta,
    sample_patch,
)
from DABSegCore.cases import Case, find_cases, load_case
from DABSegCore.labels import regions_from_labels
from DABSegCore.motion import corrupt_case
from DABSegCore.phantom import virtual_patient
from DABSegCore.preprocess import apply_windows, window_intensities, working_grid

SPACING_MM = (1.0, 1.0, 1.0)
"""Cases live on the working grid of `preprocess`, which is 1 mm."""


TUMOUR_VOXELS = 4096
"""Voxels kept per region to centre patches on."""


@dataclass(frozen=True)
class TrainingCase:
    """One case on the working grid, cropped to the brain, intensities untouched.

    Attributes:
        case_id: Seeds its motion.
        images: Sharp volumes, float16 scaled to about [0, 1] per modality, 0 outside the brain [M, D, H, W].
        regions: Region masks, bool [R, D, H, W].
        brain: Mask, bool [D, H, W].
        tumour: Voxels (d, h, w) of each region, a sample of at most `TUMOUR_VOXELS`, int16 [n, 3] each.
        real: False for a virtual patient.
    """

    case_id: str
    images: Tensor
    regions: Tensor
    brain: Tensor
    tumour: tuple[Tensor, ...]
    real: bool


@dataclass(frozen=True)
class Twin:
    """A case before and after one draw of motion, on one intensity window (the corrupted one's, as in use).

    Attributes:
        case: The case.
        severity: Level of the draw.
        corrupted: [M, D, H, W] float16 in [0, 1].
        sharp: Same.
    """

    case: TrainingCase
    severity: int
    corrupted: Tensor
    sharp: Tensor


@dataclass(frozen=True)
class Patch:
    """Aligned crops: corrupted and sharp [B, M, P, P, P] float32, regions [B, R, P, P, P], brain [B, 1, P, P, P]."""

    corrupted: Tensor
    sharp: Tensor
    regions: Tensor
    brain: Tensor


def training_case(case_id: str, images: np.ndarray, label: np.ndarray, affine: np.ndarray, real: bool) -> TrainingCase:
    """Bring a case to the working grid and scale each modality by its 99.9th percentile.

    Args:
        case_id: Name.
        images: [M, D, H, W], 0 outside the brain.
        label: Canonical label map [D, H, W].
        affine: Voxel (i, j, k) to RAS mm.
        real: False for a virtual patient.
    """
    grid = working_grid((images != 0).any(axis=0), affine)
    images = grid.to_working(images)
    regions = regions_from_labels(grid.to_working(label[None], "nearest")[0])
    top = np.array([np.percentile(image[image > 0], 99.9) for image in images], dtype=np.float32)
    scaled = torch.from_numpy(images / top[:, None, None, None]).half()
    masks = torch.from_numpy(regions)
    tumour = tuple(_spread(mask.nonzero(), TUMOUR_VOXELS).short() for mask in masks)
    return TrainingCase(case_id, scaled, masks, (scaled != 0).any(0), tumour, real)


def _spread(rows: Tensor, count: int) -> Tensor:
    """At most `count` rows, evenly spread."""
    return rows[:: max(1, -(-len(rows) // count))].clone()


def real_case(case: Case) -> TrainingCase:
    """Read a case with a segmentation from its files."""
    loaded = load_case(case)
    assert loaded.label is not None, "labelled_cases() keeps only cases with a segmentation"
    return training_case(case.case_id, loaded.images, loaded.label, loaded.reference.affine, real=True)


def virtual_case(seed: int) -> TrainingCase:
    """A virtual patient."""
    patient = virtual_patient(seed)
    return training_case(f"virtual_{seed}", patient.images, patient.label, patient.affine, real=False)


def labelled_cases(folder: Path) -> list[Case]:
    """Cases of a folder that have a segmentation."""
    return [case for case in find_cases(folder) if case.segmentation is not None]


def make_twin(case: TrainingCase, severity: int, seed: int, draw: int, device: torch.device | str = "cpu") -> Twin:
    """Draw motion for a case and bring both versions onto the corrupted one's intensity window."""
    sharp = case.images.to(device).float()
    corrupted, _ = corrupt_case(sharp, SPACING_MM, severity, case.case_id, seed=seed, draw=draw)
    brain = case.brain.cpu().numpy()
    windowed, windows = window_intensities(corrupted.cpu().numpy(), brain)
    same = apply_windows(sharp.cpu().numpy(), brain, windows)
    return Twin(case, severity, *(torch.from_numpy(x).to(device).half() for x in (windowed, same)))


class PatchStream:
    """Endless patches from a pool of twins; same arguments, same patches.

    Args:
        cases: What to draw from; real and virtual cases get equal shares when both are there.
        size: Patch edge in voxels.
        batch: Patches per item.
        severities: Levels, drawn uniformly from this list (repeat a level to weigh it).
        pool: Twins held at a time.
        patches_per_twin: Patches cut, on average, before a twin is replaced.
        seed: Seeds everything.
        device: Where the volumes live and patches are made.
    """

    def __init__(
        self,
        cases: Sequence[TrainingCase],
        *,
        size: int,
        batch: int,
        severities: Sequence[int],
        pool: int,
        patches_per_twin: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        kinds = [[c for c in cases if c.real], [c for c in cases if not c.real]]
        self.kinds = [kind for kind in kinds if kind]
        self.size, self.batch, self.severities = size, batch, list(severities)
        self.pool_size, self.patches_per_twin, self.seed, self.device = pool, patches_per_twin, seed, device
        self.generator = torch.Generator().manual_seed(zlib.crc32(f"patches {seed}".encode()))
        self.pool: list[Twin] = []
        self.drawn = self.cut = 0

    def __iter__(self) -> Iterator[Patch]:
        while True:
            yield self.next()

    def next(self) -> Patch:
        """The next batch."""
        crops = []
        for _ in range(self.batch):
            if len(self.pool) < self.pool_size or self.cut % self.patches_per_twin == 0:
                self._refresh()
            twin = self.pool[self._below(len(self.pool))]
            crops.append(cut_patch(twin, self.size, self.generator))
            self.cut += 1
        return Patch(*(torch.stack(parts) for parts in zip(*crops, strict=True)))

    def _refresh(self) -> None:
        """Let one fresh twin in, and the oldest out when the pool is full."""
        kind = self.kinds[self._below(len(self.kinds))]
        case = kind[self._below(len(kind))]
        severity = self.severities[self._below(len(self.severities))]
        self.pool = self.pool[-(self.pool_size - 1) :] if self.pool_size > 1 else []
        self.pool.append(make_twin(case, severity, self.seed, self.drawn, self.device))
        self.drawn += 1

    def _below(self, n: int) -> int:
        return int(torch.randint(n, (), generator=self.generator))


def cut_patch(twin: Twin, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One augmented patch: corrupted, sharp, regions, brain; every transform acts on all four alike.

    Half of the patches are centred near a voxel of a random region, so that small enhancing tumours are seen.
    """
    center = _center(twin, size, generator)
    warped = torch.rand((), generator=generator) < 0.25
    theta = random_theta(generator)
    flips = random_flips(generator)
    reach = _reach(theta, size) if warped else size
    corner = (center - reach / 2).round().int().tolist()
    images = torch.cat([_crop(twin.corrupted, corner, reach), _crop(twin.sharp, corner, reach)]).float()
    masks = torch.cat([_crop(twin.case.regions, corner, reach), _crop(twin.case.brain[None], corner, reach)])
    masks = masks.to(images.device, torch.float32)
    if warped:
        middle = torch.full((3,), (reach - 1) / 2)
        images = sample_patch(images, middle, size, theta)
        masks = sample_patch(masks, middle, size, theta, nearest=True)
    images, masks = images.flip(flips) * masks[-1:].flip(flips), masks.flip(flips)
    corrupted, sharp = images.chunk(2)
    if torch.rand((), generator=generator) < 0.8:
        bias = random_bias(generator, len(sharp), size).to(images.device)
        corrupted, sharp = (corrupted * bias).clamp(max=1), (sharp * bias).clamp(max=1)
    gamma, gain = random_intensity(generator, len(sharp))
    corrupted, sharp = change_intensity(corrupted, gamma, gain), change_intensity(sharp, gamma, gain)
    return corrupted, sharp, masks[:-1], masks[-1:]


def _center(twin: Twin, size: int, generator: torch.Generator) -> Tensor:
    """Patch centre in voxels, moved inwards so that the patch stays inside the volume where it can."""
    shape = torch.tensor(twin.case.regions.shape[1:], dtype=torch.float32)
    center = torch.rand(3, generator=generator) * shape
    if torch.rand((), generator=generator) < 0.6:
        voxels = twin.case.tumour[int(torch.randint(len(twin.case.tumour), (), generator=generator))]
        if len(voxels):
            jitter = (torch.rand(3, generator=generator) - 0.5) * size / 2
            center = voxels[int(torch.randint(len(voxels), (), generator=generator))] + jitter
    low = torch.minimum(torch.tensor(size / 2), shape / 2)
    return torch.maximum(torch.minimum(center, shape - low), low)


def _reach(theta: Tensor, size: int) -> int:
    """Edge of the cube a patch of `size` reads under `theta`."""
    return int(theta.abs().sum(1).max() * size) + 2


def _crop(volume: Tensor, corner: Sequence[int], size: int) -> Tensor:
    """A cube of [C, D, H, W] from `corner` on, zero where it reaches outside."""
    out = volume.new_zeros(volume.shape[0], size, size, size)
    source = [slice(max(c, 0), min(c + size, n)) for c, n in zip(corner, volume.shape[1:], strict=True)]
    target = [slice(s.start - c, s.stop - c) for s, c in zip(source, corner, strict=True)]
    out[(slice(None), *target)] = volume[(slice(None), *source)]
    return out
