"""Parts of the page that need no scene: the chart, the keys, the queue and the loop of frames."""

from __future__ import annotations

import asyncio
import io
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from DABSegCore.motion import SEVERITIES
from DABSegExtension.browser import keys
from DABSegExtension.browser.charts import HEIGHT, NAME_GAP, WIDTH, robustness_svg, x_of, y_of
from DABSegExtension.browser.frames import MAX_PENDING, MOVING_QUALITY, RESTING_QUALITY, Frames, encode
from DABSegExtension.browser.queueing import GatewayTurns
from DABSegExtension.browser.state import RobustnessRow
from DABSegExtension.browser.theme import PAGE, STATIC


def a_row(severity: int, et: float | None = 0.5, tc: float | None = 0.75, wt: float | None = 1.0) -> RobustnessRow:
    return RobustnessRow(severity, "dice", et, tc, wt)


def test_without_rows_there_is_no_chart() -> None:
    assert robustness_svg(()) == ""


def test_a_chart_is_a_picture_with_a_dot_where_each_number_is() -> None:
    svg = ElementTree.fromstring(robustness_svg([a_row(0), a_row(4, et=0.0)]))
    dots = [
        (float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in svg.findall(".//g[@class='line ET']/circle")
    ]
    assert dots == [pytest.approx((x_of(0), y_of(0.5)), abs=0.1), pytest.approx((x_of(4), y_of(0.0)), abs=0.1)]
    assert y_of(1.0) < y_of(0.5) == pytest.approx((y_of(0.0) + y_of(1.0)) / 2)
    everything = [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in svg.iter("circle")]
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in everything)


def test_a_region_in_neither_outline_has_no_dot() -> None:
    svg = ElementTree.fromstring(robustness_svg([a_row(0), a_row(1, et=None), a_row(2)]))
    assert len(svg.findall(".//g[@class='line ET']/circle")) == 2
    assert len(svg.findall(".//g[@class='line WT']/circle")) == 3


def test_names_of_lines_that_meet_keep_apart() -> None:
    svg = ElementTree.fromstring(robustness_svg([a_row(3, 0.0, 0.0, 0.0)]))
    heights = sorted(
        float(text.get("y", "")) for text in svg.iter("text") if (text.get("class") or "").startswith("name")
    )
    assert len(heights) == 3
    assert all(below - above >= NAME_GAP - 0.1 for above, below in pairwise(heights))
    assert heights[-1] <= HEIGHT


def test_keys_are_slicers_and_each_means_one_thing() -> None:
    names = [name for key in keys.KEYS for name in key.keys]
    assert len(names) == len(set(names))
    assert (keys.ACTIONS["f"], keys.ACTIONS["b"]) == ("next", "previous")
    assert keys.ACTIONS["ArrowRight"] == "next"
    assert keys.ACTIONS["r"] == "fit"
    assert all(row["keys"] and row["text"] for row in keys.help_rows())


def test_levels_of_motion_are_called_as_in_the_core() -> None:
    from DABSegExtension.browser.page import LEVEL_NAMES

    assert tuple(level.name for level in SEVERITIES.values()) == LEVEL_NAMES


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "//" not in text.replace("${location.origin}", "").replace("// ", ""), path.name
    assert "Research use only" in PAGE.read_text(encoding="utf-8")


def test_a_turn_is_wanted_once_and_given_back_once() -> None:
    said: list[str] = []
    turns = GatewayTurns(lambda event, **facts: said.append(event))
    turns.want()
    turns.want()
    turns.hear({"event": "ahead", "wish": 1, "count": 2})
    assert (turns.ahead(), turns.is_mine()) == (2, False)
    turns.hear({"event": "turn", "wish": 1})
    assert (turns.ahead(), turns.is_mine()) == (0, True)
    turns.end()
    turns.end()
    assert not turns.is_mine()
    assert said == ["want-turn", "end-turn"]


def test_a_turn_that_comes_too_late_is_not_taken() -> None:
    turns = GatewayTurns(lambda event, **facts: None)
    turns.want()
    turns.end()
    turns.hear({"event": "turn", "wish": 1})
    assert not turns.is_mine()


def test_a_turn_for_a_wish_that_was_dropped_is_not_taken_for_the_next() -> None:
    wishes: list[int] = []
    turns = GatewayTurns(lambda event, **facts: wishes.extend(facts.values()))
    turns.want()
    turns.end()
    turns.want()
    turns.hear({"event": "turn", "wish": wishes[0]})
    assert not turns.is_mine()
    turns.hear({"event": "turn", "wish": wishes[1]})
    assert turns.is_mine()


class Canvas:
    """A window that takes some time to render, and tells the order in which windows did."""

    def __init__(self, name: str, order: list[str]) -> None:
        self.name, self.order = name, order

    @property
    def img_cols_rows(self) -> tuple[np.ndarray, int, int]:
        self.order.append(self.name)
        return np.full((6, 8, 3), 200, np.uint8), 8, 6


def run_frames(frames: Frames, seconds: float) -> None:
    """Let the loop run for a while."""

    async def story() -> None:
        task = asyncio.create_task(frames.run())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())


def make_frames(pending: int = 0) -> tuple[Frames, list[str], list[tuple[str, int]]]:
    """A loop over three windows A, B and C; the order they were rendered in, and what was sent at which quality."""
    frames, order, sent = Frames(lambda: pending), [], []
    for name in "ABC":
        stream = frames.add(name, Canvas(name, order))
        stream.visible = True
        stream.set_push_callback(lambda picture, meta, name=name: sent.append((name, meta["quality"])))
        stream.schedule_render()
    return frames, order, sent


def test_the_view_under_the_pointer_is_rendered_first_and_what_rests_gets_finer() -> None:
    frames, order, sent = make_frames()
    frames.focus = "B"
    run_frames(frames, 0.6)
    assert order[:3] == ["B", "A", "C"]
    assert sorted(sent[:3]) == [(name, MOVING_QUALITY) for name in "ABC"]
    assert sorted(sent[3:]) == [(name, RESTING_QUALITY) for name in "ABC"]


def test_what_is_not_on_the_page_is_not_rendered() -> None:
    frames, order, _ = make_frames()
    frames.stream("C").visible = False
    run_frames(frames, 0.1)
    assert sorted(order) == ["A", "B"]


def test_a_slow_line_gets_fewer_pictures_rather_than_later_ones() -> None:
    frames, order, _ = make_frames(pending=MAX_PENDING + 1)
    run_frames(frames, 0.1)
    assert order == []


def test_what_waits_is_done_before_a_view_is_rendered_and_once() -> None:
    frames, order, _ = make_frames()
    frames.do_first(lambda: order.append("first"))

    def before() -> None:
        frames.stream("A").before = None
        order.append("before A")

    frames.stream("A").before = before
    run_frames(frames, 0.1)
    assert order == ["first", "before A", "A", "B", "C"]


def test_a_picture_that_was_overtaken_is_dropped() -> None:
    frames, _, sent = make_frames()
    stream = frames.stream("A")
    stream.send(2, b"late", (8, 6), 1)
    stream.send(1, b"early", (8, 6), 1)
    assert sent == [("A", 1)]


def test_pictures_are_jpegs_that_keep_thin_colours_at_rest() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 15] = (255, 40, 40)
    resting = np.asarray(Image.open(io.BytesIO(encode(pixels, RESTING_QUALITY))))
    moving = encode(pixels, MOVING_QUALITY)
    assert np.abs(resting[4:-4, 15].astype(int) - (255, 40, 40)).max() < 30
    assert len(moving) < len(encode(pixels, RESTING_QUALITY))
