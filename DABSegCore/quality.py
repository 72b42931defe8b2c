"""Quality: signs that somebody should look at a case, found without a reference segmentation.

Motion: every modality is a scan of its own, and a head that moves does so anew in each. Sharp scans of one brain have
their edges in the same places; those of a blurred one are smeared, doubled and elsewhere. So the index of a modality is
1 minus the best correlation of its edges with those of another one. As a correlation it depends on nobody's intensity
units or contrast. Scans that are not registered to each other raise it, too.

Stability: the segmentation of the input compared with that of its own pseudo-clear version. Where little motion was
undone, the two are alike whether they are right or wrong.

The bound comes from `tools/review_threshold.py`; `docs/quality.md` has what it and others like it are worth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from DABSegCore.labels import MODALITIES, REGIONS

REVIEW_MOTION = 0.7
"""Motion index of a modality from which its case should be looked at. The worst modality counts, not their mean: one
blurred scan of four is enough to spoil an outline."""

COLUMNS = ("review", *(f"motion_{m}" for m in MODALITIES), *(f"stability_{r}" for r in REGIONS))
"""Columns that `row` may fill in a table of cases."""

_RIM = 2
"""Half-resolution voxels next to the edge of the brain that are left out: cutting the skull away made that edge."""

_LEAST_VOXELS = 1000
"""Half-resolution voxels without which a correlation says little."""

_FAINT = 0.2
"""Share of the mean edge that is added before logarithms are taken: without them the rim of an enhancing tumour, which
one modality alone has, outweighs all anatomy; without it, noise in flat tissue does."""


def motion_index(image: np.ndarray, brain: np.ndarray) -> dict[str, float | None]:
    """How far the edges of every modality are from lying where those of its best match lie.

    Args:
        image: Intensities [M, d, h, w] on a grid of about 1 mm.
        brain: Brain mask [d, h, w].

    Returns:
        By modality, 0 (edges as in another one) to about 1 (edges of its own); None where nothing can be compared.
    """
    edges = _edges(_halved(image), _core(brain))
    index: dict[str, float | None] = dict.fromkeys(MODALITIES)
    known = np.flatnonzero(edges.any(axis=1))
    if len(known) < 2 or edges.shape[1] < _LEAST_VOXELS:
        return index
    edges = edges[known]
    strength = np.log(edges / edges.mean(axis=1, keepdims=True) + _FAINT)
    likeness = np.corrcoef(strength)
    np.fill_diagonal(likeness, -1)
    for m, best in zip(known, likeness.max(axis=1), strict=True):
        index[MODALITIES[m]] = round(1 - float(best), 4)
    return index


def assess(
    motion: Mapping[str, float | None], stability: Mapping[str, float] | None, volumes_ml: Mapping[str, float]
) -> dict[str, Any]:
    """The section `quality` of a report.

    Args:
        motion: Index by modality, of `motion_index`.
        stability: Dice by region between the outlines of the input and of its pseudo-clear version, where asked for.
        volumes_ml: Volume by region of the segmentation.
    """
    reasons = []
    blurred = {name: value for name, value in motion.items() if value is not None and value >= REVIEW_MOTION}
    if blurred:
        which = ", ".join(f"{name} {value:.2f}" for name, value in blurred.items())
        reasons.append(
            "edges that lie in no other modality, as after severe motion or without registration (motion index of "
            f"{which}; bound {REVIEW_MOTION:g})"
        )
    if volumes_ml["WT"] == 0:
        reasons.append("no tumour was found")
    return {
        "stability": None if stability is None else dict(stability),
        "motion": dict(motion),
        "review": bool(reasons),
        "reasons": reasons,
    }


def sentence(quality: Mapping[str, Any]) -> str:
    """What to tell the user of a case to be looked at."""
    return f"look at this case before its outlines are used: {'; '.join(quality['reasons'])}"


def row(quality: Mapping[str, Any] | None) -> dict[str, Any]:
    """A `quality` as part of a table's row; empty where a report has none."""
    if quality is None:
        return {}
    cells: dict[str, Any] = {"review": "yes" if quality["review"] else "no"}
    cells |= {f"motion_{modality}": value for modality, value in quality["motion"].items()}
    return cells | {f"stability_{region}": value for region, value in (quality["stability"] or {}).items()}


def is_sound(quality: Any) -> bool:
    """Whether all that is read from a `quality` is there, or nothing is, as in older reports; may raise where odd."""
    if quality is None:
        return True
    motion, stability = quality["motion"], quality["stability"]
    numbers = [*(value for value in motion.values() if value is not None), *(stability or {}).values()]
    return (
        set(motion) == set(MODALITIES)
        and (stability is None or set(stability) == set(REGIONS))
        and all(map(math.isfinite, numbers))
        and isinstance(quality["review"], bool)
        and isinstance(quality["reasons"], list)
    )


def _halved(channels: np.ndarray) -> np.ndarray:
    """Means of blocks of 2 x 2 x 2 voxels, [C, d, h, w] to [C, d // 2, h // 2, w // 2]: noise fades, ghosts stay."""
    d, h, w = (edge // 2 for edge in channels.shape[1:])
    whole = channels[:, : 2 * d, : 2 * h, : 2 * w]
    return whole.reshape(len(channels), d, 2, h, 2, w, 2).mean(axis=(2, 4, 6), dtype=np.float32)


def _core(brain: np.ndarray) -> np.ndarray:
    """The half-resolution voxels that lie deep in a brain mask [d, h, w]."""
    core = _halved(brain[None])[0] == 1
    for axis in range(3):
        core = np.logical_and.reduce([np.roll(core, shift, axis) for shift in range(-_RIM, _RIM + 1)])
    return core


def _edges(images: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Gradient magnitude of images [M, d, h, w] in a mask of n voxels, [M, n]."""
    if min(where.shape) < 2:
        return np.zeros((len(images), 0))
    return np.stack([np.sqrt(sum(slope**2 for slope in np.gradient(image)))[where] for image in images])
