"""Demo: a virtual patient moves in the scanner; restore what is blurred, outline the tumour, measure both.

    python -m DABSegCore.demo --out demo
    python -m DABSegCore.demo --out demo --seed 11 --severity 3

It takes the steps of the commands `simulate` and `segment` on files, so what it leaves in `demo/` can be opened and
segmented again: `sharp/` and `motion-S2/` are cases, `results/` is what the network made of each. The numbers are
printed and lie in `report.json`, the picture is `demo.png`. Research use only.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from DABSegCore import report as reports
from DABSegCore.cases import Case, find_case, load_case
from DABSegCore.checkpoint import shipped_weights
from DABSegCore.devices import resolve_device
from DABSegCore.errors import InputError
from DABSegCore.figure import HEADINGS, case_panel
from DABSegCore.labels import MODALITIES, REGIONS, regions_from_labels
from DABSegCore.metrics import psnr, ssim
from DABSegCore.phantom import BRATS_SHAPE, patient_id, virtual_patient, write_patient
from DABSegCore.pipeline import Engine, Notebook, Options, load_engine, segment_case
from DABSegCore.preprocess import apply_windows, prepare
from DABSegCore.progress import Progress, run_command
from DABSegCore.results import output_folder
from DABSegCore.twin import Request, write_twin
from DABSegCore.volume import read_labels, read_volume, write_png

Table = dict[str, dict[str, float]]
"""Numbers by row and column."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Raises:
        InputError: If the weights or the device are absent, or nothing can be written.
    """
    args = _parse(argv)
    progress = Progress(args.progress)
    if args.seed < 0:
        raise InputError(f"--seed {args.seed} is negative; use 0 or more", code="bad-argument")
    with output_folder(args.out):
        engine = load_engine(args.weights or shipped_weights(), resolve_device(args.device), progress)
        report = run_demo(args.out, engine, seed=args.seed, severity=args.severity)
    if args.progress == "bar":
        print(summary(report))
    progress.done(picture=str(args.out / "demo.png"), report=str(args.out / "report.json"))
    return 0


def run_demo(
    out: Path, engine: Engine, *, seed: int, severity: int, shape: tuple[int, int, int] = BRATS_SHAPE
) -> dict[str, Any]:
    """Make a virtual patient, blur, restore and segment it, and write picture and report.

    Args:
        out: Folder for everything.
        engine: Network, device and progress.
        seed: Which patient, and which motion.
        severity: Motion level 1..4.
        shape: Grid [D, H, W] of 1 mm voxels.

    Returns:
        The report, as written.
    """
    notes = Notebook(engine.progress)
    cases = _make_cases(out, seed, severity, shape, notes)
    said = {}
    for name, case in cases.items():
        with notes.stage(f"segment {name}"):
            said[name], _ = segment_case(case, engine, _folder(out / "results", name), Options(), overwrite=True)
    sharp, moved = cases
    with notes.stage("measure"):
        pair = _pair(cases[sharp], cases[moved], _folder(out / "results", moved))
        likeness = {moved: pair.likeness(pair.corrupted), "pseudo-clear": pair.likeness(pair.restored)}
        write_png(out / "demo.png", _picture(pair, moved, likeness, f"Virtual patient {seed}"))
    report = {
        "tool": "DABSeg",
        "notice": reports.NOTICE,
        **reports.environment(),
        "seed": seed,
        "severity": severity,
        "device": str(engine.device),
        "weights": engine.weights,
        "dice": {name: r["dice"] for name, r in said.items()},
        "volumes_ml": {"truth": pair.volumes_ml, **{name: r["volumes_ml"] for name, r in said.items()}},
        "psnr_db": {name: scores["psnr_db"] for name, scores in likeness.items()},
        "ssim": {name: scores["ssim"] for name, scores in likeness.items()},
        "timings_s": notes.timings_s,
    }
    reports.write_report(out / "report.json", report)
    return report


def summary(report: Mapping[str, Any]) -> str:
    """The report as a few small tables for the terminal."""
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in report["timings_s"].items())
    parts = [
        f"Virtual patient {report['seed']}, motion S{report['severity']}, on {report['device']}",
        _table("Dice", report["dice"], REGIONS, 3),
        _table("volume (ml)", report["volumes_ml"], REGIONS, 1),
        _table("PSNR to sharp (dB)", report["psnr_db"], MODALITIES, 2),
        _table("SSIM to sharp", report["ssim"], MODALITIES, 3),
        f"seconds: {seconds}; {sum(report['timings_s'].values()):.0f} in all",
        reports.NOTICE,
    ]
    return "\n" + "\n\n".join(parts) + "\n"


@dataclass(frozen=True, eq=False)
class Pair:
    """A sharp case, its corrupted twin and what was made of it, all in the corrupted one's intensity window.

    Args:
        sharp, corrupted, restored: Intensities in [0, 1] [M, d, h, w].
        brain: Mask [d, h, w].
        truth, segmentation: Region masks [R, d, h, w].
    """

    sharp: np.ndarray
    corrupted: np.ndarray
    restored: np.ndarray
    brain: np.ndarray
    truth: np.ndarray
    segmentation: np.ndarray

    @property
    def volumes_ml(self) -> dict[str, float]:
        """True volume of every region; voxels are 1 mm."""
        return reports.volumes_ml(self.truth, 1e-3)

    def likeness(self, images: np.ndarray) -> Table:
        """How near images [M, d, h, w] are to the sharp ones in the brain, by measure and modality."""
        pairs = dict(zip(MODALITIES, zip(images, self.sharp, strict=True), strict=True))
        return {
            "psnr_db": {m: round(psnr(a, b, self.brain), 3) for m, (a, b) in pairs.items()},
            "ssim": {m: round(ssim(a, b, self.brain), 4) for m, (a, b) in pairs.items()},
        }


def _make_cases(out: Path, seed: int, severity: int, shape: tuple[int, int, int], notes: Notebook) -> dict[str, Case]:
    """Write the sharp patient and the twin who moved; returns both cases by the names of the rows to come."""
    sharp, moved = "sharp", f"motion S{severity}"
    with notes.stage("virtual patient"):
        case_id = patient_id(seed)
        folder = _folder(out, sharp) / case_id
        write_patient(folder, virtual_patient(seed, shape), case_id)
        case = find_case(folder)
    with notes.stage(moved):
        write_twin(case, _folder(out, moved), Request(severity, seed=seed), notes.progress, overwrite=True)
    return {sharp: case, moved: find_case(_folder(out, moved) / case_id)}


def _folder(parent: Path, name: str) -> Path:
    return parent / name.replace(" ", "-")


def _pair(sharp: Case, corrupted: Case, results: Path) -> Pair:
    """Read twin cases and the results of the corrupted one."""
    twin, reference = load_case(corrupted), load_case(sharp)
    prepared = prepare(twin.images, twin.reference.affine)
    begin = f"{corrupted.case_id}_"
    restored = np.stack([read_volume(results / f"{begin}{m}_pseudo-clear.nii.gz").array for m in MODALITIES])

    def windowed(images: np.ndarray) -> np.ndarray:
        return apply_windows(prepared.to_working(images), prepared.brain, prepared.windows)

    def regions(label: np.ndarray) -> np.ndarray:
        return regions_from_labels(prepared.to_working(label[None], "nearest")[0])

    segmentation = read_labels(results / f"{begin}seg.nii.gz").array
    return Pair(
        windowed(reference.images),
        prepared.image,
        windowed(restored),
        prepared.brain,
        regions(reference.label),
        regions(segmentation),
    )


def _picture(pair: Pair, moved_name: str, likeness: Mapping[str, Table], title: str) -> np.ndarray:
    """Sharp with the true outlines, corrupted, pseudo-clear with the outlines found, RGB [height, width, 3]."""
    clear_name = "pseudo-clear (synthetic)"
    notes = {
        name: [f"{scores['psnr_db'][m]:.1f} dB  SSIM {scores['ssim'][m]:.3f}" for m in MODALITIES]
        for name, scores in zip((moved_name, clear_name), likeness.values(), strict=True)
    }
    return case_panel(
        {"sharp": pair.sharp, moved_name: pair.corrupted, clear_name: pair.restored},
        {"sharp": pair.truth, clear_name: pair.segmentation},
        title=f"{title}: true outlines above, those found in the blurred scan below",
        notes=notes,
    )


def _table(name: str, rows: Mapping[str, Mapping[str, float]], columns: Sequence[str], digits: int) -> str:
    """Lines of a table, its name in the corner."""
    lines = [f"{name:<20}" + "".join(f"{HEADINGS.get(column, column):>9}" for column in columns)]
    for row, values in rows.items():
        lines.append(f"{row:<20}" + "".join(f"{values[column]:>9.{digits}f}" for column in columns))
    return "\n".join(lines)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(
        prog="python -m DABSegCore.demo",
        description="A virtual patient moves in the scanner and is restored and segmented (research use only).",
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("demo"))
    parser.add_argument("--seed", type=int, default=7, help="which virtual patient")
    parser.add_argument("--severity", type=int, choices=(1, 2, 3, 4), default=2, help="how much motion")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint (default: the one that ships)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--progress", choices=("bar", "json", "quiet"), default="bar")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
