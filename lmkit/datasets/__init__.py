"""Data sets: read from whatever holds rows, checked cell by cell, run through a task.

See docs/datasets.md.
"""

from lmkit.datasets.checks import checked_rows, map_columns
from lmkit.datasets.run import RowRun
from lmkit.datasets.sources import Table, open_rows

__all__ = ["RowRun", "Table", "checked_rows", "map_columns", "open_rows"]
