"""Evaluate: a network's answers to every case at every severity, or predictions on disk, in numbers and one report.

    python -m DABSegCore.evaluate --data FOLDER_OF_CASES --weights best.pt --severity 0 1 2 3 4 --out EVALUATION
    python -m DABSegCore.evaluate --data FOLDER_OF_CASES --split split.json --part test --out EVALUATION
    python -m DABSegCore.evaluate --data FOLDER_OF_CASES --predictions FOLDER_OF_LABEL_MAPS --out EVALUATION
    python -m DABSegCore.evaluate --virtual 8 --severity 0 2 --out EVALUATION
    torchrun --nproc-per-node 4 -m DABSegCore.evaluate --data FOLDER_OF_CASES --out EVALUATION

It leaves cases.csv, images.csv and summary.csv (mean, sd, median, 95 % bootstrap interval), figures, report.html, which
opens anywhere without network, and evaluation.json. Every case and severity leaves a record when it is done, so a
killed run is simply started again. The exit code is the number of failures. Research use only.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from DABSegCore.checkpoint import shipped_weights
from DABSegCore.cohort import MOST_FAILURES
from DABSegCore.errors import InputError
from DABSegCore.evaluation.case import Measures, Network
from DABSegCore.evaluation.conclude import conclude, draw_panels
from DABSegCore.evaluation.predictions import Predictions
from DABSegCore.evaluation.results import Evaluation
from DABSegCore.evaluation.run import Method, run_method
from DABSegCore.evaluation.subjects import (
    MOST_VIRTUAL,
    Failure,
    Subject,
    find_subjects,
    part_of_split,
    seen_in_training,
    virtual_subjects,
)
from DABSegCore.evaluation.tables import terminal_table
from DABSegCore.inference import LEAST_OVERLAP, MOST_OVERLAP, OVERLAP
from DABSegCore.metrics import PENALTY_MM
from DABSegCore.motion import SEVERITIES
from DABSegCore.pipeline import load_engine
from DABSegCore.progress import Progress, run_command
from DABSegCore.results import output_folder
from DABSegCore.training.processes import Processes, processes

SMALLEST_WINDOW = 32
MOST_TOLERANCE_MM, MOST_PENALTY_MM = 50.0, 10_000.0

OF_NETWORK = ("weights", "severity", "virtual", "seed", "tta", "window", "overlap", "autocast", "save_segmentations")
"""Options that mean nothing for predictions; absent unless they were given."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the number of failures, 125 at most.

    Raises:
        InputError: If the command line, the weights or the folder are bad.
    """
    args = _parse(argv)
    _check(args)
    with processes(args.device) as group:
        progress = Progress(args.progress if group.leads else "quiet")
        with output_folder(args.out):
            return _run(args, group, progress, sys.argv[1:] if argv is None else argv)


def _run(args: argparse.Namespace, group: Processes, progress: Progress, words: Sequence[str]) -> int:
    """What the command line asks for. Returns the exit code."""
    subjects, failures = _subjects(args)
    if not group.leads:  # one voice is enough
        run_method(_method(args, group, progress), subjects, args.out, group, progress, **_how(args))
        return 0
    for failure in failures:
        progress.error(f"{failure.case_id}: {failure.message}", "bad-case")
    method = _method(args, group, progress)
    warnings = _warnings(args, method, subjects)
    for sentence in warnings:
        progress.warn(sentence)
    failures = [*failures, *run_method(method, subjects, args.out, group, progress, **_how(args))]
    facts = {**_facts(args, method, group, words), "warnings": warnings}
    evaluation = conclude(method, subjects, failures, args.out, facts, progress)
    if args.report:
        _report(method, subjects, evaluation, args.out, progress)
    if args.progress == "bar":
        print(terminal_table(evaluation))
    progress.done(records=len(evaluation.meta["records"]), failures=len(failures), out=str(args.out))
    return min(len(failures), MOST_FAILURES)


def _report(method: Method, subjects: Sequence[Subject], evaluation: Evaluation, out: Path, progress: Progress) -> None:
    """Pictures of cases, figures, and the page that shows it all."""
    from DABSegCore.evaluation.html import build

    draw_panels(method, subjects, evaluation, out, progress)
    progress.stage("report")
    progress.log(f"report: {build(evaluation, out)}")


def _subjects(args: argparse.Namespace) -> tuple[list[Subject], list[Failure]]:
    """The cases asked for, real ones first, and those that cannot be evaluated on."""
    subjects: list[Subject] = []
    failures: list[Failure] = []
    if args.data is not None:
        wanted = args.cases if args.split is None else part_of_split(args.split, args.part or "test")
        subjects, failures = find_subjects(args.data, args.out, wanted)
    subjects += virtual_subjects(getattr(args, "virtual", 0))
    if not subjects:
        reason = f": {failures[0].message}" if failures else ""
        raise InputError(f"none of the {len(failures)} cases can be evaluated on{reason}", code="no-cases")
    return subjects, failures


def _method(args: argparse.Namespace, group: Processes, progress: Progress) -> Method:
    """What is to be judged."""
    measures = Measures(args.tolerance_mm, args.penalty_mm)
    if args.predictions is not None:
        return Predictions(args.predictions, measures)
    options = {
        name: getattr(args, name) for name in ("seed", "tta", "window", "overlap", "autocast") if hasattr(args, name)
    }
    engine = load_engine(getattr(args, "weights", None) or shipped_weights(), group.device, progress)
    levels = tuple(sorted(set(getattr(args, "severity", SEVERITIES))))
    return Network(engine, levels, measures, **options)


def _how(args: argparse.Namespace) -> dict[str, bool]:
    return {"keep": getattr(args, "save_segmentations", False), "overwrite": args.overwrite}


def _warnings(args: argparse.Namespace, method: Method, subjects: Sequence[Subject]) -> list[str]:
    """What is known before anything is computed that puts the numbers in another light."""
    if isinstance(method, Predictions):
        strangers = method.strangers(subjects)
        few = ", ".join(strangers[:5]) + (", ..." if len(strangers) > 5 else "")
        return [f"{len(strangers)} predictions belong to no case that is evaluated: {few}"] if strangers else []
    return seen_in_training(Path(method.engine.weights["path"]), method.engine.meta, subjects)


def _facts(args: argparse.Namespace, method: Method, group: Processes, words: Sequence[str]) -> dict[str, Any]:
    """Where the numbers come from, for `evaluation.json`."""
    paths = {name: getattr(args, name) for name in ("data", "split", "predictions")}
    device = group.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "command": shlex.join(["python", "-m", "DABSegCore.evaluate", *words]),
        **{key: None if path is None else str(path) for key, path in paths.items()},
        "part": None if args.split is None else args.part or "test",
        "weights": method.engine.weights if isinstance(method, Network) else None,
        "device": str(device),
        "device_name": name,
        "processes": group.size,
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, read; options of `OF_NETWORK` that were not given are absent."""
    parser = argparse.ArgumentParser(
        prog="python -m DABSegCore.evaluate",
        description="Measure how well tumours are outlined and blurred images restored (research use only).",
        allow_abbrev=False,
    )
    what = parser.add_argument_group("cases: --data, --virtual or both")
    what.add_argument("--data", type=Path, metavar="DIR", help="folder of case folders with segmentations")
    what.add_argument("--cases", nargs="+", metavar="NAME", help="only these of them")
    what.add_argument("--split", type=Path, metavar="FILE", help="only those in a part of this split.json")
    what.add_argument("--part", metavar="NAME", help="which part of it (default: test)")
    absent = {"default": argparse.SUPPRESS}
    what.add_argument("--virtual", type=int, metavar="N", **absent, help="virtual patients that none trained on")
    how = parser.add_argument_group("method: a network, or label maps on disk")
    how.add_argument("--weights", type=Path, metavar="FILE", **absent, help="checkpoint (default: the one that ships)")
    how.add_argument("--predictions", type=Path, metavar="DIR", help="folder of CASE_seg.nii.gz or CASE.nii.gz")
    levels = {"type": int, "nargs": "+", "choices": tuple(SEVERITIES), "metavar": "S"}
    how.add_argument("--severity", **levels, **absent, help="levels of motion 0 to 4 (default: all)")
    how.add_argument("--seed", type=int, **absent, help="of the motion (default: 0)")
    how.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    how.add_argument("--tta", action="store_true", **absent, help="average over eight mirror images (8 times slower)")
    how.add_argument("--window", type=int, metavar="N", **absent, help="windows of N voxels; 0: whole (the weights')")
    share = f"least share of windows that neighbours cover again (default: {OVERLAP:g})"
    how.add_argument("--overlap", type=float, metavar="SHARE", **absent, help=share)
    how.add_argument("--autocast", choices=("auto", "off", "bfloat16", "float16"), **absent)
    measure = parser.add_argument_group("measures")
    measure.add_argument("--tolerance-mm", type=float, metavar="MM", default=1.0, help="of surface Dice (default: 1)")
    penalty = f"HD95 where only one mask is empty (default: {PENALTY_MM:g}; the published code has 347)"
    measure.add_argument("--penalty-mm", type=float, metavar="MM", default=PENALTY_MM, help=penalty)
    to = parser.add_argument_group("output")
    to.add_argument("--out", type=Path, metavar="DIR", default=Path("dabseg-evaluation"))
    to.add_argument("--save-segmentations", action="store_true", **absent, help="keep the label maps, by severity")
    to.add_argument("--no-report", dest="report", action="store_false", help="numbers only")
    to.add_argument("--overwrite", action="store_true", help="do again what is done")
    to.add_argument("--progress", choices=("bar", "json", "quiet"), default="bar")
    return parser.parse_args(argv)


def _check(args: argparse.Namespace) -> None:
    """Refuse what is wrong with the words alone."""
    given = [name for name in OF_NETWORK if hasattr(args, name)]
    if args.data is None and (args.predictions is not None or not getattr(args, "virtual", 0)):
        raise InputError("there is no case to evaluate on; give --data FOLDER or --virtual N", code="bad-argument")
    if args.predictions is not None and given:
        words = " and ".join("--" + name.replace("_", "-") for name in given)
        raise InputError(
            f"--predictions are scored as they are, so {words} cannot go with them; leave one of both out",
            code="bad-argument",
        )
    _check_choice(args)
    _check_numbers(args)


def _check_choice(args: argparse.Namespace) -> None:
    """Refuse words that choose cases where there is nothing to choose, or twice."""
    needs = {"cases": "data", "split": "data", "part": "split"}
    for name, other in needs.items():
        if getattr(args, name) is not None and getattr(args, other) is None:
            raise InputError(f"--{name} chooses among --{other}, which is missing; give both", code="bad-argument")
    if args.cases is not None and args.split is not None:
        raise InputError("--cases and --split both choose cases; give one of them", code="bad-argument")


def _check_numbers(args: argparse.Namespace) -> None:
    """Refuse numbers out of bounds."""
    bounds = {
        "seed": (0, 2**63 - 1),
        "virtual": (0, MOST_VIRTUAL),
        "tolerance_mm": (0.0, MOST_TOLERANCE_MM),
        "penalty_mm": (0.0, MOST_PENALTY_MM),
        "overlap": (LEAST_OVERLAP, MOST_OVERLAP),
    }
    for name, (least, most) in bounds.items():
        value = getattr(args, name, least)
        if not least <= value <= most:
            word = "--" + name.replace("_", "-")
            raise InputError(f"{word} {value:g} is out of bounds; use {least:g} to {most:g}", code="bad-argument")
    window = getattr(args, "window", 0)
    if window != 0 and window < SMALLEST_WINDOW:
        raise InputError(
            f"--window {window} is too small to see a tumour; use at least {SMALLEST_WINDOW} voxels, or 0 for all",
            code="bad-argument",
        )


if __name__ == "__main__":
    run_command(main)
