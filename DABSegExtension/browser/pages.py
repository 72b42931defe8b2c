"""Pages: the few that the gateway writes itself, each a sentence or two, light or dark as the system is."""

from __future__ import annotations

from html import escape

FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title} - DABSeg workbench</title><link rel="icon" href="data:,">{head}
<style>
  :root {{ color-scheme: light dark; }}
  body {{ margin: 0; min-height: 100vh; display: grid; place-items: center;
          font: 16px/1.5 system-ui, sans-serif; }}
  main {{ max-width: 34rem; padding: 2rem; }}
  h1 {{ font-size: 1.25rem; font-weight: 600; margin: 0 0 .5rem; }}
  p {{ margin: .5rem 0; }}
  small {{ opacity: .7; }}
</style></head>
<body><main><h1>{title}</h1>{body}<p><small>Research use only.</small></p></main></body></html>
"""


def page(title: str, sentence: str, *, link: tuple[str, str] | None = None, reload_s: float | None = None) -> str:
    """A page as HTML.

    Args:
        title: Heading, which the tab shows as well.
        sentence: What there is to say.
        link: Address and words of a link below it.
        reload_s: Load this address again after so many seconds; what is shown stays until the answer comes.
    """
    body = f"<p>{escape(sentence)}</p>"
    if link is not None:
        body += f'<p><a href="{escape(link[0], quote=True)}">{escape(link[1])}</a></p>'
    head = "" if reload_s is None else f'<meta http-equiv="refresh" content="{reload_s:g}">'
    return FRAME.format(title=escape(title), head=head, body=body)


def starting() -> str:
    """While a worker starts."""
    return page("Starting the workbench", "It takes a few seconds the first time.", reload_s=0)


def full(most: int) -> str:
    """While no more sessions may be opened."""
    return page(
        "All seats are taken",
        f"{most} sessions are open, and this server has no more; close a page of the workbench, here or elsewhere, "
        "and try again in a minute.",
        link=("", "Try again"),
    )


def cannot_start() -> str:
    """While the system starts no more programs."""
    return page(
        "No session can be started",
        "The computer of this server has no room for one more program now, as its terminal tells; try again later.",
        link=("", "Try again"),
    )


def ended(reason: str, again: str) -> str:
    """For the address of a session that is no more.

    Args:
        reason: Why, one sentence.
        again: Address that opens a new one.
    """
    return page("This session has ended", reason, link=(again, "Open a new one"))


def no_token() -> str:
    """For whoever comes without the token; the link helps those who followed one from another site."""
    return page(
        "A token is needed",
        "This server asks for its token; open the address that it printed at its start, which ends in ?token=...",
        link=("", "I have opened it in this browser before"),
    )


def refused(sentence: str) -> str:
    """For a request that is not answered."""
    return page("Not answered", sentence)


def missing() -> str:
    """For an address that leads nowhere."""
    return page("Nothing here", "The workbench has no such page.", link=("/", "Open the workbench"))
