"""Plan: which methods are compared, and the one protocol for all of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from DABSegCore.comparison.settings import config_of, length

PLANS = Path(__file__).parents[1] / "plans"
SHIPPED = ("gpu", "cpu", "companions")
"""Names of the plans that ship: what needs GPUs, what two CPU cores can do in some hours, and the companions there."""


@dataclass(frozen=True)
class Protocol:
    """What is the same for all methods; every field is a key of the table [protocol].

    Attributes:
        data: Folder of real cases.
        validation: Names of those that methods are judged on, and not trained.
        choose: Names of those that trainings choose weights and thresholds by; without any, those that are judged,
            which flatters all methods.
        split: File that says so instead, as a training writes it.
        part: The part of it that methods are judged on.
        draw: Draw 8:1:1 by `seed` instead, as trainings do, and judge on the test part.
        virtual: How many virtual patients they are judged on, too.
        severities: Levels of motion they are judged at.
        seed: Of that motion, and of the draw.
        reference: Name of the method that all others are tested against.
        checkpoint: Which weights of a run are judged.
        calibration: Name of the method that never saw motion, to calibrate its levels by.
    """

    reference: str
    data: Path | None = None
    validation: tuple[str, ...] = ()
    choose: tuple[str, ...] = ()
    split: Path | None = None
    part: str = "test"
    draw: bool = False
    virtual: int = 0
    severities: tuple[int, ...] = (0, 2)
    seed: int = 0
    checkpoint: Literal["last", "best"] = "last"
    calibration: str | None = None


@dataclass(frozen=True)
class Method:
    """One method; every field is a key of a table [[method]].

    Attributes:
        name: How it is called.
        note: What is special about it.
        paper: The row of the published tables that it corresponds to.
        train: Settings of its training, those of [train] included.
        restorer: Name of an earlier method whose trained network restores the images before this one's sees them.
        judged: Whether it is compared, or only there for others.
        weights: Checkpoint to judge instead of training one.
        predictions: Folder of label maps to judge instead of a network.
        severity: The level of motion in the images that these were made of.
        severities: Levels to judge it at, if they are not those of the protocol.
    """

    name: str
    note: str = ""
    paper: str | None = None
    train: dict = field(default_factory=dict)
    restorer: str | None = None
    judged: bool = True
    weights: Path | None = None
    predictions: Path | None = None
    severity: int = 0
    severities: tuple[int, ...] = ()

    @property
    def slug(self) -> str:
        """Its name as a folder's name."""
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-.")

    @property
    def said(self) -> str:
        """It in a sentence."""
        return f"the method {self.name!r}"

    @property
    def is_trained(self) -> bool:
        """Whether it is trained here."""
        return self.weights is None and self.predictions is None


@dataclass(frozen=True)
class Plan:
    """What is to be compared.

    Attributes:
        path: Its file.
        title: Of the report.
        protocol: The same for all methods.
        methods: In the order they are trained and shown in.
    """

    path: Path
    title: str
    protocol: Protocol
    methods: tuple[Method, ...]

    @cached_property
    def by_name(self) -> dict[str, Method]:
        """The methods."""
        return {method.name: method for method in self.methods}

    def levels(self, method: Method) -> tuple[int, ...]:
        """The levels of motion a method is judged at."""
        return tuple(sorted(set(method.severities or self.protocol.severities)))

    def unequal(self) -> list[str]:
        """Sentences on methods that train longer or shorter than the reference; a restorer counts for its users."""
        lengths = {m.name: self._length(m) for m in self.methods if m.judged and m.is_trained}
        usual = self.protocol.reference if self.protocol.reference in lengths else next(iter(lengths), "")
        sentences = [
            f"{name} trains for {said}, {usual} for {lengths[usual]}"
            for name, said in lengths.items()
            if said != lengths[usual]
        ]
        ready = [m.name for m in self.methods if m.judged and not m.is_trained]
        if ready:
            sentences.append(f"{', '.join(ready)}: not trained here, so for how long and on what is not known here")
        return sentences

    def _length(self, method: Method) -> str:
        """How long a method is trained, with its restorer, in words."""
        amounts: dict[str, float] = {}
        for one in filter(None, (method, self.by_name.get(method.restorer or ""))):
            unit, amount = length(config_of(one.train, one.said))
            amounts[unit] = round(amounts.get(unit, 0) + amount, 6)
        return " and ".join(f"{amount:g} {unit.split('_')[-1]}" for unit, amount in sorted(amounts.items()))


def shipped_plan(name: str) -> Path:
    """Path of a plan that comes with the package."""
    return PLANS / f"{name}.toml"
