"""Bad input at the command line: one sentence, exit code 2, and no trace in the folder of results."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny import AFFINE, tiny_patient, tiny_weights, write_case

from DABSegCore import segment
from DABSegCore.cases import find_case
from DABSegCore.progress import run_command
from DABSegCore.volume import Volume, read_volume, write_volume


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture(scope="session")
def a_good_case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_case(tmp_path_factory.mktemp("good") / "a", "a", *tiny_patient(), AFFINE)


@pytest.fixture
def case(tmp_path: Path, a_good_case: Path) -> Path:
    return Path(shutil.copytree(a_good_case, tmp_path / "a"))


class Command:
    """The command line, with what it said and left."""

    def __init__(self, out: Path, weights: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.out, self.weights, self.capfd = out, weights, capfd

    def run(self, *argv: object, weights: Path | None = None) -> tuple[int, str]:
        """Exit code and what was written to stderr."""
        words = [*argv, "--out", self.out, "--progress", "quiet", "--weights", weights or self.weights]
        with pytest.raises(SystemExit) as caught:
            run_command(segment.main, [str(word) for word in words])
        return caught.value.code, self.capfd.readouterr().err

    def refuses(self, *argv: object, weights: Path | None = None) -> str:
        """The one sentence of a refusal that leaves nothing behind."""
        code, said = self.run(*argv, weights=weights)
        assert code == 2, said
        lines = said.splitlines()
        assert lines[-1].startswith("error: ")
        assert all(line.startswith("warning: ") for line in lines[:-1])
        assert not self.out.exists() or not any(self.out.iterdir())
        return lines[-1]


@pytest.fixture
def command(tmp_path: Path, weights: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path / "out", weights, capfd)


def change(path: Path, edit: Callable[[np.ndarray], object]) -> None:
    """Edit the voxels of an image in place; what `edit` returns, if anything, takes their place."""
    volume = read_volume(path)
    array = volume.array.copy()
    edited = edit(array)
    write_volume(path, volume.with_array(array if edited is None else edited))


def put(value: float) -> Callable[[np.ndarray], None]:
    return lambda array: array.__setitem__((5, 6, 7), value)


def flat(array: np.ndarray) -> np.ndarray:
    return np.full_like(array, 3)


def test_a_good_case_passes_so_that_the_refusals_below_mean_something(case: Path, command: Command) -> None:
    assert command.run("--case", case) == (0, "")


def test_a_missing_modality(case: Path, command: Command) -> None:
    (case / "a_t2.nii.gz").unlink()
    assert "no t2 image" in command.refuses("--case", case)
    three = [word for m in ("t1", "t1ce", "flair") for word in (f"--{m}", case / f"a_{m}.nii.gz")]
    assert "--t2 missing" in command.refuses(*three)


def test_two_files_for_one_modality(case: Path, command: Command) -> None:
    shutil.copy(case / "a_t1.nii.gz", case / "again_t1.nii.gz")
    assert "two t1 images" in command.refuses("--case", case)


def test_the_same_file_twice(case: Path, command: Command) -> None:
    same = [case / f"a_{m}.nii.gz" for m in ("t1", "t1", "t2", "flair")]
    assert "same file" in command.refuses("--t1", same[0], "--t1ce", same[1], "--t2", same[2], "--flair", same[3])
    shutil.copy(case / "a_t1.nii.gz", case / "a_t1ce.nii.gz")
    assert "same file twice or copies" in command.refuses("--case", case)


@pytest.mark.parametrize("shape", [(48, 40), (2, 32, 48, 40)])
def test_an_image_that_is_not_3d(case: Path, command: Command, shape: tuple[int, ...]) -> None:
    # the last of ITK's axes comes first in NumPy: a 4-D array is not a vector image
    sitk.WriteImage(sitk.GetImageFromArray(np.ones(shape, np.float32), isVector=False), str(case / "a_t1.nii.gz"))
    said = command.refuses("--case", case)
    assert "a_t1.nii.gz" in said
    assert "3-D" in said


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_or_infinity(case: Path, command: Command, value: float) -> None:
    change(case / "a_flair.nii.gz", put(value))
    said = command.refuses("--case", case)
    assert "a_flair.nii.gz" in said
    assert "NaN" in said


@pytest.mark.parametrize("edit", [flat, np.zeros_like], ids=["constant", "empty"])
def test_a_constant_or_empty_volume(case: Path, command: Command, edit: Callable) -> None:
    change(case / "a_t2.nii.gz", edit)
    said = command.refuses("--case", case)
    assert "a_t2.nii.gz" in said
    assert "in every voxel" in said


def test_different_grids_are_resampled_and_said(case: Path, command: Command) -> None:
    path = case / "a_t2.nii.gz"
    volume = read_volume(path)
    write_volume(path, Volume(np.ascontiguousarray(volume.array[::2]), volume.affine @ np.diag([1.0, 1, 2, 1])))
    code, said = command.run("--case", case)
    assert code == 0
    assert said.startswith("warning: a_t2.nii.gz lies on another grid")
    assert read_volume(command.out / "a_seg.nii.gz").shape == (32, 48, 40)


def test_grids_that_do_not_overlap(case: Path, command: Command) -> None:
    path = case / "a_t2.nii.gz"
    far = AFFINE.copy()
    far[0, 3] += 500
    write_volume(path, Volume(read_volume(path).array, far))
    said = command.refuses("--case", case)
    assert "a_t2.nii.gz" in said
    assert "does not overlap" in said


def test_a_head_with_its_skull_is_a_warning_with_the_share_of_voxels(tmp_path: Path, command: Command) -> None:
    images, label = tiny_patient()
    head = np.where(images == 0, 40 + np.indices(images.shape)[3] % 7, images).astype(np.float32)
    case = write_case(tmp_path / "head", "head", head, label, AFFINE @ np.diag([4.0, 4, 4, 1]))
    # 61 440 voxels of 64 mm3 are more than a head; windows keep the network's share of this test small
    options = ["--window", 64, "--no-restored"]
    code, said = command.run("--case", case, *options)
    assert code == 0
    assert "does not look skull-stripped: 100% of its voxels" in said


def test_an_unknown_label_value(case: Path, command: Command) -> None:
    change(case / "a_seg.nii.gz", put(7))
    said = command.refuses("--case", case)
    assert "a_seg.nii.gz" in said
    assert "value 7" in said


def test_a_truncated_gzip_file(case: Path, command: Command) -> None:
    path = case / "a_t1.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])
    assert "a_t1.nii.gz" in command.refuses("--case", case)


def test_paths_that_do_not_exist(case: Path, command: Command) -> None:
    assert "nowhere" in command.refuses("--case", case / "nowhere")
    assert "nowhere" in command.refuses("--data", case / "nowhere")
    paths = [word for m in ("t1", "t1ce", "t2") for word in (f"--{m}", case / f"a_{m}.nii.gz")]
    assert "nowhere.nii does not exist" in command.refuses(*paths, "--flair", case / "nowhere.nii")
    (case / "empty").mkdir()
    assert "holds no case" in command.refuses("--data", case / "empty")


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_paths_that_may_not_be_read_or_written(case: Path, command: Command, tmp_path: Path) -> None:
    (case / "a_t1.nii.gz").chmod(0)
    assert "cannot be read" in command.refuses("--case", case)
    (case / "a_t1.nii.gz").chmod(0o600)
    command.out.mkdir()
    command.out.chmod(0o500)
    assert "cannot be written" in command.refuses("--case", case)
    command.out.chmod(0o700)


def test_an_unreadable_file_even_for_root(case: Path, command: Command) -> None:
    (case / "a_t1.nii.gz").unlink()
    (case / "a_t1.nii.gz").mkdir()
    assert "t1" in command.refuses("--case", case)


def test_an_output_folder_that_cannot_be_made(case: Path, command: Command, tmp_path: Path) -> None:
    """Told before the weights are read, which are bad here too."""
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    command.weights = tmp_path / "file"
    for kind in ("--case", "--data"):
        command.out = tmp_path / "file" / "out"
        assert "cannot be made" in command.refuses(kind, case)
        command.out = tmp_path / "file"
        assert "cannot be made" in command.run(kind, case)[1]


def test_results_never_go_where_the_input_lies(case: Path, command: Command) -> None:
    command.out = case
    before = {path.name: path.read_bytes() for path in case.iterdir()}
    code, said = command.run("--case", case)
    assert code == 2
    assert "choose another folder" in said
    assert {path.name: path.read_bytes() for path in case.iterdir()} == before


def test_results_never_go_where_links_to_the_input_lie(case: Path, command: Command, tmp_path: Path) -> None:
    command.out = tmp_path / "links"
    command.out.mkdir()
    try:
        for path in case.iterdir():
            (command.out / path.name).symlink_to(path)
    except OSError:
        pytest.skip("no symbolic links here")
    for out in (command.out, case):
        code, said = Command(out, command.weights, command.capfd).run("--case", command.out)
        assert code == 2
        assert "choose another folder" in said
    assert all(path.is_symlink() for path in command.out.iterdir())


@pytest.mark.parametrize("after", [0, 3, 6])
def test_a_disk_that_fills_up(case: Path, command: Command, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """The disk is full at the first, a middle and the last file (the report)."""
    written = 0

    def fsync(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written > after:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    assert "disk is full" in command.refuses("--case", case)
    assert after < written <= after + 5  # the five volumes are written at once


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
def test_a_file_size_limit_of_the_system(case: Path, command: Command) -> None:
    """The real thing: the system itself cuts the write short."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); "
    code = limit + "from DABSegCore.segment import *; run_command(main)"
    argv = ["--case", case, "--out", command.out, "--weights", command.weights, "--progress", "quiet"]
    root = Path(segment.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, *argv], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not command.out.exists()


def test_a_refusal_leaves_no_chain_of_empty_folders(case: Path, command: Command, tmp_path: Path) -> None:
    command.out = tmp_path / "x" / "y" / "out"
    command.refuses("--case", case / "nowhere")
    assert not (tmp_path / "x").exists()


class Hostile:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple:
        return (open, (str(self.victim), "w"))


def test_weights_that_are_wrong_truncated_or_hostile(case: Path, command: Command, tmp_path: Path) -> None:
    bad, victim = tmp_path / "bad.pt", tmp_path / "victim"
    assert "no weights at" in command.refuses("--case", case, weights=bad)
    bad.write_bytes(command.weights.read_bytes()[:5000])
    assert "damaged" in command.refuses("--case", case, weights=bad)
    shutil.copy(case / "a_t1.nii.gz", bad)
    assert "not a DABSeg checkpoint" in command.refuses("--case", case, weights=bad)
    bad.write_bytes(pickle.dumps(Hostile(victim)))
    assert "nothing in it was run" in command.refuses("--case", case, weights=bad)
    torch.save({"format": "dabseg-checkpoint", "meta": Hostile(victim)}, bad)
    assert "nothing in it was run" in command.refuses("--case", case, weights=bad)
    assert not victim.exists()


def test_weights_of_another_modality_order_or_preset(case: Path, command: Command, tmp_path: Path) -> None:
    content = torch.load(command.weights, weights_only=True)
    torch.save({**content, "modalities": ["flair", "t1", "t1ce", "t2"]}, tmp_path / "other.pt")
    assert "modalities ['flair'" in command.refuses("--case", case, weights=tmp_path / "other.pt")
    assert "'base' was asked for" in command.refuses("--case", case, "--preset", "base")


def test_a_preset_without_weights_that_ship(case: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command(segment.main, ["--case", str(case), "--out", str(tmp_path / "out"), "--preset", "paper"])
    assert "no weights ship for preset 'paper'" in capfd.readouterr().err


def test_cuda_asked_for_and_absent(case: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "'cuda' is not on this machine, which has cpu" in command.refuses("--case", case, "--device", "cuda")


def test_arguments_that_contradict_each_other(case: Path, command: Command) -> None:
    assert "none was given" in command.refuses()
    assert "--case and --data was given" in command.refuses("--case", case, "--data", case)
    assert "at least 32" in command.refuses("--case", case, "--window", 5)
    assert "use 0 to 0.9" in command.refuses("--case", case, "--overlap", 1)
    paths = [word for m in find_case(case).paths for word in (f"--{m}", case / f"a_{m}.nii.gz")]
    assert "leave out slashes" in command.refuses(*paths, "--case-id", "../escape")
    assert "leave out slashes" in command.refuses(*paths, "--case-id", "")
    for kind in ("--case", "--data"):
        assert f"but {kind} was given" in command.refuses(kind, case, "--case-id", "mine")
        assert f"but {kind} was given" in command.refuses(kind, case, "--segmentation", case / "a_seg.nii.gz")


def test_spaces_and_unicode_in_paths_are_fine(case: Path, command: Command, tmp_path: Path) -> None:
    folder = case.rename(tmp_path / "Żółć und 脳 (copy)")
    for path in list(folder.iterdir()):
        path.rename(path.with_name(path.name.replace("a_", "fall ü 1_")))
    command.out = tmp_path / "résultats 1"
    assert command.run("--case", folder) == (0, "")
    assert (command.out / "fall ü 1_seg.nii.gz").is_file()


def test_a_refusal_as_a_process_with_json(case: Path, command: Command) -> None:
    (case / "a_t2.nii.gz").unlink()
    argv = [sys.executable, "-m", "DABSegCore.segment", "--case", case, "--out", command.out, "--progress", "json"]
    root = Path(segment.__file__).parents[1]
    done = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert '"event": "error"' in done.stdout
    assert '"code": "missing-modality"' in done.stdout
    assert not command.out.exists()
