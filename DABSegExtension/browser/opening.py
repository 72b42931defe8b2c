"""Opening: a patient's files on disk into the scene, read as the commands read them and checked as the panel does.

Reading and unpacking are done in a thread, beside the event loop: a page stays alive meanwhile.
"""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from DABSegLib import checks
from DABSegLib.naming import TITLES
from DABSegLib.process.messages import readable
from DABSegLib.work.files import in_scratch_steps, told
from DABSegLib.work.patient import enter_patient, load_patient_steps
from DABSegLib.work.runner import Status, Steps

from DABSegCore.cases import Case, case_from_paths
from DABSegCore.errors import InputError
from DABSegCore.files import at_once, read_bytes
from DABSegCore.labels import MODALITIES
from DABSegCore.nifti import LARGEST_BYTES, decode_header
from DABSegCore.volume import Volume, read_labels, read_volume, resample, same_grid, write_volume

T = TypeVar("T")

MOST_VOXELS = 100_000_000
"""Of an uploaded volume: what a head has at 0.5 mm; each costs some 100 bytes here before the page shows it."""

READING = Status("Reading the files", 0.1)
PIECE_BYTES = 1 << 22
HEAD_BYTES = 1 << 20
"""No header is longer."""


@dataclass(frozen=True)
class Opened:
    """A patient in the scene.

    Args:
        volumes: Modality -> volume node.
        truth: Reference segmentation, or None.
    """

    volumes: dict[str, Any]
    truth: Any | None


def open_files_steps(scene: Any, case: Case, name: str, *, trusted: bool) -> Steps[Opened]:
    """Read a patient's files into the scene, which changes in the last step only.

    Args:
        scene: Where to.
        case: The files; a reference segmentation is put on the grid of T1ce.
        name: The nodes are named after it, as far as it is fit for file names.
        trusted: Whether somebody on this computer chose the files; else their headers are looked at before anything
            as large as they say is made.

    Raises:
        InputError: If a file is bad, told in its title instead of its path.
    """
    name = re.sub(r"[^\w.-]+", "_", name).strip("._-") or "case"
    named = {str(path): f"{TITLES[modality]} file" for modality, path in case.paths.items()}

    def load_steps(folder: Path) -> Steps[tuple[dict[str, Any], Any | None]]:
        unpacked = case if trusted else (yield from in_thread_steps(lambda: _bounded(case, folder), READING))
        patient = folder / "patient"
        patient.mkdir()
        yield from in_thread_steps(lambda: _convert(unpacked, patient, name), READING)
        return (yield from load_patient_steps(patient))

    try:
        volumes, truth = yield from in_scratch_steps(load_steps, Status("Showing the patient", 0.99, busy=True))
    except InputError as fault:
        raise InputError(readable(str(fault), named), fault.code) from fault
    enter_patient(scene, volumes, truth)
    return Opened(volumes, truth)


def uploaded_case(files: Mapping[str, Path], name: str) -> Case:
    """The case of four uploaded files.

    Raises:
        InputError: If one is missing.
    """
    missing = [TITLES[modality] for modality in MODALITIES if modality not in files]
    if missing:
        raise InputError(
            f"the upload lacks {', '.join(missing)}, but a case is one file each of T1, T1ce, T2 and FLAIR; choose all "
            "four",
            code="missing-modality",
        )
    return case_from_paths(*(files[modality] for modality in MODALITIES), case_id=name)


def check_steps(volumes: Mapping[str, Any], reference: str = "t1ce") -> Steps[list[checks.Finding]]:
    """What may be wrong with volumes, the worst first."""
    findings = checks.look(volumes, reference)
    status = Status("Checking the volumes", None, busy=True)
    closely: Sequence[checks.Finding] = yield from told(checks.look_closely_steps(volumes, reference), status)
    return sorted([*findings, *closely], key=lambda finding: ("stop", "warn", "info").index(finding.level))


def in_thread_steps(function: Callable[[], T], status: Status) -> Steps[T]:
    """Do something in a thread of its own; closed or cancelled, it waits for the thread's end, which is near."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(function)
        try:
            while not future.done():
                yield status
        except Exception:  # cancelled
            while not future.done():
                yield Status("Stopping")
            raise
        return future.result()


def _bounded(case: Case, folder: Path) -> Case:
    """The case with its `.nii.gz` files unpacked, all no larger than they may be.

    A packed file of some megabytes may say that it is a terabyte, or be one.
    """
    paths = {}
    for modality, path in case.paths.items():
        paths[modality] = path
        if path.name.lower().endswith((".nii", ".nii.gz")):
            paths[modality] = _unpacked(path, folder / f"{modality}.nii")
        else:
            _check_own_voxels(path)
            _check_voxels(_size_by_itk(path), path)
    return Case(case.case_id, paths, None)


def _unpacked(path: Path, target: Path) -> Path:
    """A NIfTI file that is not packed and no larger than its header says; of too much nothing is written."""
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path, "rb") if packed else open(path, "rb") as source, open(target, "wb") as out:
            start = source.read(PIECE_BYTES)
            layout = decode_header(start[:540], str(path))
            _check_voxels(layout.shape, path)
            room = layout.start + math.prod(layout.shape) * layout.dtype.itemsize
            while start and room > 0:  # what follows the last voxel is nobody's business
                out.write(start[:room])
                room -= len(start)
                start = source.read(PIECE_BYTES)
    except (OSError, EOFError) as error:  # gzip's own are among them
        raise InputError(
            f"{path} cannot be unpacked ({error}), so it is truncated or corrupted; export or copy it again",
            code="truncated-file",
        ) from error
    return target


def _check_own_voxels(path: Path) -> None:
    """Refuse a header that leads to another file: that might be anybody's on this computer.

    Strict, for ITK is not: it takes "data file" after any kind of line end, and "ElementDataFile" with ":" as well.
    """
    head = read_bytes(path, HEAD_BYTES)
    if path.name.lower().endswith(".nrrd"):
        own = head.startswith(b"NRRD000") and not re.search(rb"(?i)data ?file\s*:", head)
    else:
        places = re.findall(rb"(?i)ElementDataFile[^\r\n]*", head)
        own = len(places) == 1 and re.fullmatch(rb"ElementDataFile\s*=\s*LOCAL\s*", places[0]) is not None
    if not own:
        raise InputError(
            f"{path} does not say that its voxels are within it, and no other file is read; export it as one file",
            code="voxels-elsewhere",
        )


def _size_by_itk(path: Path) -> tuple[int, ...]:
    """Voxels along each axis, by the header alone."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(
            f"{path} is no image that can be read; export it again as NIfTI, NRRD or MetaImage", code="unreadable-file"
        ) from error
    channels = reader.GetNumberOfComponents()  # a thousand of them are a thousand times the memory
    return reader.GetSize() if channels == 1 else (*reader.GetSize(), channels)


def _check_voxels(size: Sequence[int], path: Path) -> None:
    if math.prod(size) > MOST_VOXELS:
        raise InputError(
            f"{path} has {' x '.join(map(str, size))} voxels, but at most {MOST_VOXELS:,} are taken here; resample it "
            "to 1 mm first",
            code="too-large",
        )


def _convert(case: Case, folder: Path, name: str) -> None:
    """Write all files of a case as `.nii`, the labels as canonical ones on the grid of T1ce."""
    volumes = dict(zip(MODALITIES, at_once(read_volume, [case.paths[m] for m in MODALITIES]), strict=True))
    at_once(lambda modality: write_volume(folder / f"{name}_{modality}.nii", volumes[modality]), MODALITIES)
    if case.segmentation is not None:
        label, grid = read_labels(case.segmentation), volumes["t1ce"]
        label = label if same_grid(label, grid) else resample(label, grid, "nearest")
        write_volume(folder / f"{name}_seg.nii", Volume(label.array, grid.affine, grid.space))


assert MOST_VOXELS * 8 < LARGEST_BYTES, "what may be uploaded can be read"
