"""Naming: what radiologists, scanners and BraTS call the four modalities."""

from __future__ import annotations

import itertools

import pytest
from DABSegLib.naming import TITLES, case_name, guess, modality_of

NAMES = {
    "t1": [
        *("t1", "T1", "case_t1", "BraTS-GLI-00000-000-t1n", "3: t1n_1", "T1w", "AX T1 FLAIR", "T1 w/o contrast"),
        *("t1_mprage_sag", "MPRAGE", "T1 pre", "T1 native", "T1 post op", "t1_se_tra", "T1 ohne KM", "T1 non-contrast"),
        *("sub-01_T1w.nii.gz", "T1 to T1ce", "patient C T1", "patient F T1", "Sag 3D BRAVO"),
    ],
    "t1ce": [
        *("t1ce", "case_t1ce", "BraTS-GLI-00000-000-t1c", "T1 post Gd", "ax T1 +C", "t1_ce", "T1CE_1", "T1Gd", "T1 KM"),
        *("T1 C", "T1+C", "T1 + Gd", "T1w post", "t1wce", "T1 contrast enhanced", "MPRAGE post contrast", "t1c.nii"),
        *("501: AX T1 POST", "Post-op T1 Gd", "T1ce in T2"),
    ],
    "t2": [
        *("t2", "case_t2", "BraTS-GLI-00000-000-t2w", "T2w", "t2_tse_tra", "AX T2 FSE", "7: T2", "T2 to T1", "t2space"),
        *("T2_blade_fs", "T2W_2"),
    ],
    "flair": [
        *("flair", "FLAIR", "T2 FLAIR", "BraTS-GLI-00000-000-t2f", "case_flair_1", "ax t2 flair fs", "t2flair"),
        *("t2_tirm_tra_dark-fluid", "FLAIR to T1", "FLAIR post contrast", "Sag FLAIR 3D"),
    ],
    None: [
        *("seg", "case_seg", "T2*", "T2star", "T2_map", "ADC", "dwi b1000", "mask t1", "T1 and T2", "Volume", "", "CT"),
        *("case_t1_pseudo-clear (synthetic)", "case_flair_difference (synthetic)", "T1 subtraction", "tumour"),
        *("atlas", "t10", "t1rho", "post contrast", "+C", "case FLAIR T1", "SWI T2"),
    ],
}


@pytest.mark.parametrize(("modality", "name"), [(kind, name) for kind, names in NAMES.items() for name in names])
def test_a_name_tells_its_modality(modality, name):
    assert modality_of(name) == modality


def listed(*names):
    """Names as (node id, name) where the id is the name again, so that a result reads by itself."""
    return [(name, name) for name in names]


@pytest.mark.parametrize("endings", [("t1", "t1ce", "t2", "flair"), ("t1n", "t1c", "t2w", "t2f")])
def test_a_case_of_either_family_is_found_in_any_order(endings):
    names = [f"BraTS-1_{ending}" for ending in endings]
    for order in itertools.permutations([*names, "BraTS-1_seg"]):
        assert guess(listed(*order)) == dict(zip(TITLES, names, strict=True))


def test_everyday_names_are_found():
    names = ("ax T1", "ax T1 +C", "AX T2 FSE", "T2 FLAIR", "ADC")
    assert guess(listed(*names)) == dict(zip(TITLES, names, strict=False))


def test_nothing_is_found_in_nothing():
    assert guess([]) == {}
    assert guess(listed("Volume", "CT")) == {}


def test_two_cases_are_not_mixed_and_the_last_loaded_is_taken():
    a, b = ([f"{case}_{m}" for m in TITLES] for case in "ab")
    assert set(guess(listed(*a, *b)).values()) == set(b)
    assert set(guess(listed(*b, *a)).values()) == set(a)
    assert set(guess(listed(a[0], *b, *a[1:])).values()) == set(a)
    mixed = [name for pair in zip(a, b, strict=True) for name in pair]
    assert set(guess(listed(*mixed)).values()) == set(b)


def test_a_whole_case_is_taken_before_a_part_of_one_loaded_later():
    whole = [f"a_{m}" for m in TITLES]
    assert set(guess(listed(*whole, "b_t1", "b_t2", "b_flair")).values()) == set(whole)


def test_a_part_of_a_case_is_not_filled_up_from_another():
    assert guess(listed("a_t1", "a_t1ce", "a_t2", "b_flair")) == {"t1": "a_t1", "t1ce": "a_t1ce", "t2": "a_t2"}
    assert guess(listed("a_t1", "a_t1ce", "a_t2", "FLAIR"))["flair"] == "FLAIR"


def test_of_equal_names_the_last_loaded_is_taken():
    assert guess([("1", "T1"), ("2", "T1_1"), ("3", "T2")]) == {"t1": "2", "t2": "3"}
    assert guess([("1", "a_t1"), ("2", "a_t1_1")]) == {"t1": "2"}


def test_a_name_that_says_motion_is_taken_only_where_nothing_else_is():
    assert guess(listed("a_t1", "a_t1_motion")) == {"t1": "a_t1"}
    assert guess(listed("a_t1", "a_t2_motion")) == {"t1": "a_t1", "t2": "a_t2_motion"}


@pytest.mark.parametrize(
    ("names", "case"),
    [
        (("Virtual_005_t1", "Virtual_005_t1ce", "Virtual_005_t2", "Virtual_005_flair"), "Virtual_005"),
        (("B-7-t1n", "B-7-t1c_1", "3: B-7-t2w", "B-7-t2f_motion"), "B-7"),
        (("Meier T1", "Meier T1 +C", "Meier T2", "Meier FLAIR"), "Meier"),
        (("Größe/1: t1", "Größe/1: t1ce", "Größe/1: t2", "Größe/1: flair"), "Größe_1"),
        (("T1", "T1 Gd", "T2", "FLAIR"), "case"),
        (("a_t1", "b_t1ce", "c_t2", "d_flair"), "case"),
        (("x", "x", "x", "x"), "x"),
        (("../../t1", "../../t1ce", "../../t2", "../../flair"), "case"),
        (("t1", "t1ce", "t2", "flair"), "case"),
        ((f"{'a' * 99}_t1", f"{'a' * 99}_t1ce", f"{'a' * 99}_t2", f"{'a' * 99}_flair"), "a" * 60),
    ],
)
def test_the_case_is_what_the_names_share(names, case):
    assert case_name(dict(zip(TITLES, names, strict=True))) == case
