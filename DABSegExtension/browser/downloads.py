"""Downloads: what a session made, as files in its folder `out`, where the gateway takes them from.

Every file with voxels that no scanner made says so in its name.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer
from DABSegLib.export import export_steps
from DABSegLib.naming import TITLES
from DABSegLib.nodes import links
from DABSegLib.nodes.geometry import as_volume
from DABSegLib.work.files import in_scratch_steps
from DABSegLib.work.runner import OnLog, Status, Steps

from DABSegCore.errors import InputError
from DABSegCore.files import make_folder, read_bytes, write_bytes
from DABSegCore.labels import REGIONS
from DABSegCore.volume import write_volume
from DABSegExtension.browser.opening import in_thread_steps
from DABSegExtension.browser.privacy import Privacy
from DABSegExtension.browser.robustness import within
from DABSegExtension.browser.state import Download, RobustnessRow

SYNTHETIC = "synthetic"
MADE = re.compile(r"pseudo-clear|motion|fused|difference")
"""In the name of a file whose voxels were computed."""

ENDINGS = {
    "_all.zip": "All of these in one file",
    "_seg.nii.gz": "Outlines as a BraTS label map",
    "_tumour.seg.nrrd": "Outlines as a segmentation of 3D Slicer",
    "_regions.csv": "Volumes of the regions",
    "_report.json": "Report of the run",
    "_trajectory.json": "Record of the simulated motion",
    "_robustness.csv": "Dice by level of motion",
}
"""End of a file's name -> what it is; volumes follow in the list."""

KINDS = {
    "pseudo-clear": "Pseudo-clear",
    "fused": "Fused from several modalities",
    "uncertainty": "Uncertainty of",
    "motion": "With simulated motion",
}
PARTS = {**TITLES, **{region: region for region in REGIONS}}
"""In a file's name -> what is told of it; a pseudo-clear volume of one with motion is pseudo-clear."""

README = """\
Made by DABSeg, research use only; not for diagnosis.

Files with "synthetic" in their names hold voxels that no scanner made: "pseudo-clear" is what a network believes the
image would be without motion, "motion" is a sharp image blurred by simulated head motion. What is seen in them may not
be in the patient. "_seg" and "_tumour" are outlines by a network and were not checked by anybody.
"""


def download_steps(
    folder: Path,
    case: str,
    *,
    segmentation: Any | None,
    motion: Mapping[str, Any],
    record: Mapping[str, Any] | None,
    robustness: Sequence[RobustnessRow],
    privacy: Privacy,
    on_log: OnLog,
) -> Steps[list[Download]]:
    """Write all there is into a folder, in place of what was there; all of it or nothing.

    Args:
        folder: Where to.
        case: Its name, as a file name; the files are named after it.
        segmentation: Outlines with their pseudo-clear volumes, or None.
        motion: Modality -> volume with simulated motion.
        record: Of that motion.
        robustness: Rows that were measured.
        privacy: Takes paths of this computer out of reports.
        on_log: Told what the export tells.

    Returns:
        The files, that with all of them first.

    Raises:
        InputError: If one cannot be written.
    """

    def write_steps(scratch: Path) -> Steps[list[Download]]:
        made = scratch / "made"
        make_folder(made)
        if segmentation is not None:
            yield from within(export_steps(segmentation, made, on_log), 0.0, 0.6)
            _write_segments(segmentation, made / f"{case}_tumour.seg.nrrd")
        for modality, node in motion.items():
            path, volume = made / f"{case}_{modality}_motion.nii.gz", as_volume(node)
            status = Status(f"Packing {TITLES[modality]}", 0.7)
            yield from in_thread_steps(lambda path=path, volume=volume: write_volume(path, volume), status)
        if record is not None:
            write_bytes(made / f"{case}_trajectory.json", json.dumps(record, indent=2).encode())
        for path in made.glob("*.json"):
            write_bytes(path, json.dumps(privacy.hide(json.loads(read_bytes(path))), indent=2).encode())
        if robustness:
            write_bytes(made / f"{case}_robustness.csv", _csv(robustness))
        _name_synthetic(made)
        yield from in_thread_steps(lambda: _zip(made, made / f"{case}_all.zip"), Status("Packing all", 0.9))
        return _publish(made, folder)

    return (yield from in_scratch_steps(write_steps, Status("Clearing up", 0.99, busy=True)))


def clear(folder: Path) -> None:
    """Remove files of an earlier state: nobody is to take them for those of what is shown."""
    for path in folder.glob("*"):
        path.unlink()


def is_motion(node: Any) -> bool:
    """Whether a volume was blurred here."""
    return node.GetAttribute(links.KIND) == "motion"


def place_of(name: str) -> tuple[int, int, int, str]:
    """Where a file stands in the list: outlines and records, then volumes by kind and modality."""

    def first(words: Iterable[str], fits: Callable[[str], bool]) -> int:
        return next((place for place, word in enumerate(words) if fits(word)), len(PARTS) + len(KINDS))

    ending = first(ENDINGS, name.endswith)
    part = first(PARTS, lambda word: f"_{word}_" in name or f"_{word}." in name)
    return min(ending, len(ENDINGS)), first(KINDS, lambda word: word in name), part, name


def title_of(name: str) -> str:
    """What a file is, by its name."""
    for ending, title in ENDINGS.items():
        if name.endswith(ending):
            return title
    kind = next((title for word, title in KINDS.items() if word in name), "Other")
    part = next((title for word, title in PARTS.items() if f"_{word}_" in name or f"_{word}." in name), "")
    return " ".join(filter(None, (kind, part, f"({SYNTHETIC})" if SYNTHETIC in name else "")))


def _write_segments(segmentation: Any, path: Path) -> None:
    """The segmentation as Slicer saves it, overlapping segments with names, colours and terms."""
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(segmentation):
        raise InputError(f"{path} was not written; see whether the disk is full", code="cannot-write")


def _name_synthetic(folder: Path) -> None:
    """Let the names of files with computed voxels say so."""
    for path in sorted(folder.glob("*.nii.gz")):
        stem = path.name.removesuffix(".nii.gz")
        if MADE.search(stem) and SYNTHETIC not in stem:
            path.rename(folder / f"{stem}_{SYNTHETIC}.nii.gz")


def _csv(rows: Sequence[RobustnessRow]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("severity", "measure", *(f"{region}_dice" for region in REGIONS)))
    for row in rows:
        dice = (getattr(row, region) for region in REGIONS)
        table.writerow((row.severity, row.kind, *("" if value is None else f"{value:.4f}" for value in dice)))
    return text.getvalue().encode()


def _zip(folder: Path, target: Path) -> None:
    """All files of a folder in one; they are packed already."""
    paths = sorted(folder.iterdir())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as packed:
        packed.writestr("README.txt", README)
        for path in paths:
            packed.write(path, path.name)


def _publish(made: Path, folder: Path) -> list[Download]:
    """Put new files in the place of old ones."""
    make_folder(folder)
    clear(folder)
    names = sorted((path.name for path in made.iterdir()), key=place_of)
    for name in names:
        shutil.move(made / name, folder / name)
    return [Download(name, title_of(name), (folder / name).stat().st_size) for name in names]
