"""Run: a method judged on every case at every severity; what is done is kept, what fails is told and passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from DABSegCore import __version__
from DABSegCore.cohort import attempt
from DABSegCore.errors import InputError
from DABSegCore.evaluation.case import Judged
from DABSegCore.evaluation.records import (
    FORMAT,
    Level,
    Record,
    earlier_record,
    is_done,
    level_name,
    record_name,
    write_record,
)
from DABSegCore.evaluation.subjects import Failure, Subject
from DABSegCore.files import make_folder
from DABSegCore.labels import REGIONS
from DABSegCore.pipeline import Notebook
from DABSegCore.progress import Progress
from DABSegCore.results import digests
from DABSegCore.training.processes import Processes
from DABSegCore.volume import write_volume

SEGMENTATIONS = "segmentations"
"""Folder of the label maps that were judged, below that of the evaluation, one folder per severity."""


class Method(Protocol):
    """What can be judged: `case.Network`, `predictions.Predictions`."""

    levels: tuple[Level, ...]
    facts: Mapping[str, Any]
    """What decides its answers and how they are judged: equal facts and inputs give equal records."""

    def inputs(self, subject: Subject) -> dict[str, Any]:
        """What decides the voxels of a case."""

    def load(self, subject: Subject, notes: Notebook) -> Any:
        """Read what is wanted of a case at every severity."""

    def judge(self, loaded: Any, level: Level, notes: Notebook) -> Judged:
        """The scores of a case at a severity."""

    def panel(self, subject: Subject, level: Level, notes: Notebook) -> dict[str, np.ndarray]:
        """What a picture of a case shows."""


def run_method(
    method: Method,
    subjects: Sequence[Subject],
    out: Path,
    group: Processes,
    progress: Progress,
    *,
    keep: bool = False,
    overwrite: bool = False,
) -> list[Failure]:
    """Judge a method on cases and leave a record of each; in several processes each takes its share of the cases.

    Args:
        method: What is judged.
        subjects: The cases.
        out: Folder of the evaluation.
        group: This process among others.
        progress: One step per case and severity.
        keep: Also write the label maps that were judged.
        overwrite: Do again what is done.

    Returns:
        What failed, in all processes.

    Raises:
        InputError: If the folder holds records of another method or other measures, and `overwrite` is not set.
    """
    if not overwrite:
        _refuse_another_method(method, subjects, out)
    mine = subjects[group.rank :: group.size]
    progress.stage("evaluate", len(mine) * len(method.levels))
    worker = _Worker(method, out, progress, keep, overwrite)
    failures = [failure for subject in mine for failure in worker.work(subject)]
    return [failure for share in group.gather(failures) for failure in share]


class _Worker:
    """Does one case after the other."""

    def __init__(self, method: Method, out: Path, progress: Progress, keep: bool, overwrite: bool) -> None:
        self._method, self._out, self._progress = method, out, progress
        self._keep, self._overwrite = keep, overwrite

    def work(self, subject: Subject) -> list[Failure]:
        """All severities of one case; returns what failed."""
        name, levels = subject.case_id, self._method.levels
        known = attempt(name, lambda: self._identity(subject), self._progress)
        if known.fault is not None:
            self._progress.step(len(levels), case=name)
            return [Failure(name, None, known.fault)]
        todo = [level for level in levels if not self._is_done(name, level, known.result)]
        if len(todo) < len(levels):
            self._progress.step(len(levels) - len(todo), case=name, status="already done")
        if not todo:
            return []
        notes = Notebook(self._progress)
        loaded = attempt(name, lambda: self._method.load(subject, notes), self._progress)
        if loaded.fault is not None:
            self._progress.step(len(todo), case=name)
            return [Failure(name, None, loaded.fault)]
        faults = {level: self._judge(subject, loaded.result, level, known.result, notes) for level in todo}
        return [Failure(name, level, fault) for level, fault in faults.items() if fault is not None]

    def _judge(
        self, subject: Subject, loaded: Any, level: Level, identity: Mapping[str, Any], read: Notebook
    ) -> str | None:
        """One severity; returns why it failed, if it did."""

        def work() -> Record:
            notes = Notebook(self._progress, dict(read.timings_s), list(read.warnings))
            judged = self._method.judge(loaded, level, notes)
            record = {
                "format": FORMAT,
                "case_id": subject.case_id,
                "kind": subject.kind,
                "severity": level,
                **judged.facts,
                "seconds": notes.timings_s,
                "warnings": notes.warnings,
                "identity": identity,
                "outputs": self._write(subject.case_id, level, judged),
            }
            write_record(self._out, record)
            return record

        outcome = attempt(f"{subject.case_id} {level_name(level)}", work, self._progress)
        said = {} if outcome.result is None else {r: outcome.result["regions"][r]["dice"] for r in REGIONS}
        self._progress.step(case=subject.case_id, severity=level_name(level), **said)
        return outcome.fault

    def _write(self, case_id: str, level: Level, judged: Judged) -> dict[str, str]:
        """The label map, if it is asked for; returns its name and digest."""
        if not self._keep:
            return {}
        name = Path(SEGMENTATIONS, level_name(level), f"{case_id}_seg.nii.gz").as_posix()
        make_folder((self._out / name).parent)
        write_volume(self._out / name, judged.label)
        return digests(self._out, [name])

    def _identity(self, subject: Subject) -> dict[str, Any]:
        return {"version": __version__, "method": dict(self._method.facts), "inputs": self._method.inputs(subject)}

    def _is_done(self, case_id: str, level: Level, identity: Mapping[str, Any]) -> bool:
        record = earlier_record(self._out, record_name(case_id, level))
        if self._overwrite or not is_done(record, identity, self._out):
            return False
        return bool(record["outputs"]) or not self._keep


def _refuse_another_method(method: Method, subjects: Sequence[Subject], out: Path) -> None:
    """Keep hours of one method's work from being replaced by another's by a slip in --out."""
    for subject in subjects:
        for level in method.levels:
            record = earlier_record(out, record_name(subject.case_id, level))
            theirs = {} if record is None else record["identity"].get("method", {})
            other = [key for key in method.facts if theirs and theirs.get(key) != method.facts[key]]
            if other:
                raise InputError(
                    f"{out} holds an evaluation with another {' and '.join(other).replace('_', ' ')}, which would be "
                    "replaced; choose another --out, or replace it with --overwrite",
                    code="another-evaluation",
                )
