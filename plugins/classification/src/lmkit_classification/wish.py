"""What a reader may ask of the report on a data set: its fields, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass

from lmkit.api import Field, FieldSpec

__all__ = [
    "ALL",
    "AS_GIVEN",
    "HARDEST",
    "LEAST_SURE",
    "REPORT_FIELDS",
    "RIGHT",
    "UNMOVED",
    "WRONG",
    "Wish",
]

ALL, WRONG, RIGHT = "all rows", "wrong rows", "right rows"
AS_GIVEN, HARDEST, LEAST_SURE = "as in the data set", "hardest first", "least sure first"
UNMOVED = 0.5
"""The threshold that is in force until the reader moves it."""

REPORT_FIELDS: tuple[FieldSpec, ...] = (
    Field.number(
        "row_threshold",
        label="Threshold",
        help="For multi-label models and for two labels.",
        minimum=0.0,
        maximum=1.0,
        default=UNMOVED,
    ),
    Field.text(
        "query",
        label="Rows that contain",
        required=False,
        multiline=False,
        placeholder="a word or more",
    ),
    Field.text(
        "slice_by",
        label="Slices by column",
        required=False,
        multiline=False,
        placeholder="name of a column",
    ),
    Field.choice("show", (ALL, WRONG, RIGHT), label="Show"),
    Field.choice("order", (AS_GIVEN, HARDEST, LEAST_SURE), label="Order"),
    Field.text("gold", required=False, multiline=False, hidden=True),
    Field.text("predicted", required=False, multiline=False, hidden=True),
)


@dataclass(frozen=True)
class Wish:
    """What the report's fields hold."""

    threshold: float = UNMOVED
    query: str = ""
    slice_by: str = ""
    show: str = ALL
    order: str = AS_GIVEN
    gold: str = ""
    predicted: str = ""
