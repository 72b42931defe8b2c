"""Entry: new nodes come into a scene all or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def all_or_none(scene: Any) -> Iterator[None]:
    """Within it nodes are added; if that fails half-way, those that came are taken out again."""
    before = {node.GetID() for node in _nodes(scene)}
    try:
        yield
    except BaseException:
        for node in _nodes(scene):
            if node.GetID() not in before:
                scene.RemoveNode(node)
        raise


def _nodes(scene: Any) -> list[Any]:
    return [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
