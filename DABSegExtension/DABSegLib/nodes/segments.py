"""Segments: a label map becomes a segmentation node with ET, TC and WT, and is measured and shown as one.

The three regions overlap, so each lies on a layer of its own, no larger than the region. Steps do a small piece of work
each, so that the application stays quick between them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from DABSegCore.errors import InputError
from DABSegCore.files import read_bytes
from DABSegCore.labels import REGION_LABELS, canonical_labels
from DABSegCore.nifti import decode_nifti
from DABSegLib.nodes.bridge import put_beside
from DABSegLib.nodes.edits import EditWatch as EditWatch
from DABSegLib.nodes.geometry import parent_matrix
from DABSegLib.nodes.masks import (
    LABELMAP,
    check_labelmaps,
    crop,
    segment_array,
    segment_volume,
    union_steps,
    write_mask,
)
from DABSegLib.nodes.regions import TUMOUR_REGIONS, Region, terminology

FILL_OPACITY = 0.2
"""Of the segments in slice views: light, as three lie over each other in the enhancing tumour."""

OPACITY_3D = {"TC": 0.5, "WT": 0.25}
"""Of surfaces: the enhancing tumour is to be seen within the others."""

SURFACE = "Closed surface"


def segmentation_steps(label_path: Path, reference_node: Any, name: str) -> Generator[None, None, Any]:
    """Make a segmentation node of a label map, in small steps.

    Args:
        label_path: A .nii file of canonical labels [D, H, W], on the grid of the reference node.
        reference_node: The volume node with that grid.
        name: Of the new node.

    Returns:
        A vtkMRMLSegmentationNode with ET, TC and WT, in no scene yet: `add_segmentation` puts it into one.

    Raises:
        InputError: If the file cannot be read, holds a value that is no BraTS label, or has another grid.
    """
    label, _, _ = decode_nifti(read_bytes(label_path), str(label_path))
    _check_shape(label.shape, reference_node, label_path)
    yield
    corner, label = crop(label)
    label = canonical_labels(label)
    yield
    to_ras = vtk.vtkMatrix4x4()
    reference_node.GetIJKToRASMatrix(to_ras)
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(name)
    for region in TUMOUR_REGIONS.values():
        mask = np.isin(label, REGION_LABELS[region.name])
        start, mask = crop(mask)
        origin = tuple(a + b for a, b in zip(corner, start, strict=True))
        _add_segment(node.GetSegmentation(), region, labelmap(mask, origin, to_ras))
        yield
    _set_geometry(node, reference_node, to_ras)
    return node


def labelmap(mask: np.ndarray, corner: tuple[int, ...], to_ras: vtk.vtkMatrix4x4) -> Any:
    """A mask as the image a segment is made of.

    Args:
        mask: Voxels of the segment [D, H, W]; it may be empty.
        corner: Where its first voxel lies on the grid, (k, j, i).
        to_ras: The grid: (i, j, k) -> RAS mm.

    Returns:
        vtkOrientedImageData with 1 in the mask.
    """
    image = slicer.vtkOrientedImageData()
    if mask.size:
        extent = [n for k, size in zip(corner[::-1], mask.shape[::-1], strict=True) for n in (k, k + size - 1)]
        image.SetExtent(extent)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
    image.SetGeometryFromImageToWorldMatrix(to_ras)
    return image


def add_segmentation(scene: Any, node: Any, reference_node: Any) -> Any:
    """Put a segmentation node into the scene: where its reference is, shown as outlines with a light fill.

    Args:
        scene: Where to.
        node: As from `segmentation_steps`; its name gets a number if it is taken.
        reference_node: The volume it belongs to: they share the parent transform and the folder or study.

    Returns:
        The node.
    """
    node.SetName(scene.GenerateUniqueName(node.GetName()))
    scene.AddNode(node)
    put_beside(scene, node, reference_node)
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference_node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetOpacity2DFill(FILL_OPACITY)
    display.SetOpacity2DOutline(1.0)
    for region, opacity in OPACITY_3D.items():
        display.SetSegmentOpacity3D(region, opacity)
    return node


def show_surface(node: Any, on: bool) -> None:
    """Show the segments as surfaces in 3D views, or hide them.

    Segment Editor keeps surfaces up to date; a script that changes a labelmap removes them, so after an edit call this
    again. What is hidden is not kept, as it would be made anew on every stroke of the brush.
    """
    node.CreateDefaultDisplayNodes()
    if on:
        node.CreateClosedSurfaceRepresentation()
    else:
        node.RemoveClosedSurfaceRepresentation()
    display = node.GetDisplayNode()
    display.SetPreferredDisplayRepresentationName3D(SURFACE)
    display.SetVisibility3D(on)


def is_surface_shown(node: Any) -> bool:
    """Whether the segments are seen as surfaces in 3D views."""
    display = node.GetDisplayNode()
    has_surface = node.GetSegmentation().ContainsRepresentation(SURFACE)
    return display is not None and bool(display.GetVisibility3D()) and has_surface


def volumes_ml(node: Any) -> dict[str, float]:
    """Volume of every segment, edited or not, as it lies in the world.

    Args:
        node: A segmentation node.

    Returns:
        Name of the segment -> ml; ET, TC and WT first, the others in their order. A name that is there twice is told
        apart by the segment's identifier in brackets.

    Raises:
        InputError: If it has no labelmap, or a parent transform that is not linear.
    """
    check_labelmaps(node)
    scale = abs(np.linalg.det(parent_matrix(node)[:3, :3]))
    segmentation = node.GetSegmentation()
    volumes: dict[str, float] = {}
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        name = segment.GetName() if segment.GetName() not in volumes else f"{segment.GetName()} ({segment_id})"
        voxel_mm3 = np.prod(segment.GetRepresentation(LABELMAP).GetSpacing())
        volumes[name] = float(np.count_nonzero(segment_array(segment)) * voxel_mm3 * scale / 1000)
    first = [name for name in TUMOUR_REGIONS if name in volumes]
    return {name: volumes[name] for name in (*first, *volumes)}


def fingerprint(node: Any) -> str:
    """The same for the same voxels of the same segments in the same place, however they are stored or shown."""
    check_labelmaps(node)
    segmentation = node.GetSegmentation()
    digest = hashlib.blake2b(np.round(parent_matrix(node), 6).tobytes(), digest_size=8)
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        corner, mask = crop(segment_array(segment))
        start = segment.GetRepresentation(LABELMAP).GetExtent()[4::-2]
        place = [a + b for a, b in zip(corner, start, strict=True)] if mask.size else []
        digest.update(f"{segment.GetName()} {place} {mask.shape}".encode())
        digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()


def write_masks_steps(node: Any, reference_node: Any, folder: Path) -> Generator[None, None, dict[str, Path]]:
    """Write the segments named ET, TC and WT as masks on the grid of a volume node, wherever either lies.

    Args:
        node: A segmentation node, edited or not.
        reference_node: Volume node.
        folder: Where the files go, `segment_ET.nii` and so on.

    Returns:
        Name -> file, of those segments that are there.

    Raises:
        InputError: As for `volumes_ml`, or if a file cannot be written.
    """
    check_labelmaps(node)
    segmentation = node.GetSegmentation()
    paths: dict[str, Path] = {}
    for name in TUMOUR_REGIONS:
        segment = segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName(name))
        if segment is not None:
            mask = yield from union_steps([segment_volume(node, segment)], reference_node)
            paths[name] = write_mask(folder / f"segment_{name}.nii", mask, reference_node)
            yield
    return paths


def _check_shape(shape: tuple[int, ...], reference_node: Any, path: Path) -> None:
    """Refuse a label map that is not on the reference's grid."""
    expected = reference_node.GetImageData().GetDimensions()[::-1]
    if shape != expected:
        raise InputError(
            f'{path} has {" x ".join(map(str, shape))} voxels, but "{reference_node.GetName()}" has '
            f"{' x '.join(map(str, expected))}; give the label map that was made for this volume",
            code="other-grid",
        )


def _add_segment(segmentation: Any, region: Region, image: Any) -> None:
    """One segment with its name, colour and terms, which no editor is to replace by generated ones."""
    segment = slicer.vtkSegment()
    segment.SetName(region.name)
    segment.SetColor(region.colour)
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    segment.SetTerminology(terminology(region))
    segment.AddRepresentation(LABELMAP, image)
    segmentation.AddSegment(segment, region.name)


def _set_geometry(node: Any, reference_node: Any, to_ras: vtk.vtkMatrix4x4) -> None:
    """Tell the segmentation the grid that it may be edited on: all of the reference's."""
    converter = slicer.vtkSegmentationConverter
    geometry = converter.SerializeImageGeometry(to_ras, reference_node.GetImageData())
    node.GetSegmentation().SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), geometry)
