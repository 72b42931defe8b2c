"""Facts: reports and scores as the plain values of a snapshot."""

from __future__ import annotations

from DABSegExtension.browser import downloads
from DABSegExtension.browser.facts import image_facts, memory_mib, motion_words, region_facts
from DABSegExtension.browser.state import ImageFacts, RegionFacts

QUALITY = {
    "motion": {"t1": 0.31, "t1ce": None, "t2": 0.726, "flair": 0.5},
    "stability": None,
    "review": True,
    "reasons": ["edges that lie in no other modality (motion index of t2 0.73; bound 0.7)"],
}


def test_the_motion_of_a_report_in_words() -> None:
    motion = motion_words({"quality": QUALITY})
    assert motion.text.startswith("Motion index: T1 0.31, T2 0.73, FLAIR 0.50 (")
    assert (motion.index, motion.review) == (0.726, True)
    assert motion.reasons == ("Edges that lie in no other modality (motion index of T2 0.73; bound 0.7).",)


def test_where_nothing_can_be_compared_that_is_said() -> None:
    nothing = {**QUALITY, "motion": dict.fromkeys(QUALITY["motion"]), "review": False, "reasons": []}
    assert motion_words({"quality": nothing}).index is None
    assert "no two modalities" in motion_words({"quality": nothing}).text
    assert motion_words({}).text == ""


def test_scores_beside_volumes() -> None:
    scores = {"regions": {"ET": {"dice": 0.5, "hd95_mm": None, "sensitivity": 0.4, "predicted_ml": 1, "truth_ml": 2.5}}}
    assert region_facts({"WT": 9.0, "ET": 1.0}, scores) == (
        RegionFacts("ET", 1.0, 0.5, None, 2.5),
        RegionFacts("WT", 9.0),
    )


def test_before_and_after_are_not_mixed_up() -> None:
    psnr, ssim = {"corrupted": 20.0, "restored": 25.0}, {"corrupted": 0.7, "restored": 0.8}
    scores = {"images": {"t2": {"psnr_db": psnr, "ssim": ssim}}}
    (facts,) = image_facts(scores)
    assert facts == ImageFacts("t2", psnr_before=20.0, psnr_after=25.0, ssim_before=0.7, ssim_after=0.8)


def test_memory_is_that_of_this_process() -> None:
    before = memory_mib()
    ballast = b"x" * (200 << 20)
    assert 150 < memory_mib() - before < 250, len(ballast)


def test_downloads_begin_with_everything_then_outlines_then_records_then_volumes_by_kind() -> None:
    names = ["c_all.zip", "c_seg.nii.gz", "c_tumour.seg.nrrd", "c_report.json"]
    names += [f"c_{modality}_motion_pseudo-clear_synthetic.nii.gz" for modality in ("t1", "t1ce", "t2", "flair")]
    names += [f"c_{modality}_motion_synthetic.nii.gz" for modality in ("t1", "t1ce", "t2", "flair")]
    assert sorted(reversed(names), key=downloads.place_of) == names
