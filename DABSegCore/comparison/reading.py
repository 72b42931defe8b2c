"""Reading: a plan from its TOML file, with all that is wrong in it said before anything runs."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

from DABSegCore.comparison.plan import Method, Plan, Protocol
from DABSegCore.comparison.published import PAPER_ROWS
from DABSegCore.comparison.settings import check_known, checked, config_of, put_together, training
from DABSegCore.errors import InputError, packages_for
from DABSegCore.evaluation.subjects import MOST_VIRTUAL
from DABSegCore.files import check_exists, read_bytes
from DABSegCore.motion import SEVERITIES
from DABSegCore.networks import NETWORKS, NAFNetConfig, PeerConfig


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
        where = method.said
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
            f"{method.said} restores with {method.restorer!r}, but that is no method trained before it in the plan; "
            "name one, or put it first",
            code="bad-plan",
        )
    restorer = next(other for other in earlier if other.name == method.restorer)
    network = _network(restorer)
    if isinstance(network, PeerConfig) or getattr(network, "stem", "") == "none":
        raise InputError(f"{restorer.said} restores nothing, so it can be no restorer; name another", "bad-plan")


def _check_training(plan: Plan, method: Method, where: str) -> None:
    """Refuse a network that is not known or settings that do not go together."""
    config = config_of(method.train, where)
    if method.judged and isinstance(_network(method), NAFNetConfig):
        raise InputError(f"{where} outlines nothing, so it cannot be judged; give it judged = false", code="bad-plan")
    if plan.protocol.data is None and not config.virtual:
        raise InputError(f"{where} has nothing to train on; give --data, or virtual = N in [train]", code="bad-plan")


def _network(method: Method) -> Any:
    """Configuration of a method's own network, without a restorer."""
    return NETWORKS[config_of(method.train, method.said).preset]
