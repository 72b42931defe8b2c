"""Inputs: the four volumes that a piece of work is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegLib import naming


@dataclass(frozen=True)
class Inputs:
    """Four volume nodes and the one on whose grid the results are.

    Args:
        volumes: Modality -> vtkMRMLScalarVolumeNode, all of `MODALITIES`.
        reference: The modality whose grid is meant.

    Raises:
        InputError: If one is missing.
    """

    volumes: Mapping[str, Any]
    reference: str = "t1ce"

    def __post_init__(self) -> None:
        missing = [naming.TITLES[modality] for modality in MODALITIES if self.volumes.get(modality) is None]
        if missing:
            raise InputError(
                f"no volume is chosen for {' and '.join(missing)}, but all four modalities are needed; choose one each",
                code="missing-modality",
            )

    @property
    def reference_node(self) -> Any:
        """The volume on whose grid the results are."""
        return self.volumes[self.reference]

    @property
    def case_id(self) -> str:
        """What the volumes' names share, as a file name."""
        return naming.case_name(self.names)

    @property
    def names(self) -> dict[str, str]:
        """Modality -> name of its volume."""
        return {modality: self.volumes[modality].GetName() or modality for modality in MODALITIES}

    def check_still_in(self, scene: Any) -> None:
        """Refuse to go on for volumes that are no longer there, as after Close Scene.

        Raises:
            InputError: If one is not in the scene.
        """
        gone = [modality for modality in MODALITIES if self.volumes[modality].GetScene() is not scene]
        if gone:
            raise InputError(
                f"the {naming.TITLES[gone[0]]} volume left the scene in the meantime, so there is nothing to add the "
                "results to; load it again and start anew",
                code="inputs-gone",
            )
