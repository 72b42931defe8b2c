"""Torch offer: what is told in each state of an installation, and that nothing is installed without a yes."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import slicer
from DABSegLib import torch_offer


class TorchUtils:
    """What Slicer's extension PyTorch offers: a question, an answer and an installation.

    Args:
        machine: Package -> version; what is installed.
        answer: Whether the user says yes.
        brings: The version that is installed then, or an error.
    """

    def __init__(self, machine: dict[str, str], answer: bool = True, brings: str | Exception = "2.9.0+cpu") -> None:
        self.machine, self.answer, self.brings = machine, answer, brings
        self.asked: list[dict[str, Any]] = []

    def PyTorchUtilsLogic(self) -> TorchUtils:
        return self

    def installTorch(self, **options: Any) -> Any:
        self.asked.append(options)
        if not self.answer:
            return None
        if isinstance(self.brings, Exception):
            raise self.brings
        self.machine["torch"] = self.brings
        return types.ModuleType("torch")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed, package -> version, as in Slicer 5.10 without torch; may be changed."""
    packages = {"numpy": "2.0.2", "scipy": "1.13.1", "SimpleITK": "2.5.2"}
    monkeypatch.setattr(torch_offer, "_version", lambda name: packages.get(name, ""))
    monkeypatch.setattr(torch_offer.home, "has_torch", lambda: "torch" in packages)
    monkeypatch.setattr(slicer, "app", types.SimpleNamespace(testingEnabled=lambda: False), raising=False)
    monkeypatch.setattr(torch_offer, "_is_intel_mac", lambda: False)
    monkeypatch.delitem(sys.modules, "PyTorchUtils", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)  # another test of the same process may have loaded it
    return packages


@pytest.fixture
def extension(machine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., TorchUtils]:
    """Installs the extension PyTorch, whose user and network behave as told."""

    def have(**behaviour: Any) -> TorchUtils:
        utils = TorchUtils(machine, **behaviour)
        monkeypatch.setitem(sys.modules, "PyTorchUtils", utils)
        return utils

    return have


def test_this_machine_is_ready():
    assert torch_offer.explain() == ""
    assert torch_offer.is_ready()


@pytest.mark.parametrize("version", ["2.6", "2.6.0+cu124", "2.10.0", "3.0.0a1", ""])
def test_a_new_torch_is_enough(machine, version):
    machine["torch"] = version
    assert torch_offer.is_ready()
    assert torch_offer.explain() == ""


@pytest.mark.parametrize("version", ["2.5.1", "2.5.1+cpu", "1.13.0", "2"])
def test_an_old_torch_is_not(machine, version):
    machine["torch"] = version
    assert not torch_offer.is_ready()
    assert torch_offer.explain().startswith(
        f"Segmenting and simulating motion need PyTorch 2.6 or newer; PyTorch {version} is installed."
    )


def test_without_the_extension_it_says_where_to_get_it(machine):
    assert not torch_offer.is_ready()
    assert "Extensions Manager" in torch_offer.explain()
    assert torch_offer.install() == torch_offer.explain()


def test_with_the_extension_it_is_installed_after_asking(machine, extension):
    utils = extension()
    assert "you are asked first" in torch_offer.explain()
    assert torch_offer.install() == "PyTorch 2.9.0+cpu is installed."
    assert utils.asked == [{"askConfirmation": True, "torchVersionRequirement": ">=2.6"}]
    assert torch_offer.is_ready()


def test_an_old_torch_is_replaced_unless_it_is_in_use(machine, extension, monkeypatch):
    machine["torch"] = "2.5.1"
    utils = extension()
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    assert "restart Slicer" in torch_offer.install()
    assert utils.asked == []
    monkeypatch.delitem(sys.modules, "torch")
    assert torch_offer.install() == "PyTorch 2.9.0+cpu is installed."


def test_a_no_changes_nothing(machine, extension):
    extension(answer=False)
    assert torch_offer.install() == "PyTorch was not installed; nothing was changed."
    assert "torch" not in machine


def test_an_installation_that_fails_is_told_with_its_reason(machine, extension, caplog):
    extension(brings=OSError("no space left"))
    assert torch_offer.install().startswith("PyTorch was not installed: no space left. ")
    assert "no space left" in caplog.text
    assert "Traceback" in caplog.text


def test_an_installation_that_brings_too_little_is_told(machine, extension):
    extension(brings="2.2.2")
    assert torch_offer.install() == "An installation ended, but PyTorch 2.2.2 is installed; restart Slicer."


def test_nothing_is_installed_where_nobody_is_asked(machine, extension, monkeypatch):
    utils = extension()
    monkeypatch.setattr(slicer, "app", types.SimpleNamespace(testingEnabled=lambda: True))
    assert "while Slicer runs its tests" in torch_offer.install()
    assert utils.asked == []


def test_what_is_there_is_not_installed_again(machine, extension):
    machine["torch"] = "2.6.0"
    utils = extension()
    assert torch_offer.install() == "PyTorch is installed; nothing is to be done."
    assert utils.asked == []


def test_an_intel_mac_is_told_that_there_is_none(machine, extension, monkeypatch):
    utils = extension()
    monkeypatch.setattr(torch_offer, "_is_intel_mac", lambda: True)
    assert "Apple silicon" in torch_offer.explain()
    assert torch_offer.install() == torch_offer.explain()
    assert utils.asked == []


def test_a_broken_extension_is_not_taken_for_none(machine, monkeypatch, tmp_path):
    (tmp_path / "PyTorchUtils.py").write_text("import surely_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="surely_not_there"):
        torch_offer.explain()


def test_packages_of_slicer_are_looked_at_and_never_installed(machine, extension):
    machine.update(torch="2.9.0", scipy="1.10.0")
    utils = extension()
    assert not torch_offer.is_ready()
    assert torch_offer.explain() == "scipy 1.10.0 is too old (1.11 is needed); install Slicer 5.10 or newer."
    assert torch_offer.install() == torch_offer.explain()
    assert utils.asked == []


def test_a_missing_package_is_named(machine, monkeypatch, tmp_path):
    machine["torch"] = "2.9.0"
    file = tmp_path / "requirements.txt"
    file.write_text("# a comment\n\nnumpy>=1.26\nsurely_not_there>=1.0  # and why\n")
    monkeypatch.setattr(torch_offer, "REQUIREMENTS", file)
    assert torch_offer.explain() == (
        "The package surely_not_there, which ships with Slicer, is missing; install Slicer again."
    )


def test_the_requirements_are_those_of_the_package():
    with open(torch_offer.REQUIREMENTS.parents[2] / "pyproject.toml", encoding="utf-8") as file:
        lines = [line.strip().strip('",') for line in file if line.startswith('    "') and ">=" in line]
    needed = dict(line.split(">=") for line in lines)
    assert dict(torch_offer._requirements()) == {name: needed[name] for name in ("numpy", "scipy", "SimpleITK")}
    assert needed["torch"] == torch_offer.TORCH
