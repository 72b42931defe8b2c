"""Cases: find the files of a case by their names, load them onto one grid, and keep splits as JSON."""

from __future__ import annotations

import itertools
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from DABSegCore.errors import InputError
from DABSegCore.files import at_once, check_exists, list_folder, read_bytes, write_bytes
from DABSegCore.labels import MODALITIES
from DABSegCore.volume import SUFFIXES, Volume, image_suffix, overlap, read_labels, read_volume, resample, same_grid

ENDINGS = {
    **{"t1": "t1", "t1ce": "t1ce", "t2": "t2", "flair": "flair", "seg": "seg"},  # BraTS 2018-2021
    **{"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"},  # BraTS 2023
}
"""How a file name ends (after "_" or "-", in any case) -> what the file is."""

ENDING = re.compile(rf"^(?:(?P<case>.*)[_-])?(?P<ending>{'|'.join(ENDINGS)})$", re.IGNORECASE)

SKULL_STRIPPED_BOUND_ML = 2200
"""More than this is not a brain alone: adult brains with ventricles have 1000 to 1900 ml, heads over 3000."""


@dataclass(frozen=True)
class Case:
    """Where the images of one patient visit are.

    Args:
        case_id: Its name, as in the file names where they agree, else the folder's.
        paths: Modality -> file or DICOM folder, all of `MODALITIES` in that order.
        segmentation: The label map, if there is one.
    """

    case_id: str
    paths: dict[str, Path]
    segmentation: Path | None = None


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A case in memory, on the grid of its reference.

    Args:
        case: Where it came from.
        images: Intensities [M, D, H, W], float32, M as in `MODALITIES`.
        reference: The modality whose grid this is, as read.
        label: Canonical labels [D, H, W], uint8, or None.
    """

    case: Case
    images: np.ndarray
    reference: Volume
    label: np.ndarray | None


def case_from_paths(
    t1: str | Path,
    t1ce: str | Path,
    t2: str | Path,
    flair: str | Path,
    segmentation: str | Path | None = None,
    case_id: str | None = None,
) -> Case:
    """A case from four files (or DICOM folders) named one by one.

    Raises:
        InputError: If one does not exist or two are the same file.
    """
    paths = {modality: Path(path) for modality, path in zip(MODALITIES, (t1, t1ce, t2, flair), strict=True)}
    segmentation = None if segmentation is None else Path(segmentation)
    for path in (*paths.values(), segmentation):
        if path is not None:
            check_exists(path)
    for a, b in itertools.combinations(paths, 2):
        if os.path.samefile(paths[a], paths[b]):
            raise _same_twice(a, b, paths)
    return Case(case_id or _shared_name(paths.values()) or paths["t1ce"].absolute().parent.name, paths, segmentation)


def kind_of(path: str | Path) -> str | None:
    """What an image is by its name: a modality, "seg", or None where the name does not say it."""
    match = _match(Path(path))
    return None if match is None else ENDINGS[match["ending"].lower()]


def find_case(folder: str | Path) -> Case:
    """The case whose files lie in a folder, by their names of 2020 or 2023.

    Raises:
        InputError: If the folder is missing, a modality is, or one has two files.
    """
    folder = Path(folder)
    found: dict[str, Path] = {}
    for kind, path in _named_images(folder):
        if kind in found:
            raise InputError(
                f"{folder} has two {kind} images, {found[kind].name} and {path.name}, but a case has one of each; "
                "remove one or name the four files yourself",
                code="two-files",
            )
        found[kind] = path
    missing = [modality for modality in MODALITIES if modality not in found]
    if missing:
        raise InputError(
            f"{folder} has no {' and no '.join(missing)} image (found: {', '.join(found) or 'none'}), but all of "
            f"{', '.join(MODALITIES)} are needed; name them like case_{missing[0]}.nii.gz or give each by its path",
            code="missing-modality",
        )
    return case_from_paths(*(found[modality] for modality in MODALITIES), segmentation=found.get("seg"))


def case_folders(folder: str | Path, exclude: str | Path | None = None) -> list[Path]:
    """The folders that look like a case, complete or not: `folder` itself, else those anywhere below it, sorted.

    A cohort run calls `find_case` on each, so that one bad case does not stop the others. Links are followed; names
    that begin with "." are passed over, as they are of runs that did not end. A folder below that may not be looked
    into counts as a case, so that `find_case` says so.

    Args:
        folder: Where to look.
        exclude: A folder below it not to look into, such as the one results go to.

    Raises:
        InputError: If there is none.
    """
    folder = Path(folder)
    list_folder(folder)
    cases = sorted(_cases_below(folder, {os.path.realpath(path) for path in (folder, exclude) if path is not None}))
    if not cases:
        raise InputError(
            f"{folder} holds no case, that is no folder with images whose names end in _t1, _t1ce, _t2, _flair "
            f"(or -t1n, -t1c, -t2w, -t2f) and {', '.join(SUFFIXES)}; check the path or rename the images",
            code="no-case",
        )
    return sorted(cases)


def find_cases(folder: str | Path) -> list[Case]:
    """All cases in or below a folder, sorted by path.

    Raises:
        InputError: If there is none, one is incomplete, or two have the same case_id.
    """
    cases = [find_case(path) for path in case_folders(folder)]
    seen: dict[str, Case] = {}
    for case in cases:
        if case.case_id in seen:
            first, second = (next(iter(c.paths.values())).parent for c in (seen[case.case_id], case))
            raise InputError(
                f"{first} and {second} both hold the case {case.case_id}, but each needs its own name; rename one",
                code="same-case-twice",
            )
        seen[case.case_id] = case
    return cases


def load_case(case: Case, reference: str = "t1ce", on_warning: Callable[[str], object] = warnings.warn) -> LoadedCase:
    """Read a case and bring all its volumes onto the grid of one of them.

    Args:
        case: Which files.
        reference: The modality whose grid is kept; the others are resampled onto it where they differ.
        on_warning: Called with one sentence for each thing that is allowed but may be a mistake.

    Raises:
        InputError: If an image cannot be read, is constant, equals another or does not overlap the reference.
    """
    volumes = dict(zip(MODALITIES, at_once(read_volume, [case.paths[m] for m in MODALITIES]), strict=True))
    for modality, volume in volumes.items():
        _check_content(volume.array, case.paths[modality])
    for a, b in itertools.combinations(MODALITIES, 2):
        if volumes[a].shape == volumes[b].shape and np.array_equal(volumes[a].array, volumes[b].array):
            raise _same_twice(a, b, case.paths)
    grid = volumes[reference]
    images = np.empty((len(MODALITIES), *grid.shape), dtype=np.float32)
    for m, (modality, volume) in enumerate(volumes.items()):
        images[m] = _onto(grid, volume, case.paths[modality], reference, "linear", on_warning).array
        if volume is not grid:
            _check_content(images[m], case.paths[modality], f" where the {reference} image is")
    label = None
    if case.segmentation is not None:
        label = _onto(grid, read_labels(case.segmentation), case.segmentation, reference, "nearest", on_warning).array
    _warn_of_content(images, grid, case.case_id, on_warning)
    return LoadedCase(case, images, grid, label)


def write_split(path: str | Path, split: Mapping[str, Sequence[str]]) -> None:
    """Write a split as JSON: part ("train", "validation", "test") -> list of case ids."""
    text = json.dumps({part: list(ids) for part, ids in split.items()}, indent=2, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def read_split(path: str | Path) -> dict[str, list[str]]:
    """Read a split.

    Raises:
        InputError: If the file is no such JSON, or a case is in it twice (then training would see test cases).
    """
    data = read_bytes(Path(path))
    try:
        split = json.loads(data)
        cases = [(case_id, part) for part, ids in split.items() for case_id in ids]
        proper = all(isinstance(ids, list) for ids in split.values()) and all(isinstance(c, str) for c, _ in cases)
    except (ValueError, AttributeError, TypeError):
        proper = False
    if not proper:
        raise InputError(
            f'{path} is no split, which is JSON like {{"train": ["case_a"], "test": ["case_b"]}}; correct the file',
            code="bad-split",
        )
    part_of: dict[str, str] = {}
    for case_id, part in cases:
        if case_id in part_of:
            raise InputError(
                f"{path} lists {case_id} under {part_of[case_id]} and again under {part}, but a case belongs to one "
                "part once; remove one",
                code="bad-split",
            )
        part_of[case_id] = part
    return split


def _cases_below(folder: Path, entered: set[str]) -> Iterator[Path]:
    """The folder if it is a case or locked, else the cases below it; no place in `entered` is entered again."""
    try:
        if any(kind != "seg" for kind, _ in _named_images(folder)):
            yield folder
            return
        below = [path for path in list_folder(folder) if os.path.isdir(path) and not path.name.startswith(".")]
    except InputError:
        yield folder
        return
    for path in below:
        place = os.path.realpath(path)  # a link may lead back up, or to a case that is found without it
        if place not in entered:
            entered.add(place)
            yield from _cases_below(path, entered)


def _named_images(folder: Path) -> Iterator[tuple[str, Path]]:
    """The modality (or "seg") and path of each image in a folder; a DICOM folder is named like a file."""
    for path in list_folder(folder):
        ending = _match(path)
        if ending and not path.name.startswith("."):
            yield ENDINGS[ending["ending"].lower()], path


def _match(path: Path) -> re.Match[str] | None:
    """How the name ends, if it names an image."""
    suffix = image_suffix(path)
    if bool(suffix) == os.path.isdir(path):
        return None
    return ENDING.match(path.name[: len(path.name) - len(suffix)])


def _shared_name(paths: Iterable[Path]) -> str:
    """What the file names share before their endings, or "" if they differ."""
    names = {(match["case"] or "") if (match := _match(path)) else "" for path in paths}
    return names.pop() if len(names) == 1 else ""


def _onto(
    grid: Volume, volume: Volume, path: Path, reference: str, order: str, on_warning: Callable[[str], object]
) -> Volume:
    """The volume on the reference's grid, resampled and said so where it lies on another."""
    if same_grid(volume, grid):
        return volume
    covered = overlap(volume, grid)
    if covered == 0:
        raise InputError(
            f"{path} does not overlap the {reference} image in space, but all images must show the same head in the "
            "same place; register them first or pick the right file",
            code="no-overlap",
        )
    on_warning(
        f"{path.name} lies on another grid than the {reference} image and covers {covered:.0%} of it: resampled by "
        "its header, not registered; if the head moved in between, register the images first"
    )
    return resample(volume, grid, order)


def _check_content(array: np.ndarray, path: Path, where: str = "") -> None:
    """Refuse an image without contrast."""
    if array.min() == array.max():
        raise InputError(
            f"{path} has the value {array.flat[0]:g} in every voxel{where}, but an image must show something; "
            "pick the right file or export it again",
            code="constant-image",
        )


def _warn_of_content(images: np.ndarray, grid: Volume, case_id: str, on_warning: Callable[[str], object]) -> None:
    """Warn of what is no skull-stripped brain on a zero background, images [M, D, H, W]."""
    brain = (images != 0).any(axis=0)
    volume_ml = brain.sum() * abs(np.linalg.det(grid.affine[:3, :3])) / 1000
    if volume_ml > SKULL_STRIPPED_BOUND_ML:
        on_warning(
            f"{case_id} does not look skull-stripped: {brain.mean():.0%} of its voxels, {volume_ml:.0f} ml, are not "
            f"zero, and a brain has less than {SKULL_STRIPPED_BOUND_ML} ml; strip the skull first for results to trust"
        )
    negative = [modality for modality, image in zip(MODALITIES, images, strict=True) if image.min() < 0]
    if negative:
        on_warning(
            f"{case_id} has negative intensities in {', '.join(negative)}, but scanners give positive ones and 0 "
            "outside the brain; values below 0 are treated as the darkest brain"
        )


def _same_twice(a: str, b: str, paths: Mapping[str, Path]) -> InputError:
    """The error for one image given as two modalities."""
    return InputError(
        f"{a} and {b} are the same file twice or copies of it ({paths[a]} and {paths[b]}), but each modality is an "
        "image of its own; give the right file for each",
        code="same-file-twice",
    )
