"""Simulate: the motion-corrupted twin of one case or a whole folder, with the trajectory that repeats it.

Other corruptions take the place of motion where asked: blur along lines, noise, bias and so on.

    python -m DABSegCore.simulate --case CASE_FOLDER --out TWINS --severity 2
    python -m DABSegCore.simulate --data FOLDER_OF_CASES --out TWINS --severity 3 --seed 7 --modalities t1 flair
    python -m DABSegCore.simulate --case CASE_FOLDER --out AGAIN --replay TWINS/CASE/trajectory.json
    python -m DABSegCore.simulate --case CASE_FOLDER --out NOISY --degrade noise --severity 3
    python -m DABSegCore.simulate --t1 T1.nii.gz --t1ce DICOM_FOLDER --t2 T2.nrrd --flair FLAIR.mha --out TWINS

A twin is the folder TWINS/<case>: the same file names (those of BraTS 2020 where the images have others), geometry and
intensity scale (float32), the segmentation copied, and trajectory.json. A complete twin of the same images and options
is skipped, so a killed run is simply started again. Research use only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from DABSegCore.arguments import add_input, check_input, check_share, one_case
from DABSegCore.cases import Case, case_folders
from DABSegCore.cohort import count_failures, exit_code, run_cohort
from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.motion import PRESETS, SEVERITIES
from DABSegCore.progress import Progress, run_command
from DABSegCore.results import output_folder
from DABSegCore.share import Share, shared
from DABSegCore.strengths import STRENGTHS
from DABSegCore.twin import Request, read_record, write_twin
from DABSegCore.volume import FORMATS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the number of failed cases, 125 at most.

    Raises:
        InputError: If the command line or the only case is bad.
    """
    args = _parse(argv)
    check_input(args)
    with shared() as share:
        return _prepare(args, share)


def _prepare(args: argparse.Namespace, share: Share) -> int:
    """Read the request and do it. Returns the exit code."""
    check_share(args, share)
    progress = Progress(share.mode(args.progress))
    given = {option.name: getattr(args, option.name) for option in fields(Request) if hasattr(args, option.name)}
    replay = _replay(args, given)
    if given.get("seed", 0) < 0:
        raise InputError(f"--seed {given['seed']} is negative; use 0 or more", code="bad-argument")
    _check_degradation(given)
    request = Request(**{**given, "modalities": tuple(given.get("modalities", MODALITIES))})
    options = {"replay": replay, "ending": args.format, "overwrite": args.overwrite}
    twin = partial(write_twin, out=args.out, request=request, progress=progress, **options)
    with output_folder(args.out):
        return _run(args, twin, progress, share)


def _run(
    args: argparse.Namespace, twin: Callable[[Case], tuple[dict[str, Any], str]], progress: Progress, share: Share
) -> int:
    """Write the twins of one case or many. Returns the exit code."""
    if args.data is not None:
        folders = case_folders(args.data, exclude=args.out)
        outcomes = run_cohort(folders, lambda case: _tell(*twin(case), progress), progress, share)
        if not share.leads:
            return 0  # the first process counts the failures of all
        progress.done(cases=len(outcomes), failures=count_failures(outcomes))
        return exit_code(outcomes)
    record, status = twin(one_case(args))
    _tell(record, status, progress)
    progress.done(case_id=record["case_id"], status=status, out=str(args.out / record["case_id"]))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, read; options of `Request` that were not given are absent."""
    parser = argparse.ArgumentParser(
        prog="python -m DABSegCore.simulate",
        description="Corrupt brain-tumour MRI by simulated head motion (research use only).",
        allow_abbrev=False,
    )
    add_input(parser)
    to = parser.add_argument_group("output")
    to.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the twins")
    to.add_argument("--format", choices=FORMATS, help="of the files written (default: that of each image)")
    how = parser.add_argument_group("motion, or what else is simulated", argument_default=argparse.SUPPRESS)
    how.add_argument("--severity", type=int, choices=tuple(SEVERITIES), help="level 0 to 4 (default: 2)")
    how.add_argument("--preset", choices=PRESETS, help="annulus, or shaw: Shaw et al. 2019, which has no levels")
    how.add_argument("--seed", type=int, help="with the case's name it decides the motion (default: 0)")
    how.add_argument("--axis", type=int, choices=(0, 1, 2), help="phase-encode axis: 0 = k, 1 = j, 2 = i (drawn)")
    how.add_argument("--modalities", nargs="+", choices=MODALITIES, help="corrupt these only; the others are copied")
    how.add_argument("--degrade", choices=STRENGTHS, help="not motion, but this, of the same levels")
    how.add_argument("--darken", action="store_true", help="of --degrade blur: darken as its published kernel does")
    how.add_argument("--replay", type=Path, metavar="FILE", help="repeat what this trajectory.json tells of")
    to.add_argument("--overwrite", action="store_true", help="do complete twins again")
    to.add_argument("--progress", choices=("bar", "json", "quiet"), default="bar")
    return parser.parse_args(argv)


def _check_degradation(given: dict[str, Any]) -> None:
    """Refuse options of motion for a degradation, and those of one degradation for another."""
    kind = given.get("degrade")
    of_motion = [name for name in ("preset", "axis") if name in given]
    if kind and of_motion:
        raise InputError(
            f"--degrade {kind} takes the place of motion, which alone has --{' and --'.join(of_motion)}; leave one out",
            code="bad-argument",
        )
    if given.get("darken") and kind != "blur":
        raise InputError("--darken is of the published blur alone; add --degrade blur, or leave it out", "bad-argument")


def _replay(args: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any] | None:
    """The record to repeat, if one was asked for; it says everything about what one case went through."""
    path: Path | None = getattr(args, "replay", None)
    if path is None:
        return None
    clash = ["data"] * (args.data is not None) + sorted(given)
    if clash:
        raise InputError(
            f"--replay repeats what befell one case, so --{' and --'.join(clash)} cannot go with it; leave it out",
            code="bad-argument",
        )
    return read_record(path)


def _tell(record: dict[str, Any], status: str, progress: Progress) -> None:
    """One line about a twin."""
    entries = record["modalities"].items()
    decibels = ", ".join(f"{name} {item['psnr_db']:.1f} dB" for name, item in entries if item.get("psnr_db"))
    skipped = " (already there; --overwrite does it again)" if status == "skipped" else ""
    progress.log(f"{record['case_id']}: {decibels or 'copied'}{skipped}")


if __name__ == "__main__":
    run_command(main)
