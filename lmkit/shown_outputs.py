"""Which widgets the cells of a notebook show."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

__all__ = ["ShownOutputs"]


class ShownOutputs:
    """Which widgets each cell of a notebook shows, and which execution of it showed them.

    Attributes:
        followed: Whether somebody tells of executions that ended.
    """

    def __init__(self) -> None:
        self.followed = False
        self._cells: dict[str, list[tuple[str, weakref.ref[Any]]]] = {}

    def shown(self, cell: str, execution: str, widget: Any) -> None:
        """Note that an execution of a cell has shown a widget."""
        self._cells.setdefault(cell, []).append((execution, weakref.ref(widget)))

    def ended(self, cell: str, execution: str, deleted: Iterable[str] = ()) -> list[Any]:
        """An execution of a cell has ended, and cells may have been deleted before it.

        Returns:
            The widgets that no cell shows any more.
        """
        entries = self._cells.pop(cell, [])
        gone = [ref for one, ref in entries if one != execution]
        for other in deleted:
            gone += [ref for _, ref in self._cells.pop(other, [])]
        there = [(one, ref) for one, ref in entries if one == execution]
        if there:
            self._cells[cell] = there
        shown = {ref() for entries in self._cells.values() for _, ref in entries}
        left = (ref() for ref in gone)
        return [one for one in dict.fromkeys(left) if one is not None and one not in shown]
