"""Variables of a notebook as training data: their rows as lines of JSON, in a file of a run folder.

The file's name holds a hash of what is in it: a variable that changes is another file, so a run
that goes on never finds other rows under the name that it knows.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from lmkit_distillation.folder import write_text, writing

__all__ = ["KeptRows", "lines_of", "rows_of"]


@dataclass(frozen=True)
class KeptRows:
    """Rows that are yet to be written.

    Attributes:
        path: Their file.
        text: What is to be in it.
    """

    path: Path
    text: str

    @staticmethod
    def of(rows: Sequence[Mapping[str, Any]], folder: Path, part: str) -> KeptRows:
        """Name the file of some rows; nothing is written.

        Args:
            rows: The rows.
            folder: The run folder's ``data``.
            part: ``"train"``, ``"dev"``...
        """
        text = lines_of(rows)
        before = folder / f"{part}.jsonl"  # as earlier versions called it, whatever was in it
        if before.is_file() and before.read_bytes() == text.encode():
            return KeptRows(before.resolve(), text)
        mark = sha256(text.encode()).hexdigest()[:12]
        return KeptRows((folder / f"{part}-{mark}.jsonl").resolve(), text)

    def write(self) -> None:
        """Write them, unless they are there.

        Raises:
            RunFolderError: they can't be written.
        """
        with writing(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.is_file() or self.path.read_bytes() != self.text.encode():
                write_text(self.path, self.text)


def rows_of(name: str) -> Sequence[Mapping[str, Any]] | None:
    """The rows of a notebook's variable; None where there is none that holds rows."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    value: Any = None if shell is None else shell.user_ns.get(name)
    if value is None:
        return None
    if callable(getattr(value, "to_dicts", None)):
        value = value.to_dicts()  # polars
    elif callable(getattr(value, "to_dict", None)) and hasattr(value, "columns"):
        value = value.to_dict("records")
    elif callable(getattr(value, "to_list", None)) and hasattr(value, "column_names"):
        value = value.to_list()  # a Hugging Face data set
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        return value
    return None


def lines_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as JSON Lines; a cell that is missing, as pandas says it, is null."""
    return "".join(json.dumps(_plain(row)) + "\n" for row in rows)


def _plain(value: Any) -> Any:
    """A cell as JSON knows it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    if callable(getattr(value, "tolist", None)):  # numpy's arrays and numbers
        return _plain(value.tolist())
    # NA and NaT are known by their names: pandas is not imported for it.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        # pandas makes whole numbers floats where one is missing
        return int(value) if value.is_integer() else value
    return value if isinstance(value, bool | int | str) else str(value)
