"""Conclude: from the records of an evaluation to its tables, its facts and the pictures of three cases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from DABSegCore.errors import InputError
from DABSegCore.evaluation.panels import PANELS, Pick, panel_path, pick_cases, write_panel
from DABSegCore.evaluation.records import RECORDS, Record, earlier_record, record_name
from DABSegCore.evaluation.results import EVALUATION, Evaluation, together
from DABSegCore.evaluation.run import Method
from DABSegCore.evaluation.subjects import Failure, Subject
from DABSegCore.evaluation.tables import write_tables
from DABSegCore.files import write_bytes
from DABSegCore.labels import LABEL_NAMES
from DABSegCore.pipeline import Notebook
from DABSegCore.progress import Progress
from DABSegCore.report import NOTICE, environment
from DABSegCore.results import find_record

PICTURED = "drawn.json"
"""In the folder of pictures: of which record each is."""

ROLES = ("best", "median", "worst", "only")


def conclude(
    method: Method,
    subjects: Sequence[Subject],
    failures: Sequence[Failure],
    out: Path,
    facts: Mapping[str, Any],
    progress: Progress,
) -> Evaluation:
    """Put the records of an evaluation together; writes the CSV tables and, last, `evaluation.json`.

    Args:
        method: What was judged.
        subjects: On which cases.
        failures: What could not be done; records that earlier runs left of it do not count.
        out: Folder of the evaluation.
        facts: More to tell, such as command, data and device; `warnings` among it, a list.
        progress: Told of what may make the numbers look worse than they are.

    Raises:
        InputError: If something cannot be written.
    """
    failed = {(failure.case_id, failure.severity) for failure in failures}
    records: dict[str, Record] = {}
    for subject in subjects:
        for level in method.levels:
            name = record_name(subject.case_id, level)
            record = earlier_record(out, name)
            if record is not None and not failed & {(subject.case_id, None), (subject.case_id, level)}:
                records[name] = record
    found = list(records.values())
    doubts = _doubts(found)
    for sentence in doubts:
        progress.warn(sentence)
    meta = {
        "tool": "DABSeg",
        "notice": NOTICE,
        **environment(),
        **facts,
        "cases": {kind: len({r["case_id"] for r in found if r["kind"] == kind}) for kind in ("real", "virtual")},
        "severities": list(method.levels),
        "method": dict(method.facts),
        "seconds": mean_seconds(found),
        "warnings": [*facts.get("warnings", ()), *doubts],
        "failures": [vars(failure) for failure in failures],
        "records": list(records),
    }
    evaluation = together(found, meta)
    write_tables(out, evaluation)
    write_bytes(out / EVALUATION, (json.dumps(meta, indent=2, ensure_ascii=False) + "\n").encode())
    return evaluation


def draw_panels(
    method: Method, subjects: Sequence[Subject], evaluation: Evaluation, out: Path, progress: Progress
) -> list[Pick]:
    """Write the pictures of the best, the median and the worst case, which are computed again for it.

    A picture of the same case that is younger than the record is kept. What cannot be drawn is told and left out.

    Returns:
        What there are pictures of.
    """
    by_name = {subject.case_id: subject for subject in subjects}
    earlier = find_record(out / PANELS / PICTURED, lambda names: isinstance(names, dict)) or {}
    picks = pick_cases(evaluation.rows)
    progress.stage("pictures", len(picks))
    drawn = {}
    for pick in picks:
        name, path = record_name(pick.case_id, pick.severity), panel_path(out, pick.role)
        try:
            if earlier.get(pick.role) != name or not _is_younger(path, out / RECORDS / name):
                arrays = method.panel(by_name[pick.case_id], pick.severity, Notebook(Progress("quiet")))
                write_panel(out, pick, arrays, evaluation.images)
            drawn[pick.role] = name
        except InputError as fault:
            progress.warn(f"there is no picture of {pick.case_id}: {fault}")
        progress.step(picture=pick.role)
    for role in ROLES:
        if role not in drawn:  # of another case, from an earlier run
            panel_path(out, role).unlink(missing_ok=True)
    if drawn:
        write_bytes(out / PANELS / PICTURED, (json.dumps(drawn, indent=2, ensure_ascii=False) + "\n").encode())
    return [pick for pick in picks if pick.role in drawn]


def mean_seconds(records: Sequence[Record]) -> dict[str, float]:
    """Mean seconds a case took at one severity, by stage."""
    stages = dict.fromkeys(stage for record in records for stage in record["seconds"])
    means = {}
    for stage in stages:
        known = [record["seconds"][stage] for record in records if stage in record["seconds"]]
        means[stage] = round(sum(known) / len(known), 3)
    return means


def _doubts(records: Sequence[Record]) -> list[str]:
    """What may be wrong with all of them together: a label that references have and no prediction has."""
    used: dict[str, set[int]] = {"prediction": set(), "reference": set()}
    for record in records:
        for side, labels in used.items():
            labels.update(record["labels"][side])
    return [
        f"no prediction holds the label {label} ({LABEL_NAMES[label]}), which references do; if the predictions follow "
        "another convention than BraTS's (1 necrosis, 2 oedema, 4 or 3 enhancing tumour), relabel them"
        for label in sorted(used["reference"] - used["prediction"])
    ]


def _is_younger(path: Path, record: Path) -> bool:
    try:
        return path.stat().st_mtime >= record.stat().st_mtime
    except OSError:
        return False
