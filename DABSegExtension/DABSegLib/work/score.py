"""Score: how good segments and restored volumes are, where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from DABSegLib.work.runner import OnLog, Steps


def score_steps(
    scene: Any,
    segmentation: Any | None,
    truth: Any | None,
    sharp: Mapping[str, Any],
    corrupted: Mapping[str, Any],
    restored: Mapping[str, Any],
    reference_node: Any,
    on_log: OnLog = lambda level, line: None,
) -> Steps[dict[str, Any]]:
    """Compare in a child process; the scene is not changed.

    Args:
        scene: The vtkMRMLScene that holds all nodes.
        segmentation: Our segments, or None.
        truth: Reference segmentation or label map, or None.
        sharp: Modality -> volume without motion; only those in all three mappings are compared.
        corrupted: Modality -> volume with motion.
        restored: Modality -> pseudo-clear volume.
        reference_node: The volume on whose grid the segments are compared.
        on_log: Told what the process tells.

    Returns:
        {"regions": {region: {"dice", "hd95_mm", "sensitivity", "predicted_ml", "truth_ml"}},
        "images": {modality: {"psnr_db": {"corrupted", "restored"}, "ssim": {...}}}}; None for what is not finite.

    Raises:
        InputError: If an input is bad.
    """
    raise NotImplementedError
    yield
