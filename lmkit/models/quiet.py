"""Keep transformers' own progress bars and load reports out of the user's cell."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL

__all__ = ["quietly"]


@contextmanager
def quietly() -> Iterator[None]:
    """Only errors are logged inside the block; the user's own settings hold again after it."""
    from huggingface_hub.utils import logging as hub_logging
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    hub_verbosity = hub_logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    logging.set_verbosity(CRITICAL)
    hub_logging.set_verbosity(CRITICAL)
    # transformers switches the hub's bars along with its own.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        with warnings.catch_warnings():
            # The hub warns when its bars are switched on against an environment variable.
            warnings.simplefilter("ignore")
            if bars:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]
            if hub_bars:
                enable_progress_bars()
            else:
                disable_progress_bars()
