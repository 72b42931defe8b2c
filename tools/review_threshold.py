"""Review threshold: what the signs of `DABSegCore.quality` are worth, and from where on a case should be looked at.

    python tools/review_threshold.py --data CASES --cases A B C D --virtual 8 --work DIR --figure docs/review.png

Every case is blurred, restored and segmented as `evaluate` does it, its pseudo-clear version is segmented again, and
its signs are held against what its reference segmentation says. A segmentation is bad where the Dice of the whole
tumour is below 0.7, or the mean Dice of the regions more than 10 points below that of the same case without motion. A
sign that orders good and bad ones no better than a coin has an AUC of 0.5. The threshold is where sensitivity plus
specificity is greatest; how it does on cases that had no say in it is asked by leaving out one case, at all severities,
at a time. With --alone every modality of the real cases is also blurred by itself (S4), the others being sharp.
DIR keeps a record of each case and severity, so that a killed run goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
import numpy as np
import torch

from DABSegCore.cases import LoadedCase
from DABSegCore.checkpoint import shipped_weights
from DABSegCore.devices import resolve_device
from DABSegCore.evaluation.case import Network
from DABSegCore.evaluation.subjects import Subject, find_subjects, virtual_subjects
from DABSegCore.labels import MODALITIES, REGIONS, regions_from_labels
from DABSegCore.motion import corrupt_case
from DABSegCore.pipeline import Notebook, Options, load_engine, stability
from DABSegCore.progress import Progress
from DABSegCore.quality import REVIEW_MOTION, motion_index
from DABSegCore.report import dice_by_region

LEAST_WT, MOST_LOSS = 0.7, 0.1
ALONE = 4
"""Severity at which one modality is blurred and the others are not."""

Record = dict[str, Any]

SIGNS: dict[str, Callable[[Record], float]] = {
    "motion, worst modality": lambda record: max(record["motion"].values()),
    "motion, mean of modalities": lambda record: fmean(record["motion"].values()),
    "instability, mean of regions": lambda record: 1 - fmean(record["stability"].values()),
    "instability, whole tumour": lambda record: 1 - record["stability"]["WT"],
}
"""Each larger where a case is more doubtful."""


def main() -> None:
    """Run the command line."""
    args = _parse()
    records = list(_records(args))
    bad = are_bad(records)
    print(_severities(records))
    print(_table(records, bad))
    if args.alone:
        print(_alone_table(list(_records(args, alone=True)), records))
    args.figure.parent.mkdir(parents=True, exist_ok=True)
    _draw(records, bad, args.figure)


def are_bad(records: Sequence[Record]) -> np.ndarray:
    """Which segmentations were bad, bool [n]; every case needs a record at severity 0."""
    sharp = {record["case_id"]: _mean_dice(record) for record in records if record["severity"] == 0}
    return np.array(
        [r["dice"]["WT"] < LEAST_WT or sharp[r["case_id"]] - _mean_dice(r) > MOST_LOSS for r in records], bool
    )


def auc(values: np.ndarray, bad: np.ndarray) -> float:
    """Chance that a bad one has the larger value than a good one, ties counted half; of values [n] and bool [n]."""
    differences = values[bad][:, None] - values[~bad][None]
    return float(np.mean((differences > 0) + 0.5 * (differences == 0)))


def threshold(values: np.ndarray, bad: np.ndarray) -> float:
    """Where sensitivity plus specificity of `values >= threshold` is greatest: halfway between two values."""
    known = np.unique(values)
    bounds = (known[1:] + known[:-1]) / 2
    return float(max(bounds, key=lambda bound: sum(rates(values >= bound, bad))))


def rates(flagged: np.ndarray, bad: np.ndarray) -> tuple[float, float]:
    """Sensitivity and specificity of flags, bool [n]."""
    return float(flagged[bad].mean()), float((~flagged[~bad]).mean())


def left_out(values: np.ndarray, bad: np.ndarray, cases: np.ndarray) -> np.ndarray:
    """Flags by a threshold that the case itself, at all its severities, had no say in, bool [n]."""
    flagged = np.zeros(len(values), bool)
    for case in np.unique(cases):
        mine = cases == case
        flagged[mine] = values[mine] >= threshold(values[~mine], bad[~mine])
    return flagged


def _records(args: argparse.Namespace, alone: bool = False) -> Iterator[Record]:
    """A record of every case and severity, or of every modality blurred alone, read where it is there."""
    progress = Progress("quiet")
    network = Network(load_engine(args.weights, resolve_device(args.device), progress), tuple(args.severities))
    subjects, failures = find_subjects(args.data, args.work, args.cases) if args.data else ([], [])
    if failures:
        raise SystemExit(failures[0].message)
    args.work.mkdir(parents=True, exist_ok=True)
    kinds = [f"S{ALONE}_{m}" for m in MODALITIES] if alone else [f"S{level}" for level in args.severities]
    for subject in subjects if alone else [*subjects, *virtual_subjects(args.virtual)]:
        loaded: LoadedCase | None = None
        for kind in kinds:
            path = args.work / f"{subject.case_id}_{kind}.json"
            if not path.exists():
                notes = Notebook(progress)
                loaded = loaded or network.load(subject, notes)
                path.write_text(json.dumps(_measure(subject, loaded, kind, network, notes)), encoding="utf-8")
                print(f"{subject.case_id} {kind}: {notes.timings_s}", flush=True)
            yield json.loads(path.read_text(encoding="utf-8"))


def _measure(subject: Subject, loaded: LoadedCase, kind: str, network: Network, notes: Notebook) -> Record:
    """One case in one way: its Dice, which nobody knows in use, and its signs."""
    level, _, modality = kind[1:].partition("_")
    reading = (
        network.read(_blurred(loaded, modality), 0, notes) if modality else network.read(loaded, int(level), notes)
    )
    with notes.stage("motion", announce=False):
        motion = motion_index(reading.prepared.image, reading.prepared.brain)
    with notes.stage("again", announce=False):
        again = None if modality else stability(reading.prepared, reading.said, None, network.engine, Options(), notes)
    return {
        "case_id": subject.case_id,
        "kind": subject.kind,
        "severity": int(level),
        "alone": modality or None,
        "dice": dice_by_region(regions_from_labels(reading.label), regions_from_labels(loaded.label)),
        "motion": motion,
        "stability": again,
        "seconds": notes.timings_s,
    }


def _blurred(loaded: LoadedCase, modality: str) -> LoadedCase:
    """A case of which one modality is blurred."""
    m, images = MODALITIES.index(modality), loaded.images.copy()
    moved, _ = corrupt_case(torch.from_numpy(images), loaded.reference.spacing_mm, ALONE, loaded.case.case_id)
    images[m] = moved[m].numpy()
    return replace(loaded, images=images)


def _alone_table(alone: Sequence[Record], records: Sequence[Record]) -> str:
    """What one blurred modality does, in Markdown."""
    sharp = {record["case_id"]: _mean_dice(record) for record in records if record["severity"] == 0}
    lines = ["| blurred alone (S4) | points of mean Dice lost | its index | index of the worst | mean index |"]
    lines.append("|---" * 5 + "|")
    for modality in MODALITIES:
        group = [record for record in alone if record["alone"] == modality]
        columns = [
            (f"{100 * (sharp[record['case_id']] - _mean_dice(record)):.1f}" for record in group),
            (f"{record['motion'][modality]:.2f}" for record in group),
            (f"{max(record['motion'].values()):.2f}" for record in group),
            (f"{fmean(record['motion'].values()):.2f}" for record in group),
        ]
        lines.append(f"| {modality} | " + " | ".join(map(", ".join, columns)) + " |")
    return "\n".join(lines) + "\n"


def _mean_dice(record: Record) -> float:
    return fmean(record["dice"][region] for region in REGIONS)


def _severities(records: Sequence[Record]) -> str:
    """What every severity is like, in Markdown."""
    lines = ["| severity | cases | mean Dice | WT | worst motion index | mean stability |", "|---|---|---|---|---|---|"]
    for kind, level in dict.fromkeys((record["kind"], record["severity"]) for record in records):
        group = [record for record in records if (record["kind"], record["severity"]) == (kind, level)]
        numbers = [
            fmean(map(_mean_dice, group)),
            fmean(record["dice"]["WT"] for record in group),
            fmean(max(record["motion"].values()) for record in group),
            fmean(fmean(record["stability"].values()) for record in group),
        ]
        lines.append(f"| S{level} | {len(group)} {kind} | " + " | ".join(f"{n:.3f}" for n in numbers) + " |")
    return "\n".join(lines) + "\n"


def _table(records: Sequence[Record], bad: np.ndarray) -> str:
    """What every sign is worth, in Markdown."""
    cases = np.array([record["case_id"] for record in records])
    head = "sign | AUC | AUC real | AUC virtual | threshold | sensitivity | specificity | left out: sens. | spec."
    lines = [f"{bad.sum()} of {len(bad)} segmentations are bad.\n", f"| {head} |", "|---" * 9 + "|"]
    for name, sign in SIGNS.items():
        values = np.array([sign(record) for record in records])
        kinds = [_auc_of(kind, values, bad, records) for kind in ("real", "virtual")]
        bound = threshold(values, bad)
        shares = [*rates(values >= bound, bad), *rates(left_out(values, bad, cases), bad)]
        cells = [f"{auc(values, bad):.2f}", *kinds, f"{bound:.4f}", *(f"{share:.2f}" for share in shares)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    flagged = np.array([max(record["motion"].values()) >= REVIEW_MOTION for record in records])
    shares = rates(flagged, bad)
    lines.append(
        f"\nAs it ships (worst motion index from {REVIEW_MOTION:g} on): {flagged[bad].sum()} of {bad.sum()} bad ones "
        f"and {flagged[~bad].sum()} of {(~bad).sum()} good ones flagged: {shares[0]:.2f}, {shares[1]:.2f}.\n"
    )
    return "\n".join(lines)


def _auc_of(kind: str, values: np.ndarray, bad: np.ndarray, records: Sequence[Record]) -> str:
    """AUC among the cases of a kind, in words where there is none."""
    mine = np.array([record["kind"] == kind for record in records])
    some = mine.any() and 0 < bad[mine].sum() < mine.sum()
    return f"{auc(values[mine], bad[mine]):.2f}" if some else "none"


def _draw(records: Sequence[Record], bad: np.ndarray, path: Path) -> None:
    """Lost Dice against two of the signs."""
    from matplotlib.figure import Figure

    sharp = {record["case_id"]: _mean_dice(record) for record in records if record["severity"] == 0}
    loss = [100 * (sharp[record["case_id"]] - _mean_dice(record)) for record in records]
    shown = {"motion index, worst modality": SIGNS["motion, worst modality"]}
    shown["stability, mean Dice of regions"] = lambda record: fmean(record["stability"].values())
    figure = Figure(figsize=(8.8, 3.6), dpi=150, layout="constrained")
    colours = mpl.colormaps["viridis_r"]
    for axes, (label, sign) in zip(figure.subplots(1, 2, sharey=True), shown.items(), strict=True):
        for record, points, fault in zip(records, loss, bad, strict=True):
            look = {"marker": "o" if record["kind"] == "real" else "s", "s": 34, "edgecolor": "r" if fault else "none"}
            axes.scatter(sign(record), points, color=colours(0.1 + record["severity"] / 4.5), linewidth=1.4, **look)
        axes.axhline(100 * MOST_LOSS, color="grey", linewidth=0.8, linestyle=":")
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
        if label.startswith("motion"):
            axes.axvline(REVIEW_MOTION, color="grey", linewidth=0.8, linestyle="--")
            axes.set_ylabel("mean Dice lost to motion (points)")
    for level in sorted({record["severity"] for record in records}):
        axes.scatter([], [], color=colours(0.1 + level / 4.5), s=34, label=f"S{level}")
    for label, marker, edge in (("real", "o", "none"), ("virtual", "s", "none"), ("bad", "o", "r")):
        axes.scatter([], [], color="lightgrey", marker=marker, s=34, edgecolor=edge, linewidth=1.4, label=label)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(path)


def _parse() -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=shipped_weights())
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cases", nargs="+", help="names of case folders in --data (default: all)")
    parser.add_argument("--virtual", type=int, default=8)
    parser.add_argument("--severities", type=int, nargs="+", default=[0, 2, 3, 4])
    parser.add_argument("--alone", action="store_true", help="also each modality of real cases blurred by itself")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--figure", type=Path, default=Path("docs/review.png"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
