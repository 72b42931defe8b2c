"""Segment: restore and outline the tumour of one case or a whole folder.

    python -m DABSegCore.segment --case CASE_FOLDER --out RESULTS
    python -m DABSegCore.segment --data FOLDER_OF_CASES --out RESULTS
    python -m DABSegCore.segment --t1 T1.nii.gz --t1ce DICOM_FOLDER --t2 T2.nrrd --flair FLAIR.mha --out RESULTS
    torchrun --nproc-per-node=8 -m DABSegCore.segment --data FOLDER_OF_CASES --out RESULTS

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

from DABSegCore.arguments import add_input, check_input, check_share, one_case
from DABSegCore.cases import Case, case_folders
from DABSegCore.checkpoint import shipped_weights
from DABSegCore.cohort import count_failures, exit_code, run_cohort
from DABSegCore.devices import resolve_device
from DABSegCore.errors import InputError
from DABSegCore.inference import LEAST_OVERLAP, MOST_OVERLAP, OVERLAP
from DABSegCore.labels import MODALITIES
from DABSegCore.networks import NETWORKS
from DABSegCore.pipeline import Engine, Options, load_engine, segment_case
from DABSegCore.progress import Progress, run_command
from DABSegCore.report import report_path, summary_row, write_summary
from DABSegCore.results import output_folder
from DABSegCore.share import Share, shared
from DABSegCore.volume import FORMATS

SMALLEST_WINDOW = 32


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the number of failed cases, 125 at most.

    Raises:
        InputError: If the command line, the weights or the only case are bad.
    """
    args = _parse(argv)
    _check(args)
    with output_folder(args.out), shared() as share:
        return _run(args, share)


def _run(args: argparse.Namespace, share: Share) -> int:
    """What the command line asks for. Returns the exit code."""
    check_share(args, share)
    folders = case_folders(args.data, exclude=args.out) if args.data is not None else []
    case = None if args.data is not None else one_case(args)
    progress = Progress(share.mode(args.progress))
    engine = load_engine(_weights(args), resolve_device(share.device(args.device)), progress, args.preset)
    if case is None:
        return _segment_all(folders, engine, args, share)
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
    what = add_input(parser)
    what.add_argument("--reference", choices=MODALITIES, default="t1ce", help="whose grid the results are on")
    how = parser.add_argument_group("network")
    how.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint (default: the one that ships)")
    how.add_argument("--preset", choices=tuple(NETWORKS), metavar="NAME", help="refuse weights of another preset")
    how.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    how.add_argument("--tta", action="store_true", help="average over the eight mirror images (8 times slower)")
    how.add_argument("--window", type=int, metavar="N", help="windows of N voxels; 0: whole (default: the weights')")
    share = f"least share of windows that neighbours cover again (default: {OVERLAP:g}; 0.25 is quicker)"
    how.add_argument("--overlap", type=float, metavar="SHARE", default=OVERLAP, help=share)
    box = ("D0", "D1", "H0", "H1", "W0", "W1")
    how.add_argument("--box", type=int, nargs=6, metavar=box, help="look only at these voxels of the reference")
    twice = "also segment the pseudo-clear volumes and compare (twice as slow; default: no)"
    how.add_argument("--stability", action=argparse.BooleanOptionalAction, default=False, help=twice)
    how.add_argument("--autocast", choices=("auto", "off", "bfloat16", "float16"), default="auto")
    how.add_argument("--seed", type=int, default=0, help="for the record: nothing here is left to chance")
    to = parser.add_argument_group("output")
    to.add_argument("--out", type=Path, metavar="DIR", default=Path("dabseg-results"))
    to.add_argument("--save-probabilities", action="store_true", help="also <case>_probabilities_<region>.nii.gz")
    to.add_argument("--save-regions", action="store_true", help="also <case>_<region>.nii.gz masks")
    extras = "also <case>_uncertainty_<region> or <case>_fused, which only some networks give; if-any: or else nothing"
    either = {"nargs": "?", "const": True, "default": False, "choices": ("if-any",)}
    to.add_argument("--save-extras", **either, help=extras)
    to.add_argument("--no-restored", dest="restored", action="store_false", help="no pseudo-clear volumes")
    to.add_argument("--no-picture", dest="picture", action="store_false", help="no <case>.png")
    to.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="of the volumes written (default: nii.gz)")
    to.add_argument("--overwrite", action="store_true", help="do done cases again")
    to.add_argument("--progress", choices=("bar", "json", "quiet"), default="bar")
    return parser.parse_args(argv)


def _check(args: argparse.Namespace) -> None:
    """Refuse what is wrong with the words alone, before the weights are read."""
    check_input(args)
    if args.window is not None and args.window != 0 and args.window < SMALLEST_WINDOW:
        raise InputError(
            f"--window {args.window} is too small to see a tumour; use at least {SMALLEST_WINDOW} voxels, or 0 for all",
            code="bad-argument",
        )
    if not LEAST_OVERLAP <= args.overlap <= MOST_OVERLAP:
        raise InputError(
            f"--overlap {args.overlap:g} is out of bounds; use {LEAST_OVERLAP:g} to {MOST_OVERLAP:g}",
            code="bad-argument",
        )


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


def _segment_all(folders: Sequence[Path], engine: Engine, args: argparse.Namespace, share: Share) -> int:
    """Every case of a folder, with a summary table. Returns the exit code."""
    outcomes = run_cohort(folders, lambda case: summary_row(*_segment(case, engine, args)), engine.progress, share)
    if not share.leads:
        return 0  # the first process counts the failures of all
    failed = {"status": "failed"}
    rows = [o.result or {"case_id": o.name, **failed, "message": o.fault} for o in outcomes]
    write_summary(args.out / "summary.csv", rows)
    engine.progress.done(cases=len(rows), failures=count_failures(outcomes), out=str(args.out))
    return exit_code(outcomes)


if __name__ == "__main__":
    run_command(main)
