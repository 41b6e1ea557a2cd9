"""What a user sets once for all views: ``lmkit.options``."""

from __future__ import annotations

import os
import re

from lmkit.errors import SettingError

__all__ = ["DEFAULT_BUDGET", "Options", "options", "parse_size", "size_text"]

DEFAULT_BUDGET = 2_000_000
"""Bytes that all forms of one saved output may have together."""
LEAST_BUDGET = 200_000
"""The renderer and a picture alone take about this much."""
MOST_BUDGET = 1_000_000_000
ENVIRONMENT = "LMKIT_BUDGET"

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?)(i?)b?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3}


def parse_size(value: int | float | str) -> int:
    """Bytes of a size as people write it: 500_000, "500 kB", "5MB", "1.5 GiB".

    Raises:
        SettingError: it is not a size.
    """
    if isinstance(value, str):
        found = _SIZE.fullmatch(value)
        if found is not None:
            base = 1024 if found[3] else 1000
            return int(float(found[1]) * base ** _POWERS[found[2].lower()])
    elif not isinstance(value, bool) and 0 <= value < float("inf"):
        return int(value)
    raise SettingError(
        f"{str(value)[:80]!r} is no size in bytes.", hint='Write it like "5MB" or 5_000_000.'
    )


def size_text(size: int) -> str:
    """A size for people, to three figures."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


class Options:
    """Settings of this process.

    ``lmkit.options.budget = "5MB"``, ``%lmkit budget 5MB`` and the environment variable
    ``LMKIT_BUDGET`` set the same thing; the environment is read when lmkit first needs it.
    """

    def __init__(self) -> None:
        self._budget: int | None = None

    @property
    def budget(self) -> int:
        """Bytes that one saved output may have, all its forms together; 2 MB by default.

        Raises:
            SettingError: when set to what is no size, or to less than a view needs.
        """
        if self._budget is None:
            given = os.environ.get(ENVIRONMENT, "")
            self._budget = self._checked(given) if given.strip() else DEFAULT_BUDGET
        return self._budget

    @budget.setter
    def budget(self, value: int | float | str) -> None:
        self._budget = self._checked(value)

    @staticmethod
    def _checked(value: int | float | str) -> int:
        size = parse_size(value)
        if not LEAST_BUDGET <= size <= MOST_BUDGET:
            raise SettingError(
                f"A budget of {size_text(size)} is out of bounds: a saved view takes "
                f"{size_text(LEAST_BUDGET)} to {size_text(MOST_BUDGET)}."
            )
        return size

    def __repr__(self) -> str:
        return f"<lmkit.options: budget {size_text(self.budget)}>"


options = Options()
"""The settings of this process."""
