"""Gateway in a real browser, with real workers: two sessions, reloading, restarting, bad files and the token."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("trame_slicer")
playwright = pytest.importorskip("playwright.sync_api")

from DABSegCore.phantom import virtual_patient, write_patient  # noqa: E402

REPOSITORY = Path(__file__).parents[2]
PATIENCE_MS = 60_000
TITLE = ".panel h2 b.value >> nth=0"
BROKEN = "Object"
"""What trame's client says where its connection breaks."""

PICTURE = "() => [...document.querySelectorAll('.cell img')].some((image) => image.naturalWidth > 50)"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two small virtual patients, P3 and P4."""
    folder = tmp_path_factory.mktemp("cases")
    for seed in (3, 4):
        patient = virtual_patient(seed=seed, shape=(54, 64, 56), spacing_mm=3.0)
        write_patient(folder / f"P{seed}", patient, f"P{seed}")
    return folder


@pytest.fixture
def serve(tmp_path: Path, cases: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Starts the workbench on the two patients; returns the process and the address that it printed."""
    begun = []

    def start(*words: str, port: int = 0) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [*(sys.executable, "-m", "DABSegExtension.browser", str(cases), "--no-open", f"--port={port}"), *words],
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process, re.search(r"http://\S+", process.stdout.readline())[0]

    yield start
    for process in begun:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


@pytest.fixture
def new_page(browser: playwright.Browser) -> Iterator[Callable[[], playwright.Page]]:
    """Opens a page in a browser of its own; a request to elsewhere, or one that is forbidden, fails the test."""
    wrong: list[str] = []
    contexts = []

    def opened() -> playwright.Page:
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: _note_foreign(wrong, request.url))
        page.on("websocket", lambda socket: _note_foreign(wrong, socket.url))
        page.on("console", lambda told: "Content Security Policy" in told.text and wrong.append(told.text))
        page.on("pageerror", lambda error: str(error) == BROKEN or wrong.append(str(error)))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def _note_foreign(wrong: list[str], url: str) -> None:
    if not re.match(r"(http|ws)://127\.0\.0\.1:\d+/|data:|blob:", url):
        wrong.append(url)


def title(page: playwright.Page, wanted: str) -> None:
    """Wait until the page shows the case of that name, and a picture of it."""
    playwright.expect(page.locator(TITLE)).to_have_text(wanted, timeout=PATIENCE_MS)
    page.wait_for_function(PICTURE)


def test_two_browsers_two_cases_and_no_mixing(serve, new_page):
    _, address = serve()
    one, two = new_page(), new_page()
    one.goto(f"{address}?case=P3")
    two.goto(f"{address}?case=P4")
    title(one, "P3")
    title(two, "P4")
    assert one.url.split("/")[4] != two.url.split("/")[4]
    one.select_option("#case", "P4")
    title(one, "P4")
    title(two, "P4")
    two.select_option("#case", "P3")
    title(two, "P3")
    title(one, "P4")


def test_loading_the_page_again_comes_back_to_what_it_showed(serve, new_page):
    _, address = serve()
    page = new_page()
    page.goto(f"{address}?case=P3")
    title(page, "P3")
    page.select_option("#case", "P4")
    title(page, "P4")
    path = page.url
    page.reload()
    title(page, "P4")
    assert page.url == path


def test_killed_and_started_again_the_page_says_so_and_its_link_opens_it(serve, new_page):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process, address = serve(port=port)
    page = new_page()
    page.goto(f"{address}?case=P3")
    title(page, "P3")
    process.kill()
    process.wait()
    serve(port=port)
    page.reload()
    assert page.locator("h1").inner_text() == "This session has ended"
    page.get_by_role("link", name="Open a new one").click()
    title(page, "P3")


def test_bad_files_are_told_in_a_sentence_and_good_ones_are_opened(serve, new_page, cases, tmp_path):
    _, address = serve()
    page = new_page()
    page.goto(f"{address}?case=P4")
    title(page, "P4")
    session = page.url
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"this is no image")
    files = {modality: next((cases / "P3").glob(f"*_{modality}.nii.gz")) for modality in ("t1", "t1ce", "t2", "flair")}
    page.get_by_role("button", name="Upload four files").click()
    for modality, path in {**files, "t2": bad}.items():
        page.set_input_files(f"#upload input[name={modality}]", path)
    page.get_by_role("button", name="Upload and open").click()
    fault = page.locator("#upload .fault")
    playwright.expect(fault).to_have_text("The file for T2 is no packed NIfTI file, as its name says; export it again.")
    title(page, "P4")
    page.set_input_files("#upload input[name=t2]", files["t2"])
    page.get_by_role("button", name="Upload and open").click()
    playwright.expect(page.locator(TITLE)).not_to_have_text("P4", timeout=PATIENCE_MS)
    page.wait_for_function(PICTURE)
    assert page.get_by_role("button", name="Copy link to this view").is_disabled()
    assert page.url == session


def test_with_the_token_all_works_and_it_is_not_in_the_address(serve, new_page):
    _, address = serve("--token", "a-token-of-22-letters-")
    root, _, token = address.partition("?token=")
    page = new_page()
    page.goto(root)
    assert page.locator("h1").inner_text() == "A token is needed"
    page.goto(f"{root}?token={token}&case=P3")
    title(page, "P3")
    assert token not in page.url
    page.goto(f"{root}?case=P4")
    title(page, "P4")
    stranger = new_page()
    assert stranger.goto(page.url).status == 401
