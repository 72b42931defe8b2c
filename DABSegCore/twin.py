"""Twin: the corrupted copy of a case on disk, by motion or otherwise, file by file, with the record that repeats it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from DABSegCore import __version__
from DABSegCore.cases import Case, kind_of
from DABSegCore.degradation import Degradation, degrade_volume, draw_degradation
from DABSegCore.errors import InputError
from DABSegCore.files import read_bytes, sha256, write_bytes
from DABSegCore.labels import MODALITIES
from DABSegCore.metrics import psnr
from DABSegCore.motion import Trajectory, apply_trajectory, corrupt_volume
from DABSegCore.preprocess import apply_windows, window_intensities
from DABSegCore.progress import Progress
from DABSegCore.results import are_intact, digests, find_record, own_file, parse_record, publish, staging
from DABSegCore.strengths import MOTION
from DABSegCore.volume import Volume, image_suffix, read_labels, read_volume, same_grid, write_volume

RECORD = "trajectory.json"
"""Written last: a folder with it is complete."""

FORMAT = "dabseg-trajectory"
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")


@dataclass(frozen=True)
class Request:
    """What decides the corruption of a case, besides the case."""

    severity: int = 2
    preset: str = "annulus"
    seed: int = 0
    axis: int | None = None
    """Phase-encode axis as array axis; drawn per modality when None."""
    modalities: tuple[str, ...] = MODALITIES
    """Those that are corrupted; the others are copied."""
    degrade: str | None = None
    """What spoils them in place of motion, one of `strengths.STRENGTHS`."""
    darken: bool = False
    """As of a `Degradation`."""


def write_twin(
    case: Case,
    out: Path,
    request: Request,
    progress: Progress,
    *,
    replay: Mapping[str, Any] | None = None,
    ending: str | None = None,
    overwrite: bool = False,
) -> tuple[dict[str, Any], str]:
    """Write the corrupted twin of a case to `out / case_id`, under the same file names where they name a case.

    Each modality is corrupted in its own voxel grid. Voxels that are 0 in it and in all modalities on that grid stay 0.

    Args:
        case: The sharp case.
        out: Folder for twins.
        request: The corruption wanted; not looked at in a replay.
        progress: One step per modality.
        replay: Record of an earlier twin whose corruption is repeated.
        ending: What all files are written as, one of `FORMATS`; None for what each image is stored as.
        overwrite: Do again what is complete.

    Returns:
        The record, as in `trajectory.json`, and "done" or "skipped".

    Raises:
        InputError: If an input is bad, the twin would overwrite the case or another's twin, or it cannot be written.
    """
    folder = out / case.case_id
    _keep_apart(case, folder)
    causes = _replayed(replay) if replay is not None else None
    inputs = {modality: sha256(path) for modality, path in case.paths.items()}
    wanted = {"created_by": f"DABSegCore {__version__}", "case_id": case.case_id, "inputs": inputs}
    wanted["request"] = _plain(request) if replay is None else replay["request"]
    names = _twin_names(case, ending)
    found = find_record(folder / RECORD, _is_sound)
    if found is not None and not overwrite:
        if _is_done(found, wanted, replay, folder) and set(_files(found)) == set(names.values()):
            return found, "skipped"
        _refuse_another_case(found, inputs, folder)
    if replay is not None and replay["inputs"] != inputs:
        progress.warn(f"the images of {case.case_id} are not those of the record: the same is done to other bytes")
    volumes = {modality: _read(path, progress) for modality, path in case.paths.items()}
    progress.stage(f"{_kind_of(request if causes is None else causes)} {case.case_id}", len(MODALITIES))
    entries: dict[str, Any] = {}
    with staging(out) as stage:
        for modality in case.paths:
            drawn = request if request.severity > 0 and modality in request.modalities else None
            cause = drawn if causes is None else causes[modality]
            entry = _write_modality(case, volumes, modality, cause, stage / names[modality])
            entries[modality] = {"file": names[modality], **entry}
            progress.step(modality=modality, **{key: entry[key] for key in ("psnr_db", "msi_mm") if key in entry})
        record = {"format": FORMAT, "version": 1, **wanted, "modalities": entries}
        record["segmentation"] = names.get("seg")
        if case.segmentation is not None:  # which stays valid
            _copy(case.segmentation, read_labels(case.segmentation), stage / names["seg"])
        record["outputs"] = digests(stage, _files(record))
        write_bytes(stage / RECORD, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
        publish(stage, folder, RECORD, record["outputs"], _files(found) if found else ())
    return record, "done"


def read_record(path: Path) -> dict[str, Any]:
    """Read a `trajectory.json`.

    Raises:
        InputError: If it is missing or no such record.
    """
    record = parse_record(read_bytes(path), _is_sound)
    if record is None:
        raise InputError(
            f"{path} is no record of a simulation, but a replay needs one as `simulate` writes it beside each "
            f"twin; give such a {RECORD}",
            code="bad-trajectory",
        )
    return record


def _is_sound(record: Mapping[str, Any]) -> bool:
    """Whether a record holds all that is read from one, its trajectories aside; may raise where it is odd."""
    entries, label = record["modalities"], record["segmentation"]
    words = [entry["file"] for entry in entries.values()] + list(record["inputs"].values())
    return (
        record["format"] == FORMAT
        and record["version"] == 1
        and set(entries) == set(record["inputs"]) == set(MODALITIES)
        and all(isinstance(word, str) for word in (*words, "" if label is None else label))
        and all("trajectory" in entry and math.isfinite(entry.get("psnr_db") or 0) for entry in entries.values())
        and "request" in record
    )


def _files(record: Mapping[str, Any]) -> list[str]:
    """Names of the files a record tells of."""
    names = [entry["file"] for entry in record["modalities"].values()]
    return names + ([record["segmentation"]] if record["segmentation"] else [])


def _replayed(record: Mapping[str, Any]) -> dict[str, Trajectory | Degradation | None]:
    """What corrupted every modality of a record; None where it was copied."""
    causes: dict[str, Trajectory | Degradation | None] = {}
    for modality in MODALITIES:
        entry = record["modalities"][modality]
        moved, degraded = entry["trajectory"], entry.get("degradation")
        causes[modality] = None if degraded is None else Degradation.from_json(degraded)
        if moved is not None:
            causes[modality] = Trajectory.from_json(moved)
    return causes


def _kind_of(what: Request | Mapping[str, Trajectory | Degradation | None]) -> str:
    """What is wanted, or repeated, in a word for the progress."""
    if isinstance(what, Request):
        return what.degrade or MOTION
    return next((cause.kind for cause in what.values() if isinstance(cause, Degradation)), MOTION)


def _plain(request: Request) -> dict[str, Any]:
    """The request in JSON's types; what is of degradations only where there is one, as before there were any."""
    plain = {**asdict(request), "modalities": [modality for modality in MODALITIES if modality in request.modalities]}
    return plain if request.degrade else {k: v for k, v in plain.items() if k not in ("degrade", "darken")}


def _is_done(
    found: Mapping[str, Any], wanted: Mapping[str, Any], replay: Mapping[str, Any] | None, folder: Path
) -> bool:
    """Whether a twin on disk is the one wanted, with all its files as they were written."""
    same = all(found.get(key) == value for key, value in wanted.items())
    if replay is not None:
        causes = [
            [(entry["trajectory"], entry.get("degradation")) for entry in map(record["modalities"].get, MODALITIES)]
            for record in (found, replay)
        ]
        same = same and causes[0] == causes[1]
    outputs = found.get("outputs")
    return same and isinstance(outputs, dict) and set(outputs) == set(_files(found)) and are_intact(folder, outputs)


def _refuse_another_case(found: Mapping[str, Any], inputs: Mapping[str, str], folder: Path) -> None:
    """Keep a twin from being replaced by that of another case of the same name: one that shares no image with it."""
    if not set(found["inputs"].values()) & set(inputs.values()):
        raise InputError(
            f"{folder} holds the twin of other images under this name, and would be replaced; choose another folder "
            "with --out, or replace it with --overwrite",
            code="another-case",
        )


def _keep_apart(case: Case, folder: Path) -> None:
    """Refuse to write a twin over its case."""
    if own_file(case, folder) is not None:
        raise InputError(
            f"the twin of {case.case_id} would overwrite its images in {folder}; choose another folder with --out",
            code="same-folder",
        )


def _read(path: Path, progress: Progress) -> Volume:
    """One modality, refused if it shows nothing."""
    volume = read_volume(path)
    low, high = float(volume.array.min()), float(volume.array.max())
    if low == high:
        raise InputError(
            f"{path} has the value {low:g} in every voxel, but an image must show something; pick the right file",
            code="constant-image",
        )
    if low < 0:
        progress.warn(f"{path.name} has negative intensities, but what is simulated are magnitudes: they turn positive")
    return volume


def _twin_names(case: Case, ending: str | None) -> dict[str, str]:
    """File names of a twin by modality and, where there is a label map, "seg".

    The same as those of the case, with .mha for what is read but not written as such (.mhd, DICOM folders). Where they
    would not make a case folder (`a/image.nii`, `b/image.nii`) they are named after the case as in BraTS 2020.
    """
    paths = case.paths | ({} if case.segmentation is None else {"seg": case.segmentation})
    kept = all(kind_of(path) == kind for kind, path in paths.items())
    names = {}
    for kind, path in paths.items():
        own = image_suffix(path)
        suffix = f".{ending}" if ending else own if own in WRITABLE else ".mha"
        stem = path.name[: len(path.name) - len(own)] if kept else f"{case.case_id}_{kind}"
        names[kind] = path.name if kept and suffix == own else stem + suffix
    return names


def _write_modality(
    case: Case,
    volumes: Mapping[str, Volume],
    modality: str,
    cause: Trajectory | Degradation | Request | None,
    target: Path,
) -> dict[str, Any]:
    """Corrupt one modality by what is given or drawn, or copy it; returns its entry in the record."""
    volume = volumes[modality]
    if cause is None:
        _copy(case.paths[modality], volume, target)
        return {"trajectory": None}
    brain = np.any([other.array != 0 for other in volumes.values() if same_grid(other, volume)], axis=0)
    if isinstance(cause, Request) and cause.degrade:
        asked = cause.degrade, cause.severity, case.case_id, modality
        cause = draw_degradation(*asked, seed=cause.seed, darken=cause.darken)
    if isinstance(cause, Degradation):
        corrupted, entry = _degraded(volume, brain, cause)
    else:
        corrupted, entry = _moved(volume, brain, case.case_id, modality, cause)
    write_volume(target, volume.with_array(corrupted))
    return {"psnr_db": _psnr(volume.array, corrupted, brain, case.paths[modality]), **entry}


def _moved(
    volume: Volume, brain: np.ndarray, case_id: str, modality: str, motion: Trajectory | Request
) -> tuple[np.ndarray, dict[str, Any]]:
    """A volume [D, H, W] after given or drawn motion, and what its entry tells of that."""
    image, mask = torch.from_numpy(volume.array), torch.from_numpy(brain)
    if isinstance(motion, Request):
        options = {"brain": mask, "seed": motion.seed, "axis": motion.axis, "preset": motion.preset}
        corrupted, motion = corrupt_volume(image, volume.spacing_mm, motion.severity, case_id, modality, **options)
    else:
        corrupted = apply_trajectory(image, volume.spacing_mm, motion, brain=mask)
    return corrupted.numpy(), {"msi_mm": motion.msi_mm, "trajectory": motion.to_json()}


def _degraded(volume: Volume, brain: np.ndarray, what: Degradation) -> tuple[np.ndarray, dict[str, Any]]:
    """The same for a degradation."""
    image, mask = torch.from_numpy(volume.array), torch.from_numpy(brain)
    spoilt = degrade_volume(image, volume.spacing_mm, what, brain=mask)
    return spoilt.numpy(), {"trajectory": None, "degradation": what.to_json()}


def _psnr(sharp: np.ndarray, corrupted: np.ndarray, brain: np.ndarray, path: Path) -> float | None:
    """PSNR in the brain, both on the sharp one's intensity window; None where they are equal."""
    try:
        windowed, windows = window_intensities(sharp[None], brain)
    except InputError as fault:  # which knows the modality by its place among four only
        raise InputError(
            f"{path} has one value, or none above 0, in nearly all of the brain, but an image must show something; "
            "give intensities, not a mask",
            code=fault.code,
        ) from fault
    decibels = psnr(apply_windows(corrupted[None], brain, windows)[0], windowed[0], brain)
    return round(decibels, 4) if math.isfinite(decibels) else None


def _copy(path: Path, volume: Volume, target: Path) -> None:
    """Copy an image to its twin's name: byte for byte if that is its own name."""
    if path.name == target.name:
        write_bytes(target, read_bytes(path))
    else:
        write_volume(target, volume)
