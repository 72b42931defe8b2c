"""Bridge: volume nodes of the scene to `.nii` files and back, each voxel at its place in the world.

Whatever takes long is a generator that handles one piece of the voxels between two yields, so the window stays alive.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from DABSegCore.errors import InputError
from DABSegCore.files import replacing
from DABSegCore.nifti import DTYPES, Layout, decode_header, encode_header, truncated
from DABSegLib.nodes.geometry import Box, as_volume, voxels
from DABSegLib.nodes.geometry import box_of_roi as box_of_roi
from DABSegLib.nodes.geometry import local_affine as local_affine
from DABSegLib.nodes.geometry import same_grid as same_grid
from DABSegLib.nodes.geometry import world_affine as world_affine
from DABSegLib.nodes.links import KIND, SOURCE

PIECE_BYTES = 4 << 20
"""Handled between two yields: 2 to 20 ms to copy or write, by how busy the machine is."""

STORED = {np.dtype(text) for text in DTYPES.values()}
"""Types of voxels that NIfTI can keep as they are."""


def write_volume_steps(node: Any, path: Path, box: Box | None = None) -> Iterator[None]:
    """Write a node as an uncompressed `.nii` file at its place in the world, whole or not at all.

    Args:
        node: Volume node; its type of voxels is kept.
        path: Where to, in a folder that exists.
        box: Only these voxels.

    Yields:
        After every piece.

    Raises:
        InputError: As for `as_volume`, if NIfTI has no such type, or the file cannot be written.
    """
    volume = as_volume(node)
    array, affine = volume.array, volume.affine
    if array.dtype not in STORED:
        raise InputError(
            f'"{node.GetName()}" stores its voxels as {array.dtype}, but whole numbers or floats of 8 to 64 bits are '
            "needed; convert it with the module Cast Scalar Volume",
            code="unknown-type",
        )
    if box is not None:
        d0, d1, h0, h1, w0, w1 = box
        array = array[d0:d1, h0:h1, w0:w1]
        affine[:, 3] = affine @ (w0, h0, d0, 1)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(encode_header(array.shape, array.dtype, affine))
        for piece in pieces(array.shape, array.itemsize):
            file.write(np.ascontiguousarray(array[piece], dtype=array.dtype.newbyteorder("<")))
            yield


def volume_node_steps(path: Path, name: str, reference_node: Any | None) -> Generator[None, None, Any]:
    """Read an uncompressed `.nii` file into a volume node that is in no scene yet.

    Args:
        path: The file.
        name: Of the node.
        reference_node: Volume whose own IJK to RAS matrix is taken over bit by bit; what the file says is ignored, as
            the reference may have been moved meanwhile and its transform is shared. Without one, the file's counts.

    Yields:
        After every piece.

    Returns:
        vtkMRMLScalarVolumeNode with the stored type of voxels, float32 where the file scales them.

    Raises:
        InputError: If the file is missing, truncated or no NIfTI.
        ValueError: If its shape is not that of the reference.
    """
    with _opened(path) as file:
        layout = decode_header(file.read(540), str(path))
        if reference_node is not None and reference_node.GetImageData().GetDimensions()[::-1] != layout.shape:
            raise ValueError(f"{path} has the shape {layout.shape}, which is not that of {reference_node.GetName()}")
        dtype = layout.dtype.newbyteorder("=") if layout.scaling is None else np.dtype(np.float32)
        image = _new_image(layout.shape, dtype)
        array = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(layout.shape)
        file.seek(layout.start)
        for piece in pieces(layout.shape, layout.dtype.itemsize):
            array[piece] = _read_piece(file, array[piece].shape, layout, path)
            yield
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name)
    node.SetAndObserveImageData(image)
    if reference_node is not None:
        node.CopyOrientation(reference_node)
    else:
        node.SetIJKToRASMatrix(_matrix(layout.affine))
    return node


def add_volume(scene: Any, node: Any, reference_node: Any | None, *, kind: str | None, source: Any | None) -> Any:
    """Put a new volume into the scene, beside the one whose grid it has.

    Args:
        scene: Where to.
        node: Volume node in no scene; a number is added to its name where that is taken.
        reference_node: Whose parent transform and place in the subject hierarchy it shares, if any.
        kind: What it is, as `links.KIND` has it; None for an ordinary image.
        source: What it was made from: shown with the same window and level, and referred to. Without one, window and
            level are chosen from the voxels.

    Returns:
        The node.
    """
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    shown = source.GetDisplayNode() if source is not None else None
    display.SetAutoWindowLevel(False)  # left to itself, VTK would count all voxels: 50 ms
    display.SetWindowLevel(*((shown.GetWindow(), shown.GetLevel()) if shown is not None else window_level(node)))
    node.SetName(scene.GenerateUniqueName(node.GetName()))
    scene.AddNode(node)
    scene.AddNode(display)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")  # finds its table only within a scene
    node.SetAndObserveDisplayNodeID(display.GetID())
    if kind is not None:
        node.SetAttribute(KIND, kind)
    if source is not None:
        node.SetNodeReferenceID(SOURCE, source.GetID())
    if reference_node is not None:
        put_beside(scene, node, reference_node)
    return node


def put_beside(scene: Any, node: Any, reference_node: Any) -> None:
    """Give a node of the scene the parent transform of another and its parent in the subject hierarchy, if any."""
    node.SetAndObserveTransformNodeID(reference_node.GetTransformNodeID())
    hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    beside = hierarchy.GetItemByDataNode(reference_node) if hierarchy is not None else 0
    if beside:
        parent = hierarchy.GetItemParent(beside)
        item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(parent, node)
        hierarchy.SetItemParent(item, parent)


def window_level(node: Any) -> tuple[float, float]:
    """Window and level of the 0.5 to 99.5 % range of what is not 0, from some 100,000 voxels evenly spread."""
    flat = voxels(node).reshape(-1)
    sample = flat[:: max(1, flat.size // 100_000)]
    sample = sample[(sample != 0) & np.isfinite(sample)]
    low, high = np.percentile(sample, (0.5, 99.5)).tolist() if sample.size else (0.0, 1.0)
    low = min(low, 0.0)  # the background stays black
    return max(high - low, 1e-6), (high + low) / 2


def pieces(shape: tuple[int, ...], itemsize: int) -> Iterator[slice]:
    """Slabs of an array [D, H, W] of about `PIECE_BYTES`, as slices of its first axis, in order."""
    thick = max(1, PIECE_BYTES // (math.prod(shape[1:]) * itemsize))
    for start in range(0, shape[0], thick):
        yield slice(start, min(start + thick, shape[0]))


def _opened(path: Path) -> Any:
    """The file, open for reading."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror or error}); run again, and if it stays so check the drive",
            code="unreadable-file",
        ) from error


def _read_piece(file: Any, shape: tuple[int, ...], layout: Layout, path: Path) -> np.ndarray:
    """The next voxels of an open file, as intensities."""
    count = math.prod(shape)
    data = file.read(count * layout.dtype.itemsize)
    if len(data) < count * layout.dtype.itemsize:
        raise truncated(str(path), "it ends before its last voxel")
    piece = np.frombuffer(data, layout.dtype).reshape(shape)
    if layout.scaling is None:
        return piece
    slope, intercept = layout.scaling
    return piece * slope + intercept


def _new_image(shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """A vtkImageData of one number a voxel [D, H, W]; its memory is not yet filled."""
    image = vtk.vtkImageData()
    image.SetDimensions(shape[::-1])
    image.AllocateScalars(numpy_support.get_vtk_array_type(dtype), 1)
    return image


def _matrix(affine: np.ndarray) -> Any:
    """An array as a vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(affine.ravel().tolist())
    return matrix
