"""Plan: which methods are compared, and the one protocol for all of them, read from a TOML file and checked."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_type_hints

from DABSegCore.comparison.published import PAPER_ROWS
from DABSegCore.comparison.settings import check_known, checked, config_of, length, put_together, training
from DABSegCore.errors import InputError, packages_for
from DABSegCore.evaluation.subjects import MOST_VIRTUAL
from DABSegCore.files import check_exists, read_bytes
from DABSegCore.motion import SEVERITIES
from DABSegCore.networks import NETWORKS, NAFNetConfig, PeerConfig

PLANS = Path(__file__).parents[1] / "plans"
SHIPPED = ("gpu", "cpu")
"""Names of the plans that ship: what needs GPUs, and what two CPU cores can do in some hours."""


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
            unit, amount = length(config_of(one.train, _said(one)))
            amounts[unit] = round(amounts.get(unit, 0) + amount, 6)
        return " and ".join(f"{amount:g} {unit.split('_')[-1]}" for unit, amount in sorted(amounts.items()))


def shipped_plan(name: str) -> Path:
    """Path of a plan that comes with the package."""
    return PLANS / f"{name}.toml"


def read_plan(path: Path, changes: Mapping[str, Any] = MappingProxyType({})) -> Plan:
    """Read a plan.

    Args:
        path: TOML file.
        changes: Values of the protocol instead of the plan's.

    Raises:
        InputError: If it cannot be read, or anything in it is wrong: nothing should run before that is known.
    """
    content = _parsed(path)
    check_known(content, ("title", "protocol", "train", "method"), str(path))
    tables = content.get("method")
    if not isinstance(tables, list) or not tables:
        raise InputError(f"{path} names no method; add a table [[method]] for each", code="bad-plan")
    place = path.absolute().parent
    hints = {"title": str, "protocol": dict, "train": dict}
    head = checked({key: value for key, value in content.items() if key != "method"}, hints, str(path), place)
    shared = training(head.get("train", {}), "[train]", place)
    methods = tuple(_method(table, shared, number, place) for number, table in enumerate(tables, 1))
    protocol = _protocol(head.get("protocol", {}), methods, place)
    plan = Plan(path, head.get("title", path.stem), dataclasses.replace(protocol, **changes), methods)
    _check_protocol(plan)
    _check_methods(plan)
    return plan


def _parsed(path: Path) -> dict[str, Any]:
    with packages_for("reading a plan"):
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
    try:
        return tomllib.loads(read_bytes(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is no TOML ({error}); correct it there", code="bad-plan") from error


def _method(table: Any, shared: Mapping[str, Any], number: int, place: Path) -> Method:
    """The method of a table, its training put together with what all share."""
    if not isinstance(table, dict) or not isinstance(table.get("name"), str) or not table["name"].strip():
        raise InputError(f"method {number} of the plan has no name; give it one", code="bad-plan")
    where = f"the method {table['name']!r}"
    values = checked(table, get_type_hints(Method), where, place)
    method = Method(**{**values, "train": {}})
    if method.is_trained:
        settings = put_together(shared, training(values.get("train", {}), where, place))
        return dataclasses.replace(method, train=settings)
    for name in ("train", "restorer"):
        if name in values:
            raise InputError(f"{where} is ready made, so {name} means nothing; leave one out", code="bad-plan")
    return method


def _protocol(table: Mapping[str, Any], methods: Sequence[Method], place: Path) -> Protocol:
    values = checked(table, get_type_hints(Protocol), "[protocol]", place)
    judged = next((method.name for method in methods if method.judged), None)
    if judged is None:
        raise InputError("no method of the plan is judged; leave judged = false out somewhere", code="bad-plan")
    return Protocol(**{"reference": judged, **values})


def _check_protocol(plan: Plan) -> None:
    """Refuse cases and levels that cannot be judged on, and names that are no method's."""
    ours = plan.protocol
    if ours.data is None and not ours.virtual:
        raise InputError("there is no case to judge on; give --data FOLDER, or virtual = N in [protocol]", "bad-plan")
    ways = bool(ours.validation) + (ours.split is not None) + ours.draw
    if ours.data is not None and ways != 1:
        raise InputError(
            "[protocol] must say in one way which cases of the data are judged, and so not trained on; give one of "
            "validation, split and draw",
            code="bad-plan",
        )
    if ours.data is None and ways:
        raise InputError("[protocol] chooses among cases, but there are none; give --data FOLDER", code="bad-plan")
    if ours.choose and (not ours.validation or set(ours.choose) & set(ours.validation)):
        raise InputError(
            "choose in [protocol] names cases to choose weights by, other than those of validation, which it needs "
            "beside it; correct the lists",
            code="bad-plan",
        )
    for name, value, most in (("virtual", ours.virtual, MOST_VIRTUAL), ("seed", ours.seed, 2**63 - 1)):
        if not 0 <= value <= most:
            raise InputError(f"[protocol] has {name} = {value}, but it must be 0 to {most}", code="bad-plan")
    for key in ("reference", "calibration"):
        name = getattr(ours, key)
        if name is not None and not (name in plan.by_name and plan.by_name[name].judged):
            raise InputError(f"[protocol] has {key} = {name!r}, but no method that is judged is called so", "bad-plan")


def _check_methods(plan: Plan) -> None:
    """Refuse what would fail, or overwrite another's results, hours later."""
    slugs: dict[str, str] = {}
    for method in plan.methods:
        where = _said(method)
        if not method.slug:
            raise InputError(f"{where} has no letter or digit in its name for a folder; rename it", code="bad-plan")
        if method.slug in slugs:
            raise InputError(f"{where} and {slugs[method.slug]!r} would share a folder; rename one", code="bad-plan")
        if method.restorer is not None:
            _check_restorer(method, [plan.by_name[name] for name in slugs.values()])
        if "preset" in method.train:
            check_known([method.train["preset"]], NETWORKS, f"preset of {where}")
        if method.paper is not None:
            check_known([method.paper], sorted(PAPER_ROWS), f"paper of {where}")
        slugs[method.slug] = method.name
        levels = (*plan.levels(method), method.severity)
        if not set(levels) <= set(SEVERITIES):
            raise InputError(f"{where} is judged at {levels}, but levels are 0 to 4; correct severities", "bad-plan")
        if method.weights is not None and method.predictions is not None:
            raise InputError(f"{where} has both weights and predictions; leave one out", code="bad-plan")
        if method.predictions is not None and plan.protocol.data is None:
            raise InputError(f"{where} has predictions of real cases, but there are none; give --data", code="bad-plan")
        for path in (method.weights, method.predictions, method.train.get("init")):
            if path is not None:
                check_exists(path)
        if not method.judged and not method.is_trained:
            raise InputError(f"{where} is neither trained nor judged; remove it", code="bad-plan")
        if method.is_trained:
            _check_training(plan, method, where)


def _check_restorer(method: Method, earlier: Sequence[Method]) -> None:
    """Refuse a restorer that will not have been trained by then."""
    names = [other.name for other in earlier if other.is_trained and other.restorer is None]
    if method.restorer not in names:
        raise InputError(
            f"{_said(method)} restores with {method.restorer!r}, but that is no method trained before it in the plan; "
            "name one, or put it first",
            code="bad-plan",
        )
    restorer = next(other for other in earlier if other.name == method.restorer)
    network = _network(restorer)
    if isinstance(network, PeerConfig) or getattr(network, "stem", "") == "none":
        raise InputError(f"{_said(restorer)} restores nothing, so it can be no restorer; name another", "bad-plan")


def _check_training(plan: Plan, method: Method, where: str) -> None:
    """Refuse a network that is not known or settings that do not go together."""
    config = config_of(method.train, where)
    if method.judged and isinstance(_network(method), NAFNetConfig):
        raise InputError(f"{where} outlines nothing, so it cannot be judged; give it judged = false", code="bad-plan")
    if plan.protocol.data is None and not config.virtual:
        raise InputError(f"{where} has nothing to train on; give --data, or virtual = N in [train]", code="bad-plan")


def _network(method: Method) -> Any:
    """Configuration of a method's own network, without a restorer."""
    return NETWORKS[config_of(method.train, _said(method)).preset]


def _said(method: Method) -> str:
    return f"the method {method.name!r}"
