"""The browser workbench: the module's work in a web page, served from this computer, without 3D Slicer.

    python -m DABSegExtension.browser CASE_DIR     # or --virtual SEED; --help tells the rest

Importing it puts the repository and the module's folder on the path, so that `DABSegCore` and `DABSegLib` are found.
"""

from __future__ import annotations

import sys
from pathlib import Path

EXTENSION = Path(__file__).resolve().parents[1]
REPOSITORY = EXTENSION.parent

for _folder in (str(EXTENSION), str(REPOSITORY)):
    if _folder not in sys.path:
        sys.path.append(_folder)
