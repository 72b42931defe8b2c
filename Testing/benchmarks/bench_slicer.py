"""Times of the Slicer module on a case as large as BraTS's: from Apply to segments on screen, and what waits meanwhile.

    python Testing/benchmarks/bench_slicer.py --rounds 3
    python Testing/benchmarks/bench_slicer.py --rounds 1 --stored int16 --shape 78 120 120 --spacing-mm 2 --json T.json

The module's own panel is driven, on Slicer's real MRML library and with stand-ins for its widgets, from the sample case
to the comparison. Beside the seconds of each work: how long the event loop was kept waiting, by one turn of the loop
(with all that a step sets off: selectors, tables, views) and by one step of the work, on the wall and by the processor
time of this thread, which other programs disturb less. Views are drawn in software. Needs the extra `dev`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "DABSegExtension"), str(REPOSITORY / "Testing" / "Extension")]

import slicer  # noqa: E402
from DABSegLib.nodes import links  # noqa: E402
from DABSegLib.work import Work  # noqa: E402
from standins import dialogs  # noqa: E402
from standins.application import close_module, install, open_module  # noqa: E402

TARGET_S = 6.0
"""What may pass from Apply to segments on screen beside the network, on 2 cores."""

TARGET_MS = 100.0
"""What the event loop may be kept waiting."""

SHARES = ("export", "start", "load", "write", "import")
"""What a segmentation takes besides the network, by `SegmentResult.timings_s`."""

PATIENCE_S = 600.0

Times = dict[str, list[float]]
"""What was measured, with its unit at the end -> its value in each round."""

WAITS = ("turn", "step", "thread")
"""Longest turn of the event loop, longest step of a work, and the processor time of the latter."""


class Loop:
    """The event loop, and how long it was kept waiting.

    Args:
        times: Where to note what was measured.
    """

    def __init__(self, times: Times) -> None:
        self.longest: dict[str, tuple[float, str]] = {}
        """Work -> processor time of its longest step in ms, and what was done in it."""
        self._times = times
        self._steps: list[tuple[float, float, str]] = []
        self._turns: list[float] = []

    def until(self, condition: Callable[[], bool]) -> None:
        """Let it run until a condition holds."""
        begun = time.perf_counter()
        while not condition():
            turn = time.perf_counter()
            slicer.app.processEvents()
            now = time.perf_counter()
            self._turns.append(now - turn)
            if now - begun > PATIENCE_S:
                raise TimeoutError(f"not done within {PATIENCE_S:g} s")
            time.sleep(0.001)

    @contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """Note how long the work within took, and the longest that anything in it kept the loop waiting."""
        self._steps.clear()
        self._turns.clear()
        begun = time.perf_counter()
        yield
        self._times[f"{name} s"].append(time.perf_counter() - begun)
        steps, threads = ([step[n] for step in self._steps] for n in (0, 1))
        for wait, values in zip(WAITS, (self._turns, steps, threads), strict=True):
            self._times[f"{name} {wait} ms"].append(1000 * max(values, default=0.0))
        _, busy, stage = max(self._steps, key=lambda step: step[1], default=(0.0, 0.0, ""))
        self.longest[name] = max(self.longest.get(name, (0.0, "")), (1000 * busy, stage))

    @contextmanager
    def watching_steps(self) -> Iterator[None]:
        """Take the time of every step of every work within."""
        advance = Work.advance

        def timed(work: Work) -> Any:
            wall, busy = time.perf_counter(), time.thread_time()
            status = advance(work)
            self._steps.append((time.perf_counter() - wall, time.thread_time() - busy, status.stage))
            return status

        Work.advance = timed  # type: ignore[method-assign]
        try:
            yield
        finally:
            Work.advance = advance  # type: ignore[method-assign]


def main() -> None:
    args = _parse()
    if args.threads:
        os.environ |= {name: str(args.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    install()
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load not known"
    print(f"{' x '.join(map(str, args.shape))} voxels, {os.cpu_count()} cores, {load} before", flush=True)
    times: dict[str, Times] = {stored: defaultdict(list) for stored in args.stored}
    loops = {stored: Loop(found) for stored, found in times.items()}
    for number in range(args.rounds):
        for stored, found in times.items():
            with tempfile.TemporaryDirectory(prefix="dabseg-bench-") as folder:
                _one_round(args, stored, found, loops[stored], Path(folder))
            print(f"round {number + 1} of {args.rounds}, {stored}: done", file=sys.stderr, flush=True)
    for stored, found in times.items():
        _tell(stored, found, loops[stored].longest)
    if args.json is not None:
        facts = {"shape": args.shape, "spacing_mm": args.spacing_mm, "cores": os.cpu_count(), "rounds": args.rounds}
        longest = {stored: loop.longest for stored, loop in loops.items()}
        args.json.write_text(json.dumps({**facts, "before": load, "times": times, "longest": longest}, indent=2) + "\n")


def _one_round(args: argparse.Namespace, stored: str, times: Times, loop: Loop, folder: Path) -> None:
    """Everything once, on a fresh scene, with volumes stored as a type; then the bare command."""
    widget = _timed(times, "open the module ms", open_module)
    panel = widget.panel
    try:
        with loop.watching_steps():
            _make_case(args, panel, loop, stored)
            _segment(panel, times, loop)
            _look_at_results(panel, times, loop, folder / "export")
        _compare(panel, times)
        _refresh(panel, times)
        if not args.no_bare:
            _bare(panel, times, folder)
    finally:
        close_module(widget)


def _make_case(args: argparse.Namespace, panel: Any, loop: Loop, stored: str) -> None:
    """The sample case, its volumes in the type wanted, and its blurred twin."""
    from DABSegLib.panel import volumes

    sample = volumes.sample_steps
    grid = {"shape": tuple(args.shape), "spacing_mm": args.spacing_mm}
    volumes.sample_steps = lambda scene, seed, **more: sample(scene, seed, **grid, **more)
    try:
        with loop.watched("sample"):
            panel.ui.sampleButton.click()
            loop.until(lambda: not panel.runner.busy)
    finally:
        volumes.sample_steps = sample
    _store(panel, stored)
    with loop.watched("look at the voxels"):
        panel.refresh()
        loop.until(lambda: panel.volumes._looking is None)
    with loop.watched("simulate"):
        panel.ui.simulateButton.click()
        loop.until(lambda: not panel.runner.busy)
    _store(panel, stored)  # blurred ones are float32, whatever the sharp ones were
    loop.until(lambda: panel.volumes._looking is None)


def _store(panel: Any, stored: str) -> None:
    """Give the volumes that are picked voxels of a type."""
    for node in panel.volumes.chosen().values():
        array = slicer.util.arrayFromVolume(node)
        if array.dtype != stored:
            slicer.util.updateVolumeFromArray(node, np.rint(array).astype(stored))


def _segment(panel: Any, times: Times, loop: Loop) -> None:
    """Apply, until the segments are drawn; then the measuring that it sets off."""
    with loop.watched("apply"):
        panel.ui.applyButton.click()
        loop.until(lambda: panel.parameters.segmentation is not None or not panel.runner.busy)
        slicer.app.processEvents()
        entered = time.perf_counter()
        _draw()
        times["apply: draw s"].append(time.perf_counter() - entered)
    parts = links.report_of(panel.parameters.segmentation)["timings_s"]
    for name in (*SHARES, "network"):
        times[f"apply: {name} s"].append(parts[name])
    rest = times["apply s"][-1] - sum(parts[name] for name in (*SHARES, "network"))
    times["apply: panel s"].append(rest - times["apply: draw s"][-1])
    times["apply: all but the network s"].append(times["apply s"][-1] - parts["network"])
    with loop.watched("score"):
        loop.until(lambda: not panel.runner.busy)


def _look_at_results(panel: Any, times: Times, loop: Loop, folder: Path) -> None:
    """Difference maps, surfaces, files."""
    with loop.watched("difference"):
        panel.ui.differenceCheck.click()
        loop.until(lambda: not panel.runner.busy)
    _timed(times, "surfaces made ms", panel.ui.surfaceCheck.click)
    _timed(times, "surfaces: draw all views ms", _draw)
    panel.ui.surfaceCheck.click()
    dialogs.answers.append(str(folder))
    with loop.watched("export"):
        panel.ui.exportButton.click()
        loop.until(lambda: not panel.runner.busy)


def _compare(panel: Any, times: Times) -> None:
    """Side by side: on screen, then through the head by the slider; and once more, when the views are there."""
    _timed(times, "compare, views made anew ms", panel.ui.compareButton.click)
    _timed(times, "compare: draw all views ms", _draw)
    slider = panel.ui.sliceSlider
    for share in np.linspace(0.2, 0.8, 7).tolist():
        place = slider.minimum + share * (slider.maximum - slider.minimum)
        _timed(times, "compare: slider moved ms", lambda place=place: setattr(slider, "value", place))
    _timed(times, "compare: back ms", panel.ui.compareButton.click)
    _timed(times, "compare again ms", panel.ui.compareButton.click)
    panel.ui.compareButton.click()


def _refresh(panel: Any, times: Times) -> None:
    """What a change of a setting costs the panel."""
    for seed in range(10):
        _timed(times, "refresh of the panel ms", panel.refresh)
        _timed(times, "a setting changed ms", lambda seed=seed: setattr(panel.parameters, "seed", seed + 1))


def _bare(panel: Any, times: Times, folder: Path) -> None:
    """The same case by the command alone, with its ordinary options: .nii.gz and a picture."""
    from DABSegLib.nodes.bridge import write_volume_steps

    case = folder / "Bare"
    case.mkdir(parents=True)
    for modality, node in panel.volumes.chosen().items():
        for _ in write_volume_steps(node, case / f"Bare_{modality}.nii"):
            pass
    command = [sys.executable, "-m", "DABSegCore.segment", "--case", str(case), "--out", str(folder / "out")]
    begun = time.perf_counter()
    subprocess.run([*command, "--progress", "quiet"], cwd=REPOSITORY, check=True)
    times["bare command s"].append(time.perf_counter() - begun)
    parts = json.loads((folder / "out" / "Bare_report.json").read_text())["timings_s"]
    times["bare: network s"].append(parts["network"])
    times["bare: all but the network s"].append(times["bare command s"][-1] - parts["network"])


def _draw() -> None:
    """Draw all views that are on screen, in software."""
    slicer.app.layoutManager().views.grab()


def _timed(times: Times, name: str, do: Callable[[], Any]) -> Any:
    """Do it, and note the milliseconds."""
    begun = time.perf_counter()
    result = do()
    times[name].append(1000 * (time.perf_counter() - begun))
    return result


def _tell(stored: str, times: Times, longest: dict[str, tuple[float, str]]) -> None:
    """Three tables: the parts of Apply, all works with what waited for them, and what is done in one go."""
    print(f"\n{stored}: from Apply to segments on screen, s{'':12s}{'median':>8s}{'min':>8s}{'max':>8s}")
    for name in (name for name in times if name.startswith(("apply:", "bare"))):
        _row(name, times[name], 2, TARGET_S if name == "apply: all but the network s" else None)
    print(f"\n{stored}: works{'':11s}{'s':>8s}{'min':>8s}{'max':>8s}  longest turn, step and thread in ms, median/max")
    for name, (_, stage) in longest.items():
        seconds = times[f"{name} s"]
        cells = [f"{statistics.median(seconds):8.2f}{min(seconds):8.2f}{max(seconds):8.2f} "]
        waits = [times[f"{name} {wait} ms"] for wait in WAITS]
        cells += [f"{statistics.median(values):8.0f}/{max(values):<4.0f}" for values in waits]
        late = "  over" if statistics.median(waits[0]) > TARGET_MS else ""
        print(f"{name:24s}{''.join(cells)} {stage}{late}")
    print(f"\n{stored}: in one go, ms{'':26s}{'median':>8s}{'min':>8s}{'max':>8s}")
    for name in (
        name for name in times if name.endswith(" ms") and not name.endswith(tuple(f" {w} ms" for w in WAITS))
    ):
        _row(name, times[name], 1, None)


def _row(name: str, values: list[float], places: int, target: float | None) -> None:
    middle = statistics.median(values)
    verdict = "" if target is None else f"  of {target:g}" + ("" if middle <= target else ": over")
    print(f"{name:44s}{middle:8.{places}f}{min(values):8.{places}f}{max(values):8.{places}f}{verdict}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stored", nargs="+", choices=("float32", "int16"), default=["float32", "int16"])
    parser.add_argument("--shape", type=int, nargs=3, default=[155, 240, 240], metavar=("D", "H", "W"))
    parser.add_argument("--spacing-mm", type=float, default=1.0)
    parser.add_argument("--threads", type=int, help="of the computation (default: as many as it likes)")
    parser.add_argument("--no-bare", action="store_true", help="without the bare command beside it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
