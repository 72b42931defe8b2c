"""Score: how good segments and restored volumes are, where the truth is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from DABSegCore.errors import InputError
from DABSegCore.files import read_bytes
from DABSegLib.naming import TITLES
from DABSegLib.nodes import segments
from DABSegLib.nodes import truth as truths
from DABSegLib.nodes.bridge import write_volume_steps
from DABSegLib.work.files import in_scratch_steps, told
from DABSegLib.work.follow import follow_steps
from DABSegLib.work.runner import OnLog, Status, Steps


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
    picked = [node for node in (segmentation, truth) if node is not None]
    compared = [modality for modality in sharp if modality in corrupted and modality in restored]
    images = {modality: (sharp[modality], corrupted[modality], restored[modality]) for modality in compared}
    nodes = [reference_node, *picked, *(node for three in images.values() for node in three)]

    def compare_steps(folder: Path) -> Steps[dict[str, Any]]:
        options, names = [], {}
        if len(picked) == 2:
            options += yield from _region_steps(segmentation, truth, reference_node, folder, names)
        for modality, three in images.items():
            options += yield from _image_steps(modality, three, folder, names)
        if not options:
            return {}
        yield from follow_steps(
            ["DABSegCore.score", *options, "--out", str(folder / "scores.json")],
            folder / "job",
            names=names,
            on_log=on_log,
            check=lambda: _check_still_in(scene, nodes),
        )
        return json.loads(read_bytes(folder / "scores.json"))

    scores = yield from in_scratch_steps(compare_steps, Status("Comparing", 1.0, busy=True))
    return {"regions": scores.get("regions", {}), "images": scores.get("images", {})}


def _region_steps(
    segmentation: Any, truth: Any, reference_node: Any, folder: Path, names: dict[str, str]
) -> Steps[list[str]]:
    """Write the masks of both that have the same name; returns the options that compare them."""
    status = Status("Reading the segments", 0.02, busy=True)
    ours = yield from told(segments.write_masks_steps(segmentation, reference_node, folder), status)
    theirs = yield from told(truths.masks_steps(truth, reference_node, folder), status)
    options: list[str] = []
    for region in (region for region in ours if region in theirs):
        options += ["--region", region, str(ours[region]), str(theirs[region])]
        names |= {str(ours[region]): f"{segmentation.GetName()} {region}"}
        names |= {str(theirs[region]): f"{truth.GetName()} {region}"}
    return options


def _image_steps(modality: str, nodes: tuple[Any, Any, Any], folder: Path, names: dict[str, str]) -> Steps[list[str]]:
    """Write three volumes of a modality; returns the option that compares them."""
    options = ["--image", modality]
    for kind, node in zip(("sharp", "corrupted", "restored"), nodes, strict=True):
        path = folder / f"{kind}_{modality}.nii"
        yield from told(write_volume_steps(node, path), Status(f"Reading {TITLES[modality]}", 0.03, busy=True))
        names[str(path)] = node.GetName()
        options.append(str(path))
    return options


def _check_still_in(scene: Any, nodes: list[Any]) -> None:
    """Refuse to go on for nodes that are no longer there."""
    if any(node.GetScene() is not scene for node in nodes):
        raise InputError(
            "what was to be compared left the scene in the meantime; load it again and start anew", code="inputs-gone"
        )
