"""Page: the few pieces of HTML a report is made of; one file that asks nothing of a network and runs no script."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape


class Markup(str):
    """Text that is HTML already; any other string is escaped where it is put in."""


_CSS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1c21; --faint: #5c616b; --line: #dbdee3; --panel: #f5f6f8;
  --warn: #8a4b00; --warnpaper: #fff6e6; --link: #1a5ccc; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #0e0f12; --ink: #f0f0f0; --faint: #a5a9b0;
  --line: #33363d; --panel: #191b20; --warn: #ffc069; --warnpaper: #2a2010; --link: #7db0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 928px; padding: 24px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 40px 0 8px; padding-top: 12px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 28px 0 6px; }
p { margin: 8px 0; max-width: 46em; }
.faint, figcaption, caption, small { color: var(--faint); }
small, figcaption, caption { font-size: 13px; }
.lead { font-size: 17px; }
.box { border-left: 4px solid var(--warn); background: var(--warnpaper); padding: 8px 14px; margin: 14px 0; }
.box p { max-width: none; margin: 4px 0; }
.box ul { margin: 4px 0; padding-left: 20px; }
.apart { background: var(--panel); border-left: 4px solid var(--line); padding: 2px 14px 8px; margin: 14px 0; }
.apart h4 { font-size: 13px; color: var(--faint); margin: 10px 0 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 12px 0 4px; font-variant-numeric: tabular-nums; width: 100%; }
caption { text-align: left; caption-side: bottom; padding-top: 6px; }
th, td { text-align: left; vertical-align: top; padding: 4px 12px 4px 0; }
thead tr:last-child th { border-bottom: 2px solid var(--line); }
thead th { font-size: 13px; vertical-align: bottom; }
tbody { border-bottom: 1px solid var(--line); }
tbody th { font-weight: 600; }
td small, th small { display: block; font-weight: 400; }
td small, .line { white-space: nowrap; }
figure { margin: 16px 0; }
figure img { display: block; width: 100%; height: auto; }
figure img.dark { display: none; }
@media screen and (prefers-color-scheme: dark) { figure img.dark { display: block; }
  figure img.light { display: none; } }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 16px; margin: 8px 0; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--panel); padding: 10px 14px; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; }
code, pre { font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; }
@media (max-width: 560px) { body { padding: 14px; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin: 0 0 6px; } }
@page { margin: 14mm; }
@media print { body { padding: 0; max-width: none; font-size: 10.5pt; } h2, h3 { break-after: avoid; }
  figure, tbody, .box { break-inside: avoid; } thead { display: table-header-group; } .box { border: 1px solid #999; }
  .scroll { overflow: visible; } }
"""
# No script, no network: images come from the page itself, and nothing else is loaded.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, parts: Iterable[Markup]) -> str:
    """A whole page, to be written in UTF-8."""
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>"
    )
    body = "\n".join(filter(None, map(_ready, parts)))
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{body}\n</main></body></html>\n'


def markup(*parts: str) -> Markup:
    """Pieces one after the other; those that are plain text are escaped."""
    return Markup("".join(map(_ready, parts)))


def element(tag: str, *parts: str, **attributes: str) -> Markup:
    """`<tag>` around pieces; an attribute `cls` is the class."""
    named = "".join(f' {"class" if key == "cls" else key}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{tag}{named}>{markup(*parts)}</{tag}>")


def bullets(items: Iterable[str]) -> Markup:
    """A list."""
    return element("ul", *(element("li", item) for item in items))


def facts(pairs: Mapping[str, str]) -> Markup:
    """Names and what they are; those without a word are left out."""
    return element("dl", *(markup(element("dt", key), element("dd", value)) for key, value in pairs.items() if value))


def table(
    headings: Sequence[str],
    groups: Mapping[str, Sequence[Sequence[str]]],
    caption: str = "",
    above: Sequence[tuple[str, int]] = (),
) -> Markup:
    """A table in groups of rows.

    Args:
        headings: One per column; the first is that of the groups.
        groups: Rows of cells by the name of their group, which is written once, beside its rows.
        caption: Small print below.
        above: Headings that span several columns each, and how many.
    """
    spanning = [element("th", heading, scope="colgroup", colspan=str(columns)) for heading, columns in above]
    named = element("tr", *(element("th", heading, scope="col") for heading in headings))
    head = element("thead", element("tr", *spanning) if above else "", named)
    bodies = []
    for name, rows in groups.items():
        begin = element("th", name, scope="rowgroup", rowspan=str(len(rows)))
        lines = [markup(*(element("td", cell) for cell in row)) for row in rows]
        bodies.append(element("tbody", *(element("tr", "" if i else begin, line) for i, line in enumerate(lines))))
    small = element("caption", caption) if caption else ""
    return element("div", element("table", small, head, *bodies), cls="scroll")


def picture(described: str, light: bytes, dark: bytes | None = None, caption: str = "") -> Markup:
    """A figure; the dark one is shown on dark screens, and never printed.

    Args:
        described: What a reader who cannot see it is told.
        light: PNG.
        dark: PNG.
        caption: Below it.
    """
    # Two images, as the choice that <picture> makes on a dark screen is kept when the page is printed.
    images = [_image(described, light, "light" if dark else ""), _image(described, dark, "dark") if dark else ""]
    below = element("figcaption", caption) if caption else ""
    return element("figure", *images, below)


def _image(described: str, png: bytes, cls: str) -> Markup:
    data = base64.b64encode(png).decode()
    return Markup(f'<img class="{cls}" alt="{escape(described)}" src="data:image/png;base64,{data}">')


def _ready(part: str) -> str:
    return part if isinstance(part, Markup) else escape(part)
