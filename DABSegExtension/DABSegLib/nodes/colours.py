"""Colours: tables of our own for volumes that are no images, of which a scene has one each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import slicer


class Colour(NamedTuple):
    """An entry of a table.

    Args:
        name: What it stands for.
        red: 0 to 1, as the next two.
        green: See red.
        blue: See red.
        seen: Or else transparent. Slicer draws a colour of a table either wholly or not at all.
    """

    name: str
    red: float
    green: float
    blue: float
    seen: bool


def colour_table(scene: Any, tag: str, name: str, colours: Iterable[Colour]) -> Any:
    """A table of the scene, made if it is not there.

    Args:
        scene: Where it is, or will be.
        tag: Of which a scene has one.
        name: What the user reads.
        colours: From the lowest value to the highest.

    Returns:
        vtkMRMLColorTableNode.
    """
    found = scene.GetSingletonNode(tag, "vtkMRMLColorTableNode")
    if found is not None:
        return found
    colours = list(colours)
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName(name)
    node.SetSingletonTag(tag)
    node.SetNumberOfColors(len(colours))
    for index, colour in enumerate(colours):
        node.SetColor(index, colour.name, colour.red, colour.green, colour.blue, float(colour.seen))
    return scene.AddNode(node)
