"""Checks: what is wrong, or may be, with the four volumes a user has picked, told before anything is run.

`look` reads matrices only and can be called at every change; `look_closely_steps` reads all voxels, piece by piece.
Both tell what `DABSegCore.cases.load_case` will refuse or warn of, in the names the user sees.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from DABSegCore.cases import SKULL_STRIPPED_BOUND_ML
from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.preprocess import BRAIN_EXTENT_MM
from DABSegCore.volume import Volume, overlap, same_grid
from DABSegLib.naming import TITLES
from DABSegLib.nodes.geometry import as_volume, local_affine, voxels
from DABSegLib.nodes.links import KIND
from DABSegLib.nodes.summary import Summary, summary_steps

Volumes = Mapping[str, Any]
"""Modality -> volume node, or None where none is picked."""


@dataclass(frozen=True)
class Finding:
    """One thing the user should know.

    Args:
        level: "stop" (it cannot be run like this), "warn" (it can, but look) or "info".
        text: The sentence to show.
        code: Stable machine-readable name.
    """

    level: Literal["stop", "warn", "info"]
    text: str
    code: str


def look(volumes: Volumes, reference: str) -> list[Finding]:
    """What can be told without reading voxels, in some milliseconds.

    Args:
        volumes: What is picked so far.
        reference: The modality on whose grid results will be.

    Returns:
        The worst first; empty when all is well.
    """
    picked = _picked(volumes)
    findings = [*_missing(picked), *_twice(picked), *_made_here(picked)]
    placed: dict[str, Volume] = {}
    for modality, node in picked.items():
        try:
            placed[modality] = as_volume(node)
        except InputError as fault:
            findings.append(Finding("stop", str(fault), fault.code))
            continue
        if min(placed[modality].shape) < 2:
            findings.append(_flat(node))
    if reference in placed:
        grid, grid_node = placed[reference], picked[reference]
        for modality, volume in placed.items():
            if not same_grid(volume, grid):
                findings.append(_other_grid(picked[modality], volume, grid_node, grid, TITLES[reference]))
    return sorted(findings, key=_badness)


def look_closely_steps(volumes: Volumes, reference: str) -> Generator[None, None, list[Finding]]:
    """What only the voxels tell: no contrast, copies, numbers that are none, wrong sizes, a skull, negative values.

    What was read is remembered until the voxels change, so a second look is quick.

    Args:
        volumes: What is picked so far; those `look` found without voxels are passed over.
        reference: The modality on whose grid the brain's size is measured.

    Yields:
        After every piece.

    Returns:
        The worst first.
    """
    summaries: dict[str, Summary] = {}
    picked = {modality: node for modality, node in _picked(volumes).items() if _is_readable(node)}
    for modality, node in picked.items():
        summaries[modality] = yield from summary_steps(node)
    found = [finding for modality, node in picked.items() for finding in _content(node, summaries[modality])]
    for a, b in itertools.combinations(picked, 2):
        same = summaries[a].digest == summaries[b].digest and picked[a] is not picked[b]
        if same and summaries[a].low < summaries[a].high:  # two constant images are told already
            found.append(_copies(a, picked[a], b, picked[b]))
    if reference in picked:
        found += _extent(picked[reference], summaries[reference])
    findings = [*found, *_skull(picked, summaries), *_negative(picked, summaries)]
    return sorted(findings, key=_badness)


def _badness(finding: Finding) -> int:
    return ("stop", "warn", "info").index(finding.level)


def _picked(volumes: Volumes) -> dict[str, Any]:
    """The volumes there are, in the order of the modalities."""
    return {modality: volumes[modality] for modality in MODALITIES if volumes.get(modality) is not None}


def _missing(picked: Volumes) -> list[Finding]:
    missing = [TITLES[modality] for modality in MODALITIES if modality not in picked]
    if not missing:
        return []
    text = f"No volume is chosen for {_listed(missing)}, but all four modalities are needed; choose one for each"
    return [Finding("stop", text, "missing-modality")]


def _twice(picked: Volumes) -> list[Finding]:
    uses: dict[Any, list[str]] = {}
    for modality, node in picked.items():
        uses.setdefault(node, []).append(modality)
    return [
        Finding(
            "stop",
            f"{_quoted(picked[used[0]])} is chosen for {_listed([TITLES[modality] for modality in used])}, but each "
            "modality is an image of its own; choose another volume",
            "same-volume-twice",
        )
        for used in uses.values()
        if len(used) > 1
    ]


def _made_here(picked: Volumes) -> list[Finding]:
    return [
        Finding(
            "warn",
            f"{_quoted(node)} is {_with_article(node.GetAttribute(KIND))} volume, made by a network and not by a "
            "scanner, so what is found in it may not be in the patient; choose the original volume",
            "synthetic-volume",
        )
        for node in picked.values()
        if node.GetAttribute(KIND) not in (None, "motion")
    ]


def _with_article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _flat(node: Any) -> Finding:
    size = " x ".join(str(n) for n in node.GetImageData().GetDimensions())
    text = f"{_quoted(node)} is 2-D ({size}), but each modality is one 3-D volume; choose the whole series"
    return Finding("stop", text, "not-3d")


def _other_grid(node: Any, volume: Volume, grid_node: Any, grid: Volume, title: str) -> Finding:
    """The finding for a volume on another grid than the reference's."""
    covered = overlap(volume, grid)
    if covered == 0:
        return Finding(
            "stop",
            f"{_quoted(node)} and {_quoted(grid_node)} lie in different places and do not overlap, but all four must "
            "show the same head in the same place; register them first or choose the right volume",
            "no-overlap",
        )
    part = "" if covered > 0.995 else f" and covers {covered:.0%} of it"
    return Finding(
        "warn",
        f"{_quoted(node)} lies on another grid than {_quoted(grid_node)}{part}: it will be resampled onto the {title} "
        "grid, not registered; if the head moved in between, register the volumes first",
        "other-grid",
    )


def _is_readable(node: Any) -> bool:
    """Whether there are voxels of one number each."""
    try:
        return voxels(node).size > 0
    except InputError:  # `look` has told it
        return False


def _content(node: Any, summary: Summary) -> list[Finding]:
    """What no image may hold."""
    if summary.bad:
        text = (
            f"{_quoted(node)} holds {summary.bad} voxels that are NaN or infinite, but every voxel must be a number; "
            "export the image again or replace them by 0"
        )
        return [Finding("stop", text, "not-finite")]
    if summary.low == summary.high:
        text = (
            f"{_quoted(node)} has the value {summary.low:g} in every voxel, but an image must show something; choose "
            "another volume"
        )
        return [Finding("stop", text, "constant-image")]
    return []


def _copies(a: str, node_a: Any, b: str, node_b: Any) -> Finding:
    text = (
        f"{_quoted(node_a)} ({TITLES[a]}) and {_quoted(node_b)} ({TITLES[b]}) have the same value in every voxel, but "
        "each modality is an image of its own; choose the right volume for each"
    )
    return Finding("stop", text, "same-volume-twice")


def _extent(node: Any, summary: Summary) -> list[Finding]:
    """A size that only wrong voxel sizes give; the core refuses it, too, but only after it has read everything."""
    d0, d1, h0, h1, w0, w1 = summary.box
    extent_mm = (np.linalg.norm(local_affine(node)[:3, :3], axis=0) * (w1 - w0, h1 - h0, d1 - d0)).tolist()
    low_mm, high_mm = BRAIN_EXTENT_MM
    if summary.low == summary.high or (min(extent_mm) >= low_mm and max(extent_mm) <= high_mm):
        return []
    extent = " x ".join(f"{mm:.3g}" for mm in extent_mm)
    text = (
        f"The brain in {_quoted(node)} is {extent} mm large, but a brain has {low_mm:g} to {high_mm:g} mm along each "
        "axis; correct the voxel sizes in the module Volumes"
    )
    too_large = max(extent_mm) > high_mm  # a small one may be larger in the other images
    return [Finding("stop" if too_large else "warn", text, "brain-extent")]


def _skull(picked: Volumes, summaries: Mapping[str, Summary]) -> list[Finding]:
    volume_ml = {
        modality: summaries[modality].filled * abs(np.linalg.det(local_affine(node)[:3, :3])) / 1000
        for modality, node in picked.items()
    }
    too_much = [modality for modality, ml in volume_ml.items() if ml > SKULL_STRIPPED_BOUND_ML]
    if not too_much:
        return []
    names = _listed([_quoted(picked[modality]) for modality in too_much])
    largest_ml = max(volume_ml.values())
    text = (
        f"{names} {'does' if len(too_much) == 1 else 'do'} not look skull-stripped: {largest_ml:.0f} ml are not 0, and "
        f"a brain has less than {SKULL_STRIPPED_BOUND_ML} ml; strip the skull first for results to trust"
    )
    return [Finding("warn", text, "not-skull-stripped")]


def _negative(picked: Volumes, summaries: Mapping[str, Summary]) -> list[Finding]:
    negative = [_quoted(node) for modality, node in picked.items() if summaries[modality].low < 0]
    if not negative:
        return []
    text = (
        f"{_listed(negative)} {'has' if len(negative) == 1 else 'have'} negative values, but scanners give positive "
        "ones and 0 outside the brain; values below 0 are treated as the darkest brain"
    )
    return [Finding("warn", text, "negative-values")]


def _quoted(node: Any) -> str:
    return f'"{node.GetName()}"'


def _listed(words: list[str]) -> str:
    """Words as in a sentence: "T1, T2 and FLAIR"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
