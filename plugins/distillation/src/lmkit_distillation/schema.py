"""The form of ``report.json``: its version, and what is checked before anyone believes it.

A report may come from another machine or an older lmkit, so a reader checks it: the version, the
names that every card has, and their kinds. Parts that a run did not measure are absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit_distillation.errors import ReportError

__all__ = ["VERSION", "check_report", "read_report"]

VERSION = 1

_REQUIRED: dict[str, type] = {
    "task": str,
    "teacher": str,
    "student": str,
    "steps": int,
    "best_step": int,
    "texts": int,
    "parameters": dict,
    "bytes": dict,
}
_OPTIONAL: dict[str, type] = {
    "quality": dict,
    "speed": list,
    "memory": dict,
    "flops": dict,
    "energy": dict,
    "exports": list,
    "recipe": dict,
    "teacher_is_folder": bool,
    "texts_mark": str,
    "compared": list,
}
_POINT: dict[str, type] = {
    "name": str,
    "quality": float,
    "cost": float,
    "parameters": int,
    "metric": str,
    "cost_name": str,
}
_BOTH = ("parameters", "bytes")


def check_report(found: Any, where: str = "The report") -> dict[str, Any]:
    """The report itself, once it is seen to have the form of this version.

    Raises:
        ReportError: it has not; the message names the part.
    """
    if not isinstance(found, Mapping):
        raise ReportError(f"{where} is not a JSON object.")
    version = found.get("version")
    if version != VERSION:
        raise ReportError(
            f"{where} has version {version!r}, and this lmkit reads version {VERSION}.",
            hint="Resume that run with this lmkit: its end writes the report anew.",
        )
    for name, kind in _REQUIRED.items():
        if name not in found:
            raise ReportError(f"{where} lacks {name!r}.")
        _check_kind(found[name], kind, name, where)
    for name, kind in _OPTIONAL.items():
        if found.get(name) is not None:
            _check_kind(found[name], kind, name, where)
    for name in _BOTH:
        for who in ("teacher", "student"):
            _check_kind(found[name].get(who), int, f"{name}.{who}", where)
    quality = found.get("quality")
    if quality is not None:
        for who in ("teacher", "student"):
            _check_kind(quality.get(who), dict, f"quality.{who}", where)
        if quality.get("regressions") is not None:
            _check_kind(quality["regressions"], list, "quality.regressions", where)
            for row in quality["regressions"]:
                _check_kind(row, dict, "quality.regressions", where)
                _check_kind(row.get("text"), str, "text of quality.regressions", where)
    for name in ("speed", "exports"):
        for row in found.get(name) or ():
            _check_kind(row, dict, name, where)
    for row in found.get("compared") or ():
        _check_kind(row, dict, "compared", where)
        for part, kind in _POINT.items():
            _check_kind(row.get(part), kind, f"{part} of compared", where)
    return dict(found)


def read_report(path: Path | str) -> dict[str, Any]:
    """The report of a file or of a run folder.

    Raises:
        ReportError: it is not there, not JSON, or not of this form.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "report.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(
            f"{path} can't be read: {error.strerror or error}.",
            hint="A run writes its report at its end.",
        ) from error
    except ValueError as error:
        raise ReportError(f"{path} is not JSON.") from error
    return check_report(found, str(path))


def _check_kind(value: Any, kind: type, name: str, where: str) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {
            dict: "an object",
            list: "a list",
            str: "a text",
            int: "a whole number",
            bool: "true or false",
            float: "a number",
        }
        raise ReportError(f"{name!r} in {where} is not {words[kind]}.")
