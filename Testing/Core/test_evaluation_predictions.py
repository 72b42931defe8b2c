"""Predictions: label maps on disk are found, judged like a network's answers, and refused where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import AFFINE, tiny_patient, write_case

from DABSegCore.cases import find_case
from DABSegCore.errors import InputError
from DABSegCore.evaluate import main
from DABSegCore.evaluation.predictions import Predictions
from DABSegCore.evaluation.results import load
from DABSegCore.evaluation.subjects import Subject, find_subjects
from DABSegCore.labels import REGIONS, regions_from_labels
from DABSegCore.metrics import dice, hd95
from DABSegCore.pipeline import Notebook
from DABSegCore.progress import Progress
from DABSegCore.volume import Volume, write_volume


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two cases."""
    for case_id, seed in (("a", 3), ("b", 4)):
        write_case(tmp_path / "data" / case_id, case_id, *tiny_patient(seed), AFFINE)
    return tmp_path / "data"


def shifted(seed: int) -> np.ndarray:
    """The label map of a case, a voxel aside."""
    return np.roll(tiny_patient(seed)[1], 1, axis=2)


def write(path: Path, label: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, Volume(label, affine))
    return path


def evaluate(data: Path, predictions: Path, *words: object) -> int:
    """Exit code of the command; results are in `out` beside the data."""
    start = ["--data", data, "--predictions", predictions, "--out", data.parent / "out", "--progress", "quiet"]
    return main([*map(str, start), "--no-report", *map(str, words)])


def failures(data: Path) -> dict[str, str]:
    facts = json.loads((data.parent / "out" / "evaluation.json").read_text(encoding="utf-8"))
    return {failure["case_id"]: failure["message"] for failure in facts["failures"]}


@pytest.mark.parametrize("names", ["{}_seg.nii.gz", "{}.nii.gz", "{}-seg.nrrd", "{0}/{0}_seg.nii", "{0}/{0}.mha"])
def test_predictions_are_found_by_every_usual_name_and_scored(data: Path, tmp_path: Path, names: str) -> None:
    for case_id, seed in (("a", 3), ("b", 4)):
        write(tmp_path / "found" / names.format(case_id), shifted(seed))
    assert evaluate(data, tmp_path / "found") == 0
    result = load(tmp_path / "out")
    assert result.images == []
    assert not (tmp_path / "out" / "images.csv").exists()
    assert {row["severity"] for row in result.rows} == {"given"}
    masks, truth = regions_from_labels(shifted(4)), regions_from_labels(tiny_patient(4)[1])
    for region, mask, there in zip(REGIONS, masks, truth, strict=True):
        row = next(row for row in result.rows if (row["case_id"], row["region"]) == ("b", region))
        assert row["dice"] == pytest.approx(dice(mask, there), abs=1e-6)
        assert row["hd95_mm"] == pytest.approx(hd95(mask, there, (1, 1, 1)), abs=1e-6)
        assert 0 < row["dice"] < 1


def test_labels_of_2023_are_those_of_2020(data: Path, tmp_path: Path) -> None:
    label = tiny_patient(3)[1].copy()
    label[label == 4] = 3
    write(tmp_path / "found" / "a.nii.gz", label)
    assert evaluate(data, tmp_path / "found", "--cases", "a") == 0
    assert {row["dice"] for row in load(tmp_path / "out").rows} == {1.0}


def test_missing_predictions_are_listed_and_counted(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write(tmp_path / "found" / "b_seg.nii.gz", shifted(4))
    write(tmp_path / "found" / "other_seg.nii.gz", shifted(4))
    write(tmp_path / "found" / "b_t1_pseudo-clear.nii.gz", shifted(4))  # which `segment` leaves beside them
    assert evaluate(data, tmp_path / "found") == 1
    assert "no prediction of the case a" in failures(data)["a"]
    assert "1 predictions belong to no case that is evaluated: other" in capsys.readouterr().err
    assert {row["case_id"] for row in load(tmp_path / "out").rows} == {"b"}
    write(tmp_path / "found" / "a_seg.nii.gz", shifted(3))
    assert evaluate(data, tmp_path / "found") == 0
    assert {row["case_id"] for row in load(tmp_path / "out").rows} == {"a", "b"}


def test_other_grids_and_unknown_labels_are_refused_in_a_sentence(data: Path, tmp_path: Path) -> None:
    turned = AFFINE.copy()
    turned[0, 3] += 1
    write(tmp_path / "found" / "a_seg.nii.gz", shifted(3), turned)
    write(tmp_path / "found" / "b_seg.nii.gz", np.full((32, 48, 40), 5, np.uint8))
    assert evaluate(data, tmp_path / "found") == 2
    assert "has the same at another place" in failures(data)["a"]
    assert "value 5" in failures(data)["b"]
    write(tmp_path / "found" / "a_seg.nii.gz", shifted(3)[:, :40])
    assert evaluate(data, tmp_path / "found") == 2
    assert "40 x 40 x 32 voxels" in failures(data)["a"]
    assert "40 x 48 x 32 voxels" in failures(data)["a"]


def test_the_reference_is_no_prediction_of_itself_and_two_are_one_too_many(data: Path, tmp_path: Path) -> None:
    assert evaluate(data, data) == 2
    assert "is the reference segmentation itself" in failures(data)["b"]
    write(tmp_path / "found" / "a_seg.nii.gz", shifted(3))
    write(tmp_path / "found" / "a.nii.gz", shifted(3))
    write(tmp_path / "found" / "b.nii.gz", shifted(4))
    assert evaluate(data, tmp_path / "found") == 1
    assert "remove one" in failures(data)["a"]


def test_a_changed_prediction_is_scored_again(data: Path, tmp_path: Path) -> None:
    for case_id, seed in (("a", 3), ("b", 4)):
        write(tmp_path / "found" / f"{case_id}.nii.gz", shifted(seed))
    evaluate(data, tmp_path / "found")
    kept = (tmp_path / "out" / "records" / "b_given.json").stat().st_mtime_ns
    write(tmp_path / "found" / "a.nii.gz", tiny_patient(3)[1])
    evaluate(data, tmp_path / "found")
    assert {row["dice"] for row in load(tmp_path / "out").rows if row["case_id"] == "a"} == {1.0}
    assert (tmp_path / "out" / "records" / "b_given.json").stat().st_mtime_ns == kept


def test_a_label_that_no_prediction_has_is_a_warning(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for case_id, seed in (("a", 3), ("b", 4)):
        label = shifted(seed)
        label[label == 2] = 1  # a method that knows the core only
        write(tmp_path / "found" / f"{case_id}.nii.gz", label)
    assert evaluate(data, tmp_path / "found") == 0
    assert "no prediction holds the label 2 (oedema)" in capsys.readouterr().err
    assert len(load(tmp_path / "out").meta["warnings"]) == 1


def test_a_folder_without_predictions_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "found" / "empty").mkdir(parents=True)
    (tmp_path / "found" / "notes.txt").write_text("none yet", encoding="utf-8")
    with pytest.raises(InputError, match="holds no prediction"):
        evaluate(data, tmp_path / "found")
    with pytest.raises(InputError, match="does not exist"):
        evaluate(data, tmp_path / "nowhere")


def test_only_the_labels_are_read(data: Path, tmp_path: Path) -> None:
    write(tmp_path / "found" / "a.nii.gz", shifted(3))
    for path in (data / "a").glob("a_[tf]*"):
        path.write_bytes(b"no image")
    assert evaluate(data, tmp_path / "found", "--cases", "a") == 0


def test_a_picture_shows_images_prediction_and_reference_on_one_grid(data: Path, tmp_path: Path) -> None:
    write(tmp_path / "found" / "a.nii.gz", shifted(3))
    (subject,), _ = find_subjects(data, tmp_path / "out", ["a"])
    arrays = Predictions(tmp_path / "found").panel(subject, "given", Notebook(Progress("quiet")))
    assert set(arrays) == {"input", "segmentation", "reference"}
    assert arrays["input"].shape[1:] == arrays["segmentation"].shape[1:] == arrays["reference"].shape[1:]
    assert arrays["segmentation"][2].sum() == (shifted(3) > 0).sum()
    assert not np.array_equal(arrays["segmentation"], arrays["reference"])


def test_there_is_no_picture_where_images_and_labels_lie_apart(data: Path, tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[2, 3] += 3
    write(data / "a" / "a_seg.nii.gz", tiny_patient(3)[1], moved)
    write(tmp_path / "found" / "a.nii.gz", shifted(3), moved)
    subject = Subject("a", find_case(data / "a"))
    with pytest.raises(InputError, match="no picture of both"):
        Predictions(tmp_path / "found").panel(subject, "given", Notebook(Progress("quiet")))
