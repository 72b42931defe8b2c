"""Compare: methods trained and judged under one protocol, with tests, costs and one report.

    python -m DABSegCore.compare PLAN.toml --out COMPARISON
    python -m DABSegCore.compare --plan cpu --data FOLDER_OF_CASES --out COMPARISON

Every method of the plan is trained by `train` and judged by `evaluate`, in COMPARISON/runs and COMPARISON/evaluations.
Interrupted and started again with the same words it goes on; what is done is skipped. It leaves report.html,
comparison.json, methods.csv and tests.csv. The exit code is the number of methods that failed. Research use only.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from DABSegCore.cohort import MOST_FAILURES
from DABSegCore.comparison.alone import alone
from DABSegCore.comparison.collect import collect
from DABSegCore.comparison.plan import SHIPPED, Plan, shipped_plan
from DABSegCore.comparison.reading import read_plan
from DABSegCore.comparison.results import Comparison, write_comparison
from DABSegCore.comparison.split import settle_split
from DABSegCore.comparison.work import Workshop, work_through
from DABSegCore.errors import InputError
from DABSegCore.progress import Progress, run_command
from DABSegCore.results import output_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the number of methods that failed, 125 at most.

    Raises:
        InputError: If the command line, the plan or the data are bad.
    """
    args = _parse(argv)
    plan = _plan(args)
    progress = Progress(args.progress)
    with output_folder(args.out), alone(args.out):
        for sentence in plan.unequal():
            progress.warn(sentence)
        shop = Workshop(plan, args.out, settle_split(plan, args.out, progress), args.device, progress)
        faults = work_through(shop)
        command = shlex.join(["python", "-m", "DABSegCore.compare", *(sys.argv[1:] if argv is None else argv)])
        comparison = collect(shop, faults, command)
        _show(comparison, args)
    progress.done(methods=len(plan.methods), failures=len(faults), out=str(args.out))
    return min(len(faults), MOST_FAILURES)


def _show(comparison: Comparison, args: argparse.Namespace) -> None:
    """Write what was found, and print it."""
    from DABSegCore.comparison.page import build
    from DABSegCore.comparison.terminal import terminal_table

    write_comparison(args.out, comparison)
    build(comparison, args.out)
    if args.progress == "bar":
        print(terminal_table(comparison))


def _plan(args: argparse.Namespace) -> Plan:
    """The plan that is asked for, with the options that take the place of parts of it."""
    if (args.file is None) == (args.plan is None):
        raise InputError("there must be one plan; give a file, or --plan with one that ships", code="bad-argument")
    if args.draw and args.split is not None:
        raise InputError("--draw and --split both say which cases are judged; give one of them", code="bad-argument")
    changes = {} if args.data is None else {"data": args.data}
    if args.draw or args.split is not None:
        changes |= {"draw": args.draw, "split": args.split, "part": "test", "validation": (), "choose": ()}
    return read_plan(args.file or shipped_plan(args.plan), changes)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m DABSegCore.compare",
        description="Train and judge several methods under one protocol (research use only).",
        allow_abbrev=False,
    )
    parser.add_argument("file", type=Path, nargs="?", metavar="PLAN.toml", help="what to compare, and how")
    parser.add_argument("--plan", choices=SHIPPED, help="a plan that ships: for GPUs, or for CPU cores")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of cases, instead of the plan's")
    parser.add_argument("--split", type=Path, metavar="FILE", help="judge on the test part of this split.json instead")
    parser.add_argument("--draw", action="store_true", help="judge on a tenth of the cases, drawn by the plan's seed")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("dabseg-comparison"))
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--progress", choices=("bar", "json", "quiet"), default="bar")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
