"""Doctor: whether segmenting would work here, and if not why not, on one page to paste into a bug report.

    python -m DABSegCore.doctor
    python -m DABSegCore.doctor --weights runs/first/best.pt --out RESULTS
    python -m DABSegCore.doctor --json

Every device computes, and its answers are compared with the CPU's. Nothing is written, downloaded or sent; the home
folder is shown as ~. It tells what there is to tell even where torch is missing or ends the process that imports it.
The exit code is 0 where segmenting would work, else 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from DABSegCore.diagnosis.examine import SHIPPED, examine
from DABSegCore.diagnosis.page import page, without_home
from DABSegCore.progress import Progress, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 where segmenting would work, else 1."""
    args = _parse(argv)
    progress = Progress(args.progress)
    report = without_home(examine(args.weights or SHIPPED, args.out, on_stage=progress.stage))
    if args.progress == "json":  # stdout is for its lines alone
        progress.done(report=report)
    else:
        _print(json.dumps(report, indent=2, ensure_ascii=False) + "\n" if args.json else page(report))
    return 0 if report["works"] else 1


def _print(text: str) -> None:
    """To stdout, whatever letters its terminal knows."""
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(
        prog="python -m DABSegCore.doctor",
        description="Tell whether segmenting would work here, and why not, on one page for a bug report.",
        allow_abbrev=False,
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="checkpoint to try (default: the one that ships)")
    out = Path("dabseg-results")
    parser.add_argument("--out", type=Path, metavar="DIR", default=out, help="where results would go; nothing is made")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--progress", choices=("bar", "json", "quiet"), default="bar")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_command(main)
