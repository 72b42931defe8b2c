"""Patient: the case a session has open, with all that was made of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from DABSegExtension.browser.state import RobustnessRow


@dataclass
class Patient:
    """One case in the scene.

    Args:
        title: What the page calls it.
        source: "case", "virtual" or "upload".
        number: Of a virtual patient.
        volumes: Modality -> volume as it was given: the row "sharp".
        truth: Reference segmentation, or None.
        first_s: From the wish to see it until it was in the scene.
    """

    title: str
    source: str
    number: int | None
    volumes: dict[str, Any]
    truth: Any | None
    first_s: float
    findings: tuple[str, ...] = ()
    """What the checks of the volumes told."""
    obstacle: str = ""
    """Why nothing can be done with it; empty if all is well."""
    severity: int = 0
    seed: int = 0
    motion: dict[str, Any] = field(default_factory=dict)
    """Modality -> volume with simulated motion; all four, or none."""
    record: dict[str, Any] | None = None
    """Of that motion."""
    result: Any | None = None
    """A `SegmentResult`."""
    volumes_ml: dict[str, float] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    maps: dict[str, Any] = field(default_factory=dict)
    """Modality -> what the network changed."""
    robustness: tuple[RobustnessRow, ...] = ()
    robustness_seed: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        """What the network is given: the volumes with motion, or else as they are."""
        return self.motion or self.volumes

    def rows(self) -> dict[str, dict[str, Any]]:
        """Kind of image -> column of the comparison -> volume node, of what there is."""
        made = self.result
        rows = {"sharp": self.volumes, "blurred": self.motion}
        rows |= {"pseudo-clear": made.pseudo_clear, "difference": self.maps, **made.extras} if made is not None else {}
        return {kind: dict(volumes) for kind, volumes in rows.items() if volumes}

    def forget_motion(self) -> list[Any]:
        """Let go of the motion and what was made of it; returns the nodes that nobody shows any more."""
        gone = [*self.forget_result(), *(v for v in self.motion.values() if v not in self.volumes.values())]
        self.motion, self.record, self.severity = {}, None, 0
        return gone

    def forget_result(self) -> list[Any]:
        """Let go of what the network made; returns the nodes."""
        gone = self.forget_maps()
        if self.result is not None:
            extras = [node for volumes in self.result.extras.values() for node in volumes.values()]
            gone += [*self.result.pseudo_clear.values(), *extras, self.result.segmentation]
        self.result, self.volumes_ml, self.scores = None, {}, {}
        return gone

    def forget_maps(self) -> list[Any]:
        """Let go of the difference maps; returns the nodes."""
        gone, self.maps = list(self.maps.values()), {}
        return gone

    def nodes(self) -> list[Any]:
        """All that is in the scene of it."""
        rows = [node for volumes in self.rows().values() for node in volumes.values()]
        outlines = [self.truth, self.result.segmentation if self.result is not None else None]
        return list(dict.fromkeys(node for node in (*rows, *outlines) if node is not None))


def remove(scene: Any, nodes: Iterable[Any]) -> None:
    """Take nodes out of the scene, with what displays and stores them."""
    for node in nodes:
        if node.GetScene() is not scene:
            continue
        theirs = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        theirs += [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())]
        scene.RemoveNode(node)
        for other in theirs:
            if other is not None and other.GetScene() is scene:
                scene.RemoveNode(other)


def settle_names(scene: Any, nodes: Iterable[Any]) -> None:
    """Take the numbers off names that were taken by what has left the scene since: "Ann tumour_1" is "Ann tumour"."""
    for node in nodes:
        name = re.sub(r"_\d+$", "", node.GetName())
        if name != node.GetName() and scene.GetFirstNodeByName(name) is None:
            node.SetName(name)
