"""Regions: what the three overlapping tumour regions are called, coloured and coded as.

The codes follow what BraTS-like segmentations carry elsewhere. All three are of the category "morphologically altered
structure" and of the anatomical region "brain":

- ET is NCIt C113842, enhancing lesion. Slicer's own list has no such type; it keeps and exports the code all the same.
- TC is SCT 86049000, primary neoplasm: necrotic, non-enhancing and enhancing tumour together.
- WT is SCT 108369006, neoplasm: everything the tumour alters, oedema with infiltration included. "Oedema" itself
  (SCT 79654002) would be wrong, as the region contains the core, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import slicer

from DABSegCore.labels import REGIONS


@dataclass(frozen=True)
class Code:
    """One coded term.

    Args:
        scheme: Designator of the coding scheme: "SCT" is SNOMED CT, "NCIt" the NCI Thesaurus.
        value: The code.
        meaning: What it says.
    """

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Region:
    """One tumour region.

    Args:
        name: Short name, as in `REGIONS`; also the name and identifier of its segment.
        title: The name in full.
        description: What lies in it.
        colour: Red, green, blue, 0 to 1.
        code: Its type in the terminology.
    """

    name: str
    title: str
    description: str
    colour: tuple[float, float, float]
    code: Code


ALTERED_STRUCTURE = Code("SCT", "49755003", "Morphologically Altered Structure")
BRAIN = Code("SCT", "12738006", "Brain")
TYPES_CONTEXT = "Segmentation category and type - DICOM master list"
PLACES_CONTEXT = "Anatomic codes - DICOM master list"

TUMOUR_REGIONS = {
    region.name: region
    for region in (
        Region(
            name="ET",
            title="Enhancing tumour",
            description="what takes up contrast agent in T1ce",
            colour=(1.0, 0.2, 0.2),
            code=Code("NCIt", "C113842", "Enhancing Lesion"),
        ),
        Region(
            name="TC",
            title="Tumour core",
            description="enhancing tumour with necrosis and non-enhancing core",
            colour=(0.2, 0.5, 1.0),
            code=Code("SCT", "86049000", "Neoplasm, Primary"),
        ),
        Region(
            name="WT",
            title="Whole tumour",
            description="tumour core with oedema and infiltration",
            colour=(0.95, 0.85, 0.2),
            code=Code("SCT", "108369006", "Neoplasm"),
        ),
    )
}
"""Short name -> region, from the inside out as in `REGIONS`."""

assert tuple(TUMOUR_REGIONS) == REGIONS


def terminology(region: Region) -> str:
    """The region's terms in the form a segment carries them, and from which they get into DICOM SEG."""
    none = ("", "", "")
    return slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(
        TYPES_CONTEXT,
        *_triple(ALTERED_STRUCTURE),
        *_triple(region.code),
        *none,  # type modifier
        PLACES_CONTEXT,
        *_triple(BRAIN),
        *none,  # region modifier
    )


def _triple(code: Code) -> tuple[str, str, str]:
    """In the order that Slicer asks for."""
    return code.value, code.scheme, code.meaning
