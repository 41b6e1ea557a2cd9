"""Data sets: read from whatever holds rows, checked cell by cell, run through a task.

See docs/datasets.md.
"""

from lmkit.datasets.checks import checked_rows, map_columns
from lmkit.datasets.cut import cut_note, with_cuts
from lmkit.datasets.run import RowRun
from lmkit.datasets.sources import Table, open_rows

__all__ = [
    "RowRun",
    "Table",
    "checked_rows",
    "cut_note",
    "map_columns",
    "open_rows",
    "with_cuts",
]
