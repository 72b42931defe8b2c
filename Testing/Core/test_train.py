"""Training as users run it: in real processes, killed and resumed, by twos, in slices, bare, and on bad input.

A start costs seconds, so tests share runs: fixtures start them, and `in_one_process` runs many command lines in one.
The network is a tiny one under the name `small`, in these processes only.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import ABSENT, AFFINE, TINY, bare_environment, process_environment, tiny_patient, write_case

from DABSegCore.models import build_model
from DABSegCore.training.history import read_steps, read_validation

SEED = 5
STEPS, EVERY = 24, 9  # no multiples of the 10 steps between rows of the log
COMMON = [
    *("--preset", "small", "--device", "cpu", "--patch", 32, "--severities", 0, 2, "--pool", 4),
    *("--patches-per-twin", 2, "--seed", SEED),
]
LONG = f"--steps {STEPS} --validate-every {EVERY} --save-minutes 0 --warm-up-steps 3 --ema 0.9 --progress json".split()
VALIDATION = ("good_3", "good_4")
TIMING = {"seconds", "it_s", "wait_share"}
PNG = b"\x89PNG\r\n\x1a\n"
PATIENCE_S = 400

DROPPING = dataclasses.replace(TINY, drop_path=0.4)
"""With chance in every forward, as `base` has it; two processes draw others than one, so they have none."""

MANY = """
import contextlib, io, json, sys, traceback
from DABSegCore.progress import run_command
from DABSegCore.train import main

def limited(bytes_):
    if bytes_ is None:
        return lambda: None
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

answers = {}
for name, (arguments, most) in json.load(sys.stdin).items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        back = limited(most)
        try:
            run_command(main, arguments)
        except SystemExit as end:
            code = end.code
        except BaseException:
            code = 1
            traceback.print_exc()
        finally:
            back()
    answers[name] = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
answers["modules"] = sorted({name.split(".")[0] for name in sys.modules})
json.dump(answers, sys.stdout)
"""
"""Runs command lines {name: [arguments, largest file or None]} one after the other, and says how each ended."""


def train(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "DABSegCore.train", *map(str, arguments)]


def two(*arguments: object) -> list[str]:
    """The same through `torchrun` in two processes; `--standalone` finds a free port."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return [*launcher, "-m", "DABSegCore.train", *map(str, arguments)]


def run(command: list[str], environment: dict[str, str], **options: Any) -> SimpleNamespace:
    """Run a command to its end: exit code, what it wrote to out and err."""
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False, **options
    )
    return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)


def in_one_process(
    commands: dict[str, list[object]], environment: dict[str, str], cwd: Path, largest: dict[str, int] | None = None
) -> SimpleNamespace:
    """Run command lines of training one after the other: answers by name, and the packages that were imported."""
    asked = {name: [[*map(str, words)], (largest or {}).get(name)] for name, words in commands.items()}
    done = run([sys.executable, "-c", MANY], environment, input=json.dumps(asked), cwd=cwd)
    assert done.code == 0, done.err
    answers = json.loads(done.out)
    modules = answers.pop("modules")
    return SimpleNamespace(
        modules=set(modules), **{name: SimpleNamespace(**answer) for name, answer in answers.items()}
    )


def events(done: SimpleNamespace, kind: str) -> list[dict[str, Any]]:
    """The events of a kind that a run with `--progress json` told."""
    return [event for line in done.out.splitlines() if (event := json.loads(line))["event"] == kind]


def read(path: Path) -> dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=True)


def differences(a: Any, b: Any, place: str = "") -> Iterator[str]:
    """Where two nests of dictionaries, lists, tensors and plain values are not the same, bit for bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            yield from differences(a.get(key), b.get(key), f"{place}/{key}")
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from differences(x, y, f"{place}/{i}")
    elif not (torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b):
        yield place


def flat(state: dict[str, torch.Tensor]) -> torch.Tensor:
    """All floating-point numbers of a state in a row."""
    return torch.cat([tensor.flatten() for _, tensor in sorted(state.items()) if tensor.is_floating_point()])


def untimed(out: Path) -> tuple[dict[str, list[float]], list[dict[str, Any]]]:
    """The logs of a run without what was measured with a watch."""
    steps = {name: column.tolist() for name, column in read_steps(out).items() if name not in TIMING}
    rows = [{name: value for name, value in row.items() if name not in TIMING} for row in read_validation(out)]
    return steps, rows


def one_sentence(done: SimpleNamespace, *words: str) -> None:
    """Refused with exit code 2 and, but for warnings, one line on stderr that says these words."""
    assert done.code == 2, done.err
    (sentence,) = (line for line in done.err.splitlines() if not line.startswith("warning: "))
    assert sentence.startswith("error: ")
    for word in words:
        assert word in sentence


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def data(place) -> Path:
    """Two cases to train on, two to validate with, one without a segmentation and one whose labels are none."""
    folder = place / "data"
    for seed in (1, 2, 3, 4):
        images, label = tiny_patient(seed)
        write_case(folder / f"good_{seed}", f"good_{seed}", images, label, AFFINE)
    write_case(folder / "unlabelled", "unlabelled", images, None, AFFINE)
    write_case(folder / "wrong", "wrong", images, np.where(label == 1, 7, label).astype(label.dtype), AFFINE)
    return folder


@pytest.fixture(scope="module")
def good(data, place) -> Path:
    """The four good cases alone."""
    folder = place / "good"
    for seed in (1, 2, 3, 4):
        shutil.copytree(data / f"good_{seed}", folder / f"good_{seed}")
    return folder


@pytest.fixture(scope="module")
def dropping(tmp_path_factory) -> dict[str, str]:
    return process_environment(tmp_path_factory.mktemp("site"), small=DROPPING)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, str]:
    return process_environment(tmp_path_factory.mktemp("site"), small=TINY)


@pytest.fixture(scope="module")
def long_run(data) -> list[object]:
    """Arguments of the run that is killed, and of those it is compared with."""
    return ["--data", data, "--validation", *VALIDATION, *COMMON, *LONG]


@pytest.fixture(scope="module")
def whole(place, long_run, dropping) -> SimpleNamespace:
    """That run, never killed."""
    done = run(train(*long_run, "--out", place / "whole"), dropping)
    assert done.code == 0, done.err
    return SimpleNamespace(folder=place / "whole", **vars(done))


# Kill and resume


class Watch:
    """A run in a process, to be ended at a moment of its life that its folder shows."""

    def __init__(self, command: list[str], environment: dict[str, str], out: Path) -> None:
        self.out = out
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.began = self.saved()

    def saved(self) -> int:
        try:
            return (self.out / "state.pt").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def until(self, moment: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not moment():
            assert self.process.poll() is None, f"ended before it could be killed: {self.process.communicate()}"
            if time.monotonic() > end:
                self.process.kill()
                pytest.fail(f"the moment to kill it does not come: {self.process.communicate()}")
            time.sleep(0.001)

    def until_saved(self, times: int) -> None:
        seen = {self.began}
        self.until(lambda: len(seen.add(self.saved()) or seen) > times)

    def end(self, kill: Callable[[], None]) -> SimpleNamespace:
        kill()
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return SimpleNamespace(code=self.process.returncode, out=out, err=err, step=read(self.out / "state.pt")["step"])


@pytest.fixture(scope="module")
def killed(place, long_run, dropping) -> SimpleNamespace:
    """The same run, ended four times: anywhere, amid a save, by the end of a batch job, amid the last validation."""
    out = place / "killed"

    def sitting(*arguments: object) -> Watch:
        return Watch(train(*arguments), dropping, out)

    first = sitting(*long_run, "--out", out)
    first.until_saved(4)
    time.sleep(0.07)
    ends = [first.end(first.process.kill)]
    second = sitting("--resume", out, "--prefetch", 0, "--progress", "json")
    second.until_saved(3)
    second.until(lambda: any(out.glob(".state.pt*")))
    ends.append(second.end(second.process.kill))
    third = sitting("--resume", out)
    third.until_saved(2)
    ends.append(third.end(third.process.terminate))
    fourth = sitting("--resume", out, *long_run)
    fourth.until(lambda: any(row["step"] == STEPS for row in read_validation(out)))
    ends.append(fourth.end(fourth.process.kill))
    fifth = sitting("--resume", out)
    ends.append(fifth.end(lambda: None))
    return SimpleNamespace(folder=out, ends=ends)


def test_the_runs_were_killed_on_the_way(killed):
    steps = [end.step for end in killed.ends]
    assert 0 < steps[0] < steps[1] < steps[2] < steps[3] <= steps[4] == STEPS, steps
    assert [bool(end.code) for end in killed.ends] == [True, True, True, True, False], killed.ends[-1].err


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no signal to end that one can catch")
def test_the_end_of_a_batch_job_saves_and_says_how_to_go_on(killed):
    end = killed.ends[2]
    assert end.code == 128 + 15
    assert f"stopped at step {end.step}; go on with: python -m DABSegCore.train --resume {killed.folder}" in end.err


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_killed_or_not_the_weights_and_thresholds_are_the_same(whole, killed, name):
    ours, theirs = read(whole.folder / name), read(killed.folder / name)
    assert ours["meta"].pop("elapsed_s") > 0
    theirs["meta"].pop("elapsed_s")
    assert list(differences(ours, theirs)) == []
    assert set(ours["meta"]["thresholds"]) == {"ET", "TC", "WT"}
    assert len(ours["state"]) > 50


def test_killed_or_not_weights_average_and_optimiser_go_on_the_same(whole, killed):
    ours, theirs = read(whole.folder / "state.pt"), read(killed.folder / "state.pt")
    names = ("model", "average", "optimiser", "step", "best", "validated", "skipped")
    assert [place for name in names for place in differences(ours[name], theirs[name], name)] == []
    assert list(differences(ours["model"], ours["average"])) != []


def test_killed_or_not_the_logs_and_pictures_are_the_same(whole, killed):
    (steps, rows), (other_steps, other_rows) = untimed(whole.folder), untimed(killed.folder)
    assert steps["step"] == [10, 20]
    assert [(row["step"], row["severity"]) for row in rows] == [(s, v) for s in (9, 18, 24) for v in (0, 2)]
    assert steps == other_steps
    assert rows == other_rows
    for path in (whole.folder / "panels").iterdir():
        assert path.read_bytes() == (killed.folder / "panels" / path.name).read_bytes()


def test_a_kill_leaves_no_litter(whole, killed):
    assert sorted(path.name for path in killed.folder.iterdir()) == sorted(p.name for p in whole.folder.iterdir())


# A whole run and its files


def test_the_folder_of_a_run(whole, data):
    names = "best.pt config.json curves.png last.pt panels split.json state.pt steps.csv tensorboard validation.csv"
    assert sorted(path.name for path in whole.folder.iterdir()) == names.split()
    assert json.loads((whole.folder / "config.json").read_text())["steps"] == STEPS
    assert json.loads((whole.folder / "split.json").read_text()) == {
        "train": ["good_1", "good_2", "wrong"],
        "validation": [*VALIDATION],
        "test": [],
    }
    assert sorted(p.name for p in (whole.folder / "panels").iterdir()) == [
        f"step_{step:07}.png" for step in (9, 18, 24)
    ]
    for picture in (whole.folder / "curves.png", *(whole.folder / "panels").iterdir()):
        assert picture.read_bytes().startswith(PNG)
    assert all(path.stat().st_size > 100 for path in (whole.folder / "tensorboard").iterdir())


def test_what_cannot_be_trained_on_is_named_left_out_and_counted(whole):
    said = [event["message"] for event in events(whole, "warning")]
    assert len(said) == 2, said
    assert said[0].startswith("unlabelled is left out: ")
    assert "no segmentation" in said[0]
    assert said[1].startswith("wrong is left out: ")
    assert "holds the value 7" in said[1]
    (done,) = events(whole, "done")
    assert (done["step"], done["cases_left_out"]) == (STEPS, 1)
    assert whole.err == ""


def test_progress_counts_steps_as_they_are(whole):
    assert [e["step"] for e in events(whole, "step") if e["stage"] == "train"] == [10, 20]


def test_segment_takes_the_weights_of_a_run(whole, data, dropping, place):
    out = place / "segmented"
    command = [sys.executable, "-m", "DABSegCore.segment", "--weights", whole.folder / "best.pt"]
    done = run([*map(str, command), "--case", str(data / "good_3"), "--out", str(out), "--device", "cpu"], dropping)
    assert done.code == 0, done.err
    assert (out / "good_3_seg.nii.gz").is_file()


def test_with_torch_and_numpy_alone_the_weights_are_the_same(whole, long_run, place, tmp_path):
    environment = bare_environment(tmp_path, small=DROPPING)
    commands = {
        "run": [*long_run, "--out", place / "bare"],
        "virtual": ["--virtual", 2, *COMMON, "--steps", 2, "--out", place / "bare_virtual"],
        "mixed": [*long_run, "--virtual-validation", 1, "--out", place / "bare_virtual"],
    }
    done = in_one_process(commands, environment, tmp_path)
    assert done.run.code == 0, done.run.err
    assert not done.modules & set(ABSENT)
    for name in ("best.pt", "last.pt"):
        ours, theirs = read(whole.folder / name), read(place / "bare" / name)
        assert list(differences(ours["state"], theirs["state"])) == []
        assert ours["meta"]["thresholds"] == theirs["meta"]["thresholds"]
    assert untimed(whole.folder) == untimed(place / "bare")
    files = "best.pt config.json last.pt split.json state.pt steps.csv validation.csv"
    assert sorted(path.name for path in (place / "bare").iterdir()) == files.split()
    said = " ".join(event["message"] for event in events(done.run, "log") + events(done.run, "warning"))
    for words in ("TensorBoard is not installed", "matplotlib and scipy are not installed: all pictures are left out"):
        assert said.count(words) == 1, said
    for refused in (done.virtual, done.mixed):
        one_sentence(refused, "virtual patients needs the package scipy, which is not installed")
    assert not (place / "bare_virtual").exists()


# Several runs in one process: short ones, slices, and what is refused


@pytest.fixture(scope="module")
def short_runs(place, good) -> dict[str, list[object]]:
    """Command lines of runs that are to end well."""
    short = ["--data", good, *COMMON, "--progress", "json"]
    to_split = ["--validation", *VALIDATION]
    torn = place / "torn"
    for name in ("good_1", "good_2"):
        shutil.copytree(good / name, torn / name)
    case = shutil.copytree(good / "good_3", torn / "torn")
    for path in list(case.iterdir()):
        path.rename(case / path.name.replace("good_3", "torn"))
    flair = case / "torn_flair.nii.gz"
    flair.write_bytes(flair.read_bytes()[: flair.stat().st_size // 2])
    disk = ["--data", torn, *COMMON, "--validation", "good_2", "--residence", "disk", "--progress", "json"]
    return {
        "one": [*short, *to_split, "--batch", 2, "--steps", 20, "--warm-up-steps", 5, "--out", place / "one"],
        "one_accumulate": [
            *(*short, *to_split, "--batch", 4, "--accumulate", 2, "--steps", 4, "--warm-up-steps", 0),
            *("--out", place / "one_accumulate"),
        ],
        "split": [*short, "--split", place / "one" / "split.json", "--steps", 1, "--out", place / "split"],
        "slice": [
            *("--data", good, *COMMON, "--batch", 1, "--total-minutes", 0.15, "--max-minutes", 0.01),
            *("--warm-up-steps", 0, "--out", place / "slices"),
        ],
        "slice_2": ["--resume", place / "slices", "--max-minutes", 60],
        "slice_3": ["--resume", place / "slices"],
        "alone": [*short, "--batch", 1, "--max-minutes", 0.15, "--warm-up-steps", 0, "--out", place / "alone"],
        "paper": [
            *("--data", good, "--recipe", "paper", "--preset", "small", "--device", "cpu", "--patch", 32),
            *("--steps", 3, "--out", place / "paper"),
        ],
        "torn": [*disk, "--steps", 4, "--out", place / "from_disk"],
    }


@pytest.fixture(scope="module")
def bad_runs(place, good, whole) -> dict[str, list[object]]:
    """Command lines that are to be refused; they come after those of `short_runs`, whose folders they use."""
    short = ["--data", good, *COMMON, "--steps", 3]
    (place / "empty").mkdir()
    shutil.copytree(good / "good_1", place / "single" / "good_1")
    (place / "beside").mkdir()
    new = ["--out", place / "refused"]
    shutil.copytree(whole.folder, place / "full")
    state = (whole.folder / "state.pt").read_bytes()
    (place / "damaged").mkdir()
    (place / "damaged" / "state.pt").write_bytes(state[: len(state) // 2])
    return {
        "no_data": [*new, "--steps", 3],
        "no_folder": [*new, "--data", place / "absent"],
        "no_cases": [*new, "--data", place / "empty"],
        "one_case": [*new, "--data", place / "single"],
        "unknown_case": [*short, *new, "--validation", "nobody"],
        "run_exists": [*short, "--out", place / "slices"],
        "resume_nothing": ["--resume", place / "beside"],
        "resume_damaged": ["--resume", place / "damaged"],
        "resume_other": ["--resume", place / "one", "--batch", 4, "--no-augment", "--validation", "good_1"],
        "resume_out": ["--resume", place / "one", "--out", place / "refused"],
        "unknown_flag": [*short, *new, "--epoch", 3],
        "parts": [*short, *new, "--batch", 2, "--accumulate", 4],
        "two_lengths": [*short, *new, "--epochs", 3],
        "disk_full_new": [*short, "--out", place / "overfull", "--save-minutes", 0, "--progress", "quiet"],
        "disk_full": ["--resume", place / "full", "--progress", "quiet"],
    }


@pytest.fixture(scope="module")
def many(place, short_runs, bad_runs, plain) -> SimpleNamespace:
    """How all these ended."""
    (place / "cwd").mkdir()
    largest = {"disk_full_new": 100_000, "disk_full": 100_000}
    return in_one_process(short_runs | bad_runs, plain, place / "cwd", largest)


SHORT_RUNS = ("one", "one_accumulate", "split", "slice", "slice_2", "slice_3", "alone", "paper", "torn")


@pytest.mark.parametrize("name", SHORT_RUNS)
def test_a_run_ends_well(many, name):
    done = getattr(many, name)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err


def test_a_slice_ends_cleanly_and_says_how_to_go_on(many, place):
    go_on = f"go on with: python -m DABSegCore.train --resume {place / 'slices'}"
    assert go_on in many.slice.err
    assert go_on not in many.slice_2.err
    assert "finished at step" in many.slice_2.err
    state = read(place / "slices" / "state.pt")
    assert state["elapsed_s"] >= 60 * 0.15
    assert f"stopped at step {state['step']};" not in many.slice.err  # the second slice did go on
    (validated,) = {row["step"] for row in read_validation(place / "slices")}
    assert validated == state["step"] == state["validated"]


def test_a_finished_run_that_is_resumed_stays_as_it_is(many, place):
    said = [line for line in many.slice_3.err.splitlines() if line.startswith("finished at step")]
    assert said == [line for line in many.slice_2.err.splitlines() if line.startswith("finished at step")]
    assert "validate ..." not in many.slice_3.err


@pytest.mark.parametrize("name", ["alone", "slices"])
def test_a_schedule_in_minutes_ends_with_a_finished_cosine(many, place, name):
    state = read(place / name / "state.pt")
    (group,) = state["optimiser"]["param_groups"]
    left = 0.3  # of the schedule when the last step began, at the very most: a busy machine pauses for seconds
    assert 0 <= group["lr"] <= 1e-3 * (1 - math.cos(math.pi * left)) / 2


def test_the_split_of_a_run_serves_another(many, place):
    ours, theirs = ((place / name / "split.json").read_text() for name in ("one", "split"))
    assert ours == theirs
    assert read(place / "split" / "best.pt")["meta"]["cases"] == json.loads(ours)


def test_a_case_that_breaks_on_the_way_is_named_left_out_and_counted(many, place):
    warnings = [event for event in events(many.torn, "warning")]
    assert len(warnings) == 1
    assert warnings[0]["message"].startswith("torn is left out: ")
    assert "torn_flair.nii.gz" in warnings[0]["message"]
    stages = [event["stage"] for event in events(many.torn, "stage")]
    assert stages.index("train") < stages.index("validate")
    (done,) = events(many.torn, "done")
    assert (done["step"], done["cases_left_out"]) == (4, 1)


def test_the_papers_recipe_is_what_is_run(many, place):
    config = json.loads((place / "paper" / "config.json").read_text())
    expected = {"recipe": "paper", "preset": "small", "patch": 32, "steps": 3, "batch": 1, "optimiser": "adam"}
    expected |= {"learning_rate": 1e-4, "lambda_rec": 0.1, "severities": [4], "fresh_motion": False, "ema": 0.0}
    assert {name: config[name] for name in expected} == expected
    state = read(place / "paper" / "state.pt")
    assert state["optimiser"]["param_groups"][0]["amsgrad"] is True
    assert list(differences(state["model"], state["average"])) == []


REFUSED = {
    "no_data": ["nothing to train on", "--data", "--virtual"],
    "no_folder": ["absent does not exist"],
    "no_cases": ["empty holds no case"],
    "one_case": ["1 case to train and 0 cases to validate", "at least one"],
    "unknown_case": ["names nobody"],
    "run_exists": ["slices already holds a run", "--resume"],
    "resume_nothing": ["beside holds no run to go on with"],
    "resume_damaged": ["state.pt is damaged"],
    "resume_other": [
        "--batch 2 there, 4 asked",
        "--augment True there, False asked",
        "--validation good_3 good_4 there, good_1 asked",
    ],
    "resume_out": ["goes on in that folder", "--out"],
    "unknown_flag": ["--epoch 3"],
    "parts": ["--batch 2 does not divide into --accumulate 4"],
    "two_lengths": ["--steps and --epochs"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_in_one_sentence(many, place, name):
    one_sentence(getattr(many, name), *REFUSED[name])
    assert getattr(many, name).out == ""


def test_what_is_refused_leaves_nothing(many, place):
    assert not (place / "refused").exists()
    assert list((place / "cwd").iterdir()) == []
    assert list((place / "beside").iterdir()) == []
    assert [path.name for path in (place / "damaged").iterdir()] == ["state.pt"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_a_full_disk_ends_a_run_in_one_sentence_and_leaves_its_state(many, place, whole):
    for done, out in ((many.disk_full_new, place / "overfull"), (many.disk_full, place / "full")):
        one_sentence(done, "state.pt could not be written", "File too large", "free some space")
        assert not list(out.glob(".*"))
    assert not (place / "overfull" / "state.pt").exists()
    for name in ("state.pt", "best.pt", "last.pt", "steps.csv", "validation.csv"):
        assert (place / "full" / name).read_bytes() == (whole.folder / name).read_bytes()


# Two processes


def doubled(place: Path, plain: dict[str, str], arguments: list[object], out: str) -> SimpleNamespace:
    """The same command line by two processes."""
    done = run(two(*arguments[: arguments.index("--out")], "--out", place / out), plain)
    return SimpleNamespace(folder=place / out, **vars(done))


def same_learning(one: Path, both: Path) -> None:
    """Two runs learnt the same, but for the last digits."""
    (steps, rows), (other_steps, other_rows) = untimed(one), untimed(both)
    assert steps.keys() == other_steps.keys()
    for name in steps.keys() - {"gain_db"}:  # a mean of logarithms, of as many as there are processes
        np.testing.assert_allclose(other_steps[name], steps[name], rtol=1e-3, atol=1e-4, err_msg=name)
    assert [(row["severity"], row["cases"]) for row in other_rows] == [(0, len(VALIDATION)), (2, len(VALIDATION))]
    for row, other in zip(rows, other_rows, strict=True):
        for name in ("ET", "TC", "WT", "psnr_corrupted", "psnr_restored"):
            assert other[name] == pytest.approx(row[name], rel=1e-2, abs=2e-3), name
    torch.manual_seed(SEED)
    fresh = flat(build_model(TINY).state_dict())
    for name in ("model", "average"):
        ours, theirs = (flat(read(folder / "state.pt")[name]) for folder in (one, both))
        assert (ours - fresh).norm() > 0.01 * fresh.norm()
        # Adam turns the last digits of gradients that are almost 0 into whole steps; the logs above agree to 1e-3.
        assert (ours - theirs).norm() < 0.05 * (ours - fresh).norm()


def test_two_processes_learn_what_one_does(many, short_runs, place, plain):
    done = doubled(place, plain, short_runs["one"], "two")
    assert done.code == 0, done.err
    same_learning(place / "one", done.folder)
    assert [e["step"] for e in events(done, "step") if e["stage"] == "train"] == [10, 20]  # one of them talks
    assert [e["total"] for e in events(done, "stage") if e["stage"] == "validate"] == [2]  # and scores one case


def test_two_processes_learn_what_one_does_in_parts(many, short_runs, place, plain):
    done = doubled(place, plain, short_runs["one_accumulate"], "two_accumulate")
    assert done.code == 0, done.err
    same_learning(place / "one_accumulate", done.folder)


def test_a_batch_that_does_not_divide_by_the_processes_is_refused(good, place, plain):
    done = run(two("--data", good, *COMMON, "--batch", 3, "--out", place / "three"), plain)
    assert done.code != 0
    said = {line[line.index("error: ") :] for line in done.err.splitlines() if "error: --" in line}
    assert said == {"error: --batch 3 must divide by 2 processes times --accumulate 1; change one"}
    assert not (place / "three").exists()
