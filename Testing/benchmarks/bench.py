"""Benchmark: everything people wait for, side by side in one run; README's table of times comes from here.

    python Testing/benchmarks/bench.py --json times.json                            what fits the machine: GPU or CPU
    python Testing/benchmarks/bench.py --parts forward --presets small --size 96 --rounds 3
    python Testing/benchmarks/bench.py --parts size batch cohort                    how cost grows
    python Testing/benchmarks/bench.py --parts variants --size 64                   `base` with one choice undone

`forward` and `step` (a training step without its data) take the published network in its published form (our
restatement of it, eager, float32), our presets as `segment` and `train` run them, and MONAI's networks the same way;
`case` is a brain's box through overlapping windows, also with eight mirror images; `motion` four modalities at S2;
`prepare` their working grid and intensity window; `start` a fresh process until the weights are loaded; `command` one
`segment --case` from start to end. Forms of a part take turns, so that drift of the machine hits all alike; what runs a
network on a CPU does so in a fresh process each time, which warms up by one run, and whose memory's peak is told as
well. `published` manages memory as a program usually does, all others as our commands do (`DABSegCore/heap.py`); what
that alone brings shows `published, memory kept`. On a GPU peak memory is the GPU's own figure. Last comes what of
`targets.py` was met.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from DABSegCore.devices import resolve_device
from DABSegCore.heap import keep_freed_memory
from Testing.benchmarks.forms import ORDINARY, PARTS, USUAL_MEMORY, Ask, Form, make_forms
from Testing.benchmarks.targets import H200, TWO_CORES, verdicts

ONE_FORM = "--one-form"
OF_A_NETWORK = ("forward", "step", "case", "size", "batch", "variants")
"""Parts whose forms have processes of their own on a CPU."""


def main() -> None:
    """Run the command line."""
    args = _parse()
    device = resolve_device(args.device)
    ask = Ask(
        tuple(args.presets),
        tuple(args.peers),
        args.published,
        args.size,
        args.step_size,
        args.batch,
        device,
        args.compile,
    )
    if device.type == "cuda":  # the others are to be at their best as well
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    if args.one_form is not None:
        _run_once(*args.one_form, ask)
        return
    keep_freed_memory()
    rows: list[dict[str, Any]] = []
    for part in args.parts:
        makers, apart = make_forms(part, ask), device.type == "cpu" and part in OF_A_NETWORK
        times = measure_apart(part, list(makers), args.rounds) if apart else measure(makers, args.rounds, device)
        found = [{"part": part, **row} for row in times]
        _print(found, part, args.markdown)
        rows += found
        if args.json is not None:  # after every part: a long run may be stopped
            args.json.write_text(json.dumps({**_facts(args, device), "rows": rows}, indent=2) + "\n")
    print(*verdicts(rows, H200 if device.type == "cuda" else TWO_CORES), sep="\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(ORDINARY))
    parser.add_argument("--presets", nargs="+", default=["paper", "base", "small"])
    parser.add_argument("--peers", nargs="*", default=["segresnet", "swinunetr", "dynunet"])
    parser.add_argument("--no-published", dest="published", action="store_false")
    parser.add_argument("--size", type=int, default=128, help="voxels along each side of what is forwarded")
    parser.add_argument("--step-size", type=int, default=None, help="the same of a training step (GPU 128, CPU 96)")
    parser.add_argument("--batch", type=int, default=None, help="patches of a training step (GPU 2, CPU 1)")
    parser.add_argument("--rounds", type=int, default=5, help="measured ones, after one that warms up")
    parser.add_argument("--compile", action="store_true", help="also compiled forwards; each compiles for minutes")
    parser.add_argument("--markdown", action="store_true", help="print tables as README has them")
    parser.add_argument("--json", type=Path)
    parser.add_argument(ONE_FORM, nargs=2, metavar=("PART", "FORM"), help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(makers: dict[str, Callable[[], Form]], rounds: int, device: torch.device) -> list[dict[str, Any]]:
    """What `_rows` tells of every form, all in this process; the first round warms up.

    A GPU's peak is the form's own: what it holds, and what a run of it needs beside what all others hold.
    """
    forms: dict[str, Form] = {}
    own: dict[str, int] = {}
    for name, make in makers.items():
        before = _allocated(device)
        forms[name] = make()
        own[name] = _allocated(device) - before
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    peaks: dict[str, float | None] = dict.fromkeys(forms)
    for number in range(rounds + 1):
        for name, form in forms.items():
            before = _allocated(device)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            elapsed_s = timed(form, device)
            if number:
                seconds[name].append(elapsed_s)
            if device.type == "cuda":
                needed = (own[name] + torch.cuda.max_memory_allocated() - before) / 2**30
                peaks[name] = max(peaks[name] or 0.0, needed)  # a recorded forward shows its need when recorded
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return _rows(seconds, peaks, {name: (form.amount, form.unit) for name, form in forms.items()})


def _allocated(device: torch.device) -> int:
    """Bytes of GPU memory in use."""
    return torch.cuda.memory_allocated() if device.type == "cuda" else 0


def measure_apart(part: str, names: list[str], rounds: int) -> list[dict[str, Any]]:
    """The same with every run in a process of its own, given the words of this one."""
    seconds: dict[str, list[float]] = {name: [] for name in names}
    peaks: dict[str, float | None] = dict.fromkeys(names, 0.0)
    amounts: dict[str, tuple[float, str]] = {}
    for number in range(rounds):
        for name in names:
            words = [sys.executable, *sys.argv, ONE_FORM, part, name]
            run = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            told = json.loads(run.stdout.splitlines()[-1])
            seconds[name].append(told["seconds"])
            peaks[name] = max(peaks[name] or 0.0, told["peak_gib"])
            amounts[name] = (told["amount"], told["unit"])
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return _rows(seconds, peaks, amounts)


def _rows(
    seconds: dict[str, list[float]], peaks: dict[str, float | None], amounts: dict[str, tuple[float, str]]
) -> list[dict[str, Any]]:
    """Median, least and most seconds of every form, how many times the first form's speed that is, and its memory."""
    first = statistics.median(next(iter(seconds.values())))
    return [
        {
            "form": name,
            "median_s": statistics.median(times),
            "min_s": min(times),
            "max_s": max(times),
            "ratio": first / statistics.median(times),
            "s_per_unit": statistics.median(times) / amounts[name][0],
            "unit": amounts[name][1],
            "peak_gib": peaks[name],
        }
        for name, times in seconds.items()
    ]


def timed(form: Form, device: torch.device) -> float:
    """Seconds of one run of a form."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    form.run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _run_once(part: str, name: str, ask: Ask) -> None:
    """Run one form twice and print the seconds of the second time and the peak memory of this process."""
    if name not in USUAL_MEMORY:
        keep_freed_memory()
    form = make_forms(part, ask)[name]()
    form.run()
    seconds = timed(form, ask.device)
    print(json.dumps({"seconds": seconds, "peak_gib": _peak_gib(), "amount": form.amount, "unit": form.unit}))


def _peak_gib() -> float:
    """Most memory this process has had so far.

    Linux's `ru_maxrss` begins with that of the process it was forked from, so its own record is read there.
    """
    record = Path("/proc/self/status")
    if record.is_file():
        line = next(line for line in record.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    import resource  # not on Windows, where the table has no such column

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def _print(rows: list[dict[str, Any]], part: str, markdown: bool) -> None:
    """One table; the last columns are how many times as fast as the first form, and the time by unit of work."""
    head = [part, "median s", "min", "max", "peak GiB", f"{rows[0]['form']} / this", f"s per {rows[0]['unit']}"]
    cells = [
        [
            row["form"],
            *(f"{row[key]:.3f}" for key in ("median_s", "min_s", "max_s")),
            "" if row["peak_gib"] is None else f"{row['peak_gib']:.2f}",
            f"{row['ratio']:.2f}",
            f"{row['s_per_unit']:.3f}",
        ]
        for row in rows
    ]
    if markdown:
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *cells]
        print("\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines), flush=True)
        return
    widths = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
    for line in [head, *cells]:
        aligned = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  ".join([line[0].ljust(widths[0]), *aligned]))
    print(flush=True)


def _facts(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    facts = {"device": str(device), "device_name": name, "threads": torch.get_num_threads(), "load_after": load}
    return {**facts, "torch": torch.__version__, "command": sys.argv[1:], "rounds": args.rounds}


if __name__ == "__main__":
    main()
