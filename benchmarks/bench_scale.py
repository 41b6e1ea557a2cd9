"""lmkit alone on long texts: what a view asks for, by length, with the slopes of time and memory.

The model has the heads of SmolLM2-135M (9 query heads over 3 key-value heads of 64), but few
layers: what is measured is per layer or per head. A slope is that of log(time) or log(bytes) over
log(tokens), by least squares: 1 is in proportion to the text, 2 to its square. ``FULL=1`` goes on
to 8,192 tokens.
"""

from __future__ import annotations

import gc
import math
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import LlamaConfig, LlamaModel

from lmkit.capture import Trace, trace_forward
from lmkit.protocol.levels import depth
from lmkit.views.attention import GLANCE_ROWS, HEAD_SIDE, THUMBNAIL_SIDE

__all__ = ["rows"]

Row = dict[str, Any]
LAYERS = 2
LENGTHS = (512, 1024, 2048, 4096)
RUNS = 5


def _model() -> LlamaModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=LAYERS,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        attn_implementation="sdpa",
    )
    return LlamaModel(config).eval()


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _slope(lengths: list[int], values: list[float]) -> float:
    x = [math.log(length) for length in lengths]
    y = [math.log(value) for value in values]
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    over = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return over / sum((a - mean_x) ** 2 for a in x)


def _asked(trace: Trace, tokens: int) -> dict[str, Callable[[int], Any]]:
    """What a view asks for; each is told the number of the run, to ask for something new."""
    finest = depth(tokens)
    places = max(1, tokens // 256)
    return {
        "first thumbnails of a layer": lambda run: trace.thumbnails(
            0, THUMBNAIL_SIDE, sample=GLANCE_ROWS
        ),
        "thumbnails of a layer": lambda run: trace.thumbnails(0, THUMBNAIL_SIDE),
        "one head": lambda run: trace.mass(
            1, run % 9, min(tokens, HEAD_SIDE), min(tokens, HEAD_SIDE)
        ),
        "a later tile of single cells": lambda run: trace.level_tile(
            0, run % 9, finest, places - 1, (run * 7) % places
        ),
        "eight exact rows": lambda run: trace.rows(0, run % 9, range(tokens - 8, tokens)),
    }


def _once(model: LlamaModel, tokens: int) -> dict[str, float]:
    """Median seconds of everything at one length, and bytes kept."""
    torch.manual_seed(1)
    inputs = {"input_ids": torch.randint(5, 900, (1, tokens))}
    found: dict[str, float] = {}

    def plain() -> None:
        with torch.no_grad():
            model(**inputs, use_cache=False)

    plain()
    found["forward"] = min(_seconds(plain) for _ in range(2))
    trace = trace_forward(model, inputs)
    found["bytes"] = trace.nbytes
    trace.thumbnails(0, THUMBNAIL_SIDE)  # later tiles rest on its row statistics
    for name, ask in _asked(trace, tokens).items():
        runs = 3 if name == "thumbnails of a layer" and tokens > 1024 else RUNS
        found[name] = statistics.median(
            _seconds(lambda ask=ask, run=run: ask(run))  # type: ignore[misc]
            for run in range(runs)
        )
    found["bytes of statistics"] = trace.nbytes - found["bytes"]
    trace.release()
    return found


def _row(value: float, unit: str, runs: int, goal: float | None = None) -> Row:
    return {"value": round(value, 4), "unit": unit, "goal": goal, "better": "lower", "runs": runs}


def rows() -> dict[str, Row]:
    """All measurements: name -> {value, unit, goal, better, runs}."""
    lengths = [*LENGTHS, 8192] if os.environ.get("FULL") else list(LENGTHS)
    model = _model()
    found = {tokens: _once(model, tokens) for tokens in lengths}
    gc.collect()
    out: dict[str, Row] = {}
    names = [name for name in found[lengths[0]] if not name.startswith("bytes")]
    for tokens in lengths:
        at = found[tokens]
        for name in names:
            out[f"scale: {tokens} tokens, {name}"] = _row(1000 * at[name], "ms", RUNS)
        whole = LAYERS * at["thumbnails of a layer"]
        out[f"scale: {tokens} tokens, all thumbnails / plain forward"] = _row(
            whole / at["forward"], "x", RUNS
        )
        out[f"scale: {tokens} tokens, a later tile / its head"] = _row(
            at["a later tile of single cells"] / at["one head"], "x", RUNS
        )
        everything = LAYERS * 9 * tokens * tokens * 4
        out[f"scale: {tokens} tokens, bytes kept / bytes of all attention"] = _row(
            (at["bytes"] + at["bytes of statistics"]) / everything, "x", 1
        )
    for name, goal in (("bytes", 1.05), *((name, None) for name in names)):
        values = [found[tokens][name] for tokens in lengths]
        title = "bytes kept" if name == "bytes" else f"time of {name}"
        out[f"scale: slope of {title}, {lengths[0]} to {lengths[-1]} tokens"] = _row(
            _slope(lengths, values), "", len(lengths), goal
        )
    return out


if __name__ == "__main__":
    started = time.perf_counter()
    for key, row in rows().items():
        print(f"{row['value']:>10} {row['unit']:<3} {key}")
    print(f"{time.perf_counter() - started:.0f} s")
