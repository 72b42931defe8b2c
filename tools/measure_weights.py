"""Measure weights: Dice, PSNR and SSIM of held-out cases before and after restoration, as a table for a model card.

    python tools/measure_weights.py --weights W.pt --data CASES --cases A B C D --virtual 8 --out m.json

Every case goes the way of `simulate` and `segment`: motion on the whole volume in its own grid, then the corrupted
volumes' own intensity window, then the network in the checkpoint's windows, and its thresholds. Sharp, corrupted and
restored are compared in that intensity window, inside the brain. Virtual patients start
at seed 910000, which no training uses.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from DABSegCore.cases import find_case, load_case
from DABSegCore.checkpoint import load_checkpoint
from DABSegCore.devices import resolve_device
from DABSegCore.files import sha256
from DABSegCore.inference import infer
from DABSegCore.labels import REGIONS, regions_from_labels
from DABSegCore.metrics import dice, psnr, ssim
from DABSegCore.motion import corrupt_case
from DABSegCore.phantom import virtual_patient
from DABSegCore.pipeline import decide, window_of
from DABSegCore.preprocess import apply_windows, prepare

FIRST_VIRTUAL = 910_000
IDENTICAL_DB = 99.0
"""Written for the infinite PSNR of equal volumes."""


@dataclass(frozen=True)
class Subject:
    """A sharp case with its truth: images [M, D, H, W], label [D, H, W], affine [4, 4]."""

    kind: str
    name: str
    images: np.ndarray
    label: np.ndarray
    affine: np.ndarray


def main() -> None:
    """Run the command line."""
    args = _parse()
    device = resolve_device(args.device)
    model, meta = load_checkpoint(args.weights, device)
    rows = []
    for subject in _subjects(args):
        for severity in args.severities:
            start = time.perf_counter()
            row = {"kind": subject.kind, "case": subject.name, "severity": severity}
            rows.append(row | _measure(subject, severity, model, meta, device, args))
            print(json.dumps(rows[-1]), f"{time.perf_counter() - start:.0f} s", flush=True)
    facts = {"weights_sha256": sha256(args.weights), "window": args.window, "tta": args.tta, "rows": rows}
    args.out.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    print("\n" + _table(rows))


def _subjects(args: argparse.Namespace) -> Iterator[Subject]:
    """Real cases by name, then virtual patients by seed."""
    for name in args.cases:
        loaded = load_case(find_case(args.data / name))
        yield Subject("real", name, loaded.images, loaded.label, loaded.reference.affine)
    for seed in range(args.first_seed, args.first_seed + args.virtual):
        patient = virtual_patient(seed)
        yield Subject("virtual", f"virtual_{seed}", patient.images, patient.label, patient.affine)


def _measure(
    subject: Subject, severity: int, model: torch.nn.Module, meta: dict, device: torch.device, args: argparse.Namespace
) -> dict[str, float]:
    """One case at one severity."""
    spacing = tuple(np.linalg.norm(subject.affine[:3, :3], axis=0))
    corrupted, _ = corrupt_case(torch.from_numpy(subject.images), spacing, severity, subject.name, seed=args.seed)
    prepared = prepare(corrupted.numpy(), subject.affine)
    window = window_of(meta, args.window)
    said = infer(model, torch.from_numpy(prepared.image), device=device, window=window, tta=args.tta)
    probabilities = said.probabilities.numpy() * prepared.brain
    found = decide(probabilities, meta["thresholds"], 1e-3, meta.get("et_min_ml", 0.0))
    truth = regions_from_labels(prepared.to_working(subject.label[None], "nearest")[0])
    sharp = apply_windows(prepared.to_working(subject.images), prepared.brain, prepared.windows)
    restored = np.clip(said.restored.numpy(), 0, 1) * prepared.brain
    row = {r: dice(a, b) for r, a, b in zip(REGIONS, regions_from_labels(found), truth, strict=True)}
    for name, images in (("corrupted", prepared.image), ("restored", restored)):
        pairs = list(zip(images, sharp, strict=True))
        row[f"psnr_{name}"] = statistics.fmean(min(psnr(a, b, prepared.brain), IDENTICAL_DB) for a, b in pairs)
        row[f"ssim_{name}"] = statistics.fmean(ssim(a, b, prepared.brain) for a, b in pairs)
    return {name: round(value, 4) for name, value in row.items()}


def _table(rows: list[dict]) -> str:
    """Means per kind and severity, in Markdown."""
    lines = [
        "| cases | severity | Dice ET | TC | WT | PSNR in -> restored (dB) | SSIM in -> restored | nearer to sharp |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, severity in dict.fromkeys((row["kind"], row["severity"]) for row in rows):
        group = [row for row in rows if (row["kind"], row["severity"]) == (kind, severity)]
        mean = {name: statistics.fmean(row[name] for row in group) for name in group[0] if name not in KEYS}
        nearer = sum(
            row["psnr_restored"] > row["psnr_corrupted"] and row["ssim_restored"] > row["ssim_corrupted"]
            for row in group
        )
        lines.append(
            f"| {len(group)} {kind} | S{severity} | {mean['ET']:.3f} | {mean['TC']:.3f} | {mean['WT']:.3f} "
            f"| {mean['psnr_corrupted']:.2f} -> {mean['psnr_restored']:.2f} "
            f"| {mean['ssim_corrupted']:.4f} -> {mean['ssim_restored']:.4f} | {nearer} of {len(group)} |"
        )
    return "\n".join(lines)


KEYS = ("kind", "case", "severity")


def _parse() -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path())
    parser.add_argument("--cases", nargs="*", default=[], help="names of case folders in --data")
    parser.add_argument("--virtual", type=int, default=8, help="number of virtual patients")
    parser.add_argument("--first-seed", type=int, default=FIRST_VIRTUAL, help="seed of the first")
    parser.add_argument("--severities", type=int, nargs="+", default=[0, 2, 3])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--window", type=int)
    parser.add_argument("--tta", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("measured.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
