"""History: what is logged is read back, and a run killed at any byte and resumed leaves the same files."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import numpy as np
import pytest

from DABSegCore.errors import InputError
from DABSegCore.training.history import History, read_steps, read_validation

ROWS = {step: {"loss": 1 / step, "seg": step / 7, "it_s": 3.0} for step in (10, 20, 30, 40, 50)}
SCORES = [
    {"kind": "real", "severity": severity, "cases": 4, "ET": 0.5 + severity / 30, "psnr_restored": 24.0, "nearer": 3}
    for severity in (0, 2)
]


@pytest.fixture(autouse=True)
def no_tensorboard(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "with_tensorboard" not in request.node.name:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def silent(text: str) -> None:
    assert "TensorBoard" in text, text


def log(out: Path, steps: list[int], since: int = 0) -> None:
    """Log these steps, each with a validation, in a run that starts from the checkpoint of step `since`."""
    history = History(out, since, say=silent)
    for step in steps:
        history.log_step(step, ROWS[step])
        history.log_validation(step, 1.5 * step, SCORES)
    history.close()


def both(out: Path) -> tuple[bytes, bytes]:
    return (out / "steps.csv").read_bytes(), (out / "validation.csv").read_bytes()


def test_what_is_logged_is_read_back(tmp_path):
    log(tmp_path, [10, 20])
    assert (tmp_path / "steps.csv").read_text() == "step,loss,seg,it_s\n10,0.1,1.42857,3\n20,0.05,2.85714,3\n"
    steps = read_steps(tmp_path)
    np.testing.assert_array_equal(steps["step"], [10, 20])
    np.testing.assert_allclose(steps["seg"], [10 / 7, 20 / 7], rtol=1e-5)
    rows = read_validation(tmp_path)
    assert [(row["step"], row["severity"]) for row in rows] == [(10, 0), (10, 2), (20, 0), (20, 2)]
    assert rows[1] == {"step": 10, "seconds": 15.0, **SCORES[1], "ET": 0.566667}
    assert [type(rows[0][name]) for name in ("cases", "nearer", "kind", "psnr_restored")] == [int, int, str, float]


def test_no_log_is_an_empty_one(tmp_path):
    assert read_steps(tmp_path) == {}
    assert read_validation(tmp_path) == []


def test_rows_are_on_disk_before_the_run_ends(tmp_path):
    history = History(tmp_path, 0, say=silent)
    history.log_step(10, ROWS[10])
    assert read_steps(tmp_path)["loss"].tolist() == [0.1]


def test_long_counts_keep_all_their_digits(tmp_path):
    History(tmp_path, 0, say=silent).log_step(12_345_678, {"voxels": np.int64(87_654_321), "loss": np.float32(0.1)})
    assert (tmp_path / "steps.csv").read_text().splitlines()[1] == "12345678,87654321,0.1"


def test_killed_at_any_byte_and_resumed_equals_never_killed(tmp_path):
    log(tmp_path / "whole", list(ROWS))
    whole = both(tmp_path / "whole")
    start = whole[0].index(b"\n30,") + 1, whole[1].index(b"\n30,") + 1  # the checkpoint is of step 20
    out = tmp_path / "killed"
    out.mkdir()
    for beyond in range(len(whole[0]) - start[0] + 1):
        (out / "steps.csv").write_bytes(whole[0][: start[0] + beyond])
        (out / "validation.csv").write_bytes(whole[1][: start[1] + beyond])
        log(out, [30, 40, 50], since=20)
        assert both(out) == whole


def test_without_its_last_line_end_a_row_does_not_count(tmp_path):
    log(tmp_path, [10, 20])
    path = tmp_path / "steps.csv"
    path.write_bytes(path.read_bytes()[:-2])  # "...,3\n" was cut to "...,": it could be any number
    assert read_steps(tmp_path)["step"].tolist() == [10]


def test_lines_that_a_crash_filled_with_zeros_are_left_out(tmp_path):
    log(tmp_path, [10, 20])
    with (tmp_path / "steps.csv").open("ab") as file:
        file.write(b"\0" * 40 + b"\n" + b"\0\0,1,2,3\n")
    assert read_steps(tmp_path)["step"].tolist() == [10, 20]


def test_a_fresh_run_in_an_old_folder_begins_anew_and_may_have_other_columns(tmp_path):
    log(tmp_path, [10, 20])
    History(tmp_path, 0, say=silent).log_step(1, {"loss": 2.0})
    assert (tmp_path / "steps.csv").read_text() == "step,loss\n1,2\n"
    assert read_validation(tmp_path) == []


def test_columns_are_those_of_the_first_row(tmp_path):
    history = History(tmp_path, 0, say=silent)
    history.log_step(1, {"loss": 2.0, "rec": 3.0})
    history.log_step(2, {"rec": 4.0})
    np.testing.assert_array_equal(read_steps(tmp_path)["loss"], [2.0, np.nan])
    with pytest.raises(ValueError, match="no column 'dice'") as caught:
        history.log_step(3, {"loss": 1.0, "dice": 0.5})
    assert not isinstance(caught.value, InputError)
    with pytest.raises(ValueError, match="no column 'dice'"):  # the columns outlive a resume
        History(tmp_path, 2, say=silent).log_step(3, {"dice": 0.5})


def test_a_file_that_is_no_log_is_set_aside(tmp_path):
    (tmp_path / "steps.csv").write_text("my notes\n")
    said: list[str] = []
    history = History(tmp_path, 0, say=said.append)
    history.log_step(10, ROWS[10])
    assert read_steps(tmp_path)["step"].tolist() == [10]
    assert (tmp_path / "steps-damaged.csv").read_text() == "my notes\n"
    assert any("steps-damaged.csv" in text for text in said)


def fail_to_open(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(self: Path, *args: object, **options: object) -> None:
        raise OSError(code, "refused", str(self))

    monkeypatch.setattr(Path, "open", refuse)


@pytest.mark.parametrize(
    ("number", "code", "fact"),
    [(errno.ENOSPC, "disk-full", "the disk is full"), (errno.EIO, "not-writable", "refused")],
)
def test_a_full_disk_or_a_broken_one_is_told_in_one_sentence(tmp_path, monkeypatch, number, code, fact):
    history = History(tmp_path, 0, say=silent)
    fail_to_open(monkeypatch, number)
    with pytest.raises(InputError, match=rf"steps\.csv was not written: {fact}; .*--resume") as caught:
        history.log_step(10, ROWS[10])
    assert caught.value.code == code


def test_rows_wait_while_another_program_locks_the_file(tmp_path, monkeypatch):
    said: list[str] = []
    history = History(tmp_path, 0, say=said.append)
    history.log_step(10, ROWS[10])
    with monkeypatch.context() as locked:
        fail_to_open(locked, errno.EACCES)
        history.log_step(20, ROWS[20])
        history.log_step(30, ROWS[30])
    history.close()
    assert read_steps(tmp_path)["step"].tolist() == [10, 20, 30]
    assert sum("locked" in text for text in said) == 1


def test_a_missing_tensorboard_is_said_once(tmp_path):
    said: list[str] = []
    history = History(tmp_path, 0, say=said.append)
    history.log_step(10, ROWS[10])
    history.log_picture(10, "panel", np.zeros((4, 4, 3), np.uint8))
    history.close()
    assert said == [
        "TensorBoard is not installed: its log is left out; steps.csv has the same numbers (pip install tensorboard)"
    ]
    assert not (tmp_path / "tensorboard").exists()


def test_resumed_with_tensorboard_shows_no_step_twice(tmp_path):
    pytest.importorskip("tensorboard")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    said: list[str] = []
    for since, steps in ((0, (10, 20, 30)), (20, (30, 40))):
        history = History(tmp_path, since, say=said.append)
        for step in steps:
            history.log_step(step, {"loss": step + since / 100})
            history.log_validation(step, 1.0, SCORES)
            history.log_picture(step, "panel", np.full((5, 6, 3), 200, np.uint8))
        history.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    shown = [(event.step, round(event.value, 3)) for event in events.Scalars("train/loss")]
    assert shown == [(10, 10.0), (20, 20.0), (30, 30.2), (40, 40.2)]
    assert [event.step for event in events.Scalars("validation_real_S2/ET")] == [10, 20, 30, 40]
    assert (events.Images("panel")[0].width, events.Images("panel")[0].height) == (6, 5)
    assert said == []


def test_a_failing_board_with_tensorboard_does_not_end_the_run(tmp_path, monkeypatch):
    board = pytest.importorskip("torch.utils.tensorboard")

    def fail(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(board.SummaryWriter, "add_scalar", fail)
    said: list[str] = []
    history = History(tmp_path, 0, say=said.append)
    for step in (10, 20):
        history.log_step(step, ROWS[step])
    history.close()
    assert read_steps(tmp_path)["step"].tolist() == [10, 20]
    assert len(said) == 1
    assert "No space left" in said[0]
