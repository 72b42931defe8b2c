"""Sample: what Slicer's Sample Data gets to know, and what a click on it brings into the scene."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from DABSegLib import sample
from DABSegLib.work import SampleResult, SimulateResult, Status
from PIL import Image

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES


@dataclass(frozen=True)
class Source:
    """An entry of Sample Data; the lists are of one length, as Slicer asks for."""

    sampleName: str
    uris: list[str]
    fileNames: list[str]
    nodeNames: list[str]
    customDownloader: Callable[[Any], Any]
    thumbnailFileName: str

    def __post_init__(self) -> None:
        assert len(self.uris) == len(self.fileNames) == len(self.nodeNames)


def sample_data(*, titles: bool) -> types.ModuleType:
    """Slicer's module SampleData as far as it is used here; categories have titles since Slicer 5.12."""

    class SampleDataLogic:
        sources: dict[str, list[Source]] = {}
        titles: dict[str, str] = {}

        @classmethod
        def sampleDataSourcesByCategory(cls, category: str) -> list[Source]:
            return cls.sources.get(category, [])

        @classmethod
        def registerCustomSampleDataSource(cls, category: str, **source: Any) -> None:
            cls.sources.setdefault(category, []).append(Source(**source))

    def register_category(category: str, title: str) -> None:
        SampleDataLogic.titles[category] = title

    if titles:
        SampleDataLogic.registerCustomSampleDataCategory = staticmethod(register_category)
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic
    return module


@pytest.fixture(params=[True, False], ids=["5.12", "5.10"])
def listed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, application: Any) -> Any:
    """The logic of Sample Data, old or new."""
    module = sample_data(titles=request.param)
    monkeypatch.setitem(sys.modules, "SampleData", module)
    return module.SampleDataLogic


@pytest.fixture
def shown_errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was shown as an error."""
    errors: list[str] = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **_: errors.append(text), raising=False)
    return errors


@pytest.fixture
def quick(application: Any, scene: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A scene in which samples and motion are made at once, of one voxel each."""

    def volumes(ending: str) -> dict[str, Any]:
        made = {}
        for modality in MODALITIES:
            made[modality] = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"Virtual_005_{modality}{ending}")
            slicer.util.updateVolumeFromArray(made[modality], np.ones((1, 1, 1)))
        return made

    def sample_steps(_scene: Any, seed: int) -> Iterator[Status]:
        assert seed == sample.SEED
        yield Status("making", 0.5, busy=True)
        return SampleResult(volumes(""), scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Virtual_005 truth"))

    def simulate_steps(_scene: Any, inputs: Any, *, severity: int) -> Iterator[Status]:
        yield Status("moving", 0.5, busy=True)
        sharp = dict(inputs.volumes)
        return SimulateResult({**volumes("_motion"), "t1": sharp["t1"]}, {"severity": severity})

    monkeypatch.setattr(sample, "sample_steps", sample_steps)
    monkeypatch.setattr(sample, "simulate_steps", simulate_steps)
    monkeypatch.setattr(sample.torch_offer, "is_ready", lambda: True)
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: None)  # as without a window: nothing is fitted
    return scene


def test_both_are_listed_once(listed):
    sample.register()
    sample.register()
    assert [source.sampleName for source in listed.sources["DABSeg"]] == [sample.SHARP, sample.BLURRED]
    assert set(listed.sources) == {"DABSeg"}
    if hasattr(listed, "registerCustomSampleDataCategory"):
        assert listed.titles == {"DABSeg": "DABSeg"}


def test_nothing_is_downloaded(listed):
    sample.register()
    assert [source.uris for source in listed.sources["DABSeg"]] == [[], []]


def test_thumbnails_are_small_pictures_of_the_size_slicer_wants(listed):
    sample.register()
    for source in listed.sources["DABSeg"]:
        assert Path(source.thumbnailFileName).stat().st_size < 50_000
        with Image.open(source.thumbnailFileName) as picture:
            assert picture.format == "PNG"
            assert picture.height == 280
            assert 200 < picture.width <= 280


def test_a_click_makes_the_sharp_patient(listed, quick):
    sample.register()
    source = listed.sources["DABSeg"][0]
    nodes = source.customDownloader(source)
    assert [node.GetName() for node in nodes] == [*(f"Virtual_005_{m}" for m in MODALITIES), "Virtual_005 truth"]
    assert all(quick.IsNodePresent(node) for node in nodes)


def test_a_click_on_the_other_makes_the_blurred_patient_with_the_sharp_one(listed, quick):
    sample.register()
    source = listed.sources["DABSeg"][1]
    names = [node.GetName() for node in source.customDownloader(source)]
    assert names[:5] == [*(f"Virtual_005_{m}" for m in MODALITIES), "Virtual_005 truth"]
    assert names[5:] == [f"Virtual_005_{m}_motion" for m in ("t1ce", "t2", "flair")]


def test_what_is_shown_is_what_was_asked_for(quick):
    view = quick.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    view.SetLayoutName("Red")
    sample.load_sharp()
    assert quick.GetNodeByID(view.GetBackgroundVolumeID()).GetName() == "Virtual_005_t1ce"
    quick.Clear()
    view = quick.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    sample.load_blurred()
    assert quick.GetNodeByID(view.GetBackgroundVolumeID()).GetName() == "Virtual_005_t1ce_motion"


def test_without_torch_the_blurred_one_is_refused_before_anything_is_made(quick, shown_errors, monkeypatch):
    monkeypatch.setattr(sample.torch_offer, "is_ready", lambda: False)
    monkeypatch.setattr(sample.torch_offer, "explain", lambda: "PyTorch is needed.")
    assert sample.load_blurred() == []
    assert shown_errors == ["PyTorch is needed."]
    assert quick.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_a_failure_is_shown_and_the_next_try_is_free(quick, shown_errors, monkeypatch):
    def failing_steps(_scene: Any, _seed: int) -> Iterator[Status]:
        yield Status("making", 0.5, busy=True)
        raise InputError("the disk is full; make room", code="disk-full")

    good = sample.sample_steps
    monkeypatch.setattr(sample, "sample_steps", failing_steps)
    assert sample.load_sharp() == []
    assert len(shown_errors) == 1
    assert "disk is full" in shown_errors[0]
    monkeypatch.setattr(sample, "sample_steps", good)
    assert len(sample.load_sharp()) == 5


def test_events_are_heard_meanwhile_but_a_second_click_waits(quick, monkeypatch):
    heard: list[int] = []
    good = sample.sample_steps

    def long_steps(scene: Any, seed: int) -> Iterator[Status]:
        for _ in range(3):
            yield Status("making", 0.5, busy=True)
        return (yield from good(scene, seed))

    monkeypatch.setattr(sample, "sample_steps", long_steps)
    monkeypatch.setattr(slicer.app, "processEvents", lambda: heard.append(len(sample.load_sharp())), raising=False)
    assert len(sample.load_sharp()) == 5
    assert len(heard) >= 3
    assert set(heard) == {0}  # a click in the middle started nothing
    assert quick.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 4
