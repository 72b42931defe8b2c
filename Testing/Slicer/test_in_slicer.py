"""In Slicer: what the stand-ins cannot show - the application finds the module, shows it, and its own widgets obey.

Run as the README beside this file says. Plain unittest, since Slicer has no pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

IN_SLICER = "SLICER_HOME" in os.environ and hasattr(sys.modules.get("slicer"), "app")
SMALL = {"shape": (54, 64, 56), "spacing_mm": 3.0}
BLOCKED_S = 0.25
"""The event loop may never wait this long; 0.1 s is the aim, the rest is for a busy machine."""


@unittest.skipUnless(IN_SLICER, "runs inside 3D Slicer only; Testing/Slicer/README.md says how")
class InSlicer(unittest.TestCase):
    """Each test starts with an empty scene and the module's panel in front."""

    def setUp(self) -> None:
        import slicer

        self.slicer = slicer
        self.scene = slicer.mrmlScene
        self.scene.Clear()
        slicer.util.selectModule("DABSeg")
        self.panel = slicer.util.getModuleWidget("DABSeg").panel
        self.ui = self.panel.ui

    def tearDown(self) -> None:
        self.panel.runner.cancel()
        self.wait(lambda: not self.panel.runner.busy)
        self.scene.Clear()

    def wait(self, condition: Callable[[], bool], timeout_s: float = 300.0) -> float:
        """Let the application live until something is so; returns the longest it was blocked, in seconds."""
        longest, before = 0.0, time.monotonic()
        end = before + timeout_s
        while not condition():
            assert before < end, f"not so within {timeout_s:.0f} s; the log says: {self.log()}"
            self.slicer.app.processEvents()
            now = time.monotonic()
            longest, before = max(longest, now - before), now
            time.sleep(0.002)
            before = time.monotonic()
        return longest

    def log(self) -> str:
        return str(self.ui.logText.plainText)

    def press(self, button: str) -> float:
        """Press a button and wait for what it does; returns the longest the application was blocked, in seconds."""
        self.wait(lambda: getattr(self.ui, button).enabled, 10.0)
        getattr(self.ui, button).click()
        return self.wait(lambda: not self.panel.runner.busy)

    def a_small_patient(self) -> dict[str, Any]:
        """Four volumes of a virtual patient, picked in the panel."""
        from DABSegLib.work import Work, run_to_end, sample_steps

        sample = run_to_end(Work(sample_steps(self.scene, 5, **SMALL)))
        self.panel.volumes.choose(sample.volumes)
        self.panel.refresh()
        return sample.volumes

    def count(self, node_class: str) -> int:
        return self.scene.GetNumberOfNodesByClass(node_class)

    def needs_torch(self) -> None:
        from DABSegLib import torch_offer

        if not torch_offer.is_ready():
            self.skipTest(torch_offer.explain())

    def test_the_application_knows_the_module(self) -> None:
        module = self.slicer.modules.dabseg
        assert module.title == "DABSeg"
        assert "Segmentation" in module.categories
        assert not module.icon.isNull()

    def test_the_core_is_beside_it_and_slicers_python_runs_it(self) -> None:
        from DABSegLib import home

        assert "python" in Path(home.python()).stem.lower()
        done = subprocess.run(
            [home.python(), "-c", "import DABSegCore.cases; print(DABSegCore.__file__)"],
            env=home.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).parents[1] == home.CORE

    def test_an_empty_scene_offers_nothing_to_apply(self) -> None:
        assert not self.ui.applyButton.enabled
        assert not self.ui.simulateButton.enabled
        assert self.ui.sampleButton.enabled

    def test_samples_are_listed(self) -> None:
        from DABSegLib import sample
        from SampleData import SampleDataLogic

        sources = SampleDataLogic.sampleDataSourcesByCategory(sample.CATEGORY)
        assert [source.sampleName for source in sources] == [sample.SHARP, sample.BLURRED]
        self.slicer.util.selectModule("SampleData")  # draws their buttons and thumbnails

    def test_the_way_of_the_buttons(self) -> None:
        self.needs_torch()
        self.a_small_patient()
        blocked = max(self.press("simulateButton"), self.press("applyButton"))
        assert blocked < BLOCKED_S
        assert self.count("vtkMRMLScalarVolumeNode") == 12, self.log()
        segmentation = self.panel.results.segmentation
        assert segmentation.GetSegmentation().GetNumberOfSegments() == 3
        assert segmentation.GetSegmentation().GetNumberOfLayers() == 3
        self.press("compareButton")
        names = [name for name in self.slicer.app.layoutManager().sliceViewNames() if name.startswith("DABSeg")]
        assert len(names) == 12
        self.press("editButton")
        assert self.slicer.util.selectedModule() == "SegmentEditor"
        settings = self.slicer.modules.segmenteditor.widgetRepresentation().self().editor.mrmlSegmentEditorNode()
        assert settings.GetOverwriteMode() == settings.OverwriteNone

    def test_cancel_leaves_the_scene_as_it_was(self) -> None:
        self.needs_torch()
        self.a_small_patient()
        before = [self.count("vtkMRMLNode"), self.count("vtkMRMLScalarVolumeNode")]
        self.ui.applyButton.click()
        middle = time.monotonic() + 3.0
        self.wait(lambda: time.monotonic() > middle)
        assert self.panel.runner.busy
        self.ui.applyButton.click()
        self.wait(lambda: not self.panel.runner.busy, 10.0)
        assert [self.count("vtkMRMLNode"), self.count("vtkMRMLScalarVolumeNode")] == before

    def test_closing_the_scene_meanwhile_is_safe(self) -> None:
        self.needs_torch()
        self.a_small_patient()
        self.ui.applyButton.click()
        self.wait(lambda: self.panel.runner.busy, 10.0)
        self.scene.Clear()
        self.wait(lambda: not self.panel.runner.busy, 10.0)
        assert self.count("vtkMRMLScalarVolumeNode") == 0

    def test_a_saved_scene_comes_back_with_what_was_picked(self) -> None:
        volumes = self.a_small_patient()
        names = {modality: volume.GetName() for modality, volume in volumes.items()}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "scene.mrb")
            assert self.slicer.util.saveScene(path)
            self.scene.Clear()
            assert self.slicer.util.loadScene(path)
            chosen = self.panel.volumes.chosen()
            assert {modality: volume.GetName() for modality, volume in chosen.items()} == names

    def test_what_is_picked_outlives_an_added_scene_and_is_not_replaced_when_deleted(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "other.mrb")
            other = self.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "other")
            assert self.slicer.util.saveScene(path)
            self.scene.RemoveNode(other)
            volumes = self.a_small_patient()
            assert self.slicer.util.loadScene(path)  # adds it
        assert self.panel.volumes.chosen() == volumes
        assert self.ui.t1Selector.currentNode() is volumes["t1"]
        self.scene.RemoveNode(volumes["t2"])
        assert self.panel.volumes.chosen() == {**volumes, "t2": None}
        assert self.ui.t2Selector.currentNode() is None

    def test_the_self_test(self) -> None:
        from DABSegLib import selftest

        selftest.run()


if __name__ == "__main__" and IN_SLICER:  # Slicer --python-script
    outcome = unittest.TextTestRunner(verbosity=2).run(unittest.defaultTestLoader.loadTestsFromTestCase(InSlicer))
    sys.modules["slicer"].util.exit(0 if outcome.wasSuccessful() else 1)
