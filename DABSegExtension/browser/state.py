"""State: all that a page shows of a session, as plain values that go into JSON and hold no node."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class RegionFacts:
    """One outlined region; None for what is not known.

    Args:
        name: ET, TC or WT.
        ml: Its volume.
        dice: Overlap with the reference segmentation, 0 to 1.
        hd95_mm: 95th percentile of the distance between both surfaces.
        truth_ml: Volume in the reference segmentation.
    """

    name: str
    ml: float | None = None
    dice: float | None = None
    hd95_mm: float | None = None
    truth_ml: float | None = None


@dataclass(frozen=True)
class ImageFacts:
    """How near a modality is to its sharp volume before (blurred) and after (pseudo-clear); None if not known.

    Args:
        modality: One of `DABSegCore.labels.MODALITIES`.
        psnr_before: Peak signal-to-noise ratio of the blurred volume, in dB.
        psnr_after: Of the pseudo-clear volume, in dB.
        ssim_before: Structural similarity of the blurred volume, at most 1.
        ssim_after: Of the pseudo-clear volume.
    """

    modality: str
    psnr_before: float | None = None
    psnr_after: float | None = None
    ssim_before: float | None = None
    ssim_after: float | None = None


@dataclass(frozen=True)
class RobustnessRow:
    """How good the outlines of this case are at one level of motion; None where a region is in neither outline.

    Args:
        severity: Level of motion, 0 (none) to 4.
        kind: "dice", with the reference segmentation, or where there is none "agreement", with the outline at level 0.
        ET: Dice of the enhancing tumour, 0 to 1.
        TC: Of the tumour core.
        WT: Of the whole tumour.
    """

    severity: int
    kind: str
    ET: float | None
    TC: float | None
    WT: float | None


@dataclass(frozen=True)
class Download:
    """A file in the session's folder of files that may be downloaded.

    Args:
        name: Of the file.
        title: What it is, for people.
        bytes: Its size.
    """

    name: str
    title: str
    bytes: int


@dataclass(frozen=True)
class View:
    """Where a page looks.

    Args:
        plane: Axial, Sagittal or Coronal.
        offset_mm: Of the slice along the plane's normal; None: wherever the tumour or the middle is.
        number: Grows whenever the workbench wants the page to go there, as after a link was opened.
    """

    plane: str = "Axial"
    offset_mm: float | None = None
    number: int = 0


@dataclass(frozen=True)
class Motion:
    """What the network's report says of motion in what it was given, in words.

    Args:
        text: For people, one sentence; "" where the weights tell nothing of it.
        index: How much the network changed, as the report has it; None where it does not.
        review: Whether somebody should look before the outlines are used.
        reasons: Why, each in a sentence.
    """

    text: str = ""
    index: float | None = None
    review: bool = False
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """All of a session at one time.

    Args:
        title: Of the case; "" where none is open.
        source: "case", "virtual" or "upload"; "" where none is open.
        busy: Whether something is being done or waits for its turn; the page shows Cancel meanwhile.
        doing: What: "open", "simulate", "run", "robustness", "downloads", "maps"; "" where nothing is.
        stage: Of it, for people.
        fraction: Of the work, in [0, 1]; None while that cannot be known.
        left_s: Seconds it still takes; None while that cannot be known.
        ahead: Others before this session in the queue; None where it does not wait.
        fault: What went wrong last and what helps; "" where nothing did.
        notices: Warnings of the work so far, each a sentence.
        can_simulate: Whether motion can be simulated now; `why_not_simulate` says what is in the way.
        can_run: Whether the network can be run now.
        can_cancel: Whether there is something to cancel.
        can_measure: Whether the robustness can be measured now.
        can_download: Whether there is anything to prepare for download.
        severity: Level of the motion that is shown, 0 where none is.
        seed: Of that motion, or of the next.
        regions: The outlines that were found.
        images: The restoration, where the sharp volumes are known.
        has_truth: Whether there is a reference segmentation.
        robustness: Rows as they came, by severity.
        robustness_seed: Seed of the motion they were measured with; None where there are none.
        downloads: Files that are ready.
        link: Query that opens this again, as "case=A&severity=2"; None for uploads, whose images stay here.
        why_no_link: Says so.
        view: Where the page looks.
        motion: What the report says of motion.
        timings_s: Seconds of the parts of the last run; "first" is from the opening to the volumes in the scene.
        memory_mib: Resident memory of this process.
        revision: Grows whenever nodes came or went, so that the views need to be filled anew.
    """

    title: str = ""
    source: str = ""
    busy: bool = False
    doing: str = ""
    stage: str = ""
    fraction: float | None = None
    left_s: float | None = None
    ahead: int | None = None
    fault: str = ""
    notices: tuple[str, ...] = ()
    can_simulate: bool = False
    why_not_simulate: str = ""
    can_run: bool = False
    why_not_run: str = ""
    can_cancel: bool = False
    why_not_cancel: str = ""
    can_measure: bool = False
    why_not_measure: str = ""
    can_download: bool = False
    why_not_download: str = ""
    severity: int = 0
    seed: int = 0
    regions: tuple[RegionFacts, ...] = ()
    images: tuple[ImageFacts, ...] = ()
    has_truth: bool = False
    robustness: tuple[RobustnessRow, ...] = ()
    robustness_seed: int | None = None
    downloads: tuple[Download, ...] = ()
    link: str | None = None
    why_no_link: str = ""
    view: View = View()
    motion: Motion = Motion()
    timings_s: tuple[tuple[str, float], ...] = ()
    memory_mib: int = 0
    revision: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists and values; `timings_s` as a mapping."""
        return {**asdict(self), "timings_s": dict(self.timings_s)}
