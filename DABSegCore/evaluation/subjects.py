"""Subjects: the cases an evaluation is about: of a folder, all, named or by a split's part, and virtual patients."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DABSegCore.cases import Case, LoadedCase, case_folders, find_case, load_case, read_split
from DABSegCore.errors import InputError
from DABSegCore.evaluation.records import Level
from DABSegCore.files import at_once, sha256
from DABSegCore.phantom import BRATS_SHAPE, patient_id, virtual_patient
from DABSegCore.training.folder import PART_NAMED
from DABSegCore.training.setup import SPLIT
from DABSegCore.volume import Volume

FIRST_VIRTUAL = 920_000
"""Seed of the first virtual patient; those of training begin at 1,000, of its validation at 900,000, and the weights
that ship were measured on those from 910,000 on."""

MOST_VIRTUAL = 10_000


@dataclass(frozen=True)
class Subject:
    """A case to evaluate on.

    Attributes:
        case_id: Its name; part of the seed of its motion.
        case: Its files, a segmentation among them; None for a virtual patient.
        seed: Which virtual patient; None for a real one.
        shape: Grid [D, H, W] of the virtual patient, 1 mm.
    """

    case_id: str
    case: Case | None = None
    seed: int | None = None
    shape: tuple[int, int, int] = BRATS_SHAPE

    @property
    def kind(self) -> str:
        """`real` or `virtual`."""
        return "virtual" if self.case is None else "real"

    def identity(self) -> dict[str, Any]:
        """What decides its voxels: SHA-256 of every file, or seed and grid.

        Raises:
            InputError: If a file cannot be read.
        """
        if self.case is None:
            return {"virtual_patient": self.seed, "shape": list(self.shape)}
        paths = {**self.case.paths, "segmentation": self.case.segmentation}
        return dict(zip(paths, at_once(sha256, paths.values()), strict=True))

    def load(self, on_warning: Callable[[str], object]) -> LoadedCase:
        """Read it, or make it, all on the grid of its T1ce image.

        Raises:
            InputError: As `load_case`, or if SciPy is not installed to make a virtual patient.
        """
        if self.case is not None:
            return load_case(self.case, on_warning=on_warning)
        patient = virtual_patient(self.seed, self.shape)
        grid = Volume(patient.images[0], patient.affine)
        return LoadedCase(Case(self.case_id, {}), patient.images, grid, patient.label)


@dataclass(frozen=True)
class Failure:
    """Work that could not be done: which case, at which severity (None: at any), and why."""

    case_id: str
    severity: Level | None
    message: str


def find_subjects(
    data: Path, exclude: Path, wanted: Sequence[str] | None = None
) -> tuple[list[Subject], list[Failure]]:
    """The cases of a folder that can be evaluated on, by name, and those that cannot.

    Args:
        data: Folder of cases.
        exclude: Folder of results, not looked into.
        wanted: Names of the only cases to take; None for all there are.

    Returns:
        Subjects, and a failure for each that is wanted but broken, without a segmentation, there twice or not there.

    Raises:
        InputError: If the folder holds no case at all.
    """
    found: dict[str, Subject] = {}
    failures: dict[str, Failure] = {}
    for folder in case_folders(data, exclude=exclude):
        name = folder.name
        try:
            case = find_case(folder)
            name = case.case_id
            if wanted is not None and name not in wanted:
                continue
            _check(case, folder, found)
            found[name] = Subject(name, case)
        except InputError as fault:
            if wanted is None or name in wanted:
                failures[os.fspath(folder)] = Failure(name, None, str(fault))
    seen = {*found, *(failure.case_id for failure in failures.values())}
    absent = [name for name in dict.fromkeys(wanted or ()) if name not in seen]
    gone = [Failure(name, None, f"{name} is not in {data}; add it, or leave it out of the list") for name in absent]
    return [found[name] for name in sorted(found)], [*failures.values(), *gone]


def part_of_split(path: Path, part: str) -> list[str]:
    """Names of the cases of one part of a split file.

    Raises:
        InputError: If the file is no split, or has no such part or none in it.
    """
    split = {PART_NAMED.get(name.lower(), name): ids for name, ids in read_split(path).items()}
    ids = split.get(PART_NAMED.get(part.lower(), part))
    if not ids:
        have = ", ".join(f"{name} ({len(ids)})" for name, ids in split.items()) or "nothing"
        raise InputError(
            f"{path} has no case in a part {part!r}, only {have}; choose another with --part", code="bad-split"
        )
    return ids


def virtual_subjects(count: int, shape: tuple[int, int, int] = BRATS_SHAPE) -> list[Subject]:
    """The first virtual patients of those kept for evaluation."""
    return [Subject(patient_id(seed), None, seed, shape) for seed in range(FIRST_VIRTUAL, FIRST_VIRTUAL + count)]


def _check(case: Case, folder: Path, found: dict[str, Subject]) -> None:
    """Refuse a case that has no reference, or a name that is taken."""
    if case.segmentation is None:
        raise InputError(
            f"{folder} has no segmentation to compare with, that is no image whose name ends in _seg; add it or leave "
            "the case out",
            code="no-segmentation",
        )
    if case.case_id in found:
        raise InputError(
            f"an earlier folder also holds the case {case.case_id}, but results go by that name; rename one",
            code="same-case-twice",
        )


def seen_in_training(weights: Path, meta: Mapping[str, Any], subjects: Sequence[Subject]) -> list[str]:
    """Sentences about cases that the weights know: numbers on them tell of memory, not of skill.

    Asked are the split that training leaves beside its weights, and the names it was told to validate on.

    Args:
        weights: Their file.
        meta: What is in it.
        subjects: The cases they are to be judged on.
    """
    beside = weights.parent / SPLIT
    split = {}
    with contextlib.suppress(InputError):
        split = read_split(beside) if beside.is_file() else {}
    training = meta.get("training")
    told = training.get("validation", ()) if isinstance(training, Mapping) else ()
    chosen_by = {*split.get("validation", ()), *filter(lambda name: isinstance(name, str), told)}
    known = {"trained on": set(split.get("train", ())), "chosen by their scores on": chosen_by}
    sentences = []
    for how, names in known.items():
        count = sum(subject.case_id in names for subject in subjects)
        if count:
            sentences.append(
                f"the weights were {how} some of these cases ({count} of {len(subjects)}), so the numbers look better "
                "than on new ones; evaluate on cases kept apart"
            )
    return sentences
