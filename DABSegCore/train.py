"""Train: `python -m DABSegCore.train --data DIR --out RUN`, `... --resume RUN`, or through `torchrun` on many GPUs.

Joint restoration and segmentation (equations 14-16) on aligned patches under fresh simulated motion. Needs torch and
numpy; TensorBoard, curves, panels and virtual patients come with the extra `train`.
"""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from DABSegCore.errors import InputError
from DABSegCore.progress import Progress, run_command
from DABSegCore.training.config import BEST_STEPS, PAPER_RECIPE, TrainConfig, resolve, resumed
from DABSegCore.training.loop import train
from DABSegCore.training.processes import processes
from DABSegCore.training.run import STATE, read_state

GROUPS = {
    "data": "data",
    "network": "network",
    "recipe": "recipe (shown: the defaults of `best`; a preset may have its own)",
    "length": "length (one of --steps, --epochs, --total-minutes; or --max-minutes alone; without any "
    f"{BEST_STEPS} steps, recipe `paper` {PAPER_RECIPE['epochs']:g} epochs)",
    "machine": "machine",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    asked = vars(_parse(argv))
    out, resume, mode = (asked.pop(name, None) for name in ("out", "resume", "progress"))
    if resume is None:
        out = out or Path("dabseg-run")
        if (out / STATE).is_file():
            raise InputError(
                f"{out} already holds a run; go on with it by --resume {out}, or choose another --out",
                code="run-exists",
            )
        on_gpu = torch.cuda.is_available() and not asked.get("device", "auto").startswith("cpu")
        config = resolve(asked, on_gpu)
    else:
        if out is not None and out != resume:
            raise InputError(
                f"--resume {resume} goes on in that folder, so --out {out} cannot be met; leave it out", "bad-argument"
            )
        out, config = resume, resumed(read_state(resume)["config"], asked, resume)
    with processes(config.device) as group:
        return train(
            config, out, group, Progress((mode or "bar") if group.leads else "quiet"), resuming=resume is not None
        )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, read: one flag for every field of the configuration, absent where not given."""
    parser = _Parser(
        prog="python -m DABSegCore.train",
        description="Train a network that restores motion-blurred brain-tumour MRI and outlines the tumour "
        "(research use only).",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--out", type=Path, metavar="RUN", help="folder of the run (default: dabseg-run)")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run in this folder")
    parser.add_argument("--progress", choices=("bar", "json", "quiet"), help="how to report (default: bar)")
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    kinds = typing.get_type_hints(TrainConfig)
    for setting in dataclasses.fields(TrainConfig):
        options = _options(kinds[setting.name])
        if setting.metadata["choices"]:
            options = {"choices": setting.metadata["choices"], "metavar": "NAME"}
        default = "" if setting.default is None else f" (default: {_said(setting.default)})"
        group = groups[setting.metadata["group"]]
        group.add_argument(
            "--" + setting.name.replace("_", "-"), help=setting.metadata["help"] + default.replace("%", "%%"), **options
        )
    return parser.parse_args(argv)


def _options(kind: Any) -> dict[str, Any]:
    """What `argparse` needs to know of a field's type."""
    arguments = [argument for argument in typing.get_args(kind) if argument is not type(None)]
    if typing.get_origin(kind) is tuple:
        fixed = len(arguments) if ... not in arguments else None
        return {"type": arguments[0], "nargs": fixed or "+", "action": _Tuple, "metavar": "X"}
    if typing.get_origin(kind) is typing.Literal:
        return {"choices": arguments}
    if arguments:  # optional
        return _options(arguments[0])
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    return {"type": kind, "metavar": {Path: "PATH", str: "NAME"}.get(kind, "N")}


class _Parser(argparse.ArgumentParser):
    """Refuses in one sentence: there are too many flags to print them all."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; --help lists all flags", code="bad-argument")


class _Tuple(argparse.Action):
    """Several values of a flag, as a tuple."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, tuple(values))


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    run_command(main)
