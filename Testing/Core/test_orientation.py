"""Orientation: the segmentation of a re-oriented case is the re-oriented segmentation, over all 48 voxel orders."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tiny import AFFINE, tiny_network, tiny_patient, write_case
from torch import Tensor, nn

from DABSegCore.cases import find_case
from DABSegCore.pipeline import Engine, Options, segment_case
from DABSegCore.progress import Progress

nib = pytest.importorskip("nibabel")

ORDERS = [(axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", (12, -17, 23), degrees=True).as_matrix()
OBLIQUE[:3, 3] = (3.5, -7.25, 11)
RESULTS = ("seg", "probabilities_WT", "t1ce_pseudo-clear")


class Output(NamedTuple):
    logits: Tensor
    restored: Tensor


class Sided(nn.Module):
    """Thresholds that differ from place to place: only the right orientation gives the right answer."""

    restores = True

    def forward(self, image: Tensor) -> Output:
        d, h, w = (torch.linspace(-1, 1, n) for n in image.shape[2:])
        place = 0.11 * d[:, None, None] + 0.23 * h[:, None] + 0.37 * w
        bounds = torch.tensor([0.7, 0.5, 0.3])[:, None, None, None] + place
        return Output(20 * (image[:, [1, 2, 3]] - bounds), image * (0.9 + 0.2 * place))


def an_engine(model: nn.Module) -> Engine:
    thresholds = {"ET": 0.5, "TC": 0.5, "WT": 0.5}
    weights = {"path": "none", "sha256": "0", "preset": "custom", "version": "0"}
    return Engine(model.eval(), {"thresholds": thresholds}, weights, torch.device("cpu"), Progress("quiet"))


def reordered(array: np.ndarray, affine: np.ndarray, axes: tuple, signs: tuple) -> tuple[np.ndarray, np.ndarray]:
    """The same image [..., D, H, W] in another voxel order, by NiBabel: old axis a becomes axes[a], maybe reversed."""
    ijk = np.moveaxis(array.T, -1, 0) if array.ndim == 4 else array.T[None]  # [M, i, j, k]
    ornt = np.zeros((3, 2))
    for old, (new, sign) in enumerate(zip(axes, signs, strict=True)):
        ornt[old] = (new, sign)
    turned = np.stack([nib.apply_orientation(channel, ornt) for channel in ijk])
    out = np.moveaxis(turned, 0, -1).T if array.ndim == 4 else turned[0].T
    return out, affine @ nib.orientations.inv_ornt_aff(ornt, ijk.shape[1:])


def segmented(folder: Path, images: np.ndarray, affine: np.ndarray, engine: Engine) -> dict[str, nib.Nifti1Image]:
    """Results of a case, read back and brought to one canonical voxel order by NiBabel."""
    case = find_case(write_case(folder / "case", "a", images, None, affine))
    segment_case(case, engine, folder / "out", Options(autocast="off", save_probabilities=True))
    return {name: nib.as_closest_canonical(nib.load(folder / "out" / f"a_{name}.nii.gz")) for name in RESULTS}


def assert_same(found: dict[str, nib.Nifti1Image], expected: dict[str, nib.Nifti1Image], atol: float = 0) -> None:
    for name in RESULTS:
        np.testing.assert_allclose(found[name].affine, expected[name].affine, atol=1e-4)
        np.testing.assert_allclose(found[name].get_fdata(), expected[name].get_fdata(), rtol=0, atol=atol)


@pytest.fixture(autouse=True)
def _quick_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("DABSegCore.pipeline.case_panel", lambda *_, **__: np.zeros((2, 2, 3), np.uint8))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.ascontiguousarray(tiny_patient()[0][:, 4:28, 6:40, 4:36])


@pytest.mark.parametrize("base", [AFFINE, OBLIQUE @ AFFINE], ids=["straight", "oblique"])
def test_all_48_voxel_orders_give_the_same_segmentation(base: np.ndarray, images: np.ndarray, tmp_path: Path) -> None:
    engine = an_engine(Sided())
    expected = segmented(tmp_path / "as made", images, base, engine)
    label = expected["seg"].get_fdata()
    assert set(np.unique(label)) == {0, 1, 2, 4}
    assert (label != label[::-1]).any()  # so that a mirrored result would be told
    left_handed = 0
    for number, (axes, signs) in enumerate(ORDERS):
        turned, affine = reordered(images, base, axes, signs)
        left_handed += np.linalg.det(affine) < 0
        assert_same(segmented(tmp_path / str(number), turned, affine, engine), expected)
    assert left_handed == 24


def test_voxels_that_are_not_1_mm_are_resampled_the_same_way_from_every_order(
    images: np.ndarray, tmp_path: Path
) -> None:
    base = OBLIQUE @ AFFINE @ np.diag([1.0, 1.2, 2.5, 1.0])
    engine = an_engine(Sided())
    expected = segmented(tmp_path / "as made", images, base, engine)
    for number, (axes, signs) in enumerate(ORDERS[5::9]):
        turned, affine = reordered(images, base, axes, signs)
        found = segmented(tmp_path / str(number), turned, affine, engine)
        differ = (found["seg"].get_fdata() != expected["seg"].get_fdata()).mean()
        assert differ < 1e-3  # voxels on the threshold, by rounding
        found["seg"] = expected["seg"]
        assert_same(found, expected, atol=0.05)


@pytest.mark.parametrize("order", [ORDERS[0], ORDERS[13], ORDERS[30], ORDERS[47]])
def test_the_real_network_agrees_too(order: tuple, images: np.ndarray, tmp_path: Path) -> None:
    engine = an_engine(tiny_network())
    expected = segmented(tmp_path / "as made", images, AFFINE, engine)
    found = segmented(tmp_path / "turned", *reordered(images, AFFINE, *order), engine)
    assert_same(found, expected)


def test_reordering_here_keeps_every_voxel_in_place(images: np.ndarray) -> None:
    """The oracle itself: the same place in space holds the same value."""
    for axes, signs in ORDERS[::7]:
        turned, affine = reordered(images[0], AFFINE, axes, signs)
        ijk = np.array([3, 5, 7, 1])
        a, b, c, _ = np.round(np.linalg.inv(affine) @ AFFINE @ ijk).astype(int)
        assert turned[c, b, a] == images[0][7, 5, 3]
