"""Glyphs: render DejaVu Sans once into the small atlas that `DABSegCore.lettering` reads.

python tools/make_glyphs.py        # needs matplotlib, whose copy of the font is used
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

FACES = {"text": ("DejaVuSans.ttf", 16), "title": ("DejaVuSans-Bold.ttf", 20)}  # name: file, pixels
CHARACTERS = "".join(map(chr, [*range(0x20, 0x7F), *range(0xA1, 0x100)])) + "–−→…"
ATLAS = Path(__file__).parents[1] / "DABSegCore" / "glyphs" / "dejavu-sans.npz"


def strip(file: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """All characters of a face side by side: coverage uint8 [height, width], and where each begins."""
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / file), size)
    height = sum(font.getmetrics())
    columns = []
    for character in CHARACTERS:
        cell = Image.new("L", (max(1, round(font.getlength(character))), height))
        ImageDraw.Draw(cell).text((0, 0), character, fill=255, font=font)
        columns.append(np.asarray(cell))
    starts = np.cumsum([0] + [column.shape[1] for column in columns])
    return np.concatenate(columns, axis=1), starts.astype(np.int32)


def main() -> None:
    arrays = {"characters": np.array(CHARACTERS)}
    for name, (file, size) in FACES.items():
        arrays[f"{name}_coverage"], arrays[f"{name}_starts"] = strip(file, size)
    np.savez_compressed(ATLAS, **arrays)
    print(f"{ATLAS}: {ATLAS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
