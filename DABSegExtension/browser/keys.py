"""Keys: the keyboard in slice views, as in Slicer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """What some keys do.

    Args:
        keys: As a browser names them (`KeyboardEvent.key`).
        action: Of `Page.act`.
        help: For the page's list of keys; "" where another entry tells it.
    """

    keys: tuple[str, ...]
    action: str
    help: str


KEYS = (
    Key(("f", "ArrowRight", "ArrowUp"), "next", "Next slice"),
    Key(("b", "ArrowLeft", "ArrowDown"), "previous", "Previous slice"),
    Key(("r",), "fit", "Whole head again, after zooming or moving"),
    Key(("g",), "outlines", "Outlines on and off"),
    Key(("v",), "slice-in-3d", "Slice in the 3D view on and off"),
    Key(("a",), "Axial", "Axial plane"),
    Key(("s",), "Sagittal", "Sagittal plane"),
    Key(("c",), "Coronal", "Coronal plane"),
    Key(("w",), "brightness", "Brightness as at first"),
    Key(("?",), "help", "This list"),
)
"""f, b, arrows, r, g and v are Slicer's own."""

NAMES = {"ArrowRight": "→", "ArrowLeft": "←", "ArrowUp": "↑", "ArrowDown": "↓"}

MOUSE = (
    ("Wheel", "Slices"),
    ("Left drag", "Window (across) and level (up and down)"),
    ("Right drag, or Ctrl + wheel", "Zoom"),
    ("Middle drag, or Shift + left drag", "Move"),
    ("Double click", "One view alone, and all again"),
    ("Shift + move", "Crosshair, at the same place in all views"),
)
"""What the mouse does in slice views, which are Slicer's own."""

ACTIONS = {name: key.action for key in KEYS for name in key.keys}


def help_rows() -> list[dict[str, str]]:
    """The list of keys and of the mouse, for the page."""
    keys = [{"keys": "  ".join(NAMES.get(name, name) for name in key.keys), "text": key.help} for key in KEYS]
    return [{"keys": keys_, "text": text} for keys_, text in MOUSE] + keys
