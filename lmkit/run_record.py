"""Makes the run record: which model, tokenizer, software and text the numbers came from."""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import weakref
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from lmkit.api import LoadedModel
from lmkit.protocol.record import RunRecord
from lmkit.version import __version__

__all__ = ["RunRecord", "record_json", "record_run", "version_of", "without_text"]

_hashes: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def record_run(
    task: str, model: LoadedModel, values: Mapping[str, Any], trace: Any = None
) -> RunRecord:
    """The record of one run.

    Args:
        task: Its name.
        model: What it ran on.
        values: The checked field values of the run.
        trace: Its last captured pass, where there is one.
    """
    seed = values.get("seed")
    # Contracts of lmkit.api do not promise all of these: what a model does not say stays empty.
    tokenizer = model.tokenizer
    return RunRecord(
        task=task,
        model=model.name,
        revision=str(getattr(model, "revision", "")),
        fingerprint=str(getattr(model, "fingerprint", "")),
        architecture=type(model.model).__name__,
        device=str(model.device),
        dtype=str(model.dtype),
        tokenizer="" if tokenizer is None else type(tokenizer).__name__,
        tokenizer_hash="" if tokenizer is None else _tokenizer_hash(tokenizer),
        attention_path=str(getattr(trace, "path", "")),
        deviation=getattr(trace, "deviation", None),
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        fields=dict(values),
        tokens=len(getattr(trace, "tokens", ())),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        lmkit=__version__,
        torch=version_of("torch"),
        transformers=version_of("transformers"),
        python=platform.python_version(),
    )


def without_text(record: RunRecord) -> RunRecord:
    """The record without the texts of the run; numbers and choices go too, as they may quote it."""
    return msgspec.structs.replace(record, fields=None)


def record_json(record: RunRecord) -> str:
    """The record as JSON in ASCII, safe in every kind of file."""
    return json.dumps(msgspec.to_builtins(record), ensure_ascii=True, separators=(",", ":"))


@cache  # a look through the environment's metadata takes as long as a layer of a small model
def version_of(distribution: str) -> str:
    """Version of a distribution; empty where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 of a tokenizer: of its whole definition where it is a fast one, else of its words."""
    try:
        known = _hashes.get(tokenizer)
    except TypeError:  # not hashable: computed each time
        known = None
    if known is not None:
        return known
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        # Padding and truncation are set anew by each call and say nothing of the tokenizer.
        definition = json.loads(backend.to_str())
        definition.pop("padding", None)
        definition.pop("truncation", None)
        text = json.dumps(definition, sort_keys=True)
    elif callable(getattr(tokenizer, "get_vocab", None)):
        text = json.dumps(tokenizer.get_vocab(), sort_keys=True)
    else:
        return ""
    made = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    try:
        _hashes[tokenizer] = made
    except TypeError:
        return made
    return made
