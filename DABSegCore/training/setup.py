"""Setup: the cases of a run - which ones, where from - ready to be drawn from, and the twins it is validated on."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from DABSegCore.errors import InputError, packages_for
from DABSegCore.memory import available_memory
from DABSegCore.progress import Progress
from DABSegCore.training.config import TrainConfig
from DABSegCore.training.dataset import FAIR_SHARE, Cases, TrainingCase, Twin, make_twin, real_case, virtual_case
from DABSegCore.training.folder import Parts, read_folder
from DABSegCore.training.processes import Processes

FIRST_VIRTUAL, FIRST_VIRTUAL_VALIDATION = 1_000, 900_000
"""Seeds of virtual patients, far apart so that none is both trained on and validated with."""

VALIDATION_SEVERITIES = (0, 2)

SPLIT = "split.json"
"""File of the split in a run's folder."""


def find_parts(config: TrainConfig, out: Path, progress: Progress, resuming: bool) -> Parts:
    """The real cases of a run by part; a resumed run keeps its split.

    Raises:
        InputError: As `read_folder`, if there is nothing to train on, or no SciPy to make virtual patients with.
    """
    if config.virtual or config.virtual_validation:
        with packages_for("making virtual patients"):
            importlib.import_module("scipy")
    if config.data is None:
        if not config.virtual:
            raise InputError("there is nothing to train on; give --data FOLDER or --virtual N", code="no-cases")
        if config.split is not None or config.validation:
            raise InputError("--split and --validation name cases of --data, which is missing", code="bad-argument")
        if not config.virtual_validation:
            raise InputError(
                "there is nothing to validate with; give --data or --virtual-validation N", code="no-cases"
            )
        return Parts((), (), (), ())
    if resuming:
        return read_folder(config.data, split=out / SPLIT)
    parts = read_folder(config.data, split=config.split, validation=config.validation, seed=config.seed)
    for sentence in parts.skipped:
        progress.warn(sentence)
    return parts


def training_cases(config: TrainConfig, parts: Parts, group: Processes, progress: Progress) -> Cases:
    """What to train on; cases that cannot be used are named and left out.

    Raises:
        InputError: If none can be used.
    """
    return _cases(config, parts, "train", config.virtual, FIRST_VIRTUAL, group, progress)


def _cases(
    config: TrainConfig, parts: Parts, part: str, virtual: int, first_seed: int, group: Processes, progress: Progress
) -> Cases:
    real = getattr(parts, part)
    said: set[str] = set()

    def once(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            progress.warn(sentence)

    readers: list[Callable[[], TrainingCase]] = [partial(real_case, case, once) for case in real]
    readers += [partial(virtual_case, first_seed + i) for i in range(virtual)]
    names = [case.case_id for case in real] + [f"virtual_{first_seed + i}" for i in range(virtual)]
    progress.stage(f"read cases ({part})", len(names))
    return Cases(
        readers,
        names,
        [True] * len(real) + [False] * virtual,
        group.device,
        # Validation is seldom, and the GPU has better things to hold.
        residence="memory" if part == "validation" and config.residence in ("auto", "device") else config.residence,
        share=group.here,
        on_fault=once,
        on_step=progress.step,
    )


class ValidationTwins:
    """This process's share of the validation cases, each with the same motion every time.

    Args:
        config: Number of virtual patients, seed.
        parts: The real cases.
        group: Cases are dealt out to its processes.
        progress: Told of cases that cannot be used.
        severities: Levels of motion; every case is taken at each.

    Raises:
        InputError: If no case can be used.
    """

    def __init__(
        self,
        config: TrainConfig,
        parts: Parts,
        group: Processes,
        progress: Progress,
        severities: Sequence[int] = VALIDATION_SEVERITIES,
    ) -> None:
        self._config, self._severities = config, severities
        self._cases = _cases(
            config, parts, "validation", config.virtual_validation, FIRST_VIRTUAL_VALIDATION, group, progress
        )
        self._mine = [i for i in range(len(self._cases)) if i % group.size == group.rank]
        self._twins: dict[tuple[int, int], Twin] = {}

    @property
    def failed(self) -> list[str]:
        """Names of cases that could not be used, so far."""
        return self._cases.failed

    def __len__(self) -> int:
        """How many twins this process scores."""
        return len(self._mine) * len(self._severities)

    def __iter__(self) -> Iterator[Twin]:
        """The twins, made when first wanted and kept where there is room."""
        for i in self._mine:
            for severity in self._severities:
                twin = self._twins.get((i, severity)) or self._make(i, severity)
                if twin is not None:
                    yield twin

    def _make(self, index: int, severity: int) -> Twin | None:
        case = self._cases[index]
        if case is None:
            return None
        twin = make_twin(case, severity, self._config.seed, draw=0)
        free = available_memory()
        if free is None or 4 * case.bytes * len(self) < FAIR_SHARE * free:
            self._twins[index, severity] = Twin(case.to("cpu"), severity, twin.corrupted.cpu(), twin.sharp.cpu())
        return twin
