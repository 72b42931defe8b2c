"""Score: regions and images in files, against numbers worked out by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from DABSegCore import score
from DABSegCore.errors import InputError
from DABSegCore.metrics import average_gradient, entropy, fmi, psnr, scd, ssim
from DABSegCore.preprocess import window_intensities
from DABSegCore.volume import Volume, write_volume

AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])
"""Voxels of 2 x 1 x 3 mm: 0.006 ml."""


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> str:
    write_volume(path, Volume(array, affine))
    return str(path)


def box(*corners: slice) -> np.ndarray:
    array = np.zeros((10, 12, 14), np.uint8)
    array[corners] = 1
    return array


def scored(out: Path, *words: str) -> dict:
    assert score.main(["--out", str(out), "--progress", "quiet", *words]) == 0
    return json.loads(out.read_text(encoding="utf-8"))


def images(tmp_path: Path) -> tuple[list[np.ndarray], list[str]]:
    """A sharp head of 100 to 900 with air around it, a blurred and a restored one."""
    rng = np.random.default_rng(0)
    sharp = np.zeros((16, 18, 20), np.float32)
    sharp[2:-2, 2:-2, 2:-2] = rng.uniform(100, 900, (12, 14, 16))
    arrays = [sharp, sharp + rng.normal(0, 80, sharp.shape), sharp + rng.normal(0, 40, sharp.shape)]
    arrays = [array.astype(np.float32) for array in arrays]
    return arrays, [write(tmp_path / f"{n}.nii", array) for n, array in enumerate(arrays)]


def test_regions_by_hand(tmp_path):
    found = write(tmp_path / "found.nii", box(slice(2, 4), slice(2, 4), slice(2, 4)) * 7)
    truth = write(tmp_path / "truth.nii.gz", box(slice(2, 4), slice(2, 4), slice(3, 7)).astype(np.float32))
    empty = write(tmp_path / "empty.nii", box(slice(0, 0)))
    scores = scored(
        tmp_path / "s.json",
        "--region",
        "TC",
        found,
        empty,
        "--region",
        "ET",
        found,
        truth,
        "--region",
        "WT",
        empty,
        empty,
    )
    assert list(scores["regions"]) == ["ET", "TC", "WT"]
    assert scores["images"] == {}
    assert scores["regions"]["ET"] == {
        "dice": pytest.approx(2 * 4 / (8 + 16), abs=1e-4),
        "hd95_mm": 6.0,  # all voxels are surface; the 4 of the last 16 lie 3 voxels of 2 mm away
        "sensitivity": 0.25,
        "predicted_ml": 0.048,
        "truth_ml": 0.096,
    }
    assert scores["regions"]["TC"] | {"predicted_ml": 0} == {
        "dice": 0.0,
        "hd95_mm": 373.13,
        "sensitivity": None,
        "predicted_ml": 0,
        "truth_ml": 0.0,
    }
    assert (scores["regions"]["WT"]["dice"], scores["regions"]["WT"]["hd95_mm"]) == (1.0, 0.0)


def test_images_are_compared_on_the_window_of_the_sharp_brain(tmp_path):
    (sharp, blurred, restored), paths = images(tmp_path)
    scores = scored(tmp_path / "s.json", "--image", "flair", *paths, "--image", "t1", paths[0], paths[0], paths[2])
    brain = sharp != 0
    low, high = np.percentile(sharp[brain], (1, 99))
    on_window = [np.clip((array - low) / (high - low), 0, 1) * brain for array in (sharp, blurred, restored)]
    for name, array in zip(("corrupted", "restored"), on_window[1:], strict=True):
        found = scores["images"]["flair"]
        assert found["psnr_db"][name] == pytest.approx(psnr(array, on_window[0], brain), abs=1e-3)
        assert found["ssim"][name] == pytest.approx(ssim(array, on_window[0], brain), abs=1e-3)
    assert scores["images"]["flair"]["psnr_db"]["restored"] > scores["images"]["flair"]["psnr_db"]["corrupted"]
    assert scores["images"]["t1"] == {
        "psnr_db": {"corrupted": None, "restored": scores["images"]["flair"]["psnr_db"]["restored"]},
        "ssim": {"corrupted": 1.0, "restored": scores["images"]["flair"]["ssim"]["restored"]},
    }


def test_images_on_another_grid_are_brought_to_the_restored_one(tmp_path, capsys):
    pytest.importorskip("SimpleITK")
    (sharp, blurred, restored), paths = images(tmp_path)
    moved = AFFINE.copy()
    moved[:3, 3] = 2.0 * -4, 0, 3.0 * -3  # 4 voxels along i and 3 along k are put before
    other = [
        write(tmp_path / f"o{n}.nii", np.pad(a, ((3, 1), (0, 0), (4, 0))), moved)
        for n, a in enumerate((sharp, blurred))
    ]
    own = scored(tmp_path / "a.json", "--image", "t2", *paths)
    assert scored(tmp_path / "b.json", "--image", "t2", *other, paths[2]) == own
    assert capsys.readouterr().err.count("another grid") == 2


def test_a_fused_image_by_hand(tmp_path):
    """A and B step along axis 1 and 2, both of 256 grey levels; what is fused is A, in other units, or half of each."""
    levels = np.linspace(1, 256, 256, dtype=np.float32)
    a = np.broadcast_to(levels[None, :, None], (3, 256, 256)).copy()
    b = np.broadcast_to(levels[None, None, :], (3, 256, 256)).copy()
    paths = [write(tmp_path / f"{n}.nii", array) for n, array in enumerate((a, b, 7 * a + 3, a + b))]
    same = scored(tmp_path / "s.json", "--fusion", paths[0], paths[1], paths[2])
    assert (same["regions"], same["images"]) == ({}, {})
    # The window is 3 to 254: it makes the outer three of either end one, and leaves the 250 between apart.
    spread = 3 / 256 * np.log2(256 / 3) * 2 + 250 / 256 * 8
    assert same["fusion"]["entropy_bits"] == pytest.approx(spread, abs=1e-4)
    # It rises by 255 over 255 steps along one axis of three.
    assert same["fusion"]["average_gradient"] == pytest.approx(1 / np.sqrt(3), abs=1e-4)
    assert same["fusion"]["scd"] == pytest.approx(np.sqrt(0.5), abs=1e-3)  # of A - B with A; of nothing with B
    both = scored(tmp_path / "t.json", "--fusion", paths[0], paths[1], paths[3])["fusion"]
    assert both["scd"] > same["fusion"]["scd"]
    assert 0 < both["fmi"] <= 1


def test_fused_images_are_seen_in_the_brain_alone_and_on_their_own_grid(tmp_path, capsys):
    (sharp, other, fused), paths = images(tmp_path)
    brain = (sharp != 0) | (other != 0)
    own = scored(tmp_path / "a.json", "--fusion", *paths)["fusion"]
    a, b, f = (window_intensities(image[None], brain)[0][0] for image in (sharp, other, fused))
    assert own["entropy_bits"] == pytest.approx(entropy(f, brain), abs=1e-3)
    assert own["fmi"] == pytest.approx(fmi(f, (a, b), brain), abs=1e-3)
    assert own["average_gradient"] == pytest.approx(average_gradient(f, brain), abs=1e-3)
    assert own["scd"] == pytest.approx(scd(f, a, b, brain), abs=1e-3)
    pytest.importorskip("SimpleITK")
    moved = AFFINE.copy()
    moved[:3, 3] = 2.0 * -4, 0, 3.0 * -3
    there = write(tmp_path / "there.nii", np.pad(sharp, ((3, 1), (0, 0), (4, 0))), moved)
    assert scored(tmp_path / "b.json", "--fusion", there, *paths[1:])["fusion"] == own
    assert "another grid than the fused image" in capsys.readouterr().err


def test_a_fused_image_without_contrast_is_named(tmp_path):
    _, paths = images(tmp_path)
    flat = write(tmp_path / "flat.nii", np.ones((16, 18, 20), np.float32))
    with pytest.raises(InputError, match="flat.nii has one value") as fault:
        scored(tmp_path / "s.json", "--fusion", *paths[:2], flat)
    assert fault.value.code == "constant-image"


def test_masks_on_different_grids_are_refused(tmp_path):
    found = write(tmp_path / "found.nii", box(slice(2, 4)))
    truth = write(tmp_path / "truth.nii", box(slice(2, 4)), AFFINE * 1.1)
    with pytest.raises(InputError, match="different grids") as fault:
        scored(tmp_path / "s.json", "--region", "ET", found, truth)
    assert fault.value.code == "different-grids"
    assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize("value", [1, 0])
def test_a_sharp_image_without_contrast_is_named(tmp_path, value):
    _, (_, blurred, restored) = images(tmp_path)
    flat = write(tmp_path / "flat.nii", np.pad(np.full((12, 14, 16), value, np.float32), 2))
    with pytest.raises(InputError, match="flat.nii has one value") as fault:
        scored(tmp_path / "s.json", "--image", "t2", flat, blurred, restored)
    assert fault.value.code == "constant-image"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to score"),
        (("--region", "XX", "a", "b"), "is none of ET, TC, WT"),
        (("--image", "seg", "a", "b", "c"), "is none of t1, t1ce, t2, flair"),
        (("--region", "ET", "a", "b", "--region", "ET", "a", "b"), "given twice"),
        (("--region", "ET", "nowhere.nii", "b"), "nowhere.nii does not exist"),
    ],
)
def test_what_cannot_be_scored_is_refused(tmp_path, words, said):
    with pytest.raises(InputError, match=said):
        scored(tmp_path / "s.json", *words)
    assert not (tmp_path / "s.json").exists()


def test_progress_as_json_has_a_step_for_every_item(tmp_path, capsys):
    found = write(tmp_path / "found.nii", box(slice(2, 4)))
    _, paths = images(tmp_path)
    out = str(tmp_path / "s.json")
    score.main(["--out", out, "--progress", "json", "--region", "ET", found, found, "--image", "t2", *paths])
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["stage", "step", "step", "done"]
    assert [(event["step"], event["total"]) for event in events[1:3]] == [(1, 2), (2, 2)]
    assert (events[1]["region"], events[2]["image"], events[3]["out"]) == ("ET", "t2", out)


def test_the_command_runs_as_a_process_without_torch(tmp_path):
    found = write(tmp_path / "found.nii", box(slice(2, 4)))
    program = (
        "import sys; sys.modules['torch'] = None; import runpy;"
        f"sys.argv = ['score', '--out', {str(tmp_path / 's.json')!r}, '--region', 'ET', {found!r}, {found!r}];"
        "runpy.run_module('DABSegCore.score', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(score.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))["regions"]["ET"]["dice"] == 1
