"""Collect: from the folders of what was trained and judged to one comparison."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from DABSegCore.comparison.analysis import against, calibration
from DABSegCore.comparison.cost import cost_of
from DABSegCore.comparison.plan import SHIPPED, Method, shipped_plan
from DABSegCore.comparison.results import Comparison, MethodResult
from DABSegCore.comparison.work import Workshop, is_judged
from DABSegCore.errors import InputError
from DABSegCore.evaluation.predictions import GIVEN
from DABSegCore.evaluation.results import Evaluation, load, summarise
from DABSegCore.report import NOTICE, environment


def collect(shop: Workshop, faults: Mapping[str, str], command: str) -> Comparison:
    """Put together what the methods of a plan left.

    Args:
        shop: Where it lies.
        faults: Why methods failed, by name.
        command: What was run, for the report.
    """
    ours = shop.plan.protocol
    methods = tuple(_result(shop, method, faults) for method in shop.plan.methods if method.judged)
    evaluations = {method.name: method.evaluation for method in methods if method.evaluation is not None}
    tests = against(ours.reference, evaluations) if ours.reference in evaluations else []
    control = evaluations.get(ours.calibration or "")
    return Comparison(
        shop.plan.title,
        methods,
        ours.reference,
        tests,
        None if control is None else calibration(str(ours.calibration), control),
        _meta(shop, faults, command, evaluations),
    )


def _result(shop: Workshop, method: Method, faults: Mapping[str, str]) -> MethodResult:
    """One method: how it was judged and what it costs, or why neither is known."""
    fault = faults.get(method.name)
    start = MethodResult(method.name, method.slug, method.note, method.paper, fault=fault)
    if fault is not None and (method.restorer in faults or not is_judged(shop, method)):
        return start  # what may lie in its folder is of other weights or settings
    try:
        evaluation = load(shop.evaluation(method))
        if method.predictions is not None:
            evaluation = _at_level(evaluation, method.severity)
        cost = cost_of(shop, method, evaluation)
    except InputError as why:
        return start if fault is not None else dataclasses.replace(start, fault=str(why))
    return dataclasses.replace(start, evaluation=evaluation, cost=cost)


def _at_level(evaluation: Evaluation, severity: int) -> Evaluation:
    """The evaluation of predictions as that of the level of motion they were made at."""
    rows = [{**row, "severity": severity if row["severity"] == GIVEN else row["severity"]} for row in evaluation.rows]
    return Evaluation(rows, [], summarise(rows, []), evaluation.meta)


def _meta(
    shop: Workshop, faults: Mapping[str, str], command: str, evaluations: Mapping[str, Evaluation]
) -> dict[str, Any]:
    """What was compared, where and how, for the report."""
    plan = shop.plan
    metas = [evaluation.meta for evaluation in evaluations.values()]
    protocol = json.loads(json.dumps(dataclasses.asdict(plan.protocol), default=str))
    helpers = {m.name: {"note": m.note, "fault": faults.get(m.name)} for m in plan.methods if not m.judged}
    return {
        "tool": "DABSeg",
        "notice": NOTICE,
        **environment(),
        "plan": f"{plan.path.stem}, which ships" if plan.path in map(shipped_plan, SHIPPED) else str(plan.path),
        "command": command,
        "device": sorted({str(meta.get("device")) for meta in metas}),
        "device_name": sorted({str(meta.get("device_name")) for meta in metas}),
        "protocol": {**protocol, "cases": _cases(evaluations)},
        "unequal": plan.unequal(),
        "helpers": helpers,
        "trained": {m.name: json.loads(json.dumps(m.train, default=str)) for m in plan.methods if m.is_trained},
        "warnings": {name: list(e.meta.get("warnings", [])) for name, e in evaluations.items()},
    }


def _cases(evaluations: Mapping[str, Evaluation]) -> dict[str, list[str]]:
    """Names of all cases that were judged on, by kind."""
    rows = [row for evaluation in evaluations.values() for row in evaluation.rows]
    return {kind: sorted({row["case_id"] for row in rows if row["kind"] == kind}) for kind in ("real", "virtual")}
