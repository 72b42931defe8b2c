"""Case: one case at one severity: corrupted in memory, through the network, and compared with what is true.

The motion is the frozen draw of (seed, case, modality, severity), as `simulate` writes it for a case whose images lie
on one grid; here all are brought onto the grid of T1ce first. Regions are compared on that grid, in mm. Images are
compared where the network sees them: on the working grid, in the brain, in the intensity window of the corrupted ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from DABSegCore.cases import LoadedCase
from DABSegCore.evaluation.records import Level, number
from DABSegCore.evaluation.subjects import Subject
from DABSegCore.files import at_once
from DABSegCore.inference import OVERLAP, Inferred, infer
from DABSegCore.labels import MODALITIES, regions_from_labels
from DABSegCore.metrics import PENALTY_MM, nmse, psnr, region_scores, ssim, surroundings
from DABSegCore.motion import corrupt_case
from DABSegCore.pipeline import Engine, Notebook, decide, window_of
from DABSegCore.preprocess import Prepared, apply_windows, prepare
from DABSegCore.volume import Volume

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Measures:
    """How agreement is measured, where there is a choice."""

    tolerance_mm: float = 1.0
    """Surfaces this near count as equal in the normalised surface Dice."""
    penalty_mm: float = PENALTY_MM
    """HD95 of a region that only one of prediction and reference has: the diagonal of the BraTS grid."""

    def regions(self, prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, Any]:
        """Scores of every region of two label maps [D, H, W], as a record has them."""
        masks = regions_from_labels(prediction), regions_from_labels(reference)
        found = region_scores(*masks, spacing_mm, tolerance_mm=self.tolerance_mm, penalty_mm=self.penalty_mm)
        return {region: {name: number(value) for name, value in scores.items()} for region, scores in found.items()}


@dataclass(frozen=True)
class Judged:
    """What is known of a case at one severity in the end.

    Attributes:
        facts: Of the record: regions, images, labels, and how it was computed.
        label: The label map that was judged.
    """

    facts: dict[str, Any]
    label: Volume


@dataclass(frozen=True, eq=False)
class Reading:
    """What the network made of a corrupted twin.

    Attributes:
        prepared: The twin on the working grid.
        sharp: Before motion, in the twin's intensity window [M, d, h, w].
        restored: By the network, same window, 0 outside the brain [M, d, h, w].
        label: Label map on the case's own grid [D, H, W].
        said: How the network was run.
    """

    prepared: Prepared
    sharp: np.ndarray
    restored: np.ndarray
    label: np.ndarray
    said: Inferred


@dataclass(frozen=True)
class Network:
    """A network as the method that is judged.

    Attributes:
        engine: The network and its device.
        levels: Severities 0 to 4.
        measures: How.
        seed: Of the motion.
        tta: Average over the eight mirror images.
        window: As `pipeline.Options.window`.
        overlap: As `pipeline.Options.overlap`.
        autocast: As `pipeline.Options.autocast`.
    """

    engine: Engine
    levels: tuple[Level, ...]
    measures: Measures = Measures()
    seed: int = 0
    tta: bool = False
    window: int | None = None
    overlap: float = OVERLAP
    autocast: str = "auto"

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What decides its answers and how they are judged."""
        options = {key: getattr(self, key) for key in ("seed", "tta", "window", "overlap", "autocast")}
        return {"weights": self.engine.weights["sha256"], **options, **asdict(self.measures)}

    def inputs(self, subject: Subject) -> dict[str, Any]:
        """What decides the voxels it is given."""
        return subject.identity()

    def load(self, subject: Subject, notes: Notebook) -> LoadedCase:
        """Read or make a case."""
        with notes.stage("read", announce=False):
            return subject.load(notes.warn)

    def judge(self, loaded: LoadedCase, level: Level, notes: Notebook) -> Judged:
        """Corrupt, restore, segment and compare."""
        reading = self.read(loaded, level, notes)
        with notes.stage("score", announce=False):
            images = _likeness(reading) if self.engine.model.restores else {}
            regions = self.measures.regions(reading.label, loaded.label, loaded.reference.spacing_mm)
        facts = {
            "regions": regions,
            "images": images,
            "labels": labels_in(reading.label, loaded.label),
            "device": str(reading.said.plan.device),
            "precision": reading.said.precision,
            "plan": str(reading.said.plan),
        }
        return Judged(facts, loaded.reference.with_array(reading.label))

    def read(self, loaded: LoadedCase, level: Level, notes: Notebook) -> Reading:
        """Corrupt, restore and segment.

        Raises:
            InputError: If the corrupted images show nothing, memory runs out or the answer is not finite.
        """
        grid, meta = loaded.reference, self.engine.meta
        with notes.stage("simulate", announce=False):
            sharp = torch.from_numpy(loaded.images)
            # On the CPU whatever the network runs on, so that all machines are asked the same question.
            corrupted, _ = corrupt_case(sharp, grid.spacing_mm, level, loaded.case.case_id, seed=self.seed)
        with notes.stage("prepare", announce=False):
            prepared = prepare(corrupted.numpy(), grid.affine)
        with notes.stage("network", announce=False):
            said = self._infer(prepared.image, notes)
        with notes.stage("outline", announce=False):
            probabilities = prepared.to_reference(said.probabilities.numpy() * prepared.brain, "linear")
            voxel_ml = float(np.prod(grid.spacing_mm)) / 1000
            label = decide(probabilities, meta["thresholds"], voxel_ml, meta.get("et_min_ml", 0.0))
        windowed = apply_windows(prepared.to_working(loaded.images), prepared.brain, prepared.windows)
        restored = said.restored.numpy().clip(0, 1) * prepared.brain
        return Reading(prepared, windowed, restored, label, said)

    def panel(self, subject: Subject, level: Level, notes: Notebook) -> Arrays:
        """What a picture of a case shows, on the working grid; computed again."""
        loaded = self.load(subject, notes)
        reading = self.read(loaded, level, notes)
        clear = {"pseudo-clear": reading.restored} if self.engine.model.restores else {}
        return {
            "input": reading.prepared.image,
            **clear,
            "sharp": reading.sharp,
            "segmentation": working_regions(reading.prepared, reading.label),
            "reference": working_regions(reading.prepared, loaded.label),
        }

    def _infer(self, image: np.ndarray, notes: Notebook) -> Inferred:
        return infer(
            self.engine.model,
            torch.from_numpy(image),
            device=self.engine.device,
            window=window_of(self.engine.meta, self.window),
            overlap=self.overlap,
            tta=self.tta,
            autocast=self.autocast,
            on_event=notes.warn,
        )


def working_regions(prepared: Prepared, label: np.ndarray) -> np.ndarray:
    """Region masks [R, d, h, w] on the working grid of a label map [D, H, W]."""
    return regions_from_labels(prepared.to_working(label[None], "nearest")[0])


def labels_in(prediction: np.ndarray, reference: np.ndarray) -> dict[str, list[int]]:
    """Which labels two maps use."""
    return {"prediction": np.unique(prediction).tolist(), "reference": np.unique(reference).tolist()}


def _likeness(reading: Reading) -> dict[str, dict[str, float | None]]:
    """How near the corrupted and the restored images are to the sharp ones in the brain, by modality."""
    brain = reading.prepared.brain
    box = surroundings(brain)  # nothing else is looked at
    stacks = reading.sharp, reading.prepared.image, reading.restored
    sharp, corrupted, restored = (stack[(slice(None), *box)] for stack in stacks)
    return dict(
        zip(
            MODALITIES,
            at_once(lambda m: _gain(sharp[m], corrupted[m], restored[m], brain[box]), range(len(MODALITIES))),
            strict=True,
        )
    )


def _gain(sharp: np.ndarray, corrupted: np.ndarray, restored: np.ndarray, brain: np.ndarray) -> dict[str, float | None]:
    """Likeness of one modality [d, h, w] before and after restoration."""
    before, after = (psnr(image, sharp, brain) for image in (corrupted, restored))
    return {
        "psnr_corrupted_db": number(before),
        "psnr_restored_db": number(after),
        "psnr_gain_db": number(after - before) if before != after else 0.0,
        "ssim_corrupted": number(ssim(corrupted, sharp, brain)),
        "ssim_restored": number(ssim(restored, sharp, brain)),
        "nmse_corrupted": number(nmse(corrupted, sharp, brain)),
        "nmse_restored": number(nmse(restored, sharp, brain)),
    }
