"""Arguments: the words of a command line that name its images: a case folder, a folder of cases, or four paths."""

from __future__ import annotations

import argparse
from pathlib import Path

from DABSegCore.cases import Case, case_from_paths, find_case
from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.share import Share


def add_input(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the words for the input; returns their group in the help."""
    what = parser.add_argument_group("input: one of --case, --data, or all four modalities")
    what.add_argument("--case", type=Path, metavar="FOLDER", help="folder with the four modalities of one case")
    what.add_argument("--data", type=Path, metavar="FOLDER", help="folder of case folders")
    for modality in MODALITIES:
        what.add_argument(f"--{modality}", type=Path, metavar="PATH", help="image file or DICOM series folder")
    what.add_argument("--segmentation", type=Path, metavar="PATH", help="with these: label map of the tumour")
    what.add_argument("--case-id", metavar="NAME", help="with these: how result names begin (default: from the files)")
    return what


def check_input(args: argparse.Namespace) -> None:
    """Refuse anything but one kind of input, before anything is read.

    Raises:
        InputError: If there is none, more than one, or a word that does not go with it.
    """
    paths = _paths(args)
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


def check_share(args: argparse.Namespace, share: Share) -> None:
    """Refuse several processes for one case.

    Raises:
        InputError: If there are.
    """
    if share.size > 1 and args.data is None:
        raise InputError(
            f"{share.size} processes were started for one case, but they divide cases only; give a folder of cases by "
            "--data, or start one process",
            code="bad-argument",
        )


def one_case(args: argparse.Namespace) -> Case:
    """The case of a folder or of four paths; not to be asked with --data.

    Raises:
        InputError: If a file or a modality is missing, or the case's name is no file name.
    """
    if args.case is not None:
        return find_case(args.case)
    paths = _paths(args)
    missing = [f"--{modality}" for modality in MODALITIES if modality not in paths]
    if missing:
        raise InputError(
            f"{' and '.join(missing)} missing, but all four modalities are needed; give each a path",
            code="missing-modality",
        )
    name = args.case_id
    if name is not None and (not name or Path(name).name != name or "\\" in name):
        raise InputError(f"--case-id {name!r} begins file names, so it must be one; leave out slashes", "bad-argument")
    return case_from_paths(**paths, segmentation=args.segmentation, case_id=name)


def _paths(args: argparse.Namespace) -> dict[str, Path]:
    """The modalities that were named one by one."""
    return {modality: getattr(args, modality) for modality in MODALITIES if getattr(args, modality)}
