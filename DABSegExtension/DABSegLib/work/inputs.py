"""Inputs: the four volumes that a piece of work is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegLib import naming
from DABSegLib.nodes.geometry import world_affine
from DABSegLib.work.runner import OnLog


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

    def state(self) -> dict[str, tuple[int, bytes]]:
        """Modality -> when its voxels were last changed, and where in the world they are; to see whether either has."""
        return {m: (v.GetImageData().GetMTime(), world_affine(v).tobytes()) for m, v in self.volumes.items()}

    def tell_changes(self, before: Mapping[str, tuple[int, bytes]], on_log: OnLog) -> None:
        """Warn where a volume is not as it was when it was read."""
        now = self.state()
        names = ", ".join(f'"{self.names[modality]}"' for modality in MODALITIES if now[modality] != before[modality])
        if names:
            on_log(
                "warning", f"{names} changed while this was computed; the result is of what it was before: run again"
            )

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
