"""Truth: a reference segmentation that the user picked, in whatever of the usual forms, as region masks.

It may be a segmentation node or a volume of labels. The forms, as they are found in BraTS files and in Slicer:

- segments named by region (ET, TC, WT, or in words): taken as they are, whichever are there;
- segments named by BraTS label (NCR, ED, ET, or in words, or by number): put together to regions;
- volumes with the labels 0, 1, 2 and 4, or 3 for 4.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from DABSegCore.errors import InputError
from DABSegCore.labels import ENHANCING, NECROSIS, OEDEMA, REGION_LABELS, REGIONS
from DABSegCore.volume import Volume
from DABSegLib.nodes.bridge import pieces
from DABSegLib.nodes.geometry import as_volume
from DABSegLib.nodes.masks import check_labelmaps, crop, segment_volume, union_steps, write_mask

REGION_WORDS = {
    **{"et": "ET", "enhancing tumour": "ET", "enhancing": "ET", "gd enhancing tumour": "ET"},
    **{"tc": "TC", "tumour core": "TC", "core": "TC"},
    **{"wt": "WT", "whole tumour": "WT", "whole": "WT"},
}
"""Name of a segment, as from `_words`, -> region. Enhancing tumour is a region and a label in one."""

LABEL_WORDS = {
    **dict.fromkeys(("ncr", "net", "ncr net", "netc", "necrosis", "necrotic core", "necrotic tumour core"), NECROSIS),
    **dict.fromkeys(("non enhancing tumour", "non enhancing tumour core", "tissue"), NECROSIS),
    **dict.fromkeys(("ed", "snfh", "edema", "oedema", "peritumoural edema", "peritumoural oedema", "bone"), OEDEMA),
    **dict.fromkeys(("at", "skin", "connective tissue"), ENHANCING),
}
"""Name of a segment -> BraTS label. Tissue, bone, skin and connective tissue are what Slicer calls the values 1 to 4
of a label map that came without names."""

NUMBERED = re.compile(r"(?:(?:segment|label) )?(\d+)")
"""A segment named by its label value, as Slicer does on reading a label map as a segmentation."""

Parts = dict[str, list[Volume]]
"""Region -> masks at their places in the world, which are one region together."""


def masks_steps(node: Any, reference_node: Any, folder: Path) -> Generator[None, None, dict[str, Path]]:
    """Write a reference segmentation as masks on the grid of a volume node, wherever either lies.

    Args:
        node: A vtkMRMLSegmentationNode, or a volume node of labels.
        reference_node: Volume node.
        folder: Where the files go, `truth_ET.nii` and so on.

    Returns:
        Region -> file, of those regions that the segmentation tells of.

    Raises:
        InputError: If its segments or labels are not known, it lies elsewhere, or a file cannot be written.
    """
    parts = _of_segments(node) if node.IsA("vtkMRMLSegmentationNode") else (yield from _of_labels_steps(node))
    masks: dict[str, np.ndarray] = {}
    for region, volumes in parts.items():
        masks[region] = yield from union_steps(volumes, reference_node)
    if any(part.array.any() for volumes in parts.values() for part in volumes) and not any(
        mask.any() for mask in masks.values()
    ):
        raise InputError(
            f'"{node.GetName()}" lies nowhere on "{reference_node.GetName()}", but a reference segmentation must show '
            "the same head in the same place; pick the one of this case or undo its transform",
            code="no-overlap",
        )
    paths: dict[str, Path] = {}
    for region, mask in masks.items():
        paths[region] = write_mask(folder / f"truth_{region}.nii", mask, reference_node)
        yield
    return paths


def _of_segments(node: Any) -> Parts:
    """The regions of a segmentation node by the names of its segments."""
    check_labelmaps(node)
    segmentation = node.GetSegmentation()
    segments = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
    names = [_words(segment.GetName()) for segment in segments]
    regions = [REGION_WORDS.get(name) for name in names]
    if not {"TC", "WT"} & set(regions) and any(labels := _labels(node, names)):
        labels = [ENHANCING if region == "ET" else label for region, label in zip(regions, labels, strict=True)]
        found = {r: [s for s, n in zip(segments, labels, strict=True) if n in REGION_LABELS[r]] for r in REGIONS}
    else:
        found = {r: [s for s, n in zip(segments, regions, strict=True) if n == r] for r in REGIONS if r in regions}
    if not found:
        raise _unknown(node, "the segments " + (", ".join(f'"{s.GetName()}"' for s in segments) or "none"))
    return {region: [segment_volume(node, segment) for segment in those] for region, those in found.items()}


def _labels(node: Any, names: list[str]) -> list[int]:
    """The BraTS label that each segment stands for by its name, 0 for those that stand for none."""
    numbers = {int(match[1]) for name in names if (match := NUMBERED.fullmatch(name))}
    if {3, ENHANCING} <= numbers:
        raise _unknown(node, "segments numbered both 3 and 4, and either may be the enhancing tumour")
    if numbers - {1, 2, 3, 4}:
        raise _unknown(node, f"a segment numbered {min(numbers - {1, 2, 3, 4})}")
    by_number = {1: NECROSIS, 2: OEDEMA, 3: ENHANCING, 4: ENHANCING}
    matches = [(name, NUMBERED.fullmatch(name)) for name in names]
    return [by_number[int(match[1])] if match else LABEL_WORDS.get(name, 0) for name, match in matches]


def _of_labels_steps(node: Any) -> Generator[None, None, Parts]:
    """The regions of a volume node by the values of its voxels."""
    volume = as_volume(node)
    label = np.zeros(volume.shape, np.uint8)
    found: set[int] = set()
    for piece in pieces(volume.shape, 8):  # about a million voxels each
        values = volume.array[piece]
        known = np.zeros(values.shape, bool)
        for value in (0, 1, 2, 3, 4):
            here = values == value
            if here.any():
                found.add(value)
                known |= here
                label[piece][here] = ENHANCING if value == 3 else value
        if not known.all():
            raise _unknown(node, f"the value {values[~known][0]:g}")
        yield
    if {3, ENHANCING} <= found:
        raise _unknown(node, "the values 3 and 4, and either may be the enhancing tumour")
    (k, j, i), label = crop(label)
    affine = volume.affine.copy()
    affine[:, 3] = affine @ (i, j, k, 1)
    yield
    parts: Parts = {}
    for region in REGIONS:
        parts[region] = [Volume(np.isin(label, REGION_LABELS[region]), affine)]
        yield
    return parts


def _words(name: str) -> str:
    """A name to look up: small letters, British spelling, single blanks between words."""
    words = re.sub(r"[\W_]+", " ", name.lower()).strip()
    return words.replace("tumor", "tumour")


def _unknown(node: Any, found: str) -> InputError:
    """The error for segments or labels of which nobody knows what they are."""
    return InputError(
        f'"{node.GetName()}" holds {found}, but a reference segmentation has segments named ET, TC and WT, or the '
        "BraTS labels 1 (or NCR), 2 (ED) and 4 or 3 (ET); rename the segments or pick another",
        code="unknown-label",
    )
