"""Parameters: everything the panel is set to, kept in the scene by Slicer's parameter node wrapper."""

# No `from __future__ import annotations`: the wrapper reads the annotations as objects.
import enum
from typing import Annotated, Union

from slicer import (
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLMarkupsROINode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
)
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper


class Reference(enum.Enum):
    """Whose grid the results are on."""

    T1 = "t1"
    T1CE = "t1ce"
    T2 = "t2"
    FLAIR = "flair"

    def label(self) -> str:
        """What the combo box says."""
        return {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "FLAIR"}[self.value]


class Axis(enum.Enum):
    """Phase-encode axis of simulated motion."""

    DRAWN = "drawn"
    I = "i"  # noqa: E741 - the field's name of the first voxel axis
    J = "j"
    K = "k"

    def label(self) -> str:
        """What the combo box says."""
        words = {"drawn": "drawn from the seed", "i": "rows (i)", "j": "columns (j)", "k": "slices (k)"}
        return words[self.value]

    def array_axis(self) -> int | None:
        """As `DABSegCore.simulate --axis` has it: 0 = k, 1 = j, 2 = i, None where the seed decides."""
        return {"drawn": None, "k": 0, "j": 1, "i": 2}[self.value]


class Quality(enum.Enum):
    """How much time to spend."""

    FAST = "fast"
    BEST = "best"

    def label(self) -> str:
        """What the combo box says."""
        return {"fast": "fast", "best": "best (8 times slower)"}[self.value]


DEVICES = ["auto", "cpu", "cuda:0", "cuda:1", "mps"]


@parameterNodeWrapper
class DABSegParameters:
    """The panel's settings; results are found through `segmentation` (see `links`)."""

    t1: vtkMRMLScalarVolumeNode
    t1ce: vtkMRMLScalarVolumeNode
    t2: vtkMRMLScalarVolumeNode
    flair: vtkMRMLScalarVolumeNode
    reference: Reference = Reference.T1CE

    severity: Annotated[float, WithinRange(0, 4)] = 2
    axis: Axis = Axis.DRAWN
    seed: Annotated[int, WithinRange(0, 999999)] = 0
    t1Blur: bool = True
    t1ceBlur: bool = True
    t2Blur: bool = True
    flairBlur: bool = True
    replay: vtkMRMLScalarVolumeNode

    weights: str = ""  # not a Path: an empty one would be shown as "."
    device: Annotated[str, Choice(DEVICES)] = "auto"
    quality: Quality = Quality.FAST
    roi: vtkMRMLMarkupsROINode

    segmentation: vtkMRMLSegmentationNode
    truth: Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007 - the wrapper knows this form
    t1Sharp: vtkMRMLScalarVolumeNode
    t1ceSharp: vtkMRMLScalarVolumeNode
    t2Sharp: vtkMRMLScalarVolumeNode
    flairSharp: vtkMRMLScalarVolumeNode

    showFused: bool = True
    showUncertainty: bool = True

    folder: str = ""
    folderResults: str = ""
