"""Work: the methods of a plan trained and judged one by one; what is done is skipped, what fails is passed over."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from DABSegCore.comparison.child import Ended, run_child
from DABSegCore.comparison.plan import Method, Plan
from DABSegCore.comparison.settings import words
from DABSegCore.errors import InputError
from DABSegCore.evaluation.records import earlier_record
from DABSegCore.evaluation.results import EVALUATION
from DABSegCore.files import make_folder, sha256, write_bytes
from DABSegCore.progress import Progress
from DABSegCore.results import find_record
from DABSegCore.training.run import STATE

RUNS, EVALUATIONS = "runs", "evaluations"
"""Folders, below that of the comparison, of what is trained and of how it was judged: one folder and one record of the
work (`<slug>.json`) a method."""

Run = Callable[[list[str], str, Progress], Ended]


@dataclass(frozen=True)
class Workshop:
    """Where a comparison is made.

    Attributes:
        plan: What is to be done.
        out: Folder of the comparison.
        split: File with the cases by part, and the part that is judged; None for virtual patients alone.
        device: As the option `--device` of the commands.
        progress: Told of every step; the words of the commands go where it writes.
        run: Runs a command.
    """

    plan: Plan
    out: Path
    split: tuple[Path, str] | None
    device: str
    progress: Progress
    run: Run = run_child

    def checkpoint(self, method: Method) -> Path:
        """The weights of a method."""
        if method.weights is not None:
            return method.weights
        return self.out / RUNS / method.slug / f"{self.plan.protocol.checkpoint}.pt"

    def evaluation(self, method: Method) -> Path:
        """Folder of how a method was judged."""
        return self.out / EVALUATIONS / method.slug


def work_through(shop: Workshop) -> dict[str, str]:
    """Train and judge all methods.

    Returns:
        Why methods failed, or failed on some cases, by name.

    Raises:
        KeyboardInterrupt: If one was asked to stop; begun again, it goes on.
    """
    faults: dict[str, str] = {}
    for number, method in enumerate(shop.plan.methods, 1):
        shop.progress.log(f"method {number} of {len(shop.plan.methods)}: {method.name}")
        try:
            if method.restorer in faults:
                raise InputError(f"its restorer {method.restorer} failed", code="no-restorer")
            if method.is_trained:
                train(shop, method)
            if method.judged:
                judge(shop, method)
        except InputError as fault:
            faults[method.name] = str(fault)
            shop.progress.error(f"{method.name}: {fault}", fault.code)
    return faults


def train(shop: Workshop, method: Method) -> None:
    """Train a method, or go on with its training, unless it is done.

    Raises:
        InputError: If its folder holds another training, or it failed.
    """
    folder = shop.out / RUNS / method.slug
    settings = _training_settings(shop, method)
    record = _record(folder, settings)
    if record["finished"] and shop.checkpoint(method).is_file():
        shop.progress.log(f"{method.name}: trained before")
        return
    if (folder / STATE).is_file() and record["seconds"] is not None:  # its own settings are known to be these
        said = ["--resume", str(folder), *_data(shop)]
    else:
        where = "--resume" if (folder / STATE).is_file() else "--out"
        said = [where, str(folder), *_data(shop), *_split(shop), *_restorer(shop, method), *words(method.train)]
    record["seconds"] = record["seconds"] or 0.0
    _write(folder, record)
    ended = shop.run(["DABSegCore.train", *said, "--device", shop.device], method.name, shop.progress)
    record["seconds"] += ended.seconds
    record["peak_memory_mb"] = _larger(record["peak_memory_mb"], ended.peak_memory_mb)
    record["finished"] = ended.code == 0
    _write(folder, record)
    if ended.code:
        raise InputError(f"its training failed ({_why(ended)})", code="training-failed")


def judge(shop: Workshop, method: Method) -> None:
    """Evaluate a method, or what is missing of it.

    Raises:
        InputError: If its folder holds the evaluation of other weights, or it failed on one case or all.
    """
    folder = shop.evaluation(method)
    settings = _judging_settings(shop, method)
    record = _record(folder, settings, may_change=("split", "part", "virtual", "severities"))
    # Label maps on disk may have changed, which `evaluate` sees.
    if record["finished"] and method.predictions is None and _is_whole(folder):
        shop.progress.log(f"{method.name}: judged before")
        return
    record["settings"], record["finished"] = settings, False
    (folder / EVALUATION).unlink(missing_ok=True)  # written last: without it nothing is taken for finished
    _write(folder, record)
    said = ["--out", str(folder), "--no-report", *_judged(shop, method), "--device", shop.device]
    ended = shop.run(["DABSegCore.evaluate", *said], method.name, shop.progress)
    record["peak_memory_mb"] = _larger(record["peak_memory_mb"], ended.peak_memory_mb)
    record["seconds"] = (record["seconds"] or 0.0) + ended.seconds
    record["finished"] = ended.code == 0
    _write(folder, record)
    if ended.code:
        some = f"{ended.code} times it could not be judged, the last" if _is_whole(folder) else "judging it failed"
        raise InputError(f"{some} ({_why(ended)})", code="judging-failed")


def is_judged(shop: Workshop, method: Method) -> bool:
    """Whether there is an evaluation, be it of some cases only, of just what the plan says now."""
    try:
        if method.is_trained:
            trained = _record(shop.out / RUNS / method.slug, _training_settings(shop, method))
            if not trained["finished"]:
                return False
        record = record_of(shop.evaluation(method))
        return record is not None and record["settings"] == _judging_settings(shop, method)
    except InputError:
        return False


def record_of(folder: Path) -> dict[str, Any] | None:
    """What is known of the work on a folder: settings, finished, seconds, peak_memory_mb."""
    return find_record(folder.with_name(f"{folder.name}.json"), lambda r: {*_EMPTY, "settings"} <= set(r))


_EMPTY = {"finished": False, "seconds": None, "peak_memory_mb": None}


def _record(folder: Path, settings: Mapping[str, Any], may_change: tuple[str, ...] = ()) -> dict[str, Any]:
    """What is known of earlier work on a folder, or that nothing is; unfinished where settings have changed.

    Raises:
        InputError: If it was done with other settings than may change.
    """
    record = record_of(folder)
    if record is None:
        return {"settings": settings, **_EMPTY}
    theirs = record["settings"]
    other = [key for key in {**theirs, **settings} if theirs.get(key) != settings.get(key)]
    if firm := [key for key in other if key not in may_change]:
        shown = "; ".join(f"{key} {theirs.get(key)} there, {settings.get(key)} in the plan" for key in firm)
        raise InputError(
            f"{folder} was made with other settings ({shown:.300}); remove it and {folder.name}.json beside it, or "
            "choose another --out",
            code="other-settings",
        )
    return {**record, "finished": record["finished"] and not other}


def _write(folder: Path, record: Mapping[str, Any]) -> None:
    make_folder(folder.parent)
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    write_bytes(folder.with_name(f"{folder.name}.json"), text.encode())


def _training_settings(shop: Workshop, method: Method) -> dict[str, Any]:
    """What decides a training, as JSON has it; of files their digests."""
    settings = json.loads(json.dumps(method.train, default=str))
    if "init" in method.train:
        settings["init"] = sha256(method.train["init"])
    if method.restorer is not None:
        settings["restorer"] = sha256(shop.checkpoint(shop.plan.by_name[method.restorer]))
    return {**settings, "split": None if shop.split is None else sha256(shop.split[0])}


def _judging_settings(shop: Workshop, method: Method) -> dict[str, Any]:
    """What decides how a method is judged."""
    split, part = shop.split or (None, None)
    cases = {"split": None if split is None else sha256(split), "part": part}
    if method.predictions is not None:
        return {"predictions": str(method.predictions), **cases}
    ours = shop.plan.protocol
    return {
        "weights": sha256(shop.checkpoint(method)),
        **cases,
        "virtual": ours.virtual,
        "severities": list(shop.plan.levels(method)),
        "seed": ours.seed,
    }


def _judged(shop: Workshop, method: Method) -> list[str]:
    """Options of `evaluate`: which cases, and what is judged on them."""
    ours = shop.plan.protocol
    part = [] if shop.split is None else ["--part", shop.split[1]]
    cases = [*_data(shop), *_split(shop), *part]
    if method.predictions is not None:
        return [*cases, "--predictions", str(method.predictions)]
    virtual = ["--virtual", str(ours.virtual)] if ours.virtual else []
    levels = ["--severity", *map(str, shop.plan.levels(method)), "--seed", str(ours.seed)]
    return [*cases, *virtual, *levels, "--weights", str(shop.checkpoint(method))]


def _data(shop: Workshop) -> list[str]:
    return [] if shop.split is None else ["--data", str(shop.plan.protocol.data)]


def _split(shop: Workshop) -> list[str]:
    return [] if shop.split is None else ["--split", str(shop.split[0])]


def _restorer(shop: Workshop, method: Method) -> list[str]:
    if method.restorer is None:
        return []
    return ["--restorer", str(shop.checkpoint(shop.plan.by_name[method.restorer]))]


def _is_whole(folder: Path) -> bool:
    """Whether there is an evaluation with all its records."""
    meta = find_record(folder / EVALUATION, lambda facts: isinstance(facts["records"], list))
    return meta is not None and all(earlier_record(folder, name) is not None for name in meta["records"])


def _larger(first: float | None, second: float | None) -> float | None:
    known = [value for value in (first, second) if value is not None]
    return max(known) if known else None


def _why(ended: Ended) -> str:
    """Why a command failed."""
    if ended.code < 0:
        return f"it was ended by signal {-ended.code}, perhaps for want of memory"
    return ended.fault or f"exit code {ended.code}"
