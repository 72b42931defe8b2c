"""Fixtures of the module's tests: a fresh real MRML scene, and the module's own folder on the path."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", reason="Slicer's MRML libraries (slicer-core) are not installed")

EXTENSION = Path(__file__).parents[2] / "DABSegExtension"
sys.path[:0] = [str(EXTENSION), str(Path(__file__).parent)]


@pytest.fixture
def scene() -> Any:
    """An empty real scene, also as `slicer.mrmlScene`."""
    from standins.mrml import fresh_scene

    return fresh_scene()
