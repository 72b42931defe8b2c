"""The page in a real browser, over one worker without a gateway: a case is opened, blurred, restored and looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("trame_slicer")
playwright = pytest.importorskip("playwright.sync_api")

from DABSegCore.phantom import virtual_patient, write_patient  # noqa: E402

REPOSITORY = Path(__file__).parents[2]
PATIENCE_MS = 90_000
NOT_BUSY = "[data-busy=no]"
CELLS = "(count) => document.querySelectorAll('.row .cell').length === count"
PICTURES = """(count) => [...document.querySelectorAll('.row .cell img')].filter((one) => one.naturalWidth > 50).length
    === count"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a worker that has a small virtual patient open."""
    folder = tmp_path_factory.mktemp("worker")
    write_patient(folder / "P3", virtual_patient(seed=3, shape=(54, 64, 56), spacing_mm=3.0), "P3")
    command = [sys.executable, "-m", "DABSegExtension.browser.worker", str(folder / "session"), "--alone"]
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    with (folder / "log").open("w") as log:
        worker = subprocess.Popen(
            [*command, f"--case=P3={folder / 'P3'}", "--open=case=P3"],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    with worker:
        yield f"http://127.0.0.1:{json.loads(worker.stdout.readline())['port']}/"
        worker.terminate()


@pytest.fixture
def page(browser: playwright.Browser, address: str) -> Iterator[playwright.Page]:
    """The worker's page with its pictures, at the size of a small screen; it fails on errors and foreign requests."""
    wrong: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: request.url.startswith((address, "blob:", "data:")) or wrong.append(request.url))
    page.goto(address)
    page.wait_for_selector(NOT_BUSY)
    page.wait_for_function(PICTURES.replace("===", ">="), arg=4)
    yield page
    page.close()
    assert wrong == []


def place_mm(page: playwright.Page) -> float:
    """Where the slices are, as the page tells it."""
    side, number, _ = page.locator(".place").inner_text().split()
    return float(number) * (1 if side in "SRA" else -1)


def wait_for_place(page: playwright.Page, there_mm: float) -> None:
    text = f"{'I' if there_mm < 0 else 'S'} {abs(there_mm):.1f} mm"
    page.wait_for_function(f"() => document.querySelector('.place').textContent.trim() === '{text}'")


def test_everything_fits_on_a_small_screen(page: playwright.Page) -> None:
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    assert page.locator(".research").inner_text().startswith("Research use only")
    right = page.locator(".tools > :last-child > :last-child").bounding_box()
    assert right["x"] + right["width"] <= 1280
    bottom = page.locator(".research").bounding_box()
    assert bottom["y"] + bottom["height"] <= 800
    for cell in page.locator(".row .cell").all():
        assert cell.bounding_box()["height"] > 300


def test_wheel_keys_and_slider_move_the_slices(page: playwright.Page) -> None:
    page.locator(".row .cell").first.hover()
    began = place_mm(page)
    page.mouse.wheel(0, -100)  # away from the user is up, as in Slicer
    wait_for_place(page, began + 3)
    page.keyboard.press("b")
    wait_for_place(page, began)
    page.keyboard.press("s")
    page.wait_for_selector(".segmented button.on >> text=Sagittal")
    page.keyboard.press("a")
    page.wait_for_selector(".segmented button.on >> text=Axial")
    page.locator("input.slice").evaluate(
        "(slider) => { slider.value = slider.max; slider.dispatchEvent(new Event('input')); }"
    )
    page.wait_for_function(f"() => parseFloat(document.querySelector('.place').textContent.slice(2)) !== {abs(began)}")


def test_keys_in_a_field_are_text(page: playwright.Page) -> None:
    began = place_mm(page)
    page.locator("#virtual").focus()
    page.keyboard.press("ArrowUp")
    page.wait_for_timeout(300)
    assert place_mm(page) == began
    assert page.locator("#virtual").input_value() == "6"


def test_light_and_dark_are_remembered(page: playwright.Page) -> None:
    dark = page.evaluate("getComputedStyle(document.querySelector('.panel')).backgroundColor")
    page.get_by_title("Light or dark").click()
    light = page.evaluate("getComputedStyle(document.querySelector('.panel')).backgroundColor")
    assert light != dark
    page.reload()
    page.wait_for_function(PICTURES.replace("===", ">="), arg=4)
    assert page.evaluate("getComputedStyle(document.querySelector('.panel')).backgroundColor") == light
    assert page.evaluate("getComputedStyle(document.querySelector('.views')).backgroundColor") == "rgb(0, 0, 0)"


def test_the_list_of_keys_opens_and_closes(page: playwright.Page) -> None:
    page.keyboard.press("?")
    page.wait_for_selector("#help[open]")
    assert "Next slice" in page.locator("#help").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_selector("#help:not([open])", state="attached")


def test_a_double_click_shows_one_view_alone_and_all_again(page: playwright.Page) -> None:
    cells = page.locator(".row .cell:visible")
    count = cells.count()
    height = cells.first.bounding_box()["height"]
    page.locator(".row .cell").nth(1).dblclick()
    page.wait_for_function("() => document.querySelector('.row .cell:nth-of-type(3) img').naturalHeight > 600")
    assert cells.count() == 1
    assert cells.first.inner_text().startswith("T1ce")
    cells.first.dblclick()
    page.wait_for_function(PICTURES, arg=count)
    assert cells.count() == count
    assert cells.first.bounding_box()["height"] == height


def test_a_case_is_blurred_restored_compared_and_downloaded(page: playwright.Page) -> None:
    page.locator("#severity").fill("3")
    assert page.locator("#level").inner_text() == "S3, severe"
    page.locator("#seed").fill("11")
    page.get_by_role("button", name="Simulate").click()
    page.wait_for_function(PICTURES, arg=8)
    page.wait_for_selector(NOT_BUSY)
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_function(PICTURES, arg=12)
    page.wait_for_selector(NOT_BUSY)
    assert "S3 is shown" in page.locator(".panel").inner_text()
    names = page.locator(".row .name").all_inner_texts()
    assert [name.split() for name in names] == [["sharp"], ["blurred"], ["pseudo-clear", "synthetic"]]
    table = page.locator("section:has-text('Tumour') tbody tr").all_inner_texts()
    assert [row.split()[0] for row in table] == ["ET", "TC", "WT"]
    assert all("–" not in row for row in table), table
    page.get_by_role("button", name="Prepare").click()
    page.wait_for_selector(".files li >> nth=2")
    page.get_by_role("button", name="3D", exact=True).click()
    page.wait_for_function("() => document.querySelector('.three-d img')?.naturalWidth > 50")
    page.get_by_role("button", name="3D", exact=True).click()


def test_what_runs_can_be_cancelled(page: playwright.Page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_selector("[data-busy=yes]")
    page.get_by_role("button", name="Cancel", exact=True).first.click()
    page.wait_for_selector(NOT_BUSY)
    assert page.get_by_role("button", name="Run", exact=True).is_enabled()


def test_what_is_not_there_is_said_in_a_sentence(page: playwright.Page) -> None:
    page.evaluate("window.trame.trigger('open_case', ['../../etc'])")
    page.evaluate("window.trame.trigger('simulate', ['a lot', -1])")
    page.wait_for_timeout(300)
    assert page.locator(".fault:visible").count() == 0, "nothing was asked that a page would ask"
    assert page.locator(NOT_BUSY).count() == 1
