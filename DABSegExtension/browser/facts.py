"""Facts: what the nodes and reports of a case say, as the plain values of a snapshot."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from DABSegLib.naming import TITLES
from DABSegLib.process.messages import readable

from DABSegCore.labels import MODALITIES, REGIONS
from DABSegExtension.browser import links
from DABSegExtension.browser.patient import Patient
from DABSegExtension.browser.state import ImageFacts, Motion, RegionFacts, View

NO_LINK = "An uploaded case has no link: its images stay in this session."


def region_facts(volumes_ml: Mapping[str, float], scores: Mapping[str, Any]) -> tuple[RegionFacts, ...]:
    """The outlines, measured where they were compared.

    Args:
        volumes_ml: Region -> volume of what was found.
        scores: As `DABSegCore.score` writes them.
    """
    known = scores.get("regions", {})
    return tuple(
        RegionFacts(
            region,
            volumes_ml[region],
            *(known.get(region, {}).get(measure) for measure in ("dice", "hd95_mm", "truth_ml")),
        )
        for region in REGIONS
        if region in volumes_ml
    )


def image_facts(scores: Mapping[str, Any]) -> tuple[ImageFacts, ...]:
    """The restored modalities, where they were compared with sharp ones."""
    known = scores.get("images", {})
    measures = [(what, kind) for what in ("psnr_db", "ssim") for kind in ("corrupted", "restored")]
    return tuple(
        ImageFacts(modality, *(known[modality][what][kind] for what, kind in measures))
        for modality in MODALITIES
        if modality in known
    )


def motion_words(report: Mapping[str, Any]) -> Motion:
    """What a report says of motion in what the network was given."""
    quality = report.get("quality")
    if not quality:
        return Motion()
    known = {modality: value for modality, value in quality["motion"].items() if value is not None}
    listed = ", ".join(f"{TITLES[modality]} {value:.2f}" for modality, value in known.items())
    text = (
        f"Motion index: {listed} (0: edges as in another modality, about 1: edges of its own)."
        if known
        else "Nothing can be said of motion: no two modalities have edges to compare."
    )
    reasons = tuple(f"{text[:1].upper()}{text[1:]}." for text in map(readable, quality["reasons"]))
    return Motion(text, max(known.values(), default=None), bool(quality["review"]), reasons)


def about(patient: Patient, view: View) -> dict[str, Any]:
    """The fields of a snapshot that are of the case."""
    result = patient.result
    uploaded = patient.source == "upload"
    return {
        "title": patient.title,
        "source": patient.source,
        "severity": patient.severity,
        "seed": patient.seed,
        "regions": region_facts(patient.volumes_ml, patient.scores),
        "images": image_facts(patient.scores),
        "has_truth": patient.truth is not None,
        "robustness": patient.robustness,
        "robustness_seed": patient.robustness_seed,
        "link": None if uploaded else links.write(_wish(patient, view)),
        "why_no_link": NO_LINK if uploaded else "",
        "motion": motion_words(result.report if result is not None else {}),
        "timings_s": (("first", round(patient.first_s, 3)), *(result.timings_s.items() if result else ())),
    }


def _wish(patient: Patient, view: View) -> links.Wish:
    """What a link has to ask for to come back here."""
    return links.Wish(
        case=patient.title if patient.source == "case" else None,
        virtual=patient.number,
        severity=patient.severity,
        seed=patient.seed,
        run=patient.result is not None,
        plane=view.plane if view.offset_mm is not None else None,
        offset_mm=view.offset_mm,
    )


def memory_mib() -> int:
    """Resident memory of this process."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
    if sys.platform == "win32":
        return 0  # nobody knows without another package
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # the most there was, not what is now
    return most >> (20 if sys.platform == "darwin" else 10)
