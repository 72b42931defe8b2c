"""Theme: the files that make up the page in the browser."""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).with_name("static")
PAGE = STATIC / "page.html"
"""The page's template, in Vue's language; names in it are those of the state that `Page` sets."""

GONE = STATIC / "gone.html"
"""What trame's client shows in its place when the server is gone."""

SERVED_AS = "dabseg"


def module() -> dict[str, object]:
    """What trame's server is to serve and the browser to load."""
    return {
        "serve": {SERVED_AS: str(STATIC)},
        "scripts": [f"{SERVED_AS}/page.js"],
        "styles": [f"{SERVED_AS}/page.css"],
    }
