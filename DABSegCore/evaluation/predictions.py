"""Predictions: label maps that some method left on disk, judged like the answers of a network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from DABSegCore.cases import load_case
from DABSegCore.errors import InputError
from DABSegCore.evaluation.case import Arrays, Judged, Measures, labels_in, working_regions
from DABSegCore.evaluation.records import Level
from DABSegCore.evaluation.subjects import Subject
from DABSegCore.files import list_folder, sha256
from DABSegCore.pipeline import Notebook
from DABSegCore.preprocess import prepare
from DABSegCore.volume import SUFFIXES, Volume, image_suffix, read_labels, same_grid

GIVEN: Level = "given"

ENDINGS = ("_seg", "-seg", "")
"""What may come between the name of a case and the suffix: `segment` writes the first, BraTS wants the last."""


@dataclass(frozen=True)
class Predictions:
    """A folder of label maps as the method that is judged: `<case>_seg.<ext>`, `<case>-seg.<ext>` or `<case>.<ext>`.

    They lie in the folder itself, or each in a folder named after its case.

    Attributes:
        folder: Where.
        measures: How.
    """

    folder: Path
    measures: Measures = Measures()
    levels: tuple[Level, ...] = (GIVEN,)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What decides how they are judged; the predictions themselves are inputs."""
        return {"predictions": True, **asdict(self.measures)}

    def inputs(self, subject: Subject) -> dict[str, Any]:
        """What decides the voxels that are compared.

        Raises:
            InputError: If there is no prediction for the case, more than one, or it is the reference itself.
        """
        return {"prediction": sha256(self.find(subject)), "reference": sha256(subject.case.segmentation)}

    def find(self, subject: Subject) -> Path:
        """The file of a case's prediction.

        Raises:
            InputError: As `inputs`.
        """
        case_id = subject.case_id
        found = self._files.get(case_id, [])
        if len(found) != 1:
            fact = f"both {found[0]} and {found[1]} predict" if found else f"{self.folder} has no prediction of"
            cure = "remove one" if found else f"a file {case_id}_seg.nii.gz, say"
            raise InputError(
                f"{fact} the case {case_id}, but each needs one: {cure}",
                code="two-predictions" if found else "missing-prediction",
            )
        if os.path.samefile(found[0], subject.case.segmentation):
            raise InputError(
                f"the prediction {found[0]} is the reference segmentation itself; give --predictions the folder of "
                "what a method predicted",
                code="prediction-is-reference",
            )
        return found[0]

    def load(self, subject: Subject, notes: Notebook) -> tuple[Volume, Volume]:
        """Prediction and reference.

        Raises:
            InputError: If one is no BraTS label map, or they lie on different grids.
        """
        path = self.find(subject)
        with notes.stage("read", announce=False):
            prediction, reference = read_labels(path), read_labels(subject.case.segmentation)
        if not same_grid(prediction, reference):
            theirs = _grid(reference) if _grid(reference) != _grid(prediction) else "the same at another place"
            raise InputError(
                f"{path} has {_grid(prediction)}, but its reference {subject.case.segmentation.name} has {theirs}, and "
                "label maps are compared voxel by voxel; resample the prediction onto the reference's grid",
                code="different-grids",
            )
        return prediction, reference

    def judge(self, loaded: tuple[Volume, Volume], level: Level, notes: Notebook) -> Judged:
        """Compare."""
        prediction, reference = loaded
        with notes.stage("score", announce=False):
            regions = self.measures.regions(prediction.array, reference.array, reference.spacing_mm)
        facts = {"regions": regions, "images": None, "labels": labels_in(prediction.array, reference.array)}
        return Judged(facts, prediction)

    def panel(self, subject: Subject, level: Level, notes: Notebook) -> Arrays:
        """What a picture of a case shows, on the working grid.

        Raises:
            InputError: If the images cannot be read, or lie on another grid than the labels.
        """
        prediction, reference = self.load(subject, notes)
        loaded = load_case(subject.case, on_warning=notes.warn)
        if not same_grid(loaded.reference, reference):
            raise InputError(
                f"the images of {subject.case_id} lie on another grid than its labels, so there is no picture of both",
                code="different-grids",
            )
        prepared = prepare(loaded.images, loaded.reference.affine)
        outlines = {"segmentation": prediction, "reference": reference}
        regions = {name: working_regions(prepared, volume.array) for name, volume in outlines.items()}
        return {"input": prepared.image, **regions}

    def strangers(self, subjects: Sequence[Subject]) -> list[str]:
        """Cases that files ending in _seg would be predictions of, but that are not evaluated."""
        known = {subject.case_id for subject in subjects}
        return sorted(case for case, files in self._files.items() if case not in known and any(map(_says_seg, files)))

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """Files by the name of the case they would be of; of those in folders, the ones named like their folder."""
        found: dict[str, list[Path]] = {}
        for path in list_folder(self.folder):
            files = [path]
            if os.path.isdir(path) and not path.name.startswith("."):
                files = [file for file in list_folder(path) if _case_of(file) == path.name]
            for file in files:
                found.setdefault(_case_of(file) or "", []).append(file)
        found.pop("", None)
        if not found:
            raise InputError(
                f"{self.folder} holds no prediction, that is no file like CASE_seg.nii.gz or CASE.nii.gz (or "
                f"{', '.join(SUFFIXES[1:])}); check the path or rename the files",
                code="no-predictions",
            )
        return found


def _says_seg(path: Path) -> bool:
    """Whether a name says that it is a segmentation, and not, by BraTS's bare name, any image."""
    return path.name[: len(path.name) - len(image_suffix(path))].endswith(("_seg", "-seg"))


def _case_of(path: Path) -> str | None:
    """The case that a file is a prediction of by its name; None for what is no label map of one."""
    suffix = image_suffix(path)
    if not suffix or path.name.startswith(".") or os.path.isdir(path):
        return None
    stem = path.name[: len(path.name) - len(suffix)]
    return next(stem[: len(stem) - len(end)] for end in ENDINGS if stem.endswith(end)) or None


def _grid(volume: Volume) -> str:
    """Shape and voxel size in words."""
    edges = " x ".join(map(str, volume.shape[::-1]))
    return f"{edges} voxels of {' x '.join(f'{mm:.3g}' for mm in volume.spacing_mm)} mm"
