"""What of a machine is not told to whom a report is given: its folders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["base_name", "without_paths"]

_PATHS = re.compile(
    r"(?<![\w/.:\\])"  # neither a URL, nor a fraction, nor the end of a relative path
    r"(?:(?:/[^\s/'\"<>:;,()]+){2,}/?|[A-Za-z]:\\[^\s'\"<>;,()]+)"
)


def base_name(name: str) -> str:
    """A model's name as it is, and of a path of this machine its last part."""
    path = Path(name).expanduser()
    return path.name if path.is_absolute() else name


def without_paths(value: Any, known: Iterable[str] = ()) -> Any:
    """The same with every absolute path in its texts cut to its last part.

    Args:
        value: Texts, lists and objects as JSON has them.
        known: Paths that are looked for first: in a text nothing says where a path with spaces
            ends.
    """
    paths = sorted({one for one in known if Path(one).is_absolute()}, key=len, reverse=True)

    def told(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: told(each) for name, each in one.items()}
        if isinstance(one, list | tuple):
            return [told(each) for each in one]
        if not isinstance(one, str):
            return one
        for path in paths:
            one = one.replace(path, Path(path).name)
        return _PATHS.sub(lambda found: re.split(r"[/\\]", found[0].rstrip("/\\"))[-1], one)

    return told(value)
