"""Dataset: training cases as bytes on the working grid, where they fit, and their sharp and corrupted twins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count

import numpy as np
import torch
from torch import Tensor

from DABSegCore.cases import Case, load_case
from DABSegCore.degradation import degrade_case
from DABSegCore.errors import InputError
from DABSegCore.labels import REGION_LABELS, REGIONS, regions_from_labels
from DABSegCore.memory import available_memory
from DABSegCore.motion import corrupt_case
from DABSegCore.phantom import virtual_patient
from DABSegCore.preprocess import PERCENTILES, working_grid
from DABSegCore.strengths import MOTION

SPACING_MM = (1.0, 1.0, 1.0)
"""Cases live on the working grid of `preprocess`, which is 1 mm."""

TUMOUR_VOXELS = 4096
"""Voxels kept per region to centre patches on."""

BRIGHT = 230
"""Byte of the 99.9th percentile; brighter voxels have room up to 255, and windows end below it anyway."""

FAIR_SHARE = 0.5
"""Part of the free memory that cases may take."""


@dataclass(frozen=True)
class TrainingCase:
    """One case on the working grid, cropped to the brain.

    Attributes:
        case_id: Seeds its motion.
        images: Sharp volumes as bytes, 0 outside the brain and only there [M, D, H, W].
        label: Canonical label map, uint8 [D, H, W].
        tumour: Voxels (d, h, w) of each region, a sample of at most `TUMOUR_VOXELS`, int16 [n, 3] each, on the CPU.
        real: False for a virtual patient.
    """

    case_id: str
    images: Tensor
    label: Tensor
    tumour: tuple[Tensor, ...]
    real: bool

    @property
    def brain(self) -> Tensor:
        """Mask, bool [D, H, W]."""
        return (self.images != 0).any(0)

    @property
    def regions(self) -> Tensor:
        """Region masks, bool [R, D, H, W]."""
        return regions_of(self.label)

    @property
    def bytes(self) -> int:
        """Memory the volumes take."""
        return self.images.numel() + self.label.numel()

    def to(self, device: torch.device | str) -> TrainingCase:
        """The same case with its volumes on a device."""
        return TrainingCase(self.case_id, self.images.to(device), self.label.to(device), self.tumour, self.real)


@dataclass(frozen=True)
class Twin:
    """A case before and after a draw of motion or what takes its place, on one window: the corrupted one's, as in use.

    Attributes:
        case: The case.
        severity: Level of the draw.
        corrupted: [M, D, H, W] float16 in [0, 1].
        sharp: Same; the very same tensor where there was no motion.
    """

    case: TrainingCase
    severity: int
    corrupted: Tensor
    sharp: Tensor


def regions_of(label: Tensor) -> Tensor:
    """Region masks of a canonical label map: [..., D, H, W] uint8 -> bool [R, D, H, W], R as in `REGIONS`."""
    return torch.stack([sum(label == value for value in REGION_LABELS[region]).bool() for region in REGIONS])


def training_case(case_id: str, images: np.ndarray, label: np.ndarray, affine: np.ndarray, real: bool) -> TrainingCase:
    """Bring a case to the working grid and each modality to bytes, its 99.9th percentile at `BRIGHT`.

    Args:
        case_id: Name.
        images: [M, D, H, W], 0 outside the brain.
        label: Canonical label map [D, H, W].
        affine: Voxel (i, j, k) to RAS mm.
        real: False for a virtual patient.

    Raises:
        InputError: If a modality shows nothing, or the brain is of no possible size.
    """
    inside = (images != 0).any(axis=0)
    grid = working_grid(inside, affine)
    images = grid.to_working(images)
    brain = torch.from_numpy(grid.to_working(inside[None].astype(np.uint8), "nearest")[0])
    label = grid.to_working(label[None], "nearest")[0].astype(np.uint8)
    out = torch.empty(images.shape, dtype=torch.uint8)
    for m, image in enumerate(images):
        bright = image[image > 0]
        if not bright.size:
            raise InputError(
                f"{case_id} has an image without any voxel above 0; export it again", code="constant-image"
            )
        scaled = torch.from_numpy(image) * (BRIGHT / float(np.percentile(bright, 99.9)))
        out[m] = scaled.round().clamp(1, 255).byte() * brain  # 1 at least, so that 0 means outside
    voxels = (torch.from_numpy(np.argwhere(mask)) for mask in regions_from_labels(label))
    return TrainingCase(case_id, out, torch.from_numpy(label), tuple(map(_spread, voxels)), real)


def _spread(rows: Tensor) -> Tensor:
    """At most `TUMOUR_VOXELS` rows, int16; drawn, as every n-th voxel may lie in a few columns only."""
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:TUMOUR_VOXELS]
    return rows[chosen].short()


def real_case(case: Case, on_warning: Callable[[str], object]) -> TrainingCase:
    """Read a case with a segmentation from its files.

    Args:
        case: Which files.
        on_warning: As for `cases.load_case`.

    Raises:
        InputError: If it cannot be read, or its labels are none of BraTS.
    """
    loaded = load_case(case, on_warning=on_warning)
    assert loaded.label is not None, "cases without a segmentation are sorted out before"
    return training_case(case.case_id, loaded.images, loaded.label, loaded.reference.affine, real=True)


def virtual_case(seed: int) -> TrainingCase:
    """A virtual patient."""
    patient = virtual_patient(seed)
    return training_case(f"virtual_{seed}", patient.images, patient.label, patient.affine, real=False)


def make_twin(case: TrainingCase, severity: int, seed: int, draw: int, cause: str = MOTION) -> Twin:
    """Draw motion for a case, on its device, and bring both versions onto the corrupted one's intensity window.

    Args:
        case: The case.
        severity: Level 0..4.
        seed: Global seed.
        draw: Counts draws.
        cause: What spoils the images: motion, or one of `STRENGTHS` in its place.
    """
    sharp = case.images.float()
    if cause == MOTION:
        corrupted, _ = corrupt_case(sharp, SPACING_MM, severity, case.case_id, seed=seed, draw=draw)
    else:
        corrupted = degrade_case(sharp, SPACING_MM, cause, severity, case.case_id, seed=seed, draw=draw)
    brain = case.brain
    windows = _windows(corrupted, brain)
    windowed = _apply(corrupted, windows, brain)
    return Twin(case, severity, windowed, windowed if corrupted is sharp else _apply(sharp, windows, brain))


def _windows(images: Tensor, brain: Tensor) -> Tensor:
    """The windows [M, 2] of `preprocess.window_intensities`, found without leaving the device."""
    windows = []
    for image in images:
        inside = image[brain & (image > 0)]
        if not len(inside):
            raise InputError("a modality has no voxel above 0 in the brain", code="constant-image")
        windows.append(_percentiles(inside))
    return torch.stack(windows)


def _percentiles(values: Tensor) -> Tensor:
    """`PERCENTILES` of values [n], linear in between; NumPy partitions, 9 times as fast on a CPU as to sort."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.percentile(values.numpy(), PERCENTILES).astype(np.float32))
    ordered = values.sort().values
    place = torch.tensor(PERCENTILES, device=values.device) / 100 * (len(ordered) - 1)
    low, high = ordered[place.long()], ordered[(place.long() + 1).clamp(max=len(ordered) - 1)]
    return low + (high - low) * (place - place.floor())


def _apply(images: Tensor, windows: Tensor, brain: Tensor) -> Tensor:
    """Window images [M, D, H, W] with windows [M, 2] as `preprocess.apply_windows`, float16."""
    low, high = windows[:, 0].view(-1, 1, 1, 1), windows[:, 1].view(-1, 1, 1, 1)
    return ((images - low) / (high - low).clamp_min(1e-6)).clamp_(0, 1).mul_(brain).half()


class Cases:
    """Cases to draw from by number; held where they fit, else read again every time.

    Args:
        readers: One function per case, which reads or makes it.
        names: Case ids, in the same order.
        real: Whether each is a real case.
        device: Where cases are wanted.
        residence: "device", "memory" (of the host), "disk" (not held at all), or "auto": the first that fits.
        share: Processes on this machine that hold the same cases.
        on_fault: Told one sentence for every case that cannot be used.
        on_step: Called with how many more cases are ready.

    Attributes:
        residence: Where they are in the end.
        failed: Names of cases that could not be used, so far.
    """

    def __init__(
        self,
        readers: Sequence[Callable[[], TrainingCase]],
        names: Sequence[str],
        real: Sequence[bool],
        device: torch.device,
        *,
        residence: str = "auto",
        share: int = 1,
        on_fault: Callable[[str], object],
        on_step: Callable[[int], object] = lambda count: None,
    ) -> None:
        self.readers, self.names, self.device = list(readers), list(names), device
        self.real = [i for i, is_real in enumerate(real) if is_real]
        self.virtual = [i for i, is_real in enumerate(real) if not is_real]
        self.failed: list[str] = []
        self._on_fault = on_fault
        self._held: dict[int, TrainingCase | None] = {}
        usable = ((i, case) for i in range(len(names)) if (case := self._read(i)) is not None)
        at, first = next(usable, (None, None))
        self.residence = self._place(first, share) if residence == "auto" else residence
        if self.residence == "disk":
            on_step(len(names))
        else:
            if at is not None:
                self._held[at] = first
            self._hold(on_step)
        if len(self.failed) == len(names):
            raise InputError(
                f"none of the {len(names)} cases can be used; the sentences above say why", code="no-cases"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> TrainingCase | None:
        """The case on the device, or None if it cannot be used (said once)."""
        if index in self._held:
            held = self._held[index]
            return held if held is None else held.to(self.device)
        case = self._read(index)
        return case if case is None else case.to(self.device)

    def _read(self, index: int) -> TrainingCase | None:
        try:
            return self.readers[index]()
        except InputError as fault:
            self._held[index] = None
            self.failed.append(self.names[index])
            self._on_fault(f"{self.names[index]} is left out: {fault}")
            return None

    def _place(self, first: TrainingCase | None, share: int) -> str:
        """The nearest memory in which cases like the first have room."""
        needed = len(self) * (first.bytes if first is not None else 0)
        if self.device.type == "cuda" and needed < FAIR_SHARE * torch.cuda.mem_get_info(self.device)[0]:
            return "device"
        free = available_memory()
        return "memory" if free is None or needed * share < FAIR_SHARE * free else "disk"

    def _hold(self, on_step: Callable[[int], object]) -> None:
        """Read all cases, several at a time: unpacking leaves Python's lock."""
        where = self.device if self.residence == "device" else torch.device("cpu")
        on_step(len(self._held))
        self._held = {i: case if case is None else case.to(where) for i, case in self._held.items()}
        todo = [i for i in range(len(self)) if i not in self._held]
        with ThreadPoolExecutor(min(8, cpu_count() or 1)) as pool:
            for index, case in zip(todo, pool.map(self._read, todo), strict=True):
                self._held[index] = case if case is None else case.to(where)
                on_step(1)
