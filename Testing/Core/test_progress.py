"""Progress: the JSON lines a program reads, the bar a person reads, and how a command line ends."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from DABSegCore.errors import InputError
from DABSegCore.progress import Progress, run_command


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def events(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class Slow(io.StringIO):
    """A stream that lets other threads in before every write."""

    def write(self, text: str) -> int:
        time.sleep(0.0005)
        return super().write(text)


def test_lines_of_several_threads_stay_whole():
    stream = Slow()
    progress = Progress("json", stream)
    threads = [threading.Thread(target=lambda: [progress.warn("x") for _ in range(10)]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line["message"] for line in events(stream)] == ["x"] * 30


def test_a_line_and_its_end_are_one_write():
    """Processes that share an unbuffered stream, as torchrun starts them, would else write into each other's lines."""
    writes = []
    stream = Terminal()
    stream.write = writes.append
    for mode in ("json", "bar"):
        Progress(mode, stream).warn("x")
    assert [(text[-1], text.count("\n")) for text in writes] == [("\n", 1)] * 2


def test_every_call_is_one_json_line():
    stream = io.StringIO()
    progress = Progress("json", stream)
    progress.stage("windows", total=4)
    progress.step(loss=0.5)
    progress.metric(dice=np.float32(0.75))
    progress.warn("über-blurred")
    progress.log("two\nlines")
    progress.error("no t2", code="missing-modality")
    progress.done(cases=1)
    written = events(stream)
    assert [line["event"] for line in written] == [
        "stage",
        "step",
        "metric",
        "warning",
        "log",
        "error",
        "done",
    ]
    assert {line["stage"] for line in written} == {"windows"}
    assert all(abs(line["time"] - time.time()) < 60 for line in written)
    assert (written[1]["step"], written[1]["total"], written[1]["loss"]) == (1, 4, 0.5)
    assert written[2]["dice"] == 0.75
    assert written[3]["message"] == "über-blurred"
    assert written[5]["code"] == "missing-modality"


def test_eta_is_mean_time_per_step_times_steps_left(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    progress = Progress("json", stream)
    progress.stage("windows", total=10)
    assert progress.eta_s() is None
    clock[0] += 6.0
    progress.step(2)
    clock[0] += 6.0
    progress.step(2)
    assert [line["eta_s"] for line in events(stream)[1:]] == [24.0, 18.0]


def test_eta_of_unknown_total_is_null():
    stream = io.StringIO()
    progress = Progress("json", stream)
    progress.stage("reading")
    progress.step()
    assert events(stream)[1]["eta_s"] is None


def test_numbers_json_cannot_say_are_null():
    stream = io.StringIO()
    Progress("json", stream).metric(dice=float("nan"), psnr=np.float32("inf"), nested={"volume_ml": [1, float("nan")]})
    line = events(stream)[0]
    assert (line["dice"], line["psnr"], line["nested"]) == (None, None, {"volume_ml": [1, None]})


def test_bar_in_a_log_file_has_no_control_characters():
    stream = io.StringIO()
    progress = Progress("bar", stream)
    progress.stage("windows", total=3)
    for _ in range(3):
        progress.step(loss=0.123456)
    progress.warn("slow")
    assert stream.getvalue().splitlines() == [
        "windows ...",
        "windows [########################] 3/3  loss 0.1235",
        "warning: slow",
    ]


def test_bar_on_a_terminal_is_redrawn_and_broken_off_by_a_message(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    stream = Terminal()
    progress = Progress("bar", stream)
    progress.stage("windows", total=4)
    clock[0] = 2.0
    progress.step()
    progress.log("found it")
    redrawn, message = stream.getvalue().split("\r")[1].split("\n", 1)
    assert redrawn.startswith("windows [######------------------] 1/4  6 s left")
    assert message == "found it\n"


def test_quiet_still_warns():
    stream = io.StringIO()
    progress = Progress("quiet", stream)
    progress.stage("windows", total=1)
    progress.step()
    progress.log("hidden")
    progress.warn("not skull-stripped")
    assert stream.getvalue() == "warning: not skull-stripped\n"


def test_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="bar, json, quiet"):
        Progress("loud")


def test_bad_input_is_one_sentence_and_exit_code_2(capsys):
    def main(argv):
        raise InputError("t2 is missing", code="missing-modality")

    with pytest.raises(SystemExit) as ended:
        run_command(main, [])
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err) == (2, "", "error: t2 is missing\n")


@pytest.mark.parametrize("argv", [["--progress", "json"], ["--progress=json"]])
def test_bad_input_is_an_event_too_for_a_program(capsys, argv):
    def main(argv):
        raise InputError("t2 is missing", code="missing-modality")

    with pytest.raises(SystemExit):
        run_command(main, argv)
    event = json.loads(capsys.readouterr().out)
    assert (event["event"], event["code"], event["message"]) == ("error", "missing-modality", "t2 is missing")


@pytest.mark.parametrize("fault", [InputError("t2 is missing"), KeyboardInterrupt(), ZeroDivisionError("a bug")])
def test_the_last_word_begins_a_line_of_its_own(monkeypatch, fault):
    monkeypatch.setattr(sys, "stderr", Terminal())

    def main(argv):
        progress = Progress("bar")
        progress.stage("windows", total=4)
        monkeypatch.setattr("DABSegCore.progress._REDRAW_S", -1.0)
        progress.step()
        assert sys.stderr.getvalue().endswith("\x1b[K")  # the line is open
        raise fault

    with pytest.raises((SystemExit, ZeroDivisionError)):
        run_command(main, [])
    after = sys.stderr.getvalue().rpartition("\x1b[K")[2]
    assert after in ("\nerror: t2 is missing\n", "\ninterrupted\n", "\n")
    Progress("bar", sys.stderr).log("next")
    assert sys.stderr.getvalue().endswith(after + "next\n")  # and is ended once


def test_interrupt_ends_with_130():
    def main(argv):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run_command(main, [])
    assert ended.value.code == 130


@pytest.mark.parametrize("code", [0, 3])
def test_exit_code_is_what_main_returns(code):
    with pytest.raises(SystemExit) as ended:
        run_command(lambda argv: code, [])
    assert ended.value.code == code


def test_a_bug_keeps_its_traceback():
    program = "from DABSegCore.progress import run_command; run_command(lambda argv: 1 // 0)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr
