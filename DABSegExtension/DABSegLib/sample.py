"""Sample: a virtual patient in Slicer's Sample Data, sharp or blurred, made on the spot; nothing is downloaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer

from DABSegCore.errors import InputError
from DABSegLib import torch_offer
from DABSegLib.work import Inputs, Work, run_to_end, sample_steps, simulate_steps
from DABSegLib.work.runner import IDLE_S, Steps

CATEGORY = "DABSeg"
SHARP, BLURRED = "DABSeg virtual patient", "DABSeg virtual patient, blurred"
SEED = 5
"""Which virtual patient it is."""

SEVERITY = 3
"""How much the blurred one moved, 0 to 4."""

ICONS = Path(__file__).resolve().parents[1] / "Resources" / "Icons"
SHOWN = "t1ce"

_at_work: list[str] = []
"""What is being made just now: clicks are heard meanwhile, and a second one must not start a second patient."""


def register() -> None:
    """List both in the module Sample Data; a second call changes nothing."""
    from SampleData import SampleDataLogic
    from slicer.i18n import tr as _

    if hasattr(SampleDataLogic, "registerCustomSampleDataCategory"):  # Slicer 5.12; before, the name was the title
        SampleDataLogic.registerCustomSampleDataCategory(CATEGORY, title=_("DABSeg"))
    known = {source.sampleName for source in SampleDataLogic.sampleDataSourcesByCategory(CATEGORY)}
    for name, picture, make in (
        (SHARP, "VirtualPatient.png", load_sharp),
        (BLURRED, "VirtualPatientBlurred.png", load_blurred),
    ):
        if name not in known:
            SampleDataLogic.registerCustomSampleDataSource(
                category=CATEGORY,
                sampleName=name,
                thumbnailFileName=str(ICONS / picture),
                customDownloader=make,
                uris=[],
                fileNames=[],
                nodeNames=[],
            )


def load_sharp(_source: Any = None) -> list[Any]:
    """Four sharp volumes and the tumour's true outline, into the scene; returns the nodes."""
    return _shown_errors(SHARP, lambda: _sharp()[0])


def load_blurred(_source: Any = None) -> list[Any]:
    """As `load_sharp`, and the volumes as they would look had the patient moved; returns all nodes."""
    return _shown_errors(BLURRED, _blurred)


def _sharp() -> tuple[list[Any], dict[str, Any]]:
    """Make the patient; returns its nodes, and its volumes by modality."""
    made = _made(SHARP, sample_steps(slicer.mrmlScene, SEED))
    _show(made.volumes)
    return [*made.volumes.values(), made.truth], made.volumes


def _blurred() -> list[Any]:
    """Make the patient and move it; returns all nodes.

    Raises:
        InputError: If there is no torch to simulate motion with.
    """
    if not torch_offer.is_ready():
        raise InputError(torch_offer.explain(), code="missing-package")
    nodes, volumes = _sharp()
    steps = simulate_steps(slicer.mrmlScene, Inputs(volumes), severity=SEVERITY)
    motion = _made(BLURRED, steps).motion
    _show(motion)
    return [*nodes, *(volume for volume in motion.values() if volume not in nodes)]


def _made(title: str, steps: Steps[Any]) -> Any:
    """Do all of a piece of work while the application stays alive; returns its result.

    Raises:
        InputError: If it fails, with its cause and cure.
    """
    work = Work(steps)
    while not work.finished:
        status = work.advance()
        slicer.util.showStatusMessage(f"{title}: {status.stage}", 2000)
        slicer.app.processEvents()
        if not status.busy:
            time.sleep(IDLE_S)
    return run_to_end(work)


def _shown_errors(name: str, make: Callable[[], list[Any]]) -> list[Any]:
    """Make something, one at a time; what is wrong is shown, since nobody looks at what a click raises."""
    if _at_work:
        slicer.util.showStatusMessage(f"{_at_work[0]} is still being made", 3000)
        return []
    _at_work.append(name)
    try:
        return make()
    except InputError as error:
        slicer.util.errorDisplay(str(error), windowTitle=name)
        return []
    finally:
        _at_work.clear()


def _show(volumes: dict[str, Any]) -> None:
    """Put one of the volumes into the slice views."""
    slicer.util.setSliceViewerLayers(background=volumes[SHOWN], fit=True)
