"""Cohort: one kind of work on every case of a folder; a bad case is told and passed over."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from DABSegCore.cases import Case, find_case
from DABSegCore.errors import InputError
from DABSegCore.progress import Progress
from DABSegCore.share import Share

MOST_FAILURES = 125
"""Larger exit codes mean something else to a shell."""

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of one case.

    Attributes:
        name: Its folder's name.
        result: What the work returned; None if it failed.
        fault: Why it failed, in one sentence; None if it did not.
    """

    name: str
    result: T | None
    fault: str | None = None


def run_cohort(
    folders: Sequence[Path], work: Callable[[Case], T], progress: Progress, share: Share | None = None
) -> list[Outcome[T]]:
    """Do the work on every case, in order; with several processes, each on its own, and wait for the others.

    Args:
        folders: One per case.
        work: May raise; the other cases of a long night need not pay for it.
        progress: Receives a line per case and an error per failure.
        share: Which of them are this process's; None: all.

    Returns:
        What became of all cases, whoever had them.
    """
    share = share or Share()
    outcomes: list[tuple[int, Outcome[T]]] = []
    seen: set[str] = set()
    for number, folder in enumerate(folders):
        if not share.owns(number):
            seen.update(_name_of(folder))
            continue
        progress.log(f"case {number + 1} of {len(folders)}: {folder.name}")

        def one(folder: Path = folder) -> T:
            case = find_case(folder)
            if case.case_id in seen:
                raise InputError(
                    f"an earlier folder also holds the case {case.case_id}, but results go by that name; rename one",
                    code="same-case-twice",
                )
            seen.add(case.case_id)
            return work(case)

        outcomes.append((number, attempt(folder.name, one, progress)))
    everything = [outcome for others in share.gather(outcomes) for outcome in others]
    return [outcome for _, outcome in sorted(everything, key=lambda pair: pair[0])]


def _name_of(folder: Path) -> set[str]:
    """The name of another process's case, if it has one: that process tells what is wrong with it."""
    try:
        return {find_case(folder).case_id}
    except InputError:
        return set()


def attempt(name: str, work: Callable[[], T], progress: Progress) -> Outcome[T]:
    """Do some work of many; if it fails, tell so and go on.

    Args:
        name: Of the case, to begin the sentence with.
        work: May raise.
        progress: Receives the error.
    """
    try:
        return Outcome(name, work())
    except InputError as fault:
        progress.error(f"{name}: {fault}", fault.code)
        return Outcome(name, None, str(fault))
    except Exception as bug:  # ours, so with its traceback
        progress.error(f"{name}: {traceback.format_exc()}", "bug")
        return Outcome(name, None, repr(bug))


def count_failures(outcomes: Sequence[Outcome]) -> int:
    """How many cases failed."""
    return sum(outcome.fault is not None for outcome in outcomes)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Number of failures, as far as a shell can count."""
    return min(count_failures(outcomes), MOST_FAILURES)
