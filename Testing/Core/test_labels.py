"""Labels: BraTS label maps to overlapping regions and back, against sets written out by hand."""

import numpy as np
import pytest

from DABSegCore.errors import InputError
from DABSegCore.labels import REGIONS, canonical_labels, labels_from_regions, regions_from_labels


def test_regions_of_each_label():
    """ET = {4}, TC = {1, 4}, WT = {1, 2, 4} (BraTS)."""
    et, tc, wt = regions_from_labels(np.array([0, 1, 2, 4]))
    assert REGIONS == ("ET", "TC", "WT")
    assert et.tolist() == [False, False, False, True]
    assert tc.tolist() == [False, True, False, True]
    assert wt.tolist() == [False, True, True, True]


def test_labels_survive_the_way_through_regions():
    label = np.random.default_rng(0).choice(np.array([0, 1, 2, 4], dtype=np.uint8), (5, 6, 7))
    np.testing.assert_array_equal(labels_from_regions(regions_from_labels(label)), label)


def test_inner_regions_win_where_a_network_contradicts_itself():
    masks = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 1]], dtype=bool)  # ET outside TC, TC outside WT
    assert labels_from_regions(masks).tolist() == [4, 1, 2, 4]


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
def test_enhancing_tumour_of_2023_becomes_4(dtype):
    canonical = canonical_labels(np.array([0, 1, 2, 3], dtype=dtype))
    assert canonical.tolist() == [0, 1, 2, 4]
    assert canonical.dtype == np.uint8
    assert canonical_labels(np.array([0, 1, 2, 4], dtype=dtype)).tolist() == [0, 1, 2, 4]


def test_the_input_is_left_as_it_was():
    label = np.array([0, 3], dtype=np.uint8)
    canonical_labels(label)
    assert label.tolist() == [0, 3]


@pytest.mark.parametrize("values", [[0, 5], [0, -1], [0.0, 1.5], [0, 260], [3, 4], [0, np.nan]])
def test_what_is_no_brats_label_is_refused(values):
    with pytest.raises(InputError) as caught:
        canonical_labels(np.array(values))
    assert caught.value.code == "unknown-label"
