"""Work: what is done is skipped, what was cut short goes on, what fails is told and passed over; a child's words."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from DABSegCore.comparison import child
from DABSegCore.comparison.child import Ended, run_child
from DABSegCore.comparison.plan import Method
from DABSegCore.comparison.reading import read_plan
from DABSegCore.comparison.work import Workshop, is_judged, judge, record_of, work_through
from DABSegCore.evaluation.results import EVALUATION
from DABSegCore.progress import Progress
from DABSegCore.training.run import STATE

PLAN = """
[protocol]
virtual = 1
reference = "one"
[train]
virtual = 4
steps = 10
preset = "small"
[[method]]
name = "one"
[[method]]
name = "NAFNet"
judged = false
train = { preset = "nafnet-small" }
[[method]]
name = "two"
restorer = "NAFNet"
"""


class Commands:
    """Stand-ins for `train` and `evaluate`: they leave what these leave, and note what they were asked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.codes: dict[tuple[str, str], int] = {}

    def run(self, words: list[str], name: str, progress: Progress) -> Ended:
        self.asked.append([name, *words])
        option = "--resume" if "--resume" in words else "--out"
        folder = Path(words[words.index(option) + 1])
        folder.mkdir(parents=True, exist_ok=True)
        code = self.codes.get((name, words[0]), 0)
        if words[0] == "DABSegCore.train":
            (folder / STATE).touch()
            if not code:
                (folder / "last.pt").write_text(name, encoding="utf-8")
        elif code < 100:
            (folder / EVALUATION).write_text('{"records": []}', encoding="utf-8")
        if code == 130:
            raise KeyboardInterrupt
        return Ended(code, "the reason", 2.0, 5.0 if words[0] == "DABSegCore.train" else 7.0)

    def said(self) -> list[str]:
        """What was run since the last time, in short."""
        short = [f"{name}: {words[0].split('.')[1]}{' again' * ('--resume' in words)}" for name, *words in self.asked]
        self.asked.clear()
        return short


@pytest.fixture
def commands() -> Commands:
    return Commands()


@pytest.fixture
def shop(tmp_path: Path, commands: Commands) -> Callable[..., Workshop]:
    """A comparison that is begun, or begun again, with a plan."""

    def begin(text: str = PLAN) -> Workshop:
        (tmp_path / "plan.toml").write_text(text, encoding="utf-8")
        plan = read_plan(tmp_path / "plan.toml")
        return Workshop(plan, tmp_path / "out", None, "cpu", Progress("quiet", io.StringIO()), commands.run)

    return begin


ALL = ["one: train", "one: evaluate", "NAFNet: train", "two: train", "two: evaluate"]


def test_methods_are_trained_and_judged_in_order_and_only_once(shop, commands) -> None:
    assert work_through(shop()) == {}
    assert commands.said() == ALL
    assert work_through(shop()) == {}
    assert commands.said() == []


def test_the_commands_get_what_the_plan_says(shop, commands, tmp_path: Path) -> None:
    work_through(shop())
    run, judged = tmp_path / "out" / "runs" / "two", tmp_path / "out" / "evaluations" / "two"
    restorer = tmp_path / "out" / "runs" / "nafnet" / "last.pt"
    settings = ["--virtual", "4", "--steps", "10", "--preset", "small", "--device", "cpu"]
    assert commands.asked[3][1:] == ["DABSegCore.train", "--out", str(run), "--restorer", str(restorer), *settings]
    where = ["--out", str(judged), "--no-report", "--virtual", "1", "--severity", "0", "2", "--seed", "0"]
    assert commands.asked[4][1:] == [
        *("DABSegCore.evaluate", *where, "--weights", str(run / "last.pt"), "--device", "cpu"),
    ]


def test_a_training_that_was_cut_short_goes_on(shop, commands, tmp_path: Path) -> None:
    commands.codes["one", "DABSegCore.train"] = 130
    with pytest.raises(KeyboardInterrupt):
        work_through(shop())
    assert commands.said() == ["one: train"]
    commands.codes.clear()
    assert work_through(shop()) == {}
    assert commands.asked[0][1:] == [
        *("DABSegCore.train", "--resume", str(tmp_path / "out" / "runs" / "one"), "--device", "cpu"),
    ]
    assert commands.said() == ["one: train again", *ALL[1:]]


def test_what_fails_is_told_and_passed_over_and_tried_again(shop, commands) -> None:
    commands.codes["NAFNet", "DABSegCore.train"] = 2
    assert work_through(shop()) == {
        "NAFNet": "its training failed (the reason)",
        "two": "its restorer NAFNet failed",
    }
    assert commands.said() == ALL[:3]
    commands.codes.clear()
    assert work_through(shop()) == {}
    assert commands.said() == ["NAFNet: train again", *ALL[3:]]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (2, "2 times it could not be judged, the last (the reason)"),
        (101, "judging it failed (the reason)"),
    ],
)
def test_cases_that_could_not_be_judged_are_told_apart_from_a_failure(shop, commands, code: int, said: str) -> None:
    commands.codes["one", "DABSegCore.evaluate"] = code
    assert work_through(shop()) == {"one": said}
    commands.codes.clear()
    commands.said()
    assert work_through(shop()) == {}
    assert commands.said() == ["one: evaluate"]


def test_a_killed_training_is_not_asked_why(shop, commands) -> None:
    commands.codes["one", "DABSegCore.train"] = -9
    assert "signal 9" in work_through(shop())["one"]


def test_another_training_in_the_folder_is_kept(shop, commands, tmp_path: Path) -> None:
    work_through(shop())
    commands.said()
    faults = work_through(shop(PLAN.replace("steps = 10", "steps = 11")))
    assert "steps 10 there, 11 in the plan" in faults["one"]
    assert commands.said() == []
    assert (tmp_path / "out" / "runs" / "one" / "last.pt").read_text(encoding="utf-8") == "one"


def test_another_restorer_is_another_training(shop, commands, tmp_path: Path) -> None:
    work_through(shop())
    (tmp_path / "out" / "runs" / "nafnet" / "last.pt").write_text("changed", encoding="utf-8")
    assert "other settings (restorer" in work_through(shop())["two"]


def test_more_levels_are_judged_without_training_again(shop, commands) -> None:
    work_through(shop())
    commands.said()
    assert work_through(shop(PLAN.replace("virtual = 1", "virtual = 1\nseverities = [0, 2, 4]"))) == {}
    assert commands.said() == ["one: evaluate", "two: evaluate"]


def test_another_motion_is_another_evaluation(shop, commands) -> None:
    work_through(shop())
    faults = work_through(shop(PLAN.replace("virtual = 1", "virtual = 1\nseed = 1")))
    assert "seed 0 there, 1 in the plan" in faults["one"]


def test_what_was_judged_under_other_settings_counts_no_more(shop, commands) -> None:
    commands.codes["one", "DABSegCore.evaluate"] = 2  # cases that failed
    work_through(shop())
    for change, counts in (("", True), ("steps = 11", False), ("steps = 10\nbatch = 1", False)):
        begun = shop(PLAN.replace("steps = 10", change or "steps = 10"))
        assert is_judged(begun, begun.plan.by_name["one"]) == counts
    begun = shop(PLAN.replace("virtual = 1", "virtual = 1\nseed = 1"))
    assert not is_judged(begun, begun.plan.by_name["one"])


def test_label_maps_on_disk_are_asked_again(shop, commands, tmp_path: Path) -> None:
    for _ in range(2):
        judge(shop(), Method("disk", predictions=tmp_path))
        assert commands.said() == ["disk: evaluate"]


def test_the_most_memory_of_all_sittings_is_kept(shop, commands, tmp_path: Path) -> None:
    work_through(shop())
    record = record_of(tmp_path / "out" / "evaluations" / "one")
    assert record["finished"]
    assert record["peak_memory_mb"] == 7.0
    assert record_of(tmp_path / "out" / "runs" / "one")["seconds"] == 2.0


# ---------------------------------------------------------------- a child


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Makes a module that can be run by its name."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(source: str) -> str:
        (tmp_path / "a_child.py").write_text(source, encoding="utf-8")
        return "a_child"

    return make


def test_the_words_of_a_child_begin_with_the_methods_name(module) -> None:
    name = module("import sys; print('héllo', *sys.argv[1:]); print('error: it broke', file=sys.stderr); sys.exit(3)")
    out = io.StringIO()
    ended = run_child([name, "--word"], "DynUNet", Progress("bar", out))
    assert (ended.code, ended.fault) == (3, "it broke")
    assert sorted(out.getvalue().splitlines()) == [
        "[DynUNet] error: it broke",
        "[DynUNet] héllo --word --progress bar",
    ]


def test_for_programs_they_stay_events(module) -> None:
    source = 'import sys; print(\'{"event": "error", "message": "no"}\'); print(\'odd\'); sys.stdout.flush(); '
    out = io.StringIO()
    ended = run_child([module(source + "sys.exit('error: no')")], "one", Progress("json", out))
    assert (ended.code, ended.fault) == (1, "no")
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"event": "error", "message": "no", "method": "one"},
        {"event": "log", "message": "odd", "method": "one"},
    ]


def test_a_crash_is_told_by_its_last_line(module) -> None:
    ended = run_child([module("1 / 0")], "one", Progress("quiet", io.StringIO()))
    assert (ended.code, ended.fault) == (1, "ZeroDivisionError: division by zero")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_memory_is_that_of_the_child(module) -> None:
    name = module("import sys; b'1' * int(sys.argv[1])")
    program = (  # in a process that holds little itself, as this one does not
        "import io; from DABSegCore.comparison.child import run_child; from DABSegCore.progress import Progress\n"
        "for size in 100, 300:\n"
        f"    ended = run_child([{name!r}, str(size * 10**6)], 'one', Progress('quiet', io.StringIO()))\n"
        "    print(ended.peak_memory_mb)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=child._environment(), capture_output=True, text=True, check=True
    )
    few, many = map(float, done.stdout.split())
    assert many - few == pytest.approx(200, abs=20)
    assert few > 100


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("end", ["sys.exit(130)", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_a_child_that_was_asked_to_stop_stops_all(module, end: str) -> None:
    name = module(f"import os, signal, sys; {end}")
    with pytest.raises(KeyboardInterrupt):
        run_child([name], "one", Progress("quiet", io.StringIO()))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_ctrl_c_waits_for_what_the_child_saves(module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "import signal, sys, time\n"
        "def save(*_):\n    time.sleep(0.2); print('saving', flush=True)\n"
        "    open(sys.argv[1], 'w').close(); sys.exit(130)\n"
        "signal.signal(signal.SIGINT, save)\nprint('ready', flush=True)\ntime.sleep(60)\n"
    )
    started: list[subprocess.Popen] = []
    popen = subprocess.Popen

    def begin(*words: object, **options: object) -> subprocess.Popen:
        started.append(popen(*words, **options))
        return started[0]

    def interrupt(line: str, name: str, progress: Progress) -> str:
        started[0].send_signal(signal.SIGINT)  # as a terminal does: to both
        raise KeyboardInterrupt

    monkeypatch.setattr(child.subprocess, "Popen", begin)
    monkeypatch.setattr(child, "_pass_on", interrupt)
    name = module(source)
    with pytest.raises(KeyboardInterrupt):
        run_child([name, str(tmp_path / "saved")], "one", Progress("quiet", io.StringIO()))
    assert (tmp_path / "saved").exists()
    assert started[0].returncode == 130
