"""Fixtures of the module's tests: a fresh real MRML scene, the opened panel, and patience with the event loop."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

EXTENSION = Path(__file__).parents[2] / "DABSegExtension"
sys.path[:0] = [str(EXTENSION), str(Path(__file__).parent), str(Path(__file__).parents[1] / "Core")]
HAS_MRML = importlib.util.find_spec("slicer") is not None
NEEDS_MRML = re.compile(r"^(import|from) (DABSegLib|slicer|standins|vtk)\b", re.MULTILINE)


class WithoutMRML(pytest.Module):
    """A file of tests that cannot even be imported here."""

    def collect(self) -> list[Any]:
        return pytest.skip("Slicer's MRML libraries (slicer-core) are not here", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> pytest.Module | None:
    """Without Slicer's libraries the files that need them are skipped one by one, and the report says so."""
    if HAS_MRML or not NEEDS_MRML.search(module_path.read_text(encoding="utf-8")):
        return None
    return WithoutMRML.from_parent(parent, path=module_path)


@pytest.fixture(autouse=True)
def no_lost_errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An exception in an observer or a slot is only printed by VTK and Qt; here it fails the test."""
    lost: list[str] = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: lost.append("".join(traceback.format_exception(*error))))
    yield
    assert not lost, "\n".join(lost)


@pytest.fixture
def scene() -> Any:
    """An empty real scene, also as `slicer.mrmlScene`."""
    from standins.mrml import fresh_scene

    return fresh_scene()


@pytest.fixture
def application() -> Any:
    """The stand-in for `slicer.app`; with it `import qt`, `import ctk` and Slicer's Python modules work."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    pytest.importorskip("PySide6.QtWidgets", reason="PySide6-Essentials is not here", exc_type=ImportError)
    from standins import application, dialogs

    dialogs.forget()
    return application.install()


@pytest.fixture
def panel(application: Any, scene: Any) -> Iterator[Any]:
    """The module's opened panel on a fresh scene; nothing it started outlives the test."""
    from standins.application import close_module, open_module
    from standins.processes import children

    before = children()
    widget = open_module(scene)
    yield widget
    close_module(widget)
    left = _gone_within(lambda: children() - before, timeout_s=5)
    assert not left, f"child processes outlive the panel: {left}"


@pytest.fixture
def user(panel: Any) -> Any:
    """Somebody at the opened panel."""
    from panel_user import User

    return User(panel)


@pytest.fixture(scope="session")
def quick_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for what is computed in half the time of the shipped one, where it matters little what comes out."""
    from tiny import tiny_weights

    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture(scope="session")
def a_finished_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved scene with results in it; making it takes ten seconds, opening it none."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    pytest.importorskip("PySide6.QtWidgets", reason="PySide6-Essentials is not here", exc_type=ImportError)
    from panel_user import finished_scene

    return finished_scene(tmp_path_factory.mktemp("finished") / "scene")


@pytest.fixture
def finished(a_finished_scene: Path, user: Any) -> Any:
    """Somebody at the panel who has opened that scene."""
    from standins.mrml import load_scene

    load_scene(a_finished_scene)
    user.settle()
    return user


def _gone_within(left: Callable[[], set[int]], timeout_s: float) -> set[int]:
    """What is still there when the time is over."""
    end = time.monotonic() + timeout_s
    while left() and time.monotonic() < end:
        time.sleep(0.02)
    return left()


@pytest.fixture
def wait_until(application: Any) -> Callable[..., None]:
    """`wait_until(condition, timeout_s)`: the event loop runs until the condition holds; fails when it does not."""

    def wait(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"not so within {timeout_s} s: {condition}"
            application.processEvents()
            time.sleep(0.002)

    return wait
