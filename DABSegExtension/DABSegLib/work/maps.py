"""Maps: what the network changed in each modality, into the scene when all are there."""

from __future__ import annotations

from typing import Any

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegLib.nodes import links
from DABSegLib.nodes.difference import add_difference, difference_steps
from DABSegLib.work.entry import all_or_none
from DABSegLib.work.files import told
from DABSegLib.work.runner import Status, Steps


def maps_steps(scene: Any, segmentation: Any) -> Steps[dict[str, Any]]:
    """Subtract the inputs of a segmentation from its pseudo-clear volumes; the scene changes in the last step only.

    Args:
        scene: The vtkMRMLScene that holds them.
        segmentation: A segmentation made here, which knows the maps afterwards.

    Returns:
        Modality -> volume of differences.

    Raises:
        InputError: If there is nothing to subtract, a volume cannot be read or has left the scene.
    """
    inputs, restored = links.connected(segmentation, "input"), links.connected(segmentation, "pseudo-clear")
    pairs = {m: (inputs[m], restored[m]) for m in MODALITIES if m in inputs and m in restored}
    if not pairs:
        raise InputError(
            f'the inputs of "{segmentation.GetName()}" are no longer in the scene, so nothing can be subtracted; '
            "press Apply again",
            code="inputs-gone",
        )
    made: dict[str, Any] = {}
    for number, (modality, pair) in enumerate(pairs.items()):
        status = Status("Difference maps", number / len(pairs), busy=True)
        made[modality] = yield from told(difference_steps(*pair), status)
    if any(node.GetScene() is not scene for pair in pairs.values() for node in (*pair, segmentation)):
        raise InputError(
            "a volume left the scene while its difference map was made; load it again and tick the box anew",
            code="inputs-gone",
        )
    with all_or_none(scene):
        for modality, volume in made.items():
            add_difference(scene, volume, *pairs[modality])
    links.connect(segmentation, "difference", made)
    return made
