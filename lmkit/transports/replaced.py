"""Outputs that a cell has replaced: when it has run again, what only they held is let go.

A kernel is not told that an output is gone, and ipywidgets keeps every widget until it is closed. A
cell that loads a model and shows a result would keep a model more for each time that it is run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmkit.shown_outputs import ShownOutputs
    from lmkit.transports.widget import ViewWidget

__all__ = ["note_shown"]


def note_shown(widget: ViewWidget) -> None:
    """Note that the cell that runs now shows a widget, where the front end says which it is."""
    from IPython.core.interactiveshell import InteractiveShell

    if not InteractiveShell.initialized():
        return
    shell = InteractiveShell.instance()
    cell, execution, _ = _where(shell)
    if not cell:
        return
    outputs = widget._served.outputs
    if not outputs.followed:
        outputs.followed = True
        shell.events.register("post_run_cell", lambda _: _ended(shell, outputs))
    outputs.shown(cell, execution, widget)
    widget._end_with_owner(False)  # it may have been let go by a cell that showed it before


def _ended(shell: Any, outputs: ShownOutputs) -> None:
    cell, execution, deleted = _where(shell)
    left = outputs.ended(cell, execution, deleted)
    while left:  # taken out: a list that has it would count as one that holds it
        _let_go(shell, left.pop())


def _where(shell: Any) -> tuple[str, str, list[str]]:
    """The cell that runs, this execution of it, and the cells that were deleted before it.

    JupyterLab and Notebook say so beside each request; "" where a front end does not.
    """
    parent = shell.get_parent() if hasattr(shell, "get_parent") else None
    if not isinstance(parent, dict):
        return "", "", []
    told = parent.get("metadata") or {}
    cell, deleted = told.get("cellId"), told.get("deletedCells")
    return (
        cell if isinstance(cell, str) else "",
        str((parent.get("header") or {}).get("msg_id", "")),
        [one for one in deleted if isinstance(one, str)] if isinstance(deleted, list) else [],
    )


def _let_go(shell: Any, widget: ViewWidget) -> None:
    """Close a widget that is shown nowhere, once no variable holds what it shows."""
    owner = widget._shows()
    out = shell.user_ns.get("_oh", {})
    # an Attention in Out holds what shows it
    mine = [n for n, one in out.items() if one is owner or getattr(one, "_owner", None) is owner]
    for number in mine:
        del out[number]
        for names in (shell.user_ns, shell.user_ns_hidden):
            names.pop(f"_{number}", None)
    if owner is not widget:
        widget._end_with_owner(True)
    elif not _held(shell, widget):
        widget.close()


def _held(shell: Any, widget: ViewWidget) -> bool:
    """Whether anything of the user's holds this widget: a variable, a list, an object of theirs."""
    import gc
    from types import CellType, FrameType, MethodType

    from ipywidgets.widgets import widget as registry

    from lmkit.transports.widget import WidgetChannel

    # what holds every open widget, and what IPython keeps by itself
    known = [
        registry._instances, shell.user_ns_hidden, shell.displayhook, vars(shell.displayhook),
    ]  # fmt: skip
    for one in gc.get_referrers(widget):
        if one is shell.user_ns:
            if any(one[name] is widget for name in list(one) if not name.startswith("_")):
                return True
        elif isinstance(one, FrameType | MethodType | CellType | WidgetChannel):
            continue
        elif not any(one is other for other in known):
            return True
    return False
