"""Virtual: a made-up patient as a case folder, to try everything on without any data.

    python -m DABSegCore.virtual --seed 5 --out patients
    python -m DABSegCore.virtual --seed 5 --out patients --shape 78 120 120 --spacing-mm 2 --format nii

It leaves `patients/Virtual_005/` with the four modalities and the exact label map of its tumour, named like BraTS
2020. The same seed is the same patient on every grid. Research use only.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from DABSegCore.errors import InputError
from DABSegCore.phantom import BRATS_SHAPE, patient_id, virtual_patient, write_patient
from DABSegCore.progress import Progress, run_command
from DABSegCore.results import staging
from DABSegCore.volume import FORMATS

EDGE = (16, 512)
"""Fewest and most voxels along an axis."""

SPACING_MM = (0.5, 8.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Raises:
        InputError: If an option is out of bounds, the patient is already there or cannot be written.
    """
    args = _parse(argv)
    _check(args)
    progress = Progress(args.progress)
    case_id = patient_id(args.seed)
    folder = args.out / case_id
    _refuse_earlier(folder)
    with staging(args.out) as stage:
        progress.stage("virtual patient")
        patient = virtual_patient(args.seed, tuple(args.shape), args.spacing_mm)
        progress.stage("write")
        write_patient(stage / case_id, patient, case_id, args.format)
        try:
            os.rename(stage / case_id, folder)  # the whole folder at once: a case is there or it is not
        except OSError as error:
            _refuse_earlier(folder)
            raise InputError(
                f"{folder} was not made ({error.strerror or error}); choose another --out", code="cannot-write"
            ) from error
    progress.done(case_id=case_id, out=str(folder))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(
        prog="python -m DABSegCore.virtual",
        description="Make a virtual patient: four-modality brain MRI with a glioma and its exact labels.",
        allow_abbrev=False,
    )
    parser.add_argument("--seed", type=int, default=7, help="which patient")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the case folder")
    parser.add_argument("--shape", type=int, nargs=3, metavar=("D", "H", "W"), default=BRATS_SHAPE, help="voxels")
    parser.add_argument("--spacing-mm", type=float, metavar="MM", default=1.0, help="edge of the cubic voxels")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="of the files")
    parser.add_argument("--progress", choices=("bar", "json", "quiet"), default="bar")
    return parser.parse_args(argv)


def _check(args: argparse.Namespace) -> None:
    """Refuse what no patient can be made of."""
    if args.seed < 0:
        raise InputError(f"--seed {args.seed} is negative; use 0 or more", code="bad-argument")
    if not all(EDGE[0] <= edge <= EDGE[1] for edge in args.shape):
        shape = " ".join(map(str, args.shape))
        raise InputError(
            f"--shape {shape} is no grid for a head; use {EDGE[0]} to {EDGE[1]} voxels along each axis",
            code="bad-argument",
        )
    if not SPACING_MM[0] <= args.spacing_mm <= SPACING_MM[1]:
        raise InputError(
            f"--spacing-mm {args.spacing_mm:g} is no voxel size for a head; use {SPACING_MM[0]:g} to "
            f"{SPACING_MM[1]:g} mm",
            code="bad-argument",
        )


def _refuse_earlier(folder: Path) -> None:
    """Never replace a folder: somebody may have edited the patient in it."""
    if os.path.lexists(folder):
        raise InputError(
            f"{folder} is already there, and is not replaced; remove it or choose another --seed or --out",
            code="already-there",
        )


if __name__ == "__main__":
    run_command(main)
