"""Virtual patients: same seed same patient, exact labels, volumes and contrasts as in glioma, pressure that pushes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from DABSegCore.errors import InputError
from DABSegCore.labels import ENHANCING, MODALITIES, NECROSIS, OEDEMA
from DABSegCore.phantom.anatomy import draw_build, ventricles
from DABSegCore.phantom.contrast import BRIGHTNESS, draw_brightness
from DABSegCore.phantom.fields import Grid, ellipsoid, generator, lattice, share, tube, upsample, waves
from DABSegCore.phantom.patient import VirtualPatient, _grid, _head, virtual_patient, write_patient
from DABSegCore.phantom.tumour import KINDS, Focus, displace, draw_foci
from DABSegCore.volume import read_labels, read_volume

COARSE = {"shape": (53, 64, 60), "spacing_mm": 3.0}
VOXEL_ML = 0.027
KNOWN_COUNTS = [142, 2900, 491]
KNOWN_MEANS = [324.13, 551.37, 359.92, 342.16]
CENTRE = Focus("ring", (0.0, 0.0, 0.0), 15.0, 4.0, 10.0, 0.5, (1.0, 1.0, 1.0), "first")


@pytest.fixture(scope="module")
def patients() -> list[VirtualPatient]:
    """Ten coarse patients."""
    return [virtual_patient(seed, **COARSE) for seed in range(10)]


def median(patient: VirtualPatient, modality: str, mask: np.ndarray) -> float:
    """Median intensity of one modality within a mask."""
    return float(np.median(patient.images[MODALITIES.index(modality)][mask]))


def brain_of(patient: VirtualPatient) -> np.ndarray:
    """The brain mask: where any modality is not zero."""
    return (patient.images != 0).any(0)


def test_the_same_seed_makes_the_same_patient_and_another_seed_another(patients: list[VirtualPatient]) -> None:
    again = virtual_patient(4, **COARSE)
    np.testing.assert_array_equal(again.images, patients[4].images)
    np.testing.assert_array_equal(again.label, patients[4].label)
    assert not np.array_equal(patients[4].label, patients[5].label)
    assert not np.array_equal(patients[4].images[0] > 0, patients[5].images[0] > 0)


def test_the_first_patient_is_the_one_we_know_on_any_machine(patients: list[VirtualPatient]) -> None:
    counts = np.bincount(patients[0].label.ravel(), minlength=5)
    np.testing.assert_allclose(counts[[NECROSIS, OEDEMA, ENHANCING]], KNOWN_COUNTS, rtol=0.01, atol=3)
    brain = brain_of(patients[0])
    np.testing.assert_allclose(patients[0].images[:, brain].mean(1), KNOWN_MEANS, rtol=1e-3)


def test_the_default_grid_is_that_of_brats() -> None:
    patient = virtual_patient(1)
    assert patient.images.shape == (4, 155, 240, 240)
    assert patient.label.shape == (155, 240, 240)
    assert patient.images.dtype == np.float32
    assert patient.label.dtype == np.uint8
    np.testing.assert_array_equal(patient.affine, [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
    edges = [brain_of(patient).take(end, axis).sum() for axis in (1, 2) for end in (0, -1)]
    assert edges == [0, 0, 0, 0], "brain does not touch the sides of the grid"


def test_a_coarser_grid_shows_the_same_patient(patients: list[VirtualPatient]) -> None:
    fine = virtual_patient(2, shape=(80, 96, 90), spacing_mm=2.0)
    for mask in (brain_of, lambda patient: patient.label > 0):
        coarse_ml, fine_ml = mask(patients[2]).sum() * VOXEL_ML, mask(fine).sum() * 0.008
        assert coarse_ml == pytest.approx(fine_ml, rel=0.08)
        np.testing.assert_allclose(middle_mm(patients[2], mask), middle_mm(fine, mask), atol=1.0)


def middle_mm(patient: VirtualPatient, mask) -> np.ndarray:
    """Centre of a mask in RAS mm."""
    k, j, i = ndimage.center_of_mass(mask(patient))
    return (patient.affine @ (i, j, k, 1))[:3]


def test_images_are_finite_positive_in_the_brain_and_zero_outside(patients: list[VirtualPatient]) -> None:
    for patient in patients:
        brain = brain_of(patient)
        assert np.isfinite(patient.images).all()
        assert (patient.images[:, brain] > 0).all()
        assert not patient.images[:, ~brain].any()
        _, parts = ndimage.label(brain)
        assert parts == 1
        assert (ndimage.binary_fill_holes(brain) == brain).all()


def test_labels_are_exact_and_lie_in_the_brain(patients: list[VirtualPatient]) -> None:
    for patient in patients:
        assert patient.label.dtype == np.uint8
        assert set(np.unique(patient.label)) <= {0, NECROSIS, OEDEMA, ENHANCING}
        assert not patient.label[~brain_of(patient)].any()


def test_every_part_of_the_tumour_holds_core(patients: list[VirtualPatient]) -> None:
    for patient in patients:
        parts, count = ndimage.label(patient.label > 0)
        core = np.isin(patient.label, (NECROSIS, ENHANCING))
        assert set(range(1, count + 1)) <= set(np.unique(parts[core]))


def test_necrosis_is_wrapped_by_the_tumour(patients: list[VirtualPatient]) -> None:
    for patient in patients:
        necrosis = patient.label == NECROSIS
        around = ndimage.binary_dilation(necrosis) & ~necrosis & brain_of(patient)
        if around.any():
            assert (patient.label[around] > 0).mean() > 0.6


def test_volumes_are_those_of_brats(patients: list[VirtualPatient]) -> None:
    for patient in patients:
        assert 1100 < brain_of(patient).sum() * VOXEL_ML < 1850
        assert 3 < (patient.label > 0).sum() * VOXEL_ML < 300
    parts = [np.bincount(p.label.ravel(), minlength=5)[[1, 2, 4]] * VOXEL_ML for p in patients]
    assert (np.max(parts, axis=0) < (110, 220, 90)).all()
    assert (np.median(parts, axis=0)[1:] > (15, 2)).all()
    assert (np.median(parts, axis=0)[1:] < (110, 30)).all()


def test_tumours_differ_in_kind_side_and_place(patients: list[VirtualPatient]) -> None:

    drawn = [draw_foci(seed, draw_build(seed)) for seed in range(120)]
    kinds = [foci[0].kind for foci in drawn]
    assert set(kinds) == set(KINDS)
    assert 2 <= kinds.count("non-enhancing") <= 20
    assert 4 <= sum(len(foci) == 2 for foci in drawn) <= 30
    places = np.array([foci[0].centre_mm for foci in drawn])
    assert 0.3 < (places[:, 0] > 0).mean() < 0.7
    assert (places.std(0) > (20, 20, 12)).all()


def test_a_patient_without_enhancing_tumour_has_none() -> None:

    seed = next(s for s in range(200) if draw_foci(s, draw_build(s))[0].kind == "non-enhancing")
    label = virtual_patient(seed, **COARSE).label
    assert not (label == ENHANCING).any()
    assert (label == NECROSIS).any()


def test_tissues_keep_their_order_in_every_contrast() -> None:
    csf, gm, wm = range(3)
    order = {"t1": (csf, gm, wm), "t1ce": (csf, gm, wm), "t2": (wm, gm, csf), "flair": (csf, wm, gm)}
    for modality, tissues in order.items():
        assert (np.diff([BRIGHTNESS[modality][t] for t in tissues]) > 0).all()
        drawn = np.array([draw_brightness(seed, modality)[list(tissues)] for seed in range(100)])
        assert (np.diff(drawn, axis=1) > 0).mean() > 0.95


def test_tumour_parts_look_like_glioma(patients: list[VirtualPatient]) -> None:
    for patient in patients:
        healthy = brain_of(patient) & (patient.label == 0)
        necrosis, oedema, enhancing = (patient.label == part for part in (NECROSIS, OEDEMA, ENHANCING))
        assert median(patient, "flair", oedema) > 1.3 * median(patient, "flair", healthy)
        assert median(patient, "t2", oedema) > 1.05 * median(patient, "t2", healthy)
        if enhancing.sum() > 20:
            gain = median(patient, "t1ce", enhancing) / median(patient, "t1", enhancing)
            assert gain > 1.25 * median(patient, "t1ce", healthy) / median(patient, "t1", healthy)
            assert median(patient, "t1ce", enhancing) > 1.15 * median(patient, "t1ce", healthy)
        if enhancing.sum() > 20 and necrosis.sum() > 20:
            assert median(patient, "t1ce", necrosis) < 0.8 * median(patient, "t1ce", enhancing)


def test_ventricles_are_dark_on_flair_and_bright_on_t2() -> None:

    patient, (grid, box) = virtual_patient(6, **COARSE), _grid(**COARSE)
    inside = np.zeros(patient.label.shape, dtype=bool)
    inside[box] = upsample(_head(6).anatomy.ventricles, lattice(), grid) > 2.0
    inside &= patient.label == 0
    healthy = brain_of(patient) & (patient.label == 0)
    assert inside.sum() > 50
    assert median(patient, "flair", inside) < 0.6 * median(patient, "flair", healthy)
    assert median(patient, "t1", inside) < 0.7 * median(patient, "t1", healthy)
    assert median(patient, "t2", inside) > 1.6 * median(patient, "t2", healthy)


def test_pressure_pushes_tissue_outwards_and_less_with_distance() -> None:
    distance = np.array([12.0, 20.0, 30.0, 45.0, 70.0])
    points = np.stack([distance, np.zeros(5), np.zeros(5)]).astype(np.float32)
    before = displace(points, np.full(5, 50.0), (CENTRE,))[0]
    moved = distance - before
    assert moved[0] > 3.0, "next to the core tissue has moved by millimetres"
    assert moved[-1] < 0.6
    assert (np.diff(moved[1:]) < 0).all()
    assert (np.diff(before) > 0).all(), "no fold: what was farther away still is"


def test_pressure_leaves_the_skull_and_a_weightless_tumour_moves_nothing() -> None:
    points = generator(0, "test").uniform(-50, 50, (3, 20)).astype(np.float32)
    np.testing.assert_allclose(displace(points, np.zeros(20), (CENTRE,)), points, atol=1e-5)
    weightless = Focus("ring", (0.0, 0.0, 0.0), 15.0, 4.0, 10.0, 0.0, (1.0, 1.0, 1.0), "first")
    np.testing.assert_allclose(displace(points, np.full(20, 50.0), (weightless,)), points, atol=1e-4)


def test_ventricles_are_mirror_symmetric_in_the_average_head() -> None:
    place = generator(1, "test").uniform(-40, 40, (3, 200)).astype(np.float32)
    mirrored = place * np.array([-1, 1, 1], dtype=np.float32)[:, None]
    np.testing.assert_array_equal(ventricles(place, 1.0), ventricles(mirrored, 1.0))


def test_a_written_patient_reads_back_the_same(tmp_path: Path, patients: list[VirtualPatient]) -> None:
    write_patient(tmp_path / "ä case", patients[3], "Virtual_003")
    names = {path.name for path in (tmp_path / "ä case").iterdir()}
    assert names == {f"Virtual_003_{name}.nii.gz" for name in (*MODALITIES, "seg")}
    flair = read_volume(tmp_path / "ä case" / "Virtual_003_flair.nii.gz")
    np.testing.assert_array_equal(flair.array, patients[3].images[3])
    np.testing.assert_allclose(flair.affine, patients[3].affine, atol=1e-4)
    label = read_labels(tmp_path / "ä case" / "Virtual_003_seg.nii.gz")
    np.testing.assert_array_equal(label.array, patients[3].label)


def test_a_case_folder_under_a_file_is_refused(tmp_path: Path, patients: list[VirtualPatient]) -> None:
    """One sentence, and the file in the way is left as it was."""
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "case"):
        with pytest.raises(InputError, match="cannot be made") as caught:
            write_patient(folder, patients[3], "Virtual_003")
        assert caught.value.code == "cannot-write"
    assert (tmp_path / "file").read_text() == "mine"


def test_a_sphere_is_as_deep_as_the_distance_to_its_surface() -> None:
    x = np.array([0.5, 4.0, 9.0, 10.0, 11.0, 14.0])
    depth = ellipsoid(x, 0 * x, 0 * x, (0.0, 0.0, 0.0), (10.0, 10.0, 10.0))
    np.testing.assert_allclose(depth, 10.0 - x, atol=0.02)


def test_a_tapered_tube_is_as_deep_as_its_radius_on_its_axis() -> None:
    knots = ((0.0, 0.0, 0.0, 2.0), (10.0, 0.0, 0.0, 4.0))
    at = np.array([0.0, 5.0, 10.0, 12.0])
    np.testing.assert_allclose(tube(at, 0 * at, 0 * at, knots), [2.0, 3.0, 4.0, 2.0], atol=1e-6)


def test_upsampling_is_exact_for_a_linear_field() -> None:
    source = Grid(np.arange(0, 9, 2.0), np.arange(0, 11, 2.0), np.arange(0, 13, 2.0))
    target = Grid(np.array([0.0, 0.5, 3.25]), np.array([1.0, 2.0]), np.array([0.1, 6.6, 11.9]))
    coefficients = np.array([1.0, -2.0, 3.0], dtype=np.float32)
    expected = np.tensordot(coefficients, target.points(), axes=1)
    field = np.tensordot(coefficients, source.points(), axes=1)
    np.testing.assert_allclose(upsample(field, source, target), expected, atol=1e-5)


def test_waves_have_unit_variance_and_their_wavelength() -> None:
    line = np.stack([np.arange(0, 4000, 1.0), np.zeros(4000), np.zeros(4000)]).astype(np.float32)
    noise = waves(line, 20.0, generator(0, "test"), 200)
    assert noise.std() == pytest.approx(1.0, abs=0.15)
    assert abs(noise.mean()) < 0.1
    power = np.abs(np.fft.rfft(noise)) ** 2
    assert power[np.fft.rfftfreq(4000) > 1 / (0.8 * 20.0) + 0.002].sum() < 0.01 * power.sum()


def test_share_is_half_on_the_surface_and_clips_at_half_a_voxel() -> None:
    np.testing.assert_array_equal(share(np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]), 2.0), [0, 0, 0.5, 0.75, 1, 1])


def test_a_grid_that_is_all_brain_is_filled():
    patient = virtual_patient(7, (40, 64, 64))
    assert (patient.images != 0).any()
