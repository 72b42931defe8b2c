"""Labels: the four modalities, the three tumour regions, and BraTS label maps <-> region masks."""

from __future__ import annotations

import numpy as np

from DABSegCore.errors import InputError

MODALITIES = ("t1", "t1ce", "t2", "flair")
"""Channel order M of every four-modality tensor."""

REGIONS = ("ET", "TC", "WT")
"""Channel order R of every region tensor: enhancing tumour, tumour core, whole tumour (they overlap)."""

NECROSIS, OEDEMA, ENHANCING = 1, 2, 4
LABEL_NAMES = {0: "background", NECROSIS: "necrosis", OEDEMA: "oedema", ENHANCING: "enhancing tumour"}

REGION_LABELS = {"ET": (ENHANCING,), "TC": (NECROSIS, ENHANCING), "WT": (NECROSIS, OEDEMA, ENHANCING)}


def canonical_labels(label: np.ndarray) -> np.ndarray:
    """Bring a label map to the 2020 convention {0, 1, 2, 4}.

    BraTS 2023 writes enhancing tumour as 3 and stores floats; 3 becomes 4. A map that uses both is refused.

    Args:
        label: Label map of any real type [D, H, W].

    Returns:
        The same map as uint8.

    Raises:
        InputError: If a value is not a BraTS label.
    """
    values = np.unique(label)
    unknown = [v for v in values.tolist() if v not in (0, 1, 2, 3, 4)]
    if unknown:
        raise InputError(
            f"the label map holds the value {unknown[0]:g}, but BraTS labels are 0, 1, 2 and 4 (or 3 in 2023 files); "
            "relabel it or pick the right file",
            code="unknown-label",
        )
    if 3 in values and 4 in values:
        raise InputError(
            "the label map holds both 3 and 4, but enhancing tumour is either 4 (BraTS 2020) or 3 (BraTS 2023); "
            "relabel one of them",
            code="unknown-label",
        )
    canonical = label.astype(np.uint8)
    canonical[canonical == 3] = ENHANCING
    return canonical


def regions_from_labels(label: np.ndarray) -> np.ndarray:
    """Overlapping region masks of a label map.

    Args:
        label: Canonical label map [D, H, W].

    Returns:
        Boolean masks [R, D, H, W], R as in `REGIONS`.
    """
    return np.stack([np.isin(label, REGION_LABELS[region]) for region in REGIONS])


def labels_from_regions(regions: np.ndarray) -> np.ndarray:
    """Label map of three region masks; the inner region wins, so ET outside TC still counts as ET.

    Args:
        regions: Boolean masks [R, D, H, W], R as in `REGIONS`.

    Returns:
        Canonical label map, uint8 [D, H, W].
    """
    et, tc, wt = (np.asarray(mask, dtype=bool) for mask in regions)
    label = np.zeros(et.shape, dtype=np.uint8)
    label[wt] = OEDEMA
    label[tc] = NECROSIS
    label[et] = ENHANCING
    return label
