"""Self test: the module's whole way on a small virtual patient, for whoever has Slicer; half a minute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from DABSegCore.labels import MODALITIES, REGIONS
from DABSegLib import torch_offer
from DABSegLib.nodes import segments
from DABSegLib.work import Inputs, Work, run_to_end, sample_steps, score_steps, segment_steps, simulate_steps

SEED, SHAPE, SPACING_MM = 5, (54, 64, 56), 3.0
SEVERITY = 2
GOOD_DICE = 0.7
"""Of the whole tumour; less is a fault of the way (a place, an order, a window), not of the network: it has 0.91."""


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
    say("It is compared with the truth")
    scores = score_steps(
        scene,
        found.segmentation,
        sample.truth,
        sample.volumes,
        moved.motion,
        found.pseudo_clear,
        sample.volumes["t1ce"],
    )
    _check_scores(run_to_end(Work(scores)))
    _check_volumes_ml(segments.volumes_ml(found.segmentation))
    say("The self test passed")


def _check_volumes(scene: Any, volumes: dict[str, Any]) -> None:
    """One volume of each modality, in the scene and with something in it."""
    assert set(volumes) == set(MODALITIES), f"modalities are {sorted(volumes)}"
    for volume in volumes.values():
        assert scene.IsNodePresent(volume), f"{volume.GetName()} is not in the scene"
        assert slicer.util.arrayFromVolume(volume).shape == SHAPE, f"{volume.GetName()} has another grid"
        assert slicer.util.arrayFromVolume(volume).max() > 0, f"{volume.GetName()} is empty"


def _check_scores(scores: dict[str, Any]) -> None:
    """The tumour is where it is, and every volume was measured."""
    assert scores["regions"]["WT"]["dice"] > GOOD_DICE, f"the whole tumour is missed: {scores['regions']['WT']}"
    assert set(scores["regions"]) == set(REGIONS), f"regions are {sorted(scores['regions'])}"
    assert set(scores["images"]) == set(MODALITIES), f"images are {sorted(scores['images'])}"


def _check_volumes_ml(volumes_ml: dict[str, float]) -> None:
    """Three segments, none empty, one within the other."""
    assert set(volumes_ml) == set(REGIONS), f"segments are {sorted(volumes_ml)}"
    assert 0 < volumes_ml["ET"] <= volumes_ml["TC"] <= volumes_ml["WT"], f"regions are not nested: {volumes_ml}"
