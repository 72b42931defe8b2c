"""The regions and the terms they carry."""

from __future__ import annotations

import pytest
import slicer
from DABSegLib.nodes.regions import TUMOUR_REGIONS, terminology

from DABSegCore.labels import REGIONS


def test_the_regions_are_those_of_the_core_in_its_order() -> None:
    assert tuple(TUMOUR_REGIONS) == REGIONS
    assert [region.title for region in TUMOUR_REGIONS.values()] == ["Enhancing tumour", "Tumour core", "Whole tumour"]


@pytest.mark.parametrize(
    ("name", "code"), [("ET", ("NCIt", "C113842")), ("TC", ("SCT", "86049000")), ("WT", ("SCT", "108369006"))]
)
def test_slicer_reads_the_terms(name: str, code: tuple[str, str]) -> None:
    entry = slicer.vtkSlicerTerminologyEntry()
    text = terminology(TUMOUR_REGIONS[name])
    assert slicer.vtkSlicerTerminologiesModuleLogic().DeserializeTerminologyEntry(text, entry)
    kind, category = entry.GetTypeObject(), entry.GetCategoryObject()
    assert (kind.GetCodingSchemeDesignator(), kind.GetCodeValue()) == code
    assert (category.GetCodingSchemeDesignator(), category.GetCodeValue()) == ("SCT", "49755003")
    assert entry.GetTerminologyContextName() == "Segmentation category and type - DICOM master list"
    assert text.split("~")[5] == "SCT^12738006^Brain"
