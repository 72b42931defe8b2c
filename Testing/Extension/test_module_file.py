"""DABSeg.py: what the application calls of it, when all is well and when the panel could not be made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import slicer
from standins.application import EXTENSION, close_module, load_module

LIBRARIES = ("DABSegLib", "DABSegCore")


def our_modules() -> dict[str, Any]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in LIBRARIES}


@pytest.fixture
def modules_kept() -> Iterator[None]:
    """The other tests go on with the classes that they know."""
    before = our_modules()
    yield
    for name in our_modules():
        del sys.modules[name]
    sys.modules.update(before)


def test_reload_makes_a_panel_of_the_libraries_as_they_are_now(
    panel: Any, modules_kept: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def reload_file(name: str) -> None:
        """In Slicer's order: the file, the end of the old panel, the new one."""
        assert name == "DABSeg"
        panel.cleanup()
        made.append(load_module(EXTENSION / "DABSeg.py"))

    monkeypatch.setattr(slicer.util, "reloadScriptedModule", reload_file, raising=False)
    panel.onReload()
    (again,) = made
    assert type(again.panel) is not type(panel.panel)
    assert type(again.panel.parameters) is not type(panel.panel.parameters)
    again.enter()
    assert again.panel.ui.findingsLabel.text
    close_module(again)


def test_a_panel_that_could_not_be_made_can_be_reloaded(application: Any, scene: Any) -> None:
    widget = load_module(EXTENSION / "DABSeg.py")
    widget.cleanup()
    widget.panel = type(widget).panel  # as after an error in setup
    widget.cleanup()
