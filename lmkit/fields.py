"""Values for a task's fields: defaults, checks and conversion, the same for every way in."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lmkit.errors import FieldError
from lmkit.protocol.messages import (
    BooleanField,
    ChoiceField,
    FieldSpec,
    IntegerField,
    TextField,
)

__all__ = ["check_value", "check_values", "defaults", "option_name", "parse_value", "taken"]

MAX_TEXT = 4_000_000
"""Longest text that a field takes, in characters; the protocol's own bound."""


def option_name(field: FieldSpec) -> str:
    """The option of a field: ``max_length`` becomes ``--max-length``."""
    return "--" + field.name.replace("_", "-")


def defaults(fields: Sequence[FieldSpec]) -> dict[str, Any]:
    """The default value of each field."""
    return {field.name: field.default for field in fields}


def check_values(
    fields: Sequence[FieldSpec], values: Mapping[str, Any], *, complete: bool = True
) -> dict[str, Any]:
    """Check values and fill in defaults.

    Args:
        fields: The task's fields.
        values: Values by field name; may lack some.
        complete: Ask that required texts are not empty, as a run does and editing does not.

    Raises:
        FieldError: an unknown name, or a value that its field does not take.
    """
    known = {field.name: field for field in fields}
    for name in values:
        if name not in known:
            names = ", ".join(known) or "none"
            raise FieldError(f"There is no field {name!r}.", hint=f"The fields are: {names}.")
    checked = defaults(fields)
    for field in fields:
        if field.name in values:
            checked[field.name] = check_value(field, values[field.name])
        wanted = complete and isinstance(field, TextField) and field.required
        # str.strip leaves NUL, which tokenizers drop: such a text is empty too
        if wanted and not checked[field.name].replace("\0", "").strip():
            raise FieldError(
                f"{field.label} is empty.", hint=f"Write something into {field.label!r}."
            )
    return checked


def taken(fields: Sequence[FieldSpec], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that their fields take, of a form that was kept.

    It may be of another version of the plugin. What does not fit any more is left to the defaults:
    a form that does not open would lose all of it.
    """
    kept = {}
    for field in fields:
        if field.name in values:
            with contextlib.suppress(FieldError):
                kept[field.name] = check_value(field, values[field.name])
    return kept


def check_value(field: FieldSpec, value: Any) -> Any:
    """Check one value; numbers are converted where nothing is lost.

    Raises:
        FieldError: naming the field, the value and what it takes.
    """
    if isinstance(field, TextField):
        if not isinstance(value, str):
            raise _refused(field, value, "text")
        if len(value) > MAX_TEXT:
            raise FieldError(
                f"{field.label} has {len(value):,} characters; at most {MAX_TEXT:,} are taken.",
                hint="Split the text.",
            )
        lone = next((i for i, c in enumerate(value) if "\ud800" <= c <= "\udfff"), None)
        if lone is not None:
            raise FieldError(
                f"{field.label} has a lone surrogate at position {lone}, which is no character.",
                hint="Decode the text with errors='replace'.",
            )
        return value
    if isinstance(field, BooleanField):
        if not isinstance(value, bool):
            raise _refused(field, value, "true or false")
        return value
    if isinstance(field, ChoiceField):
        if value not in field.options:
            raise _refused(field, value, f"one of {', '.join(field.options[:20])}")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _refused(field, value, "a number")
    if isinstance(field, IntegerField):
        if value != int(value):
            raise _refused(field, value, "a whole number")
        value = int(value)
    else:
        value = float(value)
    if not field.minimum <= value <= field.maximum:
        raise _refused(field, value, f"{field.minimum} to {field.maximum}")
    return value


def parse_value(field: FieldSpec, text: str) -> Any:
    """Read a value from the text of a command line; raises FieldError."""
    if isinstance(field, TextField | ChoiceField):
        return check_value(field, text)
    if isinstance(field, BooleanField):
        lowered = text.strip().lower()
        if lowered in ("1", "true", "yes", "on"):
            return True
        if lowered in ("0", "false", "no", "off"):
            return False
        raise _refused(field, text, "yes or no")
    try:
        number: float = int(text) if isinstance(field, IntegerField) else float(text)
    except ValueError as error:
        kind = "a whole number" if isinstance(field, IntegerField) else "a number"
        raise _refused(field, text, kind) from error
    return check_value(field, number)


def _refused(field: FieldSpec, value: Any, wanted: str) -> FieldError:
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return FieldError(f"{field.label} cannot be {shown}; it takes {wanted}.")
