"""Preprocess: the way to the network's grid and back, over every orientation, and the intensity window."""

import itertools
import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from DABSegCore.cases import find_case, load_case
from DABSegCore.errors import InputError
from DABSegCore.preprocess import apply_windows, prepare, window_intensities, working_grid

ORIENTATIONS = [
    (axes, flips)
    for axes in itertools.permutations((0, 1, 2))
    for flips in itertools.chain.from_iterable(itertools.combinations((0, 1, 2), n) for n in range(4))
]
BRATS = np.array([[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def a_head(seed=0, shape=(25, 31, 29)):
    """Four modalities with an asymmetric brain in an air margin."""
    random = np.random.default_rng(seed)
    images = np.zeros((4, *shape), dtype=np.float32)
    images[:, 4:-3, 2:-5, 3:-4] = random.uniform(1, 500, (4, shape[0] - 7, shape[1] - 7, shape[2] - 7))
    images[1, 5, 4, 5] = 0  # a dark voxel inside the brain
    return images


def reorient(array, affine, axes, flips):
    """The same voxels in space with array axes permuted, then reversed: the slow obvious version.

    Args:
        array: Channels [C, D, H, W].
        affine: (i, j, k) to RAS mm.
        axes: Old array axis of each new one.
        flips: New array axes to reverse.
    """
    turned = array.transpose(0, *(axis + 1 for axis in axes))
    index = np.zeros((4, 4))  # new (i, j, k) to old (i, j, k)
    index[3, 3] = 1
    for new, old in enumerate(axes):
        reverse = new in flips
        index[2 - old, 2 - new] = -1 if reverse else 1
        index[2 - old, 3] = turned.shape[1 + new] - 1 if reverse else 0
    for axis in flips:
        turned = np.flip(turned, axis + 1)
    return np.ascontiguousarray(turned), affine @ index


def an_affine(angles_deg=(0, 0, 0), spacing=(1, 1, 1), left_handed=False, origin=(-60, 33, 12.5)):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix() @ BRATS[:3, :3] * spacing
    affine[:3, 3] = origin
    if left_handed:
        affine[:3, 0] *= -1
    return affine


AFFINES = {
    "brats": BRATS,
    "oblique": an_affine((20, -13, 35)),
    "left-handed": an_affine((7, 12, -20), left_handed=True),
    "within-tolerance": an_affine((4, 0, 9), (0.96, 1.04, 1.0)),
    "anisotropic": an_affine((20, -13, 35), (0.9, 0.9, 5.0)),
    "anisotropic-left": an_affine((7, 12, -20), (0.47, 0.47, 2.5), left_handed=True),
}


def ras(affine, voxel):
    """Place of an array voxel (k, j, i) in RAS mm."""
    return affine[:3, :3] @ np.array(voxel[::-1]) + affine[:3, 3]


# ---------------------------------------------------------------- geometry


@pytest.mark.parametrize("name", AFFINES)
def test_every_orientation_gives_the_identical_working_image_and_comes_back(name):
    images, affine = a_head(), AFFINES[name]
    upright = prepare(images, affine)
    answer = np.random.default_rng(1).random((3, *upright.image.shape[1:]), dtype=np.float32)
    home = upright.to_reference(answer)
    for axes, flips in ORIENTATIONS:
        turned, turned_affine = reorient(images, affine, axes, flips)
        prepared = prepare(turned, turned_affine)
        np.testing.assert_array_equal(prepared.image, upright.image)
        np.testing.assert_array_equal(prepared.brain, upright.brain)
        np.testing.assert_array_equal(prepared.windows, upright.windows)
        np.testing.assert_allclose(prepared.affine, upright.affine, atol=1e-9)
        np.testing.assert_array_equal(prepared.to_reference(answer), reorient(home, affine, axes, flips)[0])
        np.testing.assert_array_equal(
            prepared.restore_intensity(answer[[0, 1, 2, 0]]),
            reorient(upright.restore_intensity(answer[[0, 1, 2, 0]]), affine, axes, flips)[0],
        )


@pytest.mark.parametrize("name", ["brats", "oblique", "left-handed", "within-tolerance"])
def test_one_millimetre_voxels_are_only_moved(name):
    """The working grid is the crop itself, and a round trip changes no bit."""
    images = a_head()
    prepared = prepare(images, AFFINES[name])
    assert prepared.grid.zoom is None
    np.testing.assert_array_equal(prepared.to_reference(prepared.to_working(images)), images)
    labels = np.random.default_rng(2).integers(0, 5, prepared.image.shape, dtype=np.uint8)
    back = prepared.to_reference(labels, "nearest")
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(prepared.to_working(back, "nearest"), labels)
    assert back.sum() == labels.sum()  # nothing but 0 outside the box


def test_a_brats_case_is_only_cropped_with_two_voxels_of_margin():
    images = a_head()
    prepared = prepare(images, BRATS)
    np.testing.assert_array_equal(prepared.to_working(images), images[:, 2:-1, 0:-3, 1:-2])
    np.testing.assert_allclose(prepared.affine[:3, 3], ras(BRATS, (2, 0, 1)))
    np.testing.assert_array_equal(prepared.brain, (images != 0).any(axis=0)[2:-1, 0:-3, 1:-2])


@pytest.mark.parametrize("name", AFFINES)
def test_working_axes_point_left_posterior_superior(name):
    affine = prepare(a_head(), AFFINES[name]).affine
    assert (np.diag(affine[:3, :3]) * (-1, -1, 1) > 0.7).all()


@pytest.mark.parametrize("turn", [((0, 1, 2), ()), ((2, 0, 1), (0, 2)), ((1, 0, 2), (1,))])
@pytest.mark.parametrize("name", AFFINES)
def test_a_bright_blob_keeps_its_place_in_space_there_and_back(name, turn):
    spot = (6, 8, 9)
    shape = (29, 33, 31)
    images = np.zeros((4, *shape), dtype=np.float32)
    images[:, 3:-3, 3:-3, 3:-3] = np.random.default_rng(3).uniform(1, 2, (4, 23, 27, 25))
    place = ras(AFFINES[name], spot)
    voxel = np.moveaxis(np.indices(shape)[::-1], 0, -1)
    apart_mm = np.linalg.norm(voxel @ AFFINES[name][:3, :3].T + AFFINES[name][:3, 3] - place, axis=-1)
    images[0] += 100 * np.exp(-((apart_mm / 1.5) ** 2)) * (images[0] > 0)
    turned, affine = reorient(images, AFFINES[name], *turn)
    prepared = prepare(turned, affine)
    working = prepared.to_working(turned)[0]
    found = ras(prepared.affine, np.unravel_index(working.argmax(), working.shape))
    assert np.abs(found - place).max() <= 1.0
    back = prepared.to_reference(working[None])[0]
    assert back.shape == turned.shape[1:]
    peak = ras(affine, np.unravel_index(back.argmax(), back.shape))
    assert np.abs(peak - place).max() <= (1e-6 if prepared.grid.zoom is None else 1.0)


@pytest.mark.parametrize("name", ["anisotropic", "anisotropic-left"])
def test_resampled_grids_have_one_millimetre_voxels_and_agree_with_their_affine(name):
    """A ramp along superior stays that ramp, and comes back to itself: linear interpolation is exact on it."""
    shape = (25, 27, 29)
    k, j, i = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    height = np.stack([i, j, k], axis=-1) @ AFFINES[name][2, :3] + AFFINES[name][2, 3] + 200
    images = np.repeat(height[None].astype("f4"), 4, axis=0)
    prepared = prepare(images, AFFINES[name])
    np.testing.assert_allclose(np.linalg.norm(prepared.affine[:3, :3], axis=0), 1)
    working = prepared.to_working(images)[0]
    k, j, i = np.meshgrid(*(np.arange(n) for n in working.shape), indexing="ij")
    expected = np.stack([i, j, k], axis=-1) @ prepared.affine[2, :3] + prepared.affine[2, 3] + 200
    inner = (slice(3, -3),) * 3  # at the rim there is nothing to interpolate with
    np.testing.assert_allclose(working[inner], expected[inner], atol=1e-3)
    np.testing.assert_allclose(prepared.to_reference(working[None])[0][inner], images[0][inner], atol=1e-3)


# ---------------------------------------------------------------- intensities


def test_the_window_by_hand():
    """Voxels 1..101: percentiles 1 and 99 are 2 and 100; zeros are not counted, air stays 0."""
    image = np.zeros((1, 1, 2, 102), dtype=np.float32)
    image[0, 0, 0, :101] = np.arange(1, 102)
    image[0, 0, 1, 5] = 1000  # outside the brain
    brain = np.zeros((1, 2, 102), dtype=bool)
    brain[0, 0] = True
    windowed, windows = window_intensities(image, brain)
    assert windows.tolist() == [[2, 100]]
    np.testing.assert_allclose(windowed[0, 0, 0, :101], np.clip((np.arange(1, 102) - 2) / 98, 0, 1), rtol=1e-6)
    assert windowed[0, 0, 0, 101] == 0
    assert (windowed[0, 0, 1] == 0).all()
    assert windowed.dtype == np.float32
    np.testing.assert_array_equal(apply_windows(image, brain, windows), windowed)


def test_a_sharp_twin_is_windowed_like_the_corrupted_one():
    prepared = prepare(a_head(), BRATS)
    twin = apply_windows(prepared.to_working(a_head()) * 0.5, prepared.brain, prepared.windows)
    low, high = prepared.windows[2]
    voxel = (2, 5, 6, 4)
    expected = np.clip((prepared.to_working(a_head())[voxel] * 0.5 - low) / (high - low), 0, 1)
    assert twin[voxel] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", AFFINES)
def test_an_unchanged_image_restores_to_the_input_bit_for_bit(name):
    """Also the voxels beyond the window: what is clipped for the network keeps its excess."""
    images = a_head()
    prepared = prepare(images, AFFINES[name])
    np.testing.assert_array_equal(prepared.restore_intensity(prepared.image), images)


def test_a_change_restores_in_the_units_of_the_input():
    images = a_head()
    prepared = prepare(images, BRATS)
    changed = prepared.image.copy()
    voxel = (1, 5, 6, 4)
    changed[voxel] += 0.1
    restored = prepared.restore_intensity(changed)
    low, high = prepared.windows[1]
    difference = restored - images
    assert difference.max() == pytest.approx(0.1 * (high - low), rel=1e-4)
    assert np.unravel_index(difference.argmax(), difference.shape) == (1, 7, 6, 5)  # the box begins at (2, 0, 1)
    assert np.count_nonzero(difference) == 1


def test_restored_voxels_stay_within_the_window_but_for_their_own_excess():
    """A network that answers 5 or -5 everywhere gives the brightest or darkest of the window, no more."""
    images = a_head()
    prepared = prepare(images, BRATS)
    low, high = (prepared.windows[:, side, None, None, None] for side in (0, 1))
    inside = np.broadcast_to((images != 0).any(axis=0), images.shape)
    excess = images - np.clip(images, low, high)
    for answer, bound in ((5.0, high), (-5.0, low)):
        restored = prepared.restore_intensity(np.full_like(prepared.image, answer))
        np.testing.assert_allclose(restored[inside], (bound + excess)[inside], atol=1e-3)


@pytest.mark.parametrize("name", AFFINES)
def test_the_brain_keeps_its_volume(name):
    images = a_head()
    voxel_mm3 = abs(np.linalg.det(AFFINES[name][:3, :3]))
    prepared = prepare(images, AFFINES[name])
    working_mm3 = abs(np.linalg.det(prepared.affine[:3, :3]))
    assert prepared.brain.sum() * working_mm3 == pytest.approx((images != 0).any(axis=0).sum() * voxel_mm3, rel=0.1)
    assert (prepared.image[:, ~prepared.brain] == 0).all()


@pytest.mark.parametrize("name", ["brats", "anisotropic"])
def test_air_stays_air_whatever_the_network_says(name):
    images = a_head()
    prepared = prepare(images, AFFINES[name])
    restored = prepared.restore_intensity(np.full_like(prepared.image, 5.0))
    assert (restored[:, ~(images != 0).any(axis=0)] == 0).all()
    assert np.isfinite(restored).all()
    assert restored.dtype == np.float32


def test_no_brain_and_no_contrast_are_refused():
    with pytest.raises(InputError) as caught:
        prepare(np.zeros((4, 5, 5, 5), dtype=np.float32), BRATS)
    assert caught.value.code == "no-brain"
    images = a_head()
    images[2] = (images[2] > 0) * 7.0
    with pytest.raises(InputError, match="the t2 image has the value 7") as caught:
        prepare(images, BRATS)
    assert caught.value.code == "constant-image"


@pytest.mark.parametrize(
    ("rare", "words"), [(9.0, "the value 5 in nearly all of its voxels above 0"), (-3.0, "the value 5 in nearly all")]
)
def test_a_sparse_image_is_told_what_is_true_of_it(rare, words):
    """A mask of 5 in a part of the brain, with one voxel of another value: not "5 in all of the brain"."""
    images = a_head()
    images[2] = 0
    images[2, 8:16, 8:16, 8:16] = 5
    images[2, 9, 9, 9] = rare
    with pytest.raises(InputError) as caught:
        prepare(images, BRATS)
    assert f"the t2 image has {words}" in str(caught.value)
    images[2] = -images[0]
    with pytest.raises(InputError, match="the t2 image has no voxel above 0 in the brain"):
        prepare(images, BRATS)


@pytest.mark.parametrize(
    ("spacing", "words"),
    [
        (0.001, "is 0.018 x 0.024 x 0.022 mm large in voxels of 0.001 x 0.001 x 0.001 mm"),
        (200.0, "is 3.6e+03 x 4.8e+03 x 4.4e+03 mm large in voxels of 200 x 200 x 200 mm"),
        (1e-30, "brain"),
        (1e30, "brain"),
        ((1, 1, 0.1), "is 1.8 x 24 x 22 mm large in voxels of 0.1 x 1 x 1 mm"),
    ],
)
def test_voxel_sizes_that_make_no_brain_are_refused_before_anything_is_resampled(spacing, words):
    mask = (a_head() != 0).any(axis=0)  # 18 x 24 x 22 voxels
    with pytest.raises(InputError) as caught:
        working_grid(mask, BRATS @ np.diag([*np.broadcast_to(spacing, 3), 1.0]))
    assert caught.value.code == "brain-extent"
    assert words in str(caught.value)
    assert "10 to 400 mm" in str(caught.value)


# ---------------------------------------------------------------- speed and real cases


def test_a_full_size_case_is_prepared_in_two_seconds():
    images = np.zeros((4, 155, 240, 240), dtype=np.float32)
    images[:, 5:147, 30:221, 50:188] = np.random.default_rng(0).random((4, 142, 191, 138), dtype=np.float32) + 1
    began = time.process_time()
    prepare(images, BRATS)
    assert time.process_time() - began < 2.0


def test_the_native_case_lands_where_its_registered_twin_is(real_cases):
    """One patient on the scanner's grids and on the BraTS grid: the same orientation, size and share of brain."""
    prepared = []
    for folder in ("native_space", "unlabelled"):
        loaded = load_case(find_case(real_cases / folder / "TCGA-DU-7294"), on_warning=str)
        prepared.append(prepare(loaded.images, loaded.reference.affine))
    native, twin = prepared
    np.testing.assert_allclose(native.affine[:3, :3], np.diag([-1, -1, 1]), atol=0.01)
    assert np.abs(np.subtract(native.image.shape, twin.image.shape)).max() <= 10
    assert native.brain.sum() == pytest.approx(twin.brain.sum(), rel=0.1)
    shape = np.minimum(native.image.shape, twin.image.shape)[1:]
    crops = []
    for one in prepared:
        starts = [(n - size) // 2 for n, size in zip(one.image.shape[1:], shape, strict=True)]
        window = tuple(slice(start, start + size) for start, size in zip(starts, shape, strict=True))
        crops.append(one.image[(slice(None), *window)])
    as_is = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(*crops, strict=True)]
    for axis in range(1, 4):
        flipped = np.corrcoef(np.flip(crops[0], axis)[2].ravel(), crops[1][2].ravel())[0, 1]
        assert as_is[2] > flipped  # t2, whose ventricles and cortex tell the sides apart
    assert min(as_is) > 0.5
