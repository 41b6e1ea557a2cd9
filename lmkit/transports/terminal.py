"""A progress bar in the cell or terminal for work that takes longer than a glance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lmkit.protocol.messages import Event, StatusChanged
from lmkit.views.panel import PanelView

__all__ = ["terminal_progress"]

DELAY = 0.5
"""Seconds before a bar appears; most runs end sooner and leave no trace in the output."""


@contextmanager
def terminal_progress(view: PanelView) -> Iterator[None]:
    """Draw a view's progress on stderr while the block runs; the bar goes when it ends."""
    from tqdm import tqdm

    bar: Any = None
    label = ""  # a bar that TQDM_DISABLE turned off has none of its own

    def show(event: Event) -> None:
        nonlocal bar, label
        if not isinstance(event, StatusChanged) or event.status.progress is None:
            return
        progress = event.status.progress
        if bar is None or label != progress.label:
            if bar is not None:
                bar.close()
            label = progress.label
            bar = tqdm(total=progress.total or None, desc=progress.label, leave=False, delay=DELAY)
        bar.total = progress.total or None
        bar.update(progress.done - bar.n)

    undo = view.listen(show)
    try:
        yield
    finally:
        undo()
        if bar is not None:
            bar.close()
