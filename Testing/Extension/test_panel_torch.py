"""Panel, torch: without PyTorch the panel explains itself and offers to install it, with consent and nothing else."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from DABSegLib import home, torch_offer
from panel_user import look_of, volumes_of


class TorchUtils(types.ModuleType):
    """Slicer's extension PyTorch, and a user who answers its question.

    Args:
        machine: Where "torch" is True once it is installed.
    """

    def __init__(self, machine: dict[str, bool]) -> None:
        super().__init__("PyTorchUtils")
        self.machine, self.asked, self.says_yes = machine, [], True
        self.PyTorchUtilsLogic = lambda: self

    def installTorch(self, **options: Any) -> Any:
        self.asked.append(options)
        self.machine["torch"] = self.says_yes
        return types.ModuleType("torch") if self.says_yes else None


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """A computer without PyTorch, and without the extension for it."""
    there = {"torch": False}
    version = torch_offer._version
    monkeypatch.setattr(home, "has_torch", lambda: there["torch"])
    monkeypatch.setattr(torch_offer, "_version", lambda name: "2.9.0" if name == "torch" else version(name))
    monkeypatch.setattr(torch_offer, "_is_intel_mac", lambda: False)
    for name in ("torch", "PyTorchUtils"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return there


@pytest.fixture
def extension(machine: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> TorchUtils:
    """The extension PyTorch is there."""
    utils = TorchUtils(machine)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utils)
    return utils


@pytest.fixture
def four(user, scene, a_small_patient):
    """Four good volumes, picked; after the fixture that takes torch away."""
    volumes_of(scene, a_small_patient, "Ann")
    user.until(lambda: user.volumes()[0] == "Ann_t1")
    user.settle()


def test_with_torch_nothing_is_said(user):
    assert not user.is_there("torchFrame")


def test_without_the_extension_it_says_how_to_get_it(machine, user, four):
    assert user.is_there("torchFrame")
    words = user.reads("torchLabel")
    assert words.startswith("Segmenting and simulating motion need PyTorch 2.6 or newer; it is not installed yet.")
    assert "Extensions Manager" in words
    assert not any(user.can(name) for name in ("applyButton", "simulateButton", "replayButton"))
    assert user.ui.applyButton.toolTip == "PyTorch is needed first; see the top of the panel."
    assert user.can("sampleButton"), "a virtual patient needs no torch"
    assert user.can("compareButton")
    assert not user.is_there("installTorchButton"), "it could do nothing"


def test_it_is_installed_after_asking_and_all_can_be_used(machine, extension, user, four):
    assert "you are asked first" in user.reads("torchLabel")
    assert not user.can("applyButton")
    user.press("installTorchButton")
    assert extension.asked == [{"askConfirmation": True, "torchVersionRequirement": ">=2.6"}]
    assert not user.is_there("torchFrame")
    assert user.reads("messageLabel") == "PyTorch 2.9.0 is installed."
    assert user.can("applyButton")
    assert user.can("simulateButton")


def test_a_no_changes_nothing(machine, extension, user, four, scene):
    extension.says_yes = False
    before = look_of(scene)
    user.press("installTorchButton")
    assert user.reads("messageLabel") == "PyTorch was not installed; nothing was changed."
    assert user.is_there("torchFrame")
    assert not user.can("applyButton")
    assert look_of(scene) == before


def test_torch_that_was_installed_elsewhere_is_seen_on_return(machine, extension, user, four):
    user.widget.exit()
    machine["torch"] = True
    user.widget.enter()
    assert not user.is_there("torchFrame")
    assert user.can("applyButton")
    assert extension.asked == []


def test_the_sample_case_needs_no_torch(machine, user):
    user.press("sampleButton")
    assert user.busy
    assert user.stops("sampleButton") == "Cancelled. The scene is as it was before."


def test_results_can_be_seen_measured_and_exported_without_torch(machine, finished):
    assert not finished.can("applyButton")
    assert finished.table("regionTable")
    finished.presses_and_waits("measureButton")
    assert finished.table("imageTable")
    assert finished.can("exportButton")
