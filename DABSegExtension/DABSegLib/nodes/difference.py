"""Difference: what the network changed, as a volume of pseudo-clear minus input; blue is darker, red is brighter."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from DABSegCore.volume import same_grid
from DABSegLib.nodes.bridge import pieces, put_beside
from DABSegLib.nodes.colours import Colour, colour_table
from DABSegLib.nodes.geometry import as_volume
from DABSegLib.nodes.links import KIND, SOURCE
from DABSegLib.nodes.resample import resample_steps

REACH = "DABSeg.Reach"
"""Attribute of a difference volume: its window goes from minus to plus this."""

COLOURS = "DABSeg difference"
"""Name of the colour table, of which a scene has one."""

SHOWN_SHARE = 0.995
"""Of the voxels that differ, this share lies within the window; the rest is drawn in the colour of its end."""

STEPS = 4096
"""Bins of the histogram that finds the window, so that it is right to 1/4096 of the largest difference."""

DARKER, BRIGHTER = (0.1, 0.45, 1.0), (1.0, 0.25, 0.1)
FAINTEST = 0.02
"""Share of the window below which a difference is transparent."""

COLOUR_COUNT = 255  # odd: the middle one is for no difference


def difference_steps(source_node: Any, pseudo_clear_node: Any) -> Generator[None, None, Any]:
    """Make a volume node of pseudo-clear minus input, in small steps.

    Args:
        source_node: The input; where it has another grid it is interpolated, as it was for the network.
        pseudo_clear_node: The network's volume of it.

    Returns:
        A vtkMRMLScalarVolumeNode on the grid of the pseudo-clear volume, in no scene yet: `add_difference` puts it into
        one.

    Raises:
        InputError: As for `as_volume`.
    """
    clear, source = as_volume(pseudo_clear_node), as_volume(source_node)
    array = source.array
    if not same_grid(source, clear):
        array = yield from resample_steps(array, source.affine, clear.shape, clear.affine, linear=True)
    image = vtk.vtkImageData()
    image.SetDimensions(clear.shape[::-1])
    image.AllocateScalars(get_vtk_array_type(np.float32), 1)
    out = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(clear.shape)
    for piece in pieces(clear.shape, 8):
        np.subtract(clear.array[piece], array[piece], out=out[piece], dtype=np.float32, casting="unsafe")
        yield
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(f"{source_node.GetName()}_difference (synthetic)")
    node.SetAndObserveImageData(image)
    node.CopyOrientation(pseudo_clear_node)
    reach = yield from window_steps(out)
    node.SetAttribute(REACH, repr(reach))
    return node


def window_steps(array: np.ndarray) -> Generator[None, None, float]:
    """How far from 0 differences reach but for the largest few; 1 where there are none.

    Args:
        array: Differences, float32 [D, H, W].
    """
    largest = 0.0
    for piece in pieces(array.shape, 8):
        largest = max(largest, float(array[piece].max()), -float(array[piece].min()))
        yield
    if largest == 0:
        return 1.0
    counts = np.zeros(STEPS, np.int64)
    for piece in pieces(array.shape, 8):
        bins = np.minimum(np.abs(array[piece].ravel()) * (STEPS / largest), STEPS - 1).astype(np.int16)
        counts += np.bincount(bins, minlength=STEPS)
        counts[0] -= np.count_nonzero(array[piece] == 0)
        yield
    reached = np.cumsum(counts)
    return (int(np.searchsorted(reached, SHOWN_SHARE * reached[-1])) + 1) * largest / STEPS


def add_difference(scene: Any, node: Any, source_node: Any, pseudo_clear_node: Any) -> Any:
    """Put a difference volume into the scene, beside its pseudo-clear volume, in colours.

    Args:
        scene: Where to.
        node: As from `difference_steps`; its name gets a number if it is taken.
        source_node: The input that was subtracted.
        pseudo_clear_node: What it was subtracted from.

    Returns:
        The node.
    """
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(2 * float(node.GetAttribute(REACH)), 0.0)
    node.SetName(scene.GenerateUniqueName(node.GetName()))
    node.SetAttribute(KIND, "difference")
    scene.AddNode(node)
    scene.AddNode(display)
    display.SetAndObserveColorNodeID(colour_node(scene).GetID())  # takes the table itself only within a scene
    node.SetAndObserveDisplayNodeID(display.GetID())
    node.SetNodeReferenceID(SOURCE, source_node.GetID())
    put_beside(scene, node, pseudo_clear_node)
    return node


def colour_node(scene: Any) -> Any:
    """The scene's table of colours for differences, made if there is none: from blue over nothing to red.

    What hardly differs is transparent: black in a view of its own, and as an overlay it leaves the image as it is.
    Slicer draws a colour of a table either wholly or not at all, so fainter ones get darker instead.
    """
    return colour_table(scene, "DABSegDifference", COLOURS, _colours())


def _colours() -> Iterator[Colour]:
    for share in np.linspace(-1, 1, COLOUR_COUNT).tolist():
        red, green, blue = BRIGHTER if share > 0 else DARKER
        strength = abs(share)
        yield Colour(f"{share:+.0%}", strength * red, strength * green, strength * blue, strength > FAINTEST)
