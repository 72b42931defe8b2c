"""Self test: the module's whole way on a small virtual patient, for whoever has Slicer; two minutes on two cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from DABSegCore.labels import MODALITIES, REGIONS
from DABSegLib import segments, torch_offer
from DABSegLib.work import Inputs, Work, run_to_end, sample_steps, segment_steps, simulate_steps

SEED, SHAPE, SPACING_MM = 5, (54, 64, 56), 3.0
SEVERITY = 2
_SLACK = 2.0
"""A found tumour this many times as large or as small as the true one is a fault of the way, not of the network."""


def run(say: Callable[[str], Any] = print) -> None:
    """Make a patient, blur it, segment it; look at what comes of each.

    Args:
        say: Told what is being done.

    Raises:
        AssertionError: If something is not as it should be.
        InputError: If a step fails.
    """
    scene = slicer.mrmlScene
    say("A virtual patient is made")
    sample = run_to_end(Work(sample_steps(scene, SEED, shape=SHAPE, spacing_mm=SPACING_MM)))
    _check_volumes(scene, sample.volumes)
    if not torch_offer.is_ready():
        say(f"The rest is left out. {torch_offer.explain()}")
        return
    say("It moves")
    moved = run_to_end(Work(simulate_steps(scene, Inputs(sample.volumes), severity=SEVERITY)))
    _check_volumes(scene, moved.motion)
    assert not set(moved.motion.values()) & set(sample.volumes.values()), "motion made no new volumes"
    say("It is restored and segmented")
    found = run_to_end(Work(segment_steps(scene, Inputs(moved.motion))))
    _check_volumes(scene, found.pseudo_clear)
    _check_tumour(found.segmentation, sample.truth)
    say("The self test passed")


def _check_volumes(scene: Any, volumes: dict[str, Any]) -> None:
    """One volume of each modality, in the scene and with something in it."""
    assert set(volumes) == set(MODALITIES), f"modalities are {sorted(volumes)}"
    for volume in volumes.values():
        assert scene.IsNodePresent(volume), f"{volume.GetName()} is not in the scene"
        assert slicer.util.arrayFromVolume(volume).shape == SHAPE, f"{volume.GetName()} has another grid"
        assert slicer.util.arrayFromVolume(volume).max() > 0, f"{volume.GetName()} is empty"


def _check_tumour(found: Any, truth: Any) -> None:
    """Three segments one within the other, of about the true size and in the true place."""
    volumes_ml, true_ml = segments.volumes_ml(found), segments.volumes_ml(truth)
    for region in REGIONS:
        ratio = volumes_ml[region] / true_ml[region]
        assert 1 / _SLACK < ratio < _SLACK, f"{region} has {volumes_ml[region]:.1f} ml, not {true_ml[region]:.1f} ml"
    assert volumes_ml["ET"] <= volumes_ml["TC"] <= volumes_ml["WT"], f"regions are not nested: {volumes_ml}"
    here, there = (node.GetSegmentCenterRAS("WT") for node in (found, truth))
    off_mm = sum((a - b) ** 2 for a, b in zip(here, there, strict=True)) ** 0.5
    assert off_mm < 10 * SPACING_MM, f"the tumour is found {off_mm:.0f} mm beside its place"
