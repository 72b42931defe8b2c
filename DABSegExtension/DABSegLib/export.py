"""Export: what belongs to a segmentation as files other programs read, named as `DABSegCore.segment` names them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from DABSegCore.errors import InputError
from DABSegCore.files import make_folder, read_bytes, replacing, write_bytes
from DABSegCore.labels import REGIONS, labels_from_regions
from DABSegCore.nifti import decode_nifti, encode_header
from DABSegLib.nodes import extras, links, segments
from DABSegLib.nodes.bridge import pieces, write_volume_steps
from DABSegLib.nodes.geometry import as_volume
from DABSegLib.work.runner import OnLog, Status, Steps

PIECE_BYTES = 1 << 20
"""Compressed between two looks at the event loop: some 20 ms."""


def export_steps(segmentation: Any, folder: Path, on_log: OnLog = lambda level, line: None) -> Steps[list[Path]]:
    """Write a segmentation and its volumes into a folder.

    `<case>_seg.nii.gz` is a BraTS label map of the segments as they are now, edits included; where segments are not
    nested, ET counts before TC and TC before WT. Beside it: `<case>_<modality>_pseudo-clear.nii.gz`, where the weights
    gave these `<case>_fused.nii.gz` or `<case>_uncertainty_<region>.nii.gz`, `<case>_regions.csv` with the volumes, and
    `<case>_report.json` with what was run.

    Args:
        segmentation: A segmentation made here.
        folder: Where to; files of these names are replaced.
        on_log: Told which region the label map lacks, as its segment was deleted or renamed.

    Returns:
        The files.

    Raises:
        InputError: If its volumes are gone from the scene, no segment is a region, or the folder cannot be written.
    """
    reference = segmentation.GetNodeReference(links.REFERENCE)
    if reference is None:
        raise InputError(
            f'"{segmentation.GetName()}" has lost the volume on whose grid it is, but a label map needs a grid; '
            "save it in the Segmentations module",
            code="no-reference",
        )
    _look_for_regions(segmentation, on_log)
    name = _file_name(segmentation.GetName())
    written = []
    make_folder(folder)
    with tempfile.TemporaryDirectory(prefix="dabseg-export-") as temporary:
        work = Path(temporary)
        masks = yield from _told(segments.write_masks_steps(segmentation, reference, work), 0.1)
        label = work / "label.nii"
        yield from _told(_label_steps(masks, reference, label), 0.2)
        volumes = {"seg": label}
        for what, volume in _volumes(segmentation).items():
            path = work / f"{what}.nii"
            yield from _told(write_volume_steps(volume, path), 0.3)
            volumes[what] = path
        for number, (what, path) in enumerate(volumes.items()):
            target = folder / f"{name}_{what}.nii.gz"
            yield from _told(_compress_steps(path, target), 0.4 + 0.6 * number / len(volumes))
            written.append(target)
    write_bytes(folder / f"{name}_regions.csv", _csv(segments.volumes_ml(segmentation)))
    write_bytes(folder / f"{name}_report.json", json.dumps(links.report_of(segmentation), indent=2).encode())
    return [*written, folder / f"{name}_regions.csv", folder / f"{name}_report.json"]


def _volumes(segmentation: Any) -> dict[str, Any]:
    """What the network made besides segments, by the part of its file's name."""
    restored = links.connected(segmentation, "pseudo-clear")
    more = {role: links.connected(segmentation, role) for role in extras.EXTRAS}
    return {f"{modality}_pseudo-clear": volume for modality, volume in restored.items()} | {
        extras.file_part(role, part): volume for role, volumes in more.items() for part, volume in volumes.items()
    }


def _look_for_regions(segmentation: Any, on_log: OnLog) -> None:
    """Say what the label map will lack, and refuse to write one of nothing."""
    inner = segmentation.GetSegmentation()
    absent = [region for region in REGIONS if not inner.GetSegmentIdBySegmentName(region)]
    if len(absent) == len(REGIONS):
        raise InputError(
            f'"{segmentation.GetName()}" has no segment named {", ".join(REGIONS)}, but these make the label map; '
            "rename its segments, or save it in the Segmentations module",
            code="no-regions",
        )
    for region in absent:
        on_log("warning", f"no segment is named {region}, so the label map has none; rename the one that is {region}")


def _told(steps: Iterator[Any], fraction: float) -> Any:
    """Take all steps, telling how far the export is; returns what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        yield Status("Exporting", fraction, None, busy=True)


def _label_steps(masks: Mapping[str, Path], reference: Any, path: Path) -> Iterator[None]:
    """Write one label map of the region masks; there is nothing of a region that has none."""
    grid = as_volume(reference)
    regions = []
    for region in REGIONS:
        there = region in masks
        regions.append(decode_nifti(read_bytes(masks[region]), region)[0] if there else np.zeros(grid.shape, np.uint8))
        yield
    with path.open("wb") as file:
        file.write(encode_header(grid.shape, np.dtype(np.uint8), grid.affine))
        for piece in pieces(grid.shape, 4):  # a million voxels or so
            file.write(labels_from_regions([mask[piece] for mask in regions]))
            yield


def _compress_steps(source: Path, target: Path) -> Iterator[None]:
    """Gzip a file piece by piece, whole or not at all."""
    with replacing(target) as temporary, open(source, "rb") as file, gzip.open(temporary, "wb", 1) as packed:
        while piece := file.read(PIECE_BYTES):
            packed.write(piece)
            yield


def _csv(volumes_ml: dict[str, float]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("region", "volume_ml"))
    rows.writerows((region, f"{ml:.3f}") for region, ml in volumes_ml.items())
    return text.getvalue().encode()


def _file_name(name: str) -> str:
    """A node's name as the beginning of a file name."""
    return re.sub(r"[^\w.-]+", "_", name.removesuffix(" tumour")).strip("_.") or "case"
