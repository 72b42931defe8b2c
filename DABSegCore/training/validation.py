"""Validation: how well a network does on whole volumes it never trained on, and the thresholds that suit it best.

A score keeps voxel counts at every threshold instead of the probabilities, so that the choice of thresholds takes no
second pass and scores travel between processes for a few hundred bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from DABSegCore.errors import InputError
from DABSegCore.figure import tumour_slice
from DABSegCore.inference import Inferred, infer
from DABSegCore.labels import REGIONS
from DABSegCore.metrics import psnr

if TYPE_CHECKING:
    from DABSegCore.training.dataset import Twin

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Probabilities from which a voxel may count, T of them."""

ET_MIN_ML = (0.0, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
"""Volumes below which an enhancing tumour may be taken for a false alarm."""

LEAST_GAIN = 0.002
"""Mean Dice a choice must gain over the usual one (0.5, 0 ml) to be made: less is chance on a few cases."""

VOXEL_ML = 0.001
"""Cases lie on the working grid of 1 mm."""

MOST_DB = 60.0
"""Cap of PSNR, so that identical volumes do not make a mean infinite."""

_HALF = THRESHOLDS.index(0.5)
_ET = REGIONS.index("ET")


class View(NamedTuple):
    """The axial slice that shows a tumour best."""

    corrupted: np.ndarray
    """Intensities in [0, 1], float32 [M, H, W]."""
    restored: np.ndarray
    """Same, from the network."""
    sharp: np.ndarray
    """Same, before motion."""
    predicted: np.ndarray
    """Region masks at the threshold 0.5, bool [R, H, W]."""
    reference: np.ndarray
    """Region masks of the segmentation, same shape."""


@dataclass(frozen=True, eq=False)
class Score:
    """What the network made of one twin.

    Attributes:
        case_id: Name of the case.
        kind: "real" or "virtual".
        severity: Level of its motion.
        overlap: Voxels predicted and in the reference, by region and threshold, int64 [R, T].
        predicted: Voxels predicted, same shape.
        reference: Voxels of the reference by region, int64 [R].
        psnr_corrupted: dB in the brain before restoration, mean over modalities, each at most `MOST_DB`.
        psnr_restored: The same after it.
        view: A slice to look at, where one was asked for.
    """

    case_id: str
    kind: str
    severity: int
    overlap: np.ndarray
    predicted: np.ndarray
    reference: np.ndarray
    psnr_corrupted: float
    psnr_restored: float
    view: View | None = None

    @property
    def dice(self) -> np.ndarray:
        """Dice by region [R] at the threshold 0.5; 1 when both masks are empty, 0 when only one is."""
        return _dice(self.overlap, self.predicted, self.reference[:, None])[:, _HALF]


class Decision(NamedTuple):
    """How probabilities become a segmentation, as `pipeline.decide` wants it, and mean Dice without and with it."""

    thresholds: dict[str, float]
    et_min_ml: float
    dice_before: float
    dice_after: float


def score_twin(
    model: nn.Module,
    twin: Twin,
    *,
    device: torch.device,
    window: int,
    autocast: str = "auto",
    keep_view: bool = False,
    on_event: Callable[[str], None] = lambda text: None,
) -> Score:
    """Score a network on one twin, in windows as in use: what it says outside the brain does not count.

    Args:
        model: Network; its mode, device and memory layout are the same afterwards.
        twin: Corrupted and sharp volumes [M, D, H, W] of a case at 1 mm.
        device: Where the network runs.
        window: Window edge in voxels.
        autocast: As for `infer`.
        keep_view: Keep a slice to look at.
        on_event: Receives one sentence for every change of plan when memory runs out.

    Raises:
        InputError: If the answer is not finite or memory runs out; it names the case.
    """
    case = twin.case
    with _left_as_it_was(model):
        try:
            said = infer(
                model, twin.corrupted.float(), device=device, window=window, autocast=autocast, on_event=on_event
            )
        except InputError as error:
            message = f"validation of {case.case_id} at severity {twin.severity} failed: {error}"
            raise InputError(message, code=error.code) from error
    regions, brain = case.regions.cpu().numpy(), case.brain.cpu().numpy()
    overlap, predicted = _count(said.probabilities.numpy(), regions, brain)
    restored = said.restored.clamp(0, 1)
    return Score(
        case_id=case.case_id,
        kind="real" if case.real else "virtual",
        severity=twin.severity,
        overlap=overlap,
        predicted=predicted,
        reference=np.count_nonzero(regions, axis=(1, 2, 3)),
        psnr_corrupted=_brain_psnr(twin.corrupted, twin.sharp, brain),
        psnr_restored=_brain_psnr(restored, twin.sharp, brain),
        view=_view(twin, said, regions, brain) if keep_view else None,
    )


def summarise(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Means over the cases of each kind and severity, ready for a table.

    Returns:
        One row per group, real before virtual and mild before severe: kind, severity, number of cases, Dice of each
        region, PSNR before and after restoration in dB, and in how many cases restoration came nearer to sharp.
    """
    rows = []
    for (kind, severity), group in _groups(scores):
        dice = np.mean([score.dice for score in group], axis=0)
        rows.append(
            {"kind": kind, "severity": severity, "cases": len(group)}
            | dict(zip(REGIONS, dice.tolist(), strict=True))
            | {name: float(np.mean([getattr(s, name) for s in group])) for name in ("psnr_corrupted", "psnr_restored")}
            | {"nearer": sum(score.psnr_restored > score.psnr_corrupted for score in group)}
        )
    return rows


def mean_dice(scores: Sequence[Score]) -> float:
    """The number by which the best checkpoint is chosen.

    Dice averaged over regions, then cases, then severities, each of which counts the same; of the real cases where
    there are any, else of the virtual ones. The order of the scores does not matter, not even in the last bit.

    Raises:
        ValueError: If there are no scores.
    """
    return float(np.mean([np.mean([score.dice.mean() for score in group]) for _, group in _groups(_decisive(scores))]))


def mean_restored(scores: Sequence[Score]) -> float:
    """As `mean_dice`, of networks that outline nothing: mean error of what they restored, as PSNR in dB.

    The mean is taken of errors, not of decibels: sharp images left alone have the cap, which would outweigh all others.

    Raises:
        ValueError: If there are no scores.
    """
    errors = [np.mean([10 ** (-s.psnr_restored / 10) for s in group]) for _, group in _groups(_decisive(scores))]
    return float(-10 * np.log10(np.mean(errors)))


def tune(scores: Sequence[Score]) -> Decision:
    """Choose the threshold of every region, then the smallest enhancing tumour believed.

    Each is what gives the best mean Dice over the cases (real ones where there are any, else virtual), but the usual
    0.5 and 0 ml stay unless another gains `LEAST_GAIN` and more than the standard error of its gain over the cases: on
    a few of them one odd case would decide. Of equals, the threshold next to 0.5 and the smallest volume.

    `pipeline.decide` also nests the regions: a voxel of ET is one of TC and WT, too, even where their own thresholds
    leave it out. The counts of a region know only its own threshold, so for TC and WT they differ from `decide`
    where the network contradicts itself there. For ET they are exact, and its smallest volume changes ET alone.

    Raises:
        ValueError: If there are no scores.
    """
    scores = _decisive(scores)
    overlap, predicted = (np.stack([getattr(s, name) for s in scores]) for name in ("overlap", "predicted"))
    reference = np.stack([score.reference for score in scores])  # [n, R]
    names = [score.case_id for score in scores]
    dice = _by_case(_dice(overlap, predicted, reference[:, :, None]), names)  # [cases, R, T]
    nearest_first = sorted(range(len(THRESHOLDS)), key=lambda t: (abs(t - _HALF), t))
    chosen = [nearest_first[_best(dice[:, r, nearest_first])] for r in range(len(REGIONS))]

    counts, t = np.stack([overlap, predicted]), chosen[_ET]
    believed = [counts[..., _ET, t] * (predicted[:, _ET, t] * VOXEL_ML >= least_ml) for least_ml in ET_MIN_ML]
    gated = np.stack([_by_case(_dice(*kept, reference[:, _ET]), names) for kept in believed], axis=1)
    least = _best(gated)  # of [cases, volumes]

    after = dice.mean(axis=0)[range(len(REGIONS)), chosen]
    after[_ET] = gated[:, least].mean()
    return Decision(
        thresholds={region: THRESHOLDS[t] for region, t in zip(REGIONS, chosen, strict=True)},
        et_min_ml=ET_MIN_ML[least],
        dice_before=float(dice[..., _HALF].mean()),
        dice_after=float(after.mean()),
    )


def _by_case(values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Means of the twins of each case: [n, ...] -> [cases, ...]."""
    return np.stack([values[np.array(names) == name].mean(axis=0) for name in sorted(set(names))])


def _best(values: np.ndarray) -> int:
    """The choice with the best mean of [cases, choices], first of equals; 0, the usual one, unless it gains enough."""
    best = int(values.mean(axis=0).argmax())
    gain = values[:, best] - values[:, 0]
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.inf
    # A gain in one case alone equals its standard error, up to rounding.
    return best if gain.mean() >= LEAST_GAIN and gain.mean() > (1 + 1e-6) * error else 0


def _dice(overlap: np.ndarray, predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """`metrics.dice` of voxel counts, element by element: 1 when both masks are empty, 0 when only one is."""
    total = predicted + reference
    return np.where(total > 0, 2.0 * overlap / np.maximum(total, 1), 1.0)


def _count(probabilities: np.ndarray, regions: np.ndarray, brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of the brain in overlap and prediction [R, T] of float32 [R, D, H, W], compared as in `pipeline.decide`.

    One threshold after the other: a mask of the brain is all the memory it takes.
    """
    overlap, predicted = np.zeros((2, len(REGIONS), len(THRESHOLDS)), dtype=np.int64)
    for r, (probability, region) in enumerate(zip(probabilities, regions, strict=True)):
        inside = probability[brain]
        overlapping = inside[region[brain]]
        for t, threshold in enumerate(THRESHOLDS):
            predicted[r, t] = np.count_nonzero(inside >= threshold)
            overlap[r, t] = np.count_nonzero(overlapping >= threshold)
    return overlap, predicted


def _brain_psnr(image: Tensor, sharp: Tensor, brain: np.ndarray) -> float:
    """Mean over modalities of the PSNR in dB between volumes [M, D, H, W], each at most `MOST_DB`."""
    pairs = zip(image, sharp, strict=True)
    values = [psnr(*(volume.float().cpu().numpy()[brain] for volume in pair)) for pair in pairs]
    return sum(min(value, MOST_DB) for value in values) / len(values)


def _view(twin: Twin, said: Inferred, regions: np.ndarray, brain: np.ndarray) -> View:
    """Copies of one slice, so that they do not keep the volumes [., D, H, W] alive."""
    k = tumour_slice(regions, brain)
    corrupted, restored, sharp = (v[:, k].float().cpu().numpy() for v in (twin.corrupted, said.restored, twin.sharp))
    predicted = (said.probabilities[:, k].numpy() >= THRESHOLDS[_HALF]) & brain[k]
    return View(corrupted.copy(), (restored * brain[k]).clip(0, 1), sharp.copy(), predicted, regions[:, k].copy())


def _groups(scores: Sequence[Score]) -> list[tuple[tuple[str, int], list[Score]]]:
    """Scores by kind and severity, sorted down to the name of the case."""
    ordered = sorted(scores, key=lambda score: (score.kind, score.severity, score.case_id))
    return [(key, list(group)) for key, group in itertools.groupby(ordered, key=lambda s: (s.kind, s.severity))]


def _decisive(scores: Sequence[Score]) -> list[Score]:
    """The scores that decide, sorted: of real cases where there are any, else of virtual ones."""
    groups = _groups(scores)
    if not groups:
        raise ValueError("there are no scores to decide by")
    first = groups[0][0][0]  # "real" sorts before "virtual"
    return [score for (kind, _), group in groups if kind == first for score in group]


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while. `infer` may move a network and change its layout, which training must not feel."""
    training, home = model.training, next(model.parameters()).device
    kept = [(parameter, parameter.data) for parameter in model.parameters()]
    model.eval()
    try:
        yield
    finally:
        model.to(home).train(training)
        for parameter, data in kept:
            parameter.data = data
