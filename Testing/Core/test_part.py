"""Part: a box of the reference's grid: where it lies on the working grid, what the network sees, what is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from test_orientation import Output, an_engine
from tiny import AFFINE, tiny_patient, tiny_weights, write_case
from torch import nn

from DABSegCore import segment
from DABSegCore.cases import find_case, load_case
from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.part import CONTEXT, keep, part_of, place
from DABSegCore.pipeline import Options, segment_case
from DABSegCore.preprocess import prepare
from DABSegCore.volume import read_volume

BOX = (10, 22, 14, 30, 9, 24)


def within(box: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[box[0] : box[1], box[2] : box[3], box[4] : box[5]] = True
    return mask


class Everything(nn.Module):
    """Says tumour everywhere, and makes images brighter; remembers what it saw."""

    restores = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, image: torch.Tensor) -> Output:
        self.seen.append(image.clone())
        return Output(torch.full_like(image[:, :3], 9.0), image + 0.125)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return tiny_patient()[0]


@pytest.mark.parametrize(
    "affine", [AFFINE, np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])], ids=["brats", "turned"]
)
def test_the_network_sees_the_box_and_16_voxels_around_it_as_in_a_full_run(images, affine):
    prepared = prepare(images, affine)
    part = part_of(prepared, BOX)
    mask = prepared.to_working(within(BOX, images.shape[1:])[None], "nearest")[0]
    inside = np.zeros(mask.shape, bool)
    inside[part.inside] = True
    assert np.array_equal(mask, inside)
    for near, far, edge in zip(part.inside, part.around, mask.shape, strict=True):
        assert far.start == max(near.start - CONTEXT, 0)
        assert far.stop == min(near.stop + CONTEXT, edge)
    assert np.array_equal(part.crop(prepared.image), prepared.image[(slice(None), *part.around)])


@pytest.mark.parametrize("size_mm", [(3.0, 1.0, 1.0), (0.5, 2.0, 1.2)])
def test_a_box_on_a_resampled_grid_covers_the_same_place(images, size_mm):
    pytest.importorskip("SimpleITK")
    prepared = prepare(images, np.diag([*size_mm[::-1], 1.0]))
    part = part_of(prepared, BOX)
    to_reference = np.linalg.inv(np.diag([*size_mm[::-1], 1.0])) @ prepared.affine
    first, last = (
        to_reference @ [*(np.array([getattr(side, end) for side in part.inside[::-1]]) - shift), 1]
        for end, shift in (("start", 0.5), ("stop", 0.5))
    )
    low, high = np.minimum(first, last)[2::-1] + 0.5, np.maximum(first, last)[2::-1] + 0.5  # faces in D, H, W
    brain = np.argwhere((images != 0).any(axis=0))
    margin = 1.01 / np.array(size_mm)  # a working voxel
    for axis in range(3):
        asked = np.clip(BOX[2 * axis : 2 * axis + 2], brain.min(0)[axis] - 4, brain.max(0)[axis] + 5)
        assert asked[0] - margin[axis] <= low[axis] <= asked[0] + 1e-6
        assert asked[1] - 1e-6 <= high[axis] <= asked[1] + margin[axis]


def test_a_box_thinner_than_a_working_voxel_is_one_voxel(images):
    pytest.importorskip("SimpleITK")
    prepared = prepare(images, np.diag([0.4, 0.4, 0.4, 1.0]))
    part = part_of(prepared, (15, 16, 20, 21, 20, 21))
    assert all(1 <= side.stop - side.start <= 2 for side in part.inside)


def test_place_and_keep_by_hand():
    shape, where = (1, 2, 2, 3), (slice(0, 1), slice(1, 2), slice(1, 3))
    rest = [[0] * 3] * 2
    assert place(np.array([[[[5, 6]]]]), where, np.zeros(shape, int)).tolist() == [[[[0, 0, 0], [0, 5, 6]], rest]]
    assert keep(np.full(shape, 7), where, np.zeros(shape, int)).tolist() == [[[[0, 0, 0], [0, 7, 7]], rest]]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.3, 2.0)])
def test_nothing_is_said_outside_the_box(tmp_path, images, spacing):
    """One network that says tumour everywhere: the label fills the brain of the box and no more."""
    affine = AFFINE @ np.diag([*spacing, 1.0])
    case = find_case(write_case(tmp_path / "a", "a", images, None, affine))
    model = Everything()
    options = Options(autocast="off", save_probabilities=True, box=BOX, format="nii", picture=False)
    segment_case(case, an_engine(model), tmp_path / "out", options)
    loaded = load_case(case)
    prepared = prepare(loaded.images, loaded.reference.affine)
    part = part_of(prepared, BOX)
    assert np.array_equal(model.seen[-1][0].numpy(), prepared.image[(slice(None), *part.around)])
    box, brain = within(BOX, images.shape[1:]), (images != 0).any(axis=0)
    label = read_volume(tmp_path / "out" / "a_seg.nii").array
    assert (label[~box] == 0).all()
    core = box & np.all([np.roll(brain, step, axis) for axis in range(3) for step in (-2, -1, 0, 1, 2)], axis=0)
    assert core.sum() > 100
    assert (label[core] == 4).all()
    for m, modality in enumerate(MODALITIES):
        clear = read_volume(tmp_path / "out" / f"a_{modality}_pseudo-clear.nii").array
        assert np.array_equal(clear[~box], images[m][~box])
        bright = core & (images[m] < np.percentile(images[m][brain], 60))  # below the end of the window
        assert (clear[bright] > images[m][bright]).all()
    for region in REGIONS:
        assert (read_volume(tmp_path / "out" / f"a_probabilities_{region}.nii").array[~box] == 0).all()


def test_the_picture_shows_the_result_of_the_box(tmp_path, images, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "DABSegCore.pipeline.case_panel",
        lambda rows, outlines, **_: drawn.update(rows) or np.zeros((2, 2, 3), np.uint8),
    )
    case = find_case(write_case(tmp_path / "a", "a", images, None, AFFINE))
    segment_case(case, an_engine(Everything()), tmp_path / "out", Options(box=BOX))
    prepared = prepare(images, AFFINE)
    changed = (drawn["pseudo-clear"] != drawn["input"]).any(axis=0)
    inside = np.zeros(changed.shape, bool)
    inside[part_of(prepared, BOX).inside] = True
    assert changed.any()
    assert not (changed & ~inside).any()


@pytest.mark.parametrize(
    ("box", "code"),
    [
        ((10, 10, 14, 30, 9, 24), "bad-box"),
        ((12, 10, 14, 30, 9, 24), "bad-box"),
        ((-1, 10, 14, 30, 9, 24), "bad-box"),
        ((10, 22, 14, 30, 9, 41), "bad-box"),
        ((0, 1, 0, 1, 0, 1), "no-brain-in-box"),
    ],
)
def test_a_box_of_nothing_is_refused(images, box, code):
    with pytest.raises(InputError, match="--box") as fault:
        part_of(prepare(images, AFFINE), box)
    assert fault.value.code == code


def test_the_command_does_a_case_again_with_another_box_format_or_picture(tmp_path, images, monkeypatch):
    monkeypatch.setattr("DABSegCore.pipeline.case_panel", lambda *_, **__: np.zeros((2, 2, 3), np.uint8))
    case = write_case(tmp_path / "a", "a", images, None, AFFINE)
    weights = tiny_weights(tmp_path / "tiny.pt")
    out = tmp_path / "out"

    def report(*words: str) -> dict:
        common = ["--case", str(case), "--out", str(out), "--weights", str(weights), "--progress", "quiet"]
        assert segment.main([*common, *words]) == 0
        found = json.loads((out / "a_report.json").read_text(encoding="utf-8"))
        assert {path.name for path in out.iterdir()} == {*found["outputs"], "a_report.json"}
        return found

    box = ("--box", *map(str, BOX))
    first = report(*box, "--format", "nii", "--no-picture")
    assert first["options"]["box"] == list(BOX)
    assert set(first["outputs"]) == {"a_seg.nii", *(f"a_{m}_pseudo-clear.nii" for m in MODALITIES)}
    assert report(*box, "--format", "nii", "--no-picture")["created"] == first["created"]
    written = (out / "a_report.json").stat().st_mtime_ns
    assert "a.png" in report(*box, "--format", "nii")["outputs"]
    assert "a_seg.nii.gz" in report(*box, "--no-restored")["outputs"]
    assert report("--no-restored")["options"]["box"] is None
    pytest.importorskip("SimpleITK")
    assert "a_seg.nrrd" in report("--no-restored", "--format", "nrrd")["outputs"]
    assert Path(out / "a_report.json").stat().st_mtime_ns > written
