"""Cost: what a method takes: parameters, arithmetic, time for a case, memory and training."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from DABSegCore.checkpoint import load_checkpoint
from DABSegCore.comparison.plan import Method
from DABSegCore.comparison.work import Workshop, record_of
from DABSegCore.evaluation.records import read_record
from DABSegCore.evaluation.results import Evaluation
from DABSegCore.labels import MODALITIES

EDGE = 128
"""Voxels along each side of the volume whose forward pass is counted."""

COSTS = (
    *("parameters", "gflop", "network_s", "total_s"),
    *("training_minutes", "training_steps", "peak_memory_mb"),
)

EXTRA = ("simulate", "score")
"""Stages that only an evaluation puts a case through."""


def cost_of(shop: Workshop, method: Method, evaluation: Evaluation) -> dict[str, float | None]:
    """What a method costs, by `COSTS`; None for what was not measured or has no meaning for it.

    Args:
        shop: Where it was trained and judged.
        method: Which.
        evaluation: How it was judged.

    Raises:
        InputError: If its weights or records cannot be read.
    """
    cost: dict[str, float | None] = dict.fromkeys(COSTS)
    if method.predictions is None:
        model, meta = load_checkpoint(shop.checkpoint(method))
        cost |= {"parameters": sum(p.numel() for p in model.parameters()), "gflop": gflop(model)}
        if method.is_trained:
            cost |= _training(shop, method, meta)
        record = record_of(shop.evaluation(method)) or {}
        cost["peak_memory_mb"] = record.get("peak_memory_mb")
    folder = shop.evaluation(method)
    return cost | median_seconds([read_record(folder, name)["seconds"] for name in evaluation.meta["records"]])


def gflop(model: nn.Module, edge: int = EDGE) -> float | None:
    """Billions of operations (a multiplication and an addition are two) of one forward pass of a cube.

    Nothing is computed: tensors without memory go through it. None where a network cannot do without numbers.

    Args:
        model: The network; it loses its weights.
        edge: Of the cube, in voxels.
    """
    from torch.utils.flop_counter import FlopCounterMode

    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.to("meta").eval()(torch.empty(1, len(MODALITIES), edge, edge, edge, device="meta"))
    except (RuntimeError, NotImplementedError):
        return None
    return counter.get_total_flops() / 1e9


def median_seconds(seconds: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Median over cases and levels of the time in the network (network_s), and from files to outlines (total_s).

    Args:
        seconds: By stage, of every case at every level.
    """
    network = [stages["network"] for stages in seconds if "network" in stages]
    total = [sum(value for stage, value in stages.items() if stage not in EXTRA) for stages in seconds]
    if not network:
        return {"network_s": None, "total_s": None}
    return {"network_s": round(statistics.median(network), 3), "total_s": round(statistics.median(total), 3)}


def _training(shop: Workshop, method: Method, meta: Mapping[str, Any]) -> dict[str, float | None]:
    """Minutes and steps, the restorer's included."""
    metas = [meta]
    if method.restorer is not None:
        metas.append(load_checkpoint(shop.checkpoint(shop.plan.by_name[method.restorer]))[1])
    minutes = sum(float(one["elapsed_s"]) for one in metas) / 60
    return {"training_minutes": round(minutes, 2), "training_steps": sum(int(one["step"]) for one in metas)}
