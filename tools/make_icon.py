"""Icon: draw the module's icon, a brain that moved, with the three regions of a tumour in it.

python tools/make_icon.py        # needs Pillow; writes DABSegExtension/Resources/Icons/DABSeg.png
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

ICON = Path(__file__).parents[1] / "DABSegExtension" / "Resources" / "Icons" / "DABSeg.png"
SIZE_PX, FINE = 128, 8  # each pixel is the mean of FINE x FINE points
GHOST, EDGE, BRAIN, GAP = (96, 125, 160), (38, 56, 84), (206, 218, 232), (120, 142, 170)
YELLOW, BLUE, RED = (242, 217, 51), (51, 128, 255), (255, 51, 51)  # WT, TC, ET as everywhere else

Plane = tuple[np.ndarray, np.ndarray]
"""Coordinates x (to the right) and y (down) of every point, in [-1, 1]."""


def blob(plane: Plane, centre: tuple[float, float], radii: tuple[float, float], bumps: int, depth: float) -> np.ndarray:
    """Points inside an ellipse with a wavy rim.

    Args:
        plane: The points, [H, W].
        centre: Its middle.
        radii: Half its width and height.
        bumps: How many, evenly around, with a dip in front.
        depth: How far they stand out, relative to the radii.

    Returns:
        bool [H, W].
    """
    x, y = (plane[0] - centre[0]) / radii[0], (plane[1] - centre[1]) / radii[1]
    rim = 1 + depth * np.abs(np.sin(bumps / 2 * np.arctan2(x, -y)))
    return np.hypot(x, y) <= rim


def brain(plane: Plane, shift: float, shrink: float = 0.0) -> np.ndarray:
    """Points inside a brain seen from above, with folds around it; bool [H, W]."""
    return blob(plane, (shift, 0.0), (0.61 - shrink, 0.88 - shrink), 10, 0.09)


def draw() -> np.ndarray:
    """The icon, RGBA uint8 [H, W, 4]."""
    axis = (np.arange(SIZE_PX * FINE) + 0.5) / (SIZE_PX * FINE) * 2 - 1
    plane = np.broadcast_arrays(axis[None, :], axis[:, None])
    canvas = np.zeros((SIZE_PX * FINE, SIZE_PX * FINE, 4))

    def fill(mask: np.ndarray, colour: tuple[int, int, int], alpha: float = 1.0) -> None:
        canvas[mask] = canvas[mask] * (1 - alpha) + np.array([*colour, 255]) * alpha  # colours times alpha

    home, tumour = 0.27, (0.53, -0.16)
    for shift, alpha in ((-0.28, 0.30), (-0.10, 0.40), (0.08, 0.55)):
        fill(brain(plane, shift), GHOST, alpha)
    fill(brain(plane, home), EDGE)
    fill(brain(plane, home, 0.055), BRAIN)
    fill((abs(plane[0] - home) < 0.022) & (abs(plane[1]) < 0.80), GAP)
    fill(blob(plane, (home - 0.17, 0.12), (0.08, 0.28), 2, 0.2), GAP)  # a ventricle; the tumour has closed the other
    for scale, colour in ((1.12, EDGE), (1.0, YELLOW)):
        fill(blob(plane, tumour, (0.27 * scale, 0.37 * scale), 5, 0.14), colour)
    fill(blob(plane, (tumour[0] + 0.01, tumour[1] + 0.02), (0.175, 0.25), 3, 0.16), BLUE)
    fill(blob(plane, (tumour[0] + 0.01, tumour[1] + 0.03), (0.095, 0.14), 3, 0.16), RED)

    mean = canvas.reshape(SIZE_PX, FINE, SIZE_PX, FINE, 4).mean(axis=(1, 3))
    alpha = np.maximum(mean[..., 3:], 1e-6) / 255
    return np.concatenate([mean[..., :3] / alpha, mean[..., 3:]], axis=2).round().clip(0, 255).astype(np.uint8)


def main() -> None:
    ICON.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw(), "RGBA").save(ICON, optimize=True)
    print(f"{ICON}: {ICON.stat().st_size} bytes")


if __name__ == "__main__":
    main()
