"""Extras: volumes that only some networks give beside segments: one fused of several modalities, and uncertainty.

Uncertainty is that of BTSegDiff: -p ln p of the probability p at every step of its sampling, in the mean. It is 0 where
p stays at 0 or 1, and highest, 1/e, where p = 1/e; a half gives 0.35. It tells what the network doubts, not where it
errs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from DABSegLib.nodes import bridge, links
from DABSegLib.nodes.colours import Colour, colour_table

EXTRAS = ("fused", "uncertainty")
"""Roles of them, as in `links.PARTS`."""

HIGHEST = math.exp(-1)
"""The window of uncertainty goes from 0 to this in every volume, so that one colour always means the same."""

COLOURS = "DABSeg uncertainty"
"""Name of the colour table."""

ANCHORS = ((0.0, 0.0, 0.0), (0.2, 0.05, 0.4), (0.7, 0.15, 0.65), (1.0, 0.55, 0.75), (1.0, 1.0, 1.0))
"""Evenly spread from sure to unsure: ever brighter, and none of the colours of outlines."""

FAINTEST = 0.02
"""Share of the window below which uncertainty is transparent, so that it can lie over an image."""

COLOUR_COUNT = 256


def file_part(role: str, part: str) -> str:
    """How `DABSegCore.segment` calls the file of a part, between the case's name and the suffix."""
    return role if part == role else f"{role}_{part}"


def node_name(case_id: str, role: str, part: str) -> str:
    """What its volume is called in the scene."""
    return f"{case_id}_{file_part(role, part)} (synthetic)"


def add_extra(scene: Any, node: Any, role: str, part: str, reference_node: Any) -> Any:
    """Put the volume of a part into the scene, beside the one whose grid it has.

    Args:
        scene: Where to.
        node: Volume node in no scene; its name gets a number if it is taken.
        role: "fused", shown in grey with a window of its own; or "uncertainty", in colours from 0 to `HIGHEST`.
        part: One of the role's parts: "fused", or a region.
        reference_node: Whose parent transform and place in the subject hierarchy it shares.

    Returns:
        The node.
    """
    bridge.add_volume(scene, node, reference_node, kind=role, source=None)
    if role == "uncertainty":
        node.SetAttribute(links.REGION, part)
        node.GetDisplayNode().SetWindowLevel(HIGHEST, HIGHEST / 2)
        node.GetDisplayNode().SetAndObserveColorNodeID(colour_node(scene).GetID())
    return node


def colour_node(scene: Any) -> Any:
    """The scene's table of colours for uncertainty, made if there is none: from nothing over violet to white."""
    return colour_table(scene, "DABSegUncertainty", COLOURS, _colours())


def _colours() -> Iterator[Colour]:
    places = np.linspace(0, 1, len(ANCHORS))
    for share in np.linspace(0, 1, COLOUR_COUNT).tolist():
        red, green, blue = (float(np.interp(share, places, channel)) for channel in zip(*ANCHORS, strict=True))
        yield Colour(f"{share * HIGHEST:.4f}", red, green, blue, share > FAINTEST)
