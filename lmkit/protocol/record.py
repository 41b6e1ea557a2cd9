"""The run record: which model, text and software a view's numbers came from."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

__all__ = ["RunRecord"]

_Line = Annotated[str, Meta(max_length=10_000)]
_Text = Annotated[str, Meta(max_length=4_000_000)]
_Whole = Annotated[int, Meta(ge=-9_007_199_254_740_991, le=9_007_199_254_740_991)]
_Finite = Annotated[float, Meta(ge=-1e308, le=1e308)]
_Value = _Text | bool | _Whole | _Finite | None


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is needed to make the same view again, and to know that it is the same.

    ``fingerprint`` tells whether a model's files are the same (SHA-256 of its small files and of
    the weights' names, sizes and times; empty for a model in memory), ``tokenizer_hash`` is the
    SHA-256 of the whole tokenizer. ``fields`` holds the values of the run, texts included, and is
    None where the user left texts out. ``date`` is UTC, ISO 8601; a notebook's outputs leave it
    out. Empty: not known.
    """

    task: _Line = ""
    model: _Line = ""
    revision: _Line = ""
    fingerprint: _Line = ""
    architecture: _Line = ""
    device: _Line = ""
    dtype: _Line = ""
    tokenizer: _Line = ""
    tokenizer_hash: _Line = ""
    attention_path: _Line = ""
    deviation: _Finite | None = None
    seed: _Whole | None = None
    fields: dict[str, _Value] | None = None
    tokens: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    date: _Line = ""
    lmkit: _Line = ""
    torch: _Line = ""
    transformers: _Line = ""
    python: _Line = ""
