"""Changes of a scene that happen together or not at all, as one step that can be undone.

Comes in: a scene. Goes out: nodes added inside the block; where the block fails, they are gone again and every node
that was handed over for change is as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Changes:
    """What happens to a scene inside one `transaction`."""

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self._added: list[Any] = []
        self._copies: list[tuple[Any, Any]] = []
        self._obsolete: list[Any] = []

    def add(self, node: Any) -> Any:
        """Add a node (a new one, outside any scene) with undo enabled; returns it."""
        node.SetUndoEnabled(True)
        self.scene.AddNode(node)
        self._added.append(node)
        return node

    def added_along(self, node: Any) -> None:
        """Count a node that came with another one, such as a display node, as added here."""
        if node is not None:
            node.SetUndoEnabled(True)
            self._added.append(node)

    def keep(self, node: Any) -> None:
        """Remember a node that is about to be changed."""
        copy = node.NewInstance()
        copy.Copy(node)
        self._copies.append((node, copy))

    def remove_later(self, node: Any) -> None:
        """Remove a node, with its display and storage nodes, once everything else has gone well."""
        if node is not None:
            self._obsolete.append(node)

    def undo(self) -> None:
        """Make the scene what it was."""
        for node in reversed(self._added):
            if self.scene.IsNodePresent(node):
                self.scene.RemoveNode(node)
        for node, copy in reversed(self._copies):
            node.Copy(copy)

    def finish(self) -> None:
        """Remove what is obsolete."""
        for node in self._obsolete:
            remove_with_helpers(self.scene, node)


_open: list[Changes] = []


@contextmanager
def transaction(scene: Any) -> Iterator[Changes]:
    """One step that can be undone; whatever is raised inside leaves the scene as it was.

    One inside another is a part of the outer one, and kept or taken back with it.
    """
    outer = next((changes for changes in _open if changes.scene is scene), None)
    if outer is not None:
        yield outer
        return
    scene.SaveStateForUndo()
    changes = Changes(scene)
    _open.append(changes)
    scene.StartState(scene.BatchProcessState)
    try:
        yield changes
        changes.finish()
    except BaseException:
        changes.undo()
        raise
    finally:
        _open.remove(changes)
        scene.EndState(scene.BatchProcessState)


def remove_with_helpers(scene: Any, node: Any) -> None:
    """Remove a node with the display and storage nodes that belong to it alone."""
    helpers = []
    for role in ("display", "storage"):
        for number in range(node.GetNumberOfNodeReferences(role)):
            helper = node.GetNthNodeReference(role, number)
            if helper is not None:
                helpers.append(helper)
    scene.RemoveNode(node)
    for helper in helpers:
        if scene.IsNodePresent(helper) and not _is_referred_to(scene, helper):
            scene.RemoveNode(helper)


def _is_referred_to(scene: Any, node: Any) -> bool:
    others = (scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes()))
    return any(scene.IsNodeReferencingNodeID(other, node.GetID()) for other in others)
