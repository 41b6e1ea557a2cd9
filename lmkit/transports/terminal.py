"""A progress bar in the cell or terminal for work that takes longer than a glance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lmkit.protocol.messages import Event, Progress, StatusChanged
from lmkit.views.panel import PanelView

__all__ = ["progress_bar", "terminal_progress"]

DELAY = 0.5
"""Seconds before a bar appears; most runs end sooner and leave no trace in the output."""


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr that follows the progress it is given; it goes when the block ends."""
    from tqdm import tqdm

    bar: Any = None
    label = ""  # a bar that TQDM_DISABLE turned off has none of its own

    def show(progress: Progress) -> None:
        nonlocal bar, label
        if bar is None or label != progress.label:
            if bar is not None:
                bar.close()
            label = progress.label
            bar = tqdm(total=progress.total or None, desc=progress.label, leave=False, delay=DELAY)
        bar.total = progress.total or None
        bar.update(progress.done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


@contextmanager
def terminal_progress(view: PanelView, *, quiet: bool = False) -> Iterator[None]:
    """Draw a view's progress on stderr while the block runs, unless it is to be quiet."""
    if quiet:
        yield
        return
    with progress_bar() as show:

        def hear(event: Event) -> None:
            if isinstance(event, StatusChanged) and event.status.progress is not None:
                show(event.status.progress)

        undo = view.listen(hear)
        try:
            yield
        finally:
            undo()
