"""Segment: restore and outline the tumour of one case or a whole folder.

    python -m DABSegCore.segment --case CASE_FOLDER --out RESULTS
    python -m DABSegCore.segment --data FOLDER_OF_CASES --out RESULTS
    python -m DABSegCore.segment --t1 T1.nii.gz --t1ce DICOM_FOLDER --t2 T2.nrrd --flair FLAIR.mha --out RESULTS

A case is done when its `<case>_report.json` lies in RESULTS, tells of the same program, inputs, weights and options,
and its results are as they were written; done cases are skipped, so a killed run is simply started again. Research use
only.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from DABSegCore.cases import Case, case_folders, case_from_paths, find_case
from DABSegCore.checkpoint import shipped_weights
from DABSegCore.cohort import count_failures, exit_code, run_cohort
from DABSegCore.config import PRESETS
from DABSegCore.devices import resolve_device
from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.pipeline import Engine, Options, load_engine, segment_case
from DABSegCore.progress import Progress, run_command
from DABSegCore.report import report_path, summary_row, write_summary
from DABSegCore.results import output_folder
from DABSegCore.volume import FORMATS

SMALLEST_WINDOW = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the number of failed cases, 125 at most.

    Raises:
        InputError: If the command line, the weights or the only case are bad.
    """
    args = _parse(argv)
    _check_input(args)
    with output_folder(args.out):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    """What the command line asks for. Returns the exit code."""
    folders = case_folders(args.data, exclude=args.out) if args.data is not None else []
    case = None if args.data is not None else find_case(args.case) if args.case else _case_from_paths(args)
    engine = load_engine(_weights(args), resolve_device(args.device), Progress(args.progress), args.preset)
    if case is None:
        return _segment_all(folders, engine, args)
    report, status = _segment(case, engine, args)
    engine.progress.done(status=status, report=str(report_path(args.out, report["case_id"])))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(
        prog="python -m DABSegCore.segment",
        description="Restore motion-blurred brain-tumour MRI and outline the tumour (research use only).",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("input: one of --case, --data, or all four modalities")
    what.add_argument("--case", type=Path, metavar="FOLDER", help="folder with the four modalities of one case")
    what.add_argument("--data", type=Path, metavar="FOLDER", help="folder of case folders")
    for modality in MODALITIES:
        what.add_argument(f"--{modality}", type=Path, metavar="PATH", help="image file or DICOM series folder")
    what.add_argument("--segmentation", type=Path, metavar="PATH", help="with these: label map to compare with")
    what.add_argument("--case-id", metavar="NAME", help="with these: how result names begin (default: from the files)")
    what.add_argument("--reference", choices=MODALITIES, default="t1ce", help="whose grid the results are on")
    how = parser.add_argument_group("network")
    how.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint (default: the one that ships)")
    how.add_argument("--preset", choices=tuple(PRESETS), help="refuse weights of another preset")
    how.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    how.add_argument("--tta", action="store_true", help="average over the eight mirror images (8 times slower)")
    how.add_argument("--window", type=int, metavar="N", help="windows of N voxels; 0: whole (default: the weights')")
    box = ("D0", "D1", "H0", "H1", "W0", "W1")
    how.add_argument("--box", type=int, nargs=6, metavar=box, help="look only at these voxels of the reference")
    how.add_argument("--autocast", choices=("auto", "off", "bfloat16", "float16"), default="auto")
    how.add_argument("--seed", type=int, default=0, help="for the record: nothing here is left to chance")
    to = parser.add_argument_group("output")
    to.add_argument("--out", type=Path, metavar="DIR", default=Path("dabseg-results"))
    to.add_argument("--save-probabilities", action="store_true", help="also <case>_probabilities_<region>.nii.gz")
    to.add_argument("--save-regions", action="store_true", help="also <case>_<region>.nii.gz masks")
    to.add_argument("--no-restored", dest="restored", action="store_false", help="no pseudo-clear volumes")
    to.add_argument("--no-picture", dest="picture", action="store_false", help="no <case>.png")
    to.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="of the volumes written (default: nii.gz)")
    to.add_argument("--overwrite", action="store_true", help="do done cases again")
    to.add_argument("--progress", choices=("bar", "json", "quiet"), default="bar")
    return parser.parse_args(argv)


def _check_input(args: argparse.Namespace) -> None:
    """Refuse anything but one kind of input, before the weights are read."""
    paths = [m for m in MODALITIES if getattr(args, m)]
    asked = [name for name, given in (("--case", args.case), ("--data", args.data), ("--t1 ...", paths)) if given]
    if len(asked) != 1:
        raise InputError(
            f"one input is needed, but {' and '.join(asked) or 'none'} was given; "
            "use --case FOLDER, or --data FOLDER, or --t1 --t1ce --t2 --flair",
            code="bad-argument",
        )
    alone = [name for name in ("segmentation", "case_id") if getattr(args, name) is not None]
    if alone and not paths:
        raise InputError(
            f"--{alone[0].replace('_', '-')} goes with --t1 --t1ce --t2 --flair, but {asked[0]} was given, whose file "
            "names say it; leave it out or name the four images",
            code="bad-argument",
        )
    if args.window is not None and args.window != 0 and args.window < SMALLEST_WINDOW:
        raise InputError(
            f"--window {args.window} is too small to see a tumour; use at least {SMALLEST_WINDOW} voxels, or 0 for all",
            code="bad-argument",
        )


def _case_from_paths(args: argparse.Namespace) -> Case:
    """The case of four modalities named one by one."""
    paths = {modality: getattr(args, modality) for modality in MODALITIES if getattr(args, modality)}
    missing = [f"--{modality}" for modality in MODALITIES if modality not in paths]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} missing, but all four modalities are needed; give each a path",
            code="missing-modality",
        )
    if args.case_id is not None and (
        not args.case_id or Path(args.case_id).name != args.case_id or "\\" in args.case_id
    ):
        raise InputError(
            f"--case-id {args.case_id!r} begins file names, so it must be one; leave out slashes", "bad-argument"
        )
    return case_from_paths(**paths, segmentation=args.segmentation, case_id=args.case_id)


def _weights(args: argparse.Namespace) -> Path:
    """The checkpoint asked for, or the one that ships."""
    path = args.weights or shipped_weights()
    if args.weights is None and args.preset not in (None, path.stem):
        raise InputError(
            f"no weights ship for preset {args.preset!r}, only for {path.stem!r}; give some with --weights",
            code="missing-weights",
        )
    return path


def _segment(case: Case, engine: Engine, args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """One case, with a line about it; returns its report and "done" or "skipped"."""
    options = Options(**{option.name: getattr(args, option.name) for option in fields(Options)})
    report, status = segment_case(case, engine, args.out, options, overwrite=args.overwrite, seed=args.seed)
    volumes = ", ".join(f"{region} {ml:.1f} ml" for region, ml in report["volumes_ml"].items())
    scores = ", ".join(f"{region} {value:.3f}" for region, value in (report["dice"] or {}).items())
    line = f"{report['case_id']}: {volumes}" + (f"; Dice {scores}" if scores else "")
    engine.progress.log(line + (" (already done; --overwrite does it again)" if status == "skipped" else ""))
    return report, status


def _segment_all(folders: Sequence[Path], engine: Engine, args: argparse.Namespace) -> int:
    """Every case of a folder, with a summary table. Returns the exit code."""
    outcomes = run_cohort(folders, lambda case: summary_row(*_segment(case, engine, args)), engine.progress)
    failed = {"status": "failed"}
    rows = [o.result or {"case_id": o.name, **failed, "message": o.fault} for o in outcomes]
    write_summary(args.out / "summary.csv", rows)
    engine.progress.done(cases=len(rows), failures=count_failures(outcomes), out=str(args.out))
    return exit_code(outcomes)


if __name__ == "__main__":
    run_command(main)
