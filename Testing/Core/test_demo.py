"""Demo: files, numbers and picture of a small virtual patient, with untrained weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from DABSegCore.checkpoint import save_checkpoint
from DABSegCore.config import SMALL
from DABSegCore.demo import Pair, main, run_demo, summary
from DABSegCore.errors import InputError
from DABSegCore.labels import regions_from_labels
from DABSegCore.metrics import dice
from DABSegCore.models import build_model
from DABSegCore.pipeline import load_engine
from DABSegCore.progress import Progress
from DABSegCore.volume import read_labels, read_volume


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        path = tmp_path_factory.mktemp("weights") / "untrained.pt"
        save_checkpoint(path, build_model(SMALL), SMALL, {}, half=True)
    return path


def test_what_it_leaves_and_says(tmp_path, untrained):
    engine = load_engine(untrained, torch.device("cpu"), Progress("quiet"))
    report = run_demo(tmp_path, engine, seed=7, severity=2, shape=(64, 72, 72))
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == report
    assert (tmp_path / "demo.png").read_bytes()[:4] == b"\x89PNG"

    truth = regions_from_labels(read_labels(tmp_path / "sharp/Virtual_007/Virtual_007_seg.nii.gz").array)
    found = regions_from_labels(read_labels(tmp_path / "results/motion-S2/Virtual_007_seg.nii.gz").array)
    assert report["dice"]["motion S2"]["WT"] == pytest.approx(dice(found[2], truth[2]), abs=1e-4)
    assert report["volumes_ml"]["truth"]["WT"] == pytest.approx(np.count_nonzero(truth[2]) / 1000, abs=1e-4)

    sharp, moved = (
        read_volume(tmp_path / name / "Virtual_007/Virtual_007_t2.nii.gz").array for name in ("sharp", "motion-S2")
    )
    assert not np.array_equal(sharp, moved)
    assert 5 < report["psnr_db"]["motion S2"]["t2"] < 40
    printed = summary(report)
    assert f"{report['psnr_db']['motion S2']['t2']:.2f}" in printed
    assert "Research use only" in printed


def test_likeness_by_hand():
    sharp = np.full((4, 12, 12, 12), 0.5, np.float32)
    masks = np.zeros((3, 12, 12, 12), bool)
    pair = Pair(sharp, sharp + np.float32(0.1), sharp, np.ones((12, 12, 12), bool), masks, masks)
    measured = pair.likeness(pair.corrupted)
    by_hand = (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)
    assert measured["psnr_db"]["flair"] == pytest.approx(20.0, abs=0.01)
    assert measured["ssim"]["flair"] == pytest.approx(by_hand, abs=1e-4)
    assert pair.likeness(pair.sharp)["ssim"]["t1"] == 1.0


def test_an_output_folder_that_cannot_be_made_is_told_before_the_weights_are_read(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "demo"):
        with pytest.raises(InputError, match="cannot be made"):
            main(["--out", str(out), "--weights", str(tmp_path / "none.pt"), "--progress", "quiet"])


def test_absent_weights_are_told_before_anything_is_made(tmp_path):
    with pytest.raises(InputError):
        main(["--out", str(tmp_path / "demo"), "--weights", str(tmp_path / "none.pt"), "--progress", "quiet"])
    assert not (tmp_path / "demo").exists()
