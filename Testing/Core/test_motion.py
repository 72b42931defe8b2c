"""Motion: against truths done by hand, and against the slow form that transforms whole padded volumes in 3-D."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.metrics import psnr
from DABSegCore.motion.kspace import (
    SEVERITIES,
    apply_trajectory,
    case_generator,
    corrupt_case,
    draw_trajectory,
    padded_lines,
)
from DABSegCore.motion.shift import estimate_shift
from DABSegCore.motion.trajectory import MAX_SCALE, Trajectory
from DABSegCore.phantom import VirtualPatient

SPACING = (1.0, 2.0, 1.5)  # (i, j, k)
SMALL = (24, 20, 28)  # [D, H, W]


@pytest.fixture(scope="module")
def a_blob() -> Tensor:
    """A lopsided ellipsoid with texture in the middle of a small grid [24, 20, 28], zero around it."""
    k, j, i = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SMALL], indexing="ij")
    inside = (k / 7) ** 2 + ((j - 1) / 5) ** 2 + ((i + 2) / 8) ** 2 < 1
    texture = np.random.default_rng(5).random(SMALL)
    return torch.from_numpy((inside * (100 + 3 * k + 5 * i + 40 * texture)).astype(np.float32))


@pytest.fixture(scope="module")
def a_brain(a_small_patient: VirtualPatient) -> Tensor:
    """T2 of a virtual patient on 3 mm voxels [D, H, W]."""
    return torch.from_numpy(a_small_patient.images[2])


@pytest.fixture(scope="module")
def a_brain_in_air(a_brain) -> Tensor:
    """The same with 8 voxels of air on every side."""
    return torch.nn.functional.pad(a_brain, (8,) * 6)


def single_pose(
    volume: Tensor, axis: int, rotation=(0.0, 0.0, 0.0), translation=(0.0, 0.0, 0.0), **other
) -> Trajectory:
    """All lines acquired in one pose."""
    n_lines = padded_lines(volume.shape[axis])
    base = dict(severity=1, preset="annulus", shape=tuple(volume.shape), spacing_mm=SPACING, msi_mm=0.0)
    base |= dict(
        axis=axis, n_lines=n_lines, edges=(0, n_lines), rotation_deg=(rotation,), translation_mm=(translation,)
    )
    return Trajectory(**{**base, **other})


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


def slow_motion(volume: np.ndarray, spacing: tuple[float, ...], trajectory: Trajectory) -> np.ndarray:
    """Corrupt [D, H, W] as the definition says: move the padded volume, 3-D FFT, pick lines, 3-D inverse FFT."""
    axis, extra = trajectory.axis, trajectory.n_lines - volume.shape[trajectory.axis]
    pad = [(extra // 2, extra - extra // 2) if a == axis else (0, 0) for a in range(3)]
    padded = np.pad(volume.astype(np.float64), pad)
    centre = (np.array(volume.shape) - 1) / 2 + [before for before, _ in pad]
    size = np.array(spacing[::-1])
    spectrum = np.zeros(padded.shape, complex)
    for j, (lo, hi) in enumerate(zip(trajectory.edges[:-1], trajectory.edges[1:], strict=True)):
        turn = Rotation.from_rotvec(trajectory.rotation_deg[j], degrees=True).as_matrix()[::-1, ::-1]
        move = np.array(trajectory.translation_mm[j][::-1])
        pull = np.diag(1 / size) @ turn.T @ np.diag(size)
        moved = ndimage.affine_transform(padded, pull, centre - pull @ (centre + move / size), order=1)
        lines = np.moveaxis(np.fft.fftshift(np.fft.fftn(moved), axes=axis), axis, 0)
        np.moveaxis(spectrum, axis, 0)[lo:hi] = lines[lo:hi]
    image = np.abs(np.fft.ifftn(np.fft.ifftshift(spectrum, axes=axis)))
    return image[tuple(slice(before, before + n) for (before, _), n in zip(pad, volume.shape, strict=True))]


# ---------------------------------------------------------------- apply


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_head_at_rest_comes_back(a_blob, axis):
    out = apply_trajectory(a_blob, SPACING, single_pose(a_blob, axis))
    assert relative_error(out.numpy(), a_blob.numpy()) < 1e-5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rest_in_several_segments_comes_back(a_blob, axis):
    n = padded_lines(a_blob.shape[axis])
    still = ((0.0, 0.0, 0.0),) * 4
    trajectory = single_pose(
        a_blob, axis, edges=(0, 9, n // 2, n // 2 + 3, n), rotation_deg=still, translation_mm=still
    )
    assert relative_error(apply_trajectory(a_blob, SPACING, trajectory).numpy(), a_blob.numpy()) < 1e-5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_whole_voxel_translation_moves_towards_higher_index(a_blob, axis):
    moved = apply_trajectory(a_blob, SPACING, single_pose(a_blob, axis, translation=(2.0, -2.0, 3.0)))
    truth = np.roll(a_blob.numpy(), (2, -1, 2), axis=(0, 1, 2))  # 3 mm of 1.5 along k, -2 of 2 along j, 2 of 1 along i
    assert relative_error(moved.numpy(), truth) < 1e-4


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_part_of_a_voxel_agrees_with_scipy(a_blob, axis):
    moved = apply_trajectory(a_blob, SPACING, single_pose(a_blob, axis, translation=(0.3, 1.0, -1.05)))
    truth = ndimage.shift(a_blob.numpy().astype(float), (-0.7, 0.5, 0.3), order=1)
    assert relative_error(moved.numpy(), truth) < 1e-4


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    ("rotation", "place"),
    [
        ((0.0, 0.0, 90.0), (0, 3, 0)),  # about k: +i turns to +j; 6 mm are 3 voxels of 2 mm
        ((0.0, 0.0, -90.0), (0, -3, 0)),
        ((0.0, 90.0, 0.0), (-4, 0, 0)),  # about j: +i turns to -k; 6 mm are 4 voxels of 1.5 mm
        ((90.0, 0.0, 0.0), (0, 0, 6)),  # about i: stays
    ],
)
def test_a_marker_goes_where_the_rotation_says(axis, rotation, place):
    volume = torch.zeros(21, 21, 21)
    volume[10, 10, 16] = 1.0  # 6 mm along +i of the centre of the field of view
    trajectory = single_pose(volume, axis, rotation=rotation)
    moved = apply_trajectory(volume, SPACING, trajectory).numpy()
    found = np.unravel_index(moved.argmax(), moved.shape)
    assert tuple(int(f) - 10 for f in found) == place
    assert moved.max() == pytest.approx(1.0, abs=1e-4)


def test_rotation_comes_before_translation():
    volume = torch.zeros(21, 21, 21)
    volume[10, 10, 16] = 1.0
    trajectory = single_pose(volume, 0, rotation=(0.0, 0.0, 90.0), translation=(4.0, 0.0, 3.0))
    moved = apply_trajectory(volume, SPACING, trajectory).numpy()
    assert np.unravel_index(moved.argmax(), moved.shape) == (12, 13, 14)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("severity", [2, 4])
def test_one_dimensional_form_equals_the_definition(a_blob, axis, severity):
    drawn = draw_trajectory(
        a_blob, SPACING, severity, torch.Generator().manual_seed(severity), axis=axis, recentre=False
    )
    fast = apply_trajectory(a_blob, SPACING, drawn).numpy()
    truth = slow_motion(a_blob.numpy(), SPACING, drawn)
    assert relative_error(a_blob.numpy(), truth) > 0.05  # there is motion to agree about
    assert relative_error(fast, truth) < 1e-4


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_is_outside_the_mask_does_not_matter(a_brain, axis):
    """The cropped computation is exact, also with a shift to undo and a mask smaller than the head."""
    spacing = (3.0, 3.0, 3.0)
    drawn = draw_trajectory(a_brain, spacing, 3, torch.Generator().manual_seed(1), axis=axis)
    assert any(drawn.shift_mm)
    mask = torch.zeros(a_brain.shape, dtype=torch.bool)
    mask[20:41, 18:40, 15:31] = True
    whole = apply_trajectory(a_brain, spacing, drawn)
    part = apply_trajectory(a_brain, spacing, drawn, brain=mask)
    assert relative_error(part.numpy(), (whole * mask).numpy()) < 1e-5


def test_outside_the_brain_stays_zero_and_the_scale_stays(a_brain):
    images = a_brain[None]
    out, _ = corrupt_case(images, (3.0, 3.0, 3.0), 2, "case", modalities=("t2",))
    brain = images[0] > 0
    assert float(out[0][~brain].abs().max()) == 0
    assert out.min() >= 0
    assert float(out[0][brain].mean()) == pytest.approx(float(a_brain[brain].mean()), rel=0.1)


def test_real_part_is_the_other_way_to_combine(a_blob):
    drawn = draw_trajectory(a_blob, SPACING, 4, torch.Generator().manual_seed(0), recentre=False)
    magnitude = apply_trajectory(a_blob, SPACING, drawn)
    real = apply_trajectory(a_blob, SPACING, drawn, combine="real")
    assert bool((real.abs() <= magnitude + 1e-3).all())
    assert float(real.min()) < 0


def test_empty_volume_gives_an_empty_volume():
    volume = torch.zeros(SMALL)
    out, trajectories = corrupt_case(volume[None], SPACING, 2, "case", modalities=("t1",))
    assert not out.any()
    assert trajectories[0].shift_mm == (0.0, 0.0, 0.0)


# ---------------------------------------------------------------- draw


@pytest.mark.parametrize("preset", ["annulus", "shaw"])
@pytest.mark.parametrize("severity", [1, 2, 3, 4])
def test_every_line_has_one_owner(a_blob, severity, preset):
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        drawn = draw_trajectory(a_blob, SPACING, severity, generator, preset=preset, recentre=False)
        owners = np.zeros(drawn.n_lines, int)
        for lo, hi in zip(drawn.edges[:-1], drawn.edges[1:], strict=True):
            owners[lo:hi] += 1
        assert (owners == 1).all()
        assert len(drawn.rotation_deg) == len(drawn.translation_mm) == len(drawn.edges) - 1
        assert drawn.n_lines >= SMALL[drawn.axis] + 40


@pytest.mark.parametrize("severity", [1, 2, 3, 4])
def test_moves_lie_in_the_annulus_and_the_centre_is_at_rest(a_brain, severity):
    level = SEVERITIES[severity]
    for seed in range(10):
        drawn = draw_trajectory(a_brain, (3.0,) * 3, severity, torch.Generator().manual_seed(seed), recentre=False)
        events, centre = np.array(drawn.edges[1:-1]), drawn.n_lines // 2
        assert len(events) == level.n_events
        assert (events <= centre).sum() == level.n_events // 2  # as many before as after
        reach = np.where(events <= centre, centre - events, events - centre - 1) / drawn.n_lines
        assert reach.min() >= min(level.inner_radius, 1 / drawn.n_lines) - 0.5 / drawn.n_lines
        assert reach.max() <= 0.25 + 0.5 / drawn.n_lines
        rest = np.searchsorted(drawn.edges, centre, side="right") - 1
        assert drawn.rotation_deg[rest] == drawn.translation_mm[rest] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("severity", [1, 2, 3, 4])
def test_motion_severity_index_is_the_weighted_displacement_of_a_head(a_brain, severity):
    """Index from points strewn in an 80 mm ball and weights from a full 3-D FFT; and it meets the level's target."""
    drawn = draw_trajectory(a_brain, (3.0,) * 3, severity, torch.Generator().manual_seed(3), recentre=False)
    points = np.random.default_rng(0).normal(size=(20000, 3))
    radius = 80 * np.random.default_rng(1).random(len(points)) ** (1 / 3)
    points *= (radius / np.linalg.norm(points, axis=1))[:, None]
    n, axis = drawn.n_lines, drawn.axis
    energy = np.abs(np.fft.fftshift(np.fft.fft(a_brain.numpy(), n=n, axis=axis), axes=axis)) ** 2
    weights = energy.sum(tuple(a for a in range(3) if a != axis)) * (np.arange(n) - n // 2) ** 2
    total = 0.0
    for j, (lo, hi) in enumerate(zip(drawn.edges[:-1], drawn.edges[1:], strict=True)):
        turn = Rotation.from_rotvec(drawn.rotation_deg[j], degrees=True)
        away = turn.apply(points) + drawn.translation_mm[j] - points
        total += weights[lo:hi].sum() / weights.sum() * np.square(away).sum(1).mean()
    assert drawn.msi_mm == pytest.approx(np.sqrt(total), rel=0.02)
    assert drawn.msi_mm == pytest.approx(SEVERITIES[severity].msi_mm, rel=1e-3)


def test_enlargement_is_capped(a_brain, monkeypatch):
    monkeypatch.setitem(SEVERITIES, 1, replace(SEVERITIES[1], msi_mm=1000.0))
    drawn = draw_trajectory(a_brain, (3.0,) * 3, 1, torch.Generator().manual_seed(0), recentre=False)
    # Composed with the inverse of the centre pose, a translation is the difference of two draws from U(-2, 2).
    largest = MAX_SCALE * 2 * SEVERITIES[1].move_mm
    assert 2.0 < np.abs(drawn.translation_mm).max() <= largest * 1.1


def test_levels_are_levels(a_brain):
    """PSNR falls from level to level, for every seed on average over axes, and clearly in the mean."""
    sharp = (a_brain / a_brain.max()).numpy()
    brain = sharp > 0
    table = np.zeros((4, 4))
    for level in (1, 2, 3, 4):
        for seed in range(4):
            out, _ = corrupt_case(
                torch.from_numpy(sharp)[None], (3.0,) * 3, level, "case", seed=seed, modalities=["t2"]
            )
            table[level - 1, seed] = psnr(out[0].numpy(), sharp, brain)
    falls = -np.diff(table.mean(axis=1))
    assert (falls > 1.0).all(), table


def test_modalities_cases_seeds_and_draws_move_apart(a_blob):
    def poses(**change):
        options = {"seed": 0, "case_id": "a", "modality": "t1", "severity": 2, "draw": 0} | change
        return draw_trajectory(a_blob, SPACING, 2, case_generator(**options), recentre=False).rotation_deg

    changes = [{}, {"seed": 1}, {"case_id": "b"}, {"modality": "t2"}, {"severity": 3}, {"draw": 1}]
    assert len({poses(**change) for change in changes}) == len(changes)
    assert poses() == poses()


def test_the_generator_is_the_same_on_every_machine():
    generator = case_generator(7, "BraTS_é", "flair", 3, 2)
    assert torch.randint(10**6, (3,), generator=generator).tolist() == [721896, 624695, 761814]


def test_a_modality_moves_alike_in_whatever_company(a_blob):
    images = torch.stack([a_blob, a_blob * 2, a_blob.flip(0), a_blob + 1])
    _, four = corrupt_case(images, SPACING, 2, "case")
    _, one = corrupt_case(images[2:3], SPACING, 2, "case", modalities=("t2",))
    assert len({t.rotation_deg for t in four}) == 4
    assert one[0] == four[2]
    assert [t.origin["modality"] for t in four] == list(MODALITIES)


def test_poses_do_not_depend_on_whether_the_axis_was_given(a_brain):
    drawn = draw_trajectory(a_brain, (3.0,) * 3, 2, torch.Generator().manual_seed(4))
    given = draw_trajectory(a_brain, (3.0,) * 3, 2, torch.Generator().manual_seed(4), axis=drawn.axis)
    assert drawn == given
    axes = {draw_trajectory(a_brain, (3.0,) * 3, 1, torch.Generator().manual_seed(s)).axis for s in range(12)}
    assert axes == {0, 1, 2}


def test_severity_zero_is_no_motion(a_blob):
    images = a_blob[None]
    out, trajectories = corrupt_case(images, SPACING, 0, "case", modalities=("t1",))
    assert out is images
    assert trajectories == [None]


def test_shaw_motion_happens_mid_scan_and_is_demeaned_at_the_centre(a_blob):
    for seed in range(20):
        drawn = draw_trajectory(a_blob, SPACING, 1, torch.Generator().manual_seed(seed), preset="shaw", recentre=False)
        events = np.array(drawn.edges[1:-1])
        assert 1 <= len(events) <= 15
        assert len(set(events.tolist())) == len(events)
        assert events.min() >= round(0.3 * drawn.n_lines)
        assert events.max() < round(0.7 * drawn.n_lines)
        centre = drawn.n_lines // 2
        if np.abs(events - centre).min() > 4:  # one pose holds all lines that weigh: it is the mean
            rest = np.searchsorted(drawn.edges, centre, side="right") - 1
            assert np.abs([drawn.rotation_deg[rest], drawn.translation_mm[rest]]).max() < 1e-4


def test_shaw_poses_pile_up(a_blob):
    """Pose steps have the published spread: translation sd of large and small moves, 10 and 2 voxels, pooled."""
    steps = []
    for seed in range(150):
        drawn = draw_trajectory(
            a_blob, (1.0,) * 3, 1, torch.Generator().manual_seed(seed), preset="shaw", recentre=False
        )
        steps.append(np.diff(np.array(drawn.rotation_deg), axis=0))
    spread = np.sqrt(np.square(np.concatenate(steps)).mean())
    # E[min(Pois(2), 5)] = 1.97 moves of 10 degrees and E[min(Pois(3), 10)] = 3.00 of 3 degrees.
    assert spread == pytest.approx(np.sqrt((1.97 * 100 + 3.0 * 9) / 4.97), rel=0.12)


# ---------------------------------------------------------------- residual shift


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (1.3, -2.2, 0.4), (-4.0, 6.0, 3.0)])
def test_a_shift_is_found(a_brain, shift):
    voxels = [s / 3 for s in shift[::-1]]
    moved = np.fft.ifftn(ndimage.fourier_shift(np.fft.fftn(a_brain.numpy().astype(float)), voxels)).real
    found = estimate_shift(torch.from_numpy(moved.astype(np.float32)), a_brain, (3.0,) * 3)
    assert found == pytest.approx(shift, abs=0.03)


def test_a_stored_shift_is_undone(a_brain_in_air):
    spacing, shift = (3.0,) * 3, (1.3, -2.2, 0.4)
    smooth = ndimage.gaussian_filter(a_brain_in_air.numpy(), 1.5)
    trajectory = single_pose(a_brain_in_air, 1, spacing_mm=spacing, shift_mm=shift)
    back = apply_trajectory(torch.from_numpy(smooth), spacing, trajectory).numpy()
    voxels = [-s / 3 for s in shift[::-1]]
    truth = np.fft.ifftn(ndimage.fourier_shift(np.fft.fftn(smooth.astype(float)), voxels)).real
    assert relative_error(back, truth) < 0.005


def test_recentring_leaves_the_head_where_the_labels_are(a_brain_in_air):
    spacing = (3.0,) * 3
    left = {True: [], False: []}
    for seed in range(6):
        for recentre in left:
            generator = torch.Generator().manual_seed(seed)
            drawn = draw_trajectory(a_brain_in_air, spacing, 3, generator, recentre=recentre)
            out = apply_trajectory(a_brain_in_air, spacing, drawn)
            left[recentre].append(np.linalg.norm(estimate_shift(out, a_brain_in_air, spacing)))
    assert np.mean(left[False]) > 0.5
    assert np.mean(left[True]) < 0.2 * np.mean(left[False])


# ---------------------------------------------------------------- replay


@pytest.mark.parametrize("preset", ["annulus", "shaw"])
def test_json_replays_the_same_bytes(a_brain, preset):
    out, trajectories = corrupt_case(a_brain[None], (3.0,) * 3, 3, "case", modalities=("t2",), preset=preset)
    again = Trajectory.from_json(json.loads(json.dumps(trajectories[0].to_json())))
    assert again == trajectories[0]
    repeated = apply_trajectory(a_brain, (3.0,) * 3, again, brain=a_brain != 0)
    assert repeated.numpy().tobytes() == out[0].numpy().tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"axis": 3},
        {"edges": [0, 5]},
        {"edges": [0, 30, 20, 64]},
        {"rotation_deg": []},
        {"shift_mm": [0.0, float("nan"), 0.0]},
        {"spacing_mm": [1.0, 0.0, 1.0]},
        {"translation_mm": "none"},
        {"surplus": 1},
        {"n_lines": 64.0},
        {"severity": "x"},
        {"severity": 2.0},
        {"severity": 9},
        {"severity": True},
        {"axis": "0"},
        {"axis": None},
        {"preset": "other"},
        {"preset": ["annulus"]},
        {"shape": [24.5, 20, 28]},
        {"shape": "abc"},
        {"spacing_mm": ["1", "2", "1.5"]},
        {"msi_mm": "x"},
        {"msi_mm": float("inf")},
        {"msi_mm": 10**400},
        {"origin": "me"},
        {"version": "1"},
    ],
)
def test_an_incoherent_record_is_refused(a_blob, change):
    record = single_pose(a_blob, 0).to_json() | change
    with pytest.raises(InputError, match="trajectory record") as fault:
        Trajectory.from_json(record)
    assert fault.value.code == "bad-trajectory"


def test_a_trajectory_for_another_shape_is_refused(a_blob):
    with pytest.raises(InputError, match="shape") as fault:
        apply_trajectory(a_blob[1:], SPACING, single_pose(a_blob, 0))
    assert fault.value.code == "trajectory-grid"


@pytest.mark.parametrize(
    ("options", "code"),
    [({"severity": 5}, "unknown-severity"), ({"axis": 3}, "unknown-axis"), ({"preset": "x"}, "unknown-preset")],
)
def test_what_does_not_exist_is_refused(a_blob, options, code):
    with pytest.raises(InputError) as fault:
        corrupt_case(a_blob[None], SPACING, **{"severity": 2, "case_id": "c", "modalities": ("t1",)} | options)
    assert fault.value.code == code


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same(a_brain):
    on_cpu, a = corrupt_case(a_brain[None], (3.0,) * 3, 3, "case", modalities=("t2",))
    on_gpu, b = corrupt_case(a_brain[None].cuda(), (3.0,) * 3, 3, "case", modalities=("t2",))
    assert on_gpu.is_cuda
    assert a[0].edges == b[0].edges
    assert relative_error(on_gpu[0].cpu().numpy(), on_cpu[0].numpy()) < 1e-2
