"""How quick the browser workbench is: time to the first picture, and frames a second while scrolling and zooming.

    .venv-browser/bin/python Testing/benchmarks/bench_workbench.py CASE_FOLDER
    .venv-browser/bin/python Testing/benchmarks/bench_workbench.py CASE_FOLDER --size 1920 1080 --run

Starts the workbench on a free port and looks at it in headless Chromium. The case is blurred first (8 views), and with
`--run` restored and outlined (12 views, some more seconds). A frame is a new picture in a view; "hovered" is the view
under the pointer, which the workbench draws first.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

REPOSITORY = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SECONDS = 5
COUNT = """() => { window.frames_ = [...document.querySelectorAll('.cell')].map((cell, i) => {
    new MutationObserver(() => window.frames_[i]++)
        .observe(cell, { subtree: true, attributes: true, attributeFilter: ['src'] });
    return 0; }); }"""
SCROLL = """(ms) => new Promise((done) => {
    const area = document.querySelectorAll('.cell .remote-controlled-area')[1], box = area.getBoundingClientRect();
    const at = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2, bubbles: true, cancelable: true };
    let n = 0;
    const timer = setInterval(() => area.dispatchEvent(new WheelEvent('wheel',
        { ...at, deltaY: n++ % 60 < 30 ? 100 : -100 })), 16);
    setTimeout(() => { clearInterval(timer); done(); }, ms); })"""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 800))
    parser.add_argument("--opened", type=int, default=5, help="pages opened for the time to the first picture")
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    args = parser.parse_args()
    with workbench(args.case) as address, sync_playwright() as program:
        browser = program.chromium.launch(executable_path=args.chromium, args=FLAGS)
        link = f"{address}?case={args.case.resolve().name}"
        times = [first_picture(browser, link, args.size) for _ in range(args.opened)]
        print(f"first picture, s: first page {times[0]:.1f}, then median {statistics.median(times[1:]):.1f}")
        page = browser.new_page(viewport=dict(zip(("width", "height"), args.size, strict=True)))
        page.set_default_timeout(180_000)
        page.goto(f"{link}&severity=2" + ("&run=1" if args.run else ""))
        page.wait_for_function(f"document.querySelectorAll('.row .cell img').length === {12 if args.run else 8}")
        page.wait_for_selector("[data-busy=no]")
        for what, gesture in (("scrolling", scroll), ("zooming", zoom)):
            page.wait_for_timeout(3000)
            tell(what, frames(page, gesture))
        print("memory:", page.locator(".panel").page.inner_text("body").rsplit("MiB", 1)[0].split()[-1], "MiB")
        browser.close()


@contextmanager
def workbench(case: Path) -> Iterator[str]:
    """The address of a workbench with this case, and with seats for all pages of this program."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = [str(case.resolve()), "--port", str(port), "--no-open", "--max-sessions", "12"]
    server = subprocess.Popen([sys.executable, "-m", "DABSegExtension.browser", *words], cwd=REPOSITORY)
    try:
        while server.poll() is None:
            with socket.socket() as line:
                if line.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait()


def first_picture(browser: Browser, link: str, size: tuple[int, int]) -> float:
    """Seconds from asking for a page to its first picture; the next waits until a spare session is ready again."""
    page = browser.new_page(viewport=dict(zip(("width", "height"), size, strict=True)))
    began = time.perf_counter()
    page.goto(link)
    page.wait_for_selector(".cell img[src^=blob]")
    seconds = time.perf_counter() - began
    page.wait_for_timeout(8000)
    page.close()
    return seconds


def frames(page: Page, gesture: object) -> list[float]:
    """Frames a second of every view while something is done to the second one."""
    box = page.locator(".cell").nth(1).bounding_box()
    page.evaluate(COUNT)
    began = time.perf_counter()
    gesture(page, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    seconds = time.perf_counter() - began
    return [count / seconds for count in page.evaluate("window.frames_")]


def scroll(page: Page, x: float, y: float) -> None:
    """Turn the wheel sixty times a second."""
    page.mouse.move(x, y)
    page.evaluate(SCROLL, 1000 * SECONDS)


def zoom(page: Page, x: float, y: float) -> None:
    """Drag up and down with the right button."""
    page.mouse.move(x, y)
    page.mouse.down(button="right")
    until, n = time.perf_counter() + SECONDS, 0
    while time.perf_counter() < until:
        page.mouse.move(x, y + 4 * (n % 20 if n % 40 < 20 else 20 - n % 20))
        page.wait_for_timeout(12)
        n += 1
    page.mouse.up(button="right")


def tell(what: str, rates: list[float]) -> None:
    """One line of frames a second."""
    print(f"{what}: {len(rates)} views, hovered {rates[1]:.1f} frames/s, all together {sum(rates):.0f}")


if __name__ == "__main__":
    main()
