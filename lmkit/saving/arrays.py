"""The exact numbers as files: NPZ and JSON.

Both hold float32 as the pass gave them. Heads are written one layer at a time, so that a file may
be larger than what memory is left.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from lmkit.errors import BudgetExceededError
from lmkit.protocol.record import RunRecord
from lmkit.run_record import record_json
from lmkit.saving.text import visible
from lmkit.settings import size_text
from lmkit.views.attention import CapturedTrace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

__all__ = ["ARRAYS_BUDGET", "FORMAT", "Numbers", "write_json", "write_npz"]

FORMAT = "lmkit.attention"
ARRAYS_BUDGET = 256_000_000
"""Bytes of attention that ``heads="all"`` may write unless told else."""
_JSON_BYTES = 13
"""About what one float32 takes as text."""


@dataclass(frozen=True)
class Numbers:
    """What of a trace is written.

    Attributes:
        trace: Where the numbers come from.
        record: Of the run.
        places: The heads, as (layer, head), layer by layer.
        every: All heads: the arrays of a layer are then one.
        text: Write the tokens; without, only how many there are.
        lens: Name of the lens that the numbers were read through, or empty.
    """

    trace: CapturedTrace
    record: RunRecord
    places: tuple[tuple[int, int], ...]
    every: bool
    text: bool
    lens: str = ""

    def check(self, budget: int | None, *, as_text: bool) -> None:
        """Raises BudgetExceededError where the numbers take more bytes than allowed."""
        cells = sum(
            self.trace.layers[layer].queries * self.trace.layers[layer].keys
            for layer, _ in self.places
        )
        size = cells * (_JSON_BYTES if as_text else 4)
        if budget is None:
            if not self.every:
                return  # one head: asked for by name
            budget = ARRAYS_BUDGET
        if size > budget:
            raise BudgetExceededError(
                f"{len(self.places)} heads take {size_text(size)}, and the budget is "
                f"{size_text(budget)}.",
                hint=f'Save one head, or say budget="{size_text(int(size * 1.05))}".',
            )

    def layers(self) -> Iterator[tuple[int, list[int]]]:
        """Each layer with its heads."""
        for layer in dict.fromkeys(layer for layer, _ in self.places):
            yield layer, [head for at, head in self.places if at == layer]

    def describe(self) -> dict[str, Any]:
        """All but the numbers, as JSON-able builtins."""
        trace = self.trace
        tokens = [_token(token, text=self.text) for token in trace.tokens]
        decoder = [_token(token, text=self.text) for token in trace.decoder_tokens]
        return {
            "format": FORMAT,
            "version": 1,
            "record": msgspec.to_builtins(self.record),
            "lens": self.lens,
            "layers": [
                {
                    "name": layer.name,
                    "role": layer.role,
                    "heads": layer.heads,
                    "kvHeads": layer.kv_heads,
                    "queries": layer.queries,
                    "keys": layer.keys,
                }
                for layer in trace.layers
            ],
            "tokens": tokens,
            "decoderTokens": decoder,
        }


def _token(token: Any, *, text: bool) -> dict[str, Any]:
    described: dict[str, Any] = msgspec.to_builtins(token)
    return described if text else {"special": described["special"]}


def write_npz(file: BinaryIO, numbers: Numbers) -> None:
    """Write arrays that ``numpy.load`` reads without pickle.

    One head: ``attention``, shape (queries, keys). All heads: ``layer_0``, ``layer_1``, ..., each
    of shape (heads, queries, keys). Always: ``layer`` and ``head`` (int64, the places in the order
    of the arrays), ``tokens`` (their texts, controls made visible), ``about`` (JSON: the run
    record, the layers, the tokens as they are).
    """
    import numpy as np

    about = json.dumps(numbers.describe(), ensure_ascii=True)
    places = np.array(numbers.places, dtype=np.int64).reshape(-1, 2)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for layer, heads in numbers.layers():
            arrays = [numbers.trace.attention(layer, head) for head in heads]
            if numbers.every:
                _put(archive, f"layer_{layer}", np.stack(arrays))
            else:
                _put(archive, "attention", arrays[0])
        _put(archive, "layer", places[:, 0])
        _put(archive, "head", places[:, 1])
        _put(archive, "tokens", np.array(_texts(numbers), dtype=np.str_))
        _put(archive, "about", np.array(about, dtype=np.str_))
        # Named as well, so that `unzip -p file record.json` shows it without Python.
        archive.writestr("record.json", record_json(numbers.record))


def _texts(numbers: Numbers) -> list[str]:
    if not numbers.text:
        return [str(index) for index in range(len(numbers.trace.tokens))]
    # numpy drops trailing NULs of strings; "about" has the tokens as they are.
    return [visible(token.text) for token in numbers.trace.tokens]


def _put(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    from numpy.lib import format as npy

    # The size is not known before it is packed; a layer may have more than 2 GiB.
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        npy.write_array(member, array, allow_pickle=False)


def write_json(file: BinaryIO, numbers: Numbers) -> None:
    """Write the same as text: ``{..., "heads": [{"layer", "head", "attention": [[...]]}]}``.

    Each number is the shortest decimal that reads back as the same float32.
    """
    about = json.dumps(numbers.describe(), ensure_ascii=True, separators=(",", ":"))
    file.write(about[:-1].encode("ascii") + b',"heads":[')
    first = True
    for layer, heads in numbers.layers():
        for head in heads:
            start = "" if first else ","
            first = False
            file.write(f'{start}{{"layer":{layer},"head":{head},"attention":['.encode())
            values = numbers.trace.attention(layer, head)
            for index, row in enumerate(_rows(values)):
                file.write((",[" if index else "[").encode() + ",".join(row).encode() + b"]")
            file.write(b"]}")
    file.write(b"]}")


def _rows(values: Floats) -> Iterator[Sequence[str]]:
    for row in values:
        yield row.astype("U32").tolist()
