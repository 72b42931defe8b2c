"""Loop: step after step, with validation, checkpoints and logs, until the schedule or the sitting is over."""

from __future__ import annotations

import io
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from DABSegCore.cases import write_split
from DABSegCore.checkpoint import save_checkpoint
from DABSegCore.devices import is_out_of_memory
from DABSegCore.errors import InputError
from DABSegCore.files import make_folder, write_bytes
from DABSegCore.labels import REGIONS
from DABSegCore.progress import Progress
from DABSegCore.training.config import TrainConfig
from DABSegCore.training.folder import Parts
from DABSegCore.training.history import History
from DABSegCore.training.meter import Meter
from DABSegCore.training.pictures import draw_curves, draw_panel, missing
from DABSegCore.training.processes import Processes
from DABSegCore.training.run import STATE, Run, read_state
from DABSegCore.training.schedule import Clock, Schedule
from DABSegCore.training.setup import SPLIT, ValidationTwins, find_parts, training_cases
from DABSegCore.training.stream import PatchStream, Prefetched
from DABSegCore.training.validation import Score, mean_dice, mean_restored, score_twin, summarise, tune
from DABSegCore.volume import write_png

LOG_EVERY = 10
"""Steps between rows of the log."""

AGREE_EVERY = 10
"""Steps between agreements of several processes on time and stopping."""

MOST_VIEWS = 4
"""Cases in the picture of a validation."""


def train(config: TrainConfig, out: Path, group: Processes, progress: Progress, resuming: bool = False) -> int:
    """Train, or go on with the training in a folder.

    Args:
        config: What to train and how.
        out: Folder of the run.
        group: The processes that take part.
        progress: Where to report; of processes that do not lead, a quiet one.
        resuming: Go on with the run in `out`.

    Returns:
        0, or 128 plus the number of the signal that ended the sitting early.

    Raises:
        InputError: If data or state cannot be used, the loss is not a number, memory or disk are full.
    """
    clock = Clock()  # reading the cases counts, too
    places = group.places(config.batch, config.accumulate)
    with _memory_told(config, group):
        state = read_state(out) if resuming else None
        reading = progress if group.leads else Progress("quiet", io.StringIO())  # all find the same faults, one tells
        parts = find_parts(config, out, reading, resuming)
        cases = training_cases(config, parts, group, reading)
        twins = ValidationTwins(config, parts, group, reading)
        schedule = Schedule.of(config, len(cases)) if state is None else Schedule(config, state["steps"])
        run = Run(config, group, schedule, state)
        run.clock = clock
        if state is not None:
            run.restore(state, out)
        if group.leads:
            _open_folder(config, out, parts, resuming)
        patches = Prefetched(PatchStream(cases, config), places, run.step, config.prefetch, group.device)
        try:
            with _signals() as received:
                Sitting(run, out, parts, twins, patches, progress, received).go_on()
        finally:
            patches.close()
    progress.done(step=run.step, cases_left_out=len(cases.failed) + len(twins.failed), out=str(out))
    return 128 + received[0] if received else 0


@contextmanager
def _memory_told(config: TrainConfig, group: Processes) -> Iterator[None]:
    """Say in a sentence when memory runs out, and what takes less of it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"memory ran out on {group.device} with patches of {config.patch}, {config.batch // group.size} a process; "
            "go on with --residence memory or disk, or lower --batch or --patch, or raise --accumulate, in another run",
            code="out-of-memory",
        ) from error


def _open_folder(config: TrainConfig, out: Path, parts: Parts, resuming: bool) -> None:
    """Make a new run's folder, or clear an old one's of what a killed sitting was writing."""
    if resuming:
        for name in (STATE, "last.pt", "best.pt"):
            for half_written in out.glob(f".{name}.*.tmp*"):
                half_written.unlink(missing_ok=True)
        return
    make_folder(out)
    write_split(out / SPLIT, parts.split())
    write_bytes(out / "config.json", (json.dumps(config.as_dict(), indent=2) + "\n").encode())


class Sitting:
    """One stretch of a run, from its start or resumption to its end or interruption.

    Args:
        run: The state that is moved on.
        out: Folder of the run.
        parts: Its real cases, named in the checkpoints.
        twins: What to validate on.
        patches: What to train on.
        progress: Where to report.
        received: Signals that ask to stop, filled from outside.
    """

    def __init__(
        self,
        run: Run,
        out: Path,
        parts: Parts,
        twins: ValidationTwins,
        patches: Prefetched,
        progress: Progress,
        received: list[int],
    ) -> None:
        self.run, self.out, self.parts, self.twins, self.patches = run, out, parts, twins, patches
        self.progress, self.received = progress, received
        self.group, self.config = run.processes, run.config
        self.history = History(out, run.step, say=progress.log, validated=run.validated) if self.group.leads else None
        self.meter = Meter(run, patches)
        if self.group.leads and (absent := missing()):
            are = f"{' and '.join(absent)} {'are' if absent[1:] else 'is'}"
            left = "all pictures are" if "matplotlib" in absent else "panels of validation slices are"
            progress.log(f"{are} not installed: {left} left out (pip install {' '.join(absent)})")
        self._saved = time.monotonic()

    def go_on(self) -> None:
        """Step until the schedule is done, the time of this sitting is up, or a signal came."""
        run, schedule = self.run, self.run.schedule
        self._begin_stage()
        elapsed_s: float | None = None
        while True:
            if elapsed_s is None or run.step % AGREE_EVERY == 0 or self.group.size == 1:
                elapsed_s, stop = self.group.agree(run.clock.elapsed_s, self._wants_to_stop())
            share = schedule.share(run.step, elapsed_s)
            if share >= 1 or stop:
                break
            self.meter.add(run.advance(self.patches.next(), share))
            if run.step % LOG_EVERY == 0:
                self._log()
            if run.step % self.config.validate_every == 0:
                self._validate()
                if schedule.share(run.step, elapsed_s) < 1:
                    self._begin_stage()
            elif time.monotonic() - self._saved > 60 * self.config.save_minutes:
                self._save()
        self._end(finished=share >= 1)

    def _begin_stage(self) -> None:
        self.progress.stage("train", self.run.schedule.steps, done=self.run.step)
        self._told = self.run.step

    def _wants_to_stop(self) -> bool:
        limit = self.config.max_minutes
        return bool(self.received) or (limit is not None and self.run.clock.sitting_s >= 60 * limit)

    def _end(self, finished: bool) -> None:
        """Leave the run so that it can be used, or gone on with."""
        if finished and self.run.step == 0:
            raise InputError(
                f"the whole schedule of {self.config.total_minutes:g} minutes was over before the cases were read; "
                "give it more",
                code="too-short",
            )
        self._save()
        if finished and self.run.validated != self.run.step:
            self._validate()
        if self.history is None:
            return
        self._draw_curves()
        self.history.close()
        if finished:
            self.progress.log(f"finished at step {self.run.step}; weights to use: {self.out / 'best.pt'}")
        else:
            self.progress.log(
                f"stopped at step {self.run.step}; go on with: python -m DABSegCore.train --resume {self.out}"
            )

    def _log(self) -> None:
        """A row of the log and a redrawn bar; all processes, as the numbers are means over them."""
        row = self.meter.read()
        if self.history is None:
            return
        run = self.run
        self.history.log_step(run.step, row)
        shown = {name: row[name] for name in ("loss", *(f"dice_{r}" for r in REGIONS), "gain_db", "it_s")}
        if self.group.device.type == "cuda":
            shown["memory_gib"] = row["memory_gib"]
        if run.schedule.steps is None:  # else the bar knows
            shown["left"] = _duration(run.schedule.left_s(run.clock.elapsed_s))
        self.progress.step(run.step - self._told, **shown)
        self._told = run.step

    def _validate(self) -> None:
        """Score the averaged weights on all validation cases, choose thresholds, write checkpoints and pictures."""
        run = self.run
        self.meter.pause()
        if self.group.leads:
            self.progress.stage("validate", len(self.twins))
        scores = [score for part in self.group.gather(self._scores()) for score in part]
        if not scores:
            raise InputError("no validation case can be used; the sentences above say why", code="no-cases")
        rows = summarise(scores)
        quality = mean_dice(scores) if run.model.outlines else mean_restored(scores)
        better, run.best, run.validated = quality > run.best, max(quality, run.best), run.step
        if self.history is not None:
            self._write_weights(scores, rows, ("last.pt", "best.pt") if better else ("last.pt",))
            self.history.log_validation(run.step, round(run.clock.elapsed_s, 1), rows)
            for row in rows:
                self.progress.log(_sentence(run.step, row))
            self._draw_panel(scores)
            self._draw_curves()
        self._save()
        self.meter.go_on()

    def _scores(self) -> list[Score]:
        scores: list[Score] = []
        for twin in self.twins:
            view = twin.severity > 0 and len(scores) < 2 * MOST_VIEWS
            scores.append(
                score_twin(
                    self.run.average,
                    twin,
                    device=self.group.device,
                    window=self.config.patch,
                    autocast="auto" if self.config.mixed else "off",
                    keep_view=view,
                    on_event=self.progress.warn,
                )
            )
            self.progress.step()
        return scores

    def _write_weights(self, scores: list[Score], rows: list[dict[str, Any]], names: tuple[str, ...]) -> None:
        """Checkpoints that `segment` takes, with the thresholds that suit them."""
        run, tuned = self.run, tune(scores)
        meta = {
            "window": self.config.patch,
            "thresholds": tuned.thresholds,
            "et_min_ml": tuned.et_min_ml,
            "tuned_dice": {"before": tuned.dice_before, "after": tuned.dice_after},
            "training": self.config.recipe_facts(),
            "cases": self.parts.split(),
            "step": run.step,
            "elapsed_s": run.clock.elapsed_s,
            "validation": rows,
        }
        for name in names:
            save_checkpoint(self.out / name, run.average, run.network, meta)

    def _save(self) -> None:
        self.run.save(self.out)
        self._saved = time.monotonic()

    def _draw_curves(self) -> None:
        if "matplotlib" not in missing():
            draw_curves(self.out)

    def _draw_panel(self, scores: list[Score]) -> None:
        shown = sorted((score for score in scores if score.view is not None), key=lambda s: (s.kind, s.case_id))
        if shown and not missing():
            picture = draw_panel(shown[:MOST_VIEWS], f"Step {self.run.step}")
            folder = make_folder(self.out / "panels")
            write_png(folder / f"step_{self.run.step:07d}.png", picture)
            self.history.log_picture(self.run.step, "validation", picture)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Ctrl-C and the end of a batch job become a number in a list; a second Ctrl-C has its usual effect.

    A second SIGTERM has none: a batch system tells a process as well as `torchrun`, which tells the process again.
    """
    received: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        received.append(number)
        if number == signal.SIGINT:
            signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sentence(step: int, row: dict[str, Any]) -> str:
    dice = "  ".join(f"{region} {row[region]:.3f}" for region in REGIONS)
    restored = f"{row['psnr_corrupted']:.2f} -> {row['psnr_restored']:.2f} dB"
    return f"step {step}, {row['cases']} {row['kind']} at S{row['severity']}: Dice {dice}; restored {restored}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
