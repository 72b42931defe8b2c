"""Folder: which cases of a folder train, validate and test, and what is left out and why.

A split file decides, or the names of the validation cases, else folders named train, validation and test as published,
else a draw by seed that is the same on every machine. It goes by patient, so no head is both learnt and tested on.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from DABSegCore.cases import Case, case_folders, find_case, read_split
from DABSegCore.errors import InputError
from DABSegCore.files import list_folder
from DABSegCore.volume import image_suffix

PARTS = ("train", "validation", "test")

PART_NAMED = {
    **{"train": "train", "training": "train"},
    **{"validation": "validation", "valid": "validation", "val": "validation"},
    **{"test": "test", "testing": "test"},
}
"""How a part is called by folders and split files, in any case -> the part."""

PUBLISHED = {"train": (1, 2), "validation": (3, 4), "test": (8, 26, 29)}
"""Numbers of BraTS 2020 training cases whose part the published README shows; the rest of that split is not known."""

FEWEST_TO_PIN = 30
"""With fewer cases those of `PUBLISHED` would fill the test part, or more."""

VISIT = re.compile(r"^(?P<patient>BraTS-[A-Z-]+-\d+)-\d+$", re.IGNORECASE)
"""A case name of 2023 and later: the last number is the visit."""

MOST_NAMED = 5


@dataclass(frozen=True)
class Parts:
    """The cases of a training, each part sorted by case_id.

    Args:
        train: To learn from, at least one.
        validation: To choose the best weights and thresholds with, at least one.
        test: Not touched by training.
        skipped: One sentence for each thing left out or decided otherwise than the folder suggests; to be shown.
    """

    train: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]
    skipped: tuple[str, ...]

    def split(self) -> dict[str, list[str]]:
        """Part -> case ids, as `cases.write_split` takes it and `read_folder` takes it back."""
        return {part: [case.case_id for case in getattr(self, part)] for part in PARTS}


def read_folder(data: Path, *, split: Path | None = None, validation: Sequence[str] = (), seed: int = 0) -> Parts:
    """Find the labelled cases in or below a folder and their parts; images are not opened.

    Args:
        data: Folder of case folders at any depth, named as in 2020 or 2023, maybe below train, validation and test.
        split: JSON of `cases.write_split`; beats folder names. Cases of its test part may be absent.
        validation: Names of the cases that validate; all others train, those below a folder "test" too.
        seed: Of the draw, where nothing else decides.

    Raises:
        InputError: If no case can be used or none is left to train or validate with, two have one name, a case asked
            for is not there, or both `split` and `validation` are given.
    """
    if split is not None and validation:
        raise InputError(
            f"the split {split} and {_some(validation)} as validation were both given, but one decides which cases "
            "validate; leave one away",
            code="two-splits",
        )
    found = _find(Path(data))
    folders = _part_folders(found.data)
    if split is not None:
        ids = _by_file(found, Path(split))
    elif validation:
        ids = _by_names(found, validation)
        if folders:
            found.say(f"the folders {', '.join(folders)} in {data} decide nothing, as the validation cases are named")
    elif folders:
        ids = _by_folders(found, folders, seed)
    else:
        ids = draw_split(found.cases, seed)
    _check_enough(found, ids)
    train, validate, test = (tuple(found.cases[case_id] for case_id in sorted(ids[part])) for part in PARTS)
    return Parts(train, validate, test, tuple(found.sentences))


def draw_split(case_ids: Iterable[str], seed: int = 0) -> dict[str, list[str]]:
    """Draw 8:1:1 by patient: part -> case ids, for 369 cases 295, 37 and 37.

    One patient at least is left to train and, of two, one validates; fewer than five cases have no test part. From
    `FEWEST_TO_PIN` cases on, those of `PUBLISHED` go where the published README shows them.
    """
    case_ids = sorted(case_ids)
    tenth = (len(case_ids) + 5) // 10
    pinned: dict[str, list[str]] = {part: [] for part in PARTS}
    if len(case_ids) >= FEWEST_TO_PIN:
        names = {part: {f"BraTS20_Training_{number:03}" for number in PUBLISHED[part]} for part in PARTS}
        pinned = {part: [case_id for case_id in case_ids if case_id in names[part]] for part in PARTS}
    patients = _shuffled_patients(set(case_ids).difference(*pinned.values()), seed)
    drawn = {
        "validation": _take(patients, max(1, tenth) - len(pinned["validation"])),
        "test": _take(patients, tenth - len(pinned["test"])),
    }
    drawn["train"] = sum(patients, [])
    return {part: sorted(pinned[part] + drawn[part]) for part in PARTS}


@dataclass
class _Found:
    """What a folder holds.

    Attributes:
        data: The folder.
        cases: The labelled ones by their case_id.
        folders: The folder of each.
        refused: Folder of a case that cannot be used -> why, in one sentence.
        sentences: What to tell, those of `refused` first.
    """

    data: Path
    cases: dict[str, Case] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    refused: dict[Path, str] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def _find(data: Path) -> _Found:
    """All cases with a segmentation, and why the others are left out."""
    found = _Found(data)
    for folder in case_folders(data):
        try:
            case = find_case(folder)
            if case.segmentation is None:
                raise InputError(_no_segmentation(folder, case.case_id), code="no-segmentation")
        except InputError as fault:
            found.refused[folder] = str(fault)
            found.say(f"{folder.name} is left out: {fault}")
            continue
        if case.case_id in found.cases:
            raise InputError(
                f"{found.folders[case.case_id]} and {folder} both hold the case {case.case_id}, but each needs its own "
                "name, else it may train in one part and test in another; remove or rename one",
                code="same-case-twice",
            )
        found.cases[case.case_id], found.folders[case.case_id] = case, folder
    if not found.cases:
        raise InputError(
            f"none of the {_cases(found.refused)} in {data} can be trained on, as each needs four images and a "
            f"segmentation: {next(iter(found.refused.values()))}",
            code="no-cases",
        )
    return found


def _no_segmentation(folder: Path, case_id: str) -> str:
    """The sentence for a case without one; names a file that may be it, as case 355 of BraTS 2020 has."""
    alike = [path for path in list_folder(folder) if "seg" in path.name.lower() and not path.name.startswith(".")]
    images = [path for path in alike if image_suffix(path)]
    cure = "add it to train with this case"
    if images:
        cure = f"if {images[0].name} is it, rename that to {case_id}_seg{image_suffix(images[0])}"
    return f"{folder} has no segmentation, that is no image whose name ends in _seg; {cure}"


def _part_folders(data: Path) -> dict[str, str]:
    """Names of the folders right below that make it a split one -> their part; none unless "train" and another are."""
    named = [path.name for path in list_folder(data) if path.name.lower() in PART_NAMED and os.path.isdir(path)]
    parts = {name: PART_NAMED[name.lower()] for name in named}
    return parts if len({"train", *parts.values()}) > 1 and "train" in parts.values() else {}


def _by_folders(found: _Found, part_of: Mapping[str, str], seed: int) -> dict[str, list[str]]:
    """Parts by the first folder on the way to a case; without any to validate, a tenth of those to train is drawn."""
    ids: dict[str, list[str]] = {part: [] for part in PARTS}
    outside: list[str] = []
    for case_id, folder in found.folders.items():
        part = part_of.get((*folder.relative_to(found.data).parts, "")[0])  # `data` may be a case itself
        (outside if part is None else ids[part]).append(case_id)
    if outside:
        found.say(f"left out: {_cases(outside)} outside of the folders {', '.join(part_of)}: {_some(outside)}")
    if not ids["validation"]:
        patients = _shuffled_patients(ids["train"], seed)
        ids["validation"] = _take(patients, max(1, (len(ids["train"]) + 5) // 10))
        ids["train"] = sum(patients, [])
        taken = _some(sorted(ids["validation"]))
        found.say(f"{found.data} has no labelled case to validate with, so the seed took from train: {taken}")
    return ids


def _by_file(found: _Found, path: Path) -> dict[str, list[str]]:
    """Parts as the split file has them."""
    ids: dict[str, list[str]] = {part: [] for part in PARTS}
    for name, case_ids in read_split(path).items():
        if name.lower() not in PART_NAMED:
            raise InputError(
                f"{path} has a part {name!r}, but parts are {', '.join(PARTS)}; rename or remove it", code="bad-split"
            )
        ids[PART_NAMED[name.lower()]] += case_ids
    _check_present(found, ids["train"] + ids["validation"], f"the split {path}")
    absent = [case_id for case_id in ids["test"] if case_id not in found.cases]
    if absent:
        found.say(f"left out: {_cases(absent)} of the test part of {path}, absent or unlabelled: {_some(absent)}")
        ids["test"] = [case_id for case_id in ids["test"] if case_id in found.cases]
    extra = sorted(found.cases.keys() - {case_id for part in PARTS for case_id in ids[part]})
    if extra:
        found.say(f"left out: {_cases(extra)} of {found.data} in no part of {path}: {_some(extra)}")
    return ids


def _by_names(found: _Found, names: Sequence[str]) -> dict[str, list[str]]:
    """The cases named validate, the others train."""
    _check_present(found, names, "the list of validation cases")
    return {"train": list(found.cases.keys() - set(names)), "validation": list(set(names)), "test": []}


def _check_present(found: _Found, case_ids: Sequence[str], source: str) -> None:
    """Refuse names that no labelled case has, with the reason where a folder of that name was left out."""
    absent = sorted(set(case_ids) - found.cases.keys())
    if not absent:
        return
    reasons = {folder.name: reason for folder, reason in found.refused.items()}
    more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
    reason = f" ({reasons[absent[0]]})" if absent[0] in reasons else ""
    raise InputError(
        f"{source} names {absent[0]}{more}, not among the {_cases(found.cases)} with a segmentation in "
        f"{found.data}{reason}; correct the names or the folder",
        code="missing-case",
    )


def _check_enough(found: _Found, ids: Mapping[str, Sequence[str]]) -> None:
    """Refuse parts that leave nothing to train or validate with."""
    if not ids["train"] or not ids["validation"]:
        refused = found.refused.values()
        reason = f"; {_cases(found.refused)} left out, the first as {next(iter(refused))}" if refused else ""
        raise InputError(
            f"{found.data} gives {_cases(ids['train'])} to train and {_cases(ids['validation'])} to validate with, "
            f"but each part needs at least one, of another patient; add labelled cases or divide otherwise{reason}",
            code="too-few-cases",
        )


def _shuffled_patients(case_ids: Iterable[str], seed: int) -> list[list[str]]:
    """The visits of each patient; the order hangs on seed and names only, not on the disk or a library's version."""
    visits: dict[str, list[str]] = {}
    for case_id in case_ids:
        match = VISIT.match(case_id)
        visits.setdefault(match["patient"] if match else case_id, []).append(case_id)
    order = sorted(visits, key=lambda patient: hashlib.sha256(f"{seed}:{patient}".encode()).digest())
    return [visits[patient] for patient in order]


def _take(patients: list[list[str]], count: int) -> list[str]:
    """Remove patients from the list's end until `count` cases are taken or one patient is left."""
    taken: list[str] = []
    while len(taken) < count and len(patients) > 1:
        taken += patients.pop()
    return taken


def _cases(cases: Sequence | Mapping) -> str:
    """How many they are, in words."""
    return f"{len(cases)} case{'' if len(cases) == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    """The first names and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
