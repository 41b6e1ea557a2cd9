"""What capture costs: ratios of medians over interleaved pairs in one process.

Each round times the sides back to back, in changing order, so that a machine that slows
down or is shared slows both. Random weights: time does not depend on them.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

from lmkit.capture import Trace, capture, trace_forward

__all__ = ["rows"]

Row = dict[str, Any]
PAIRS = 17


def _bert(implementation: str = "sdpa") -> BertModel:
    """Four of BERT-base's layers (12 heads, width 768), with room for 1,024 tokens.

    All costs are a layer's, but for a fixed one that four layers carry instead of twelve: the
    ratios are the worse for it.
    """
    torch.manual_seed(0)
    config = BertConfig(
        num_hidden_layers=4,
        max_position_embeddings=1024,
        attn_implementation=implementation,
    )
    return BertModel(config).eval()


def _llama() -> LlamaModel:
    """A small Llama with grouped queries: 4 layers, 8 heads over 2, width 512."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        attn_implementation="sdpa",
    )
    return LlamaModel(config).eval()


def _inputs(tokens: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"input_ids": torch.randint(5, 900, (1, tokens))}


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _medians(sides: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Median seconds of each side; every round runs each once, in another order."""
    for side in sides:
        side()
    times: list[list[float]] = [[] for _ in sides]
    for index in range(rounds):
        for offset in range(len(sides)):
            at = (index + offset) % len(sides)
            times[at].append(_seconds(sides[at]))
    return [statistics.median(t) for t in times]


def _row(value: float, unit: str, better: str, runs: int, goal: float | None = None) -> Row:
    return {"value": round(value, 4), "unit": unit, "goal": goal, "better": better, "runs": runs}


def _forward_rows(name: str, model: torch.nn.Module, tokens: int, pairs: int) -> dict[str, Row]:
    inputs = _inputs(tokens)
    arguments: dict[str, Any] = {**inputs, "use_cache": False}

    def plain() -> None:
        with torch.no_grad():
            model(**arguments)

    def captured(check: bool) -> Callable[[], None]:
        def run() -> None:
            with torch.no_grad(), capture(model, check=check) as trace:
                model(**arguments)
            trace.release()

        return run

    base, with_check, without = _medians([plain, captured(True), captured(False)], pairs)
    prefix = f"capture: {name} {tokens} tokens, captured / plain forward"
    return {
        prefix: _row(with_check / base, "x", "lower", pairs, 1.05),
        f"{prefix}, self-check off": _row(without / base, "x", "lower", pairs, 1.05),
    }


def _eager_rows(tokens: int, pairs: int) -> dict[str, Row]:
    """One captured SDPA pass against one eager pass that returns all attention."""
    sdpa, eager = _bert(), _bert("eager")
    inputs = _inputs(tokens)
    held: dict[str, int] = {}

    def ours() -> None:
        trace = trace_forward(sdpa, inputs)
        held["ours"] = trace.nbytes
        trace.release()

    def theirs() -> None:
        with torch.no_grad():
            output = eager(**inputs, output_attentions=True)
        held["theirs"] = sum(a.numel() * a.element_size() for a in output.attentions)

    mine, eagers = _medians([ours, theirs], pairs)
    prefix = f"capture: BERT-base layers {tokens} tokens, captured / eager output_attentions"
    return {
        f"{prefix}, time": _row(mine / eagers, "x", "lower", pairs, 1.0),
        f"{prefix}, bytes kept": _row(held["ours"] / held["theirs"], "x", "lower", 1),
    }


def _memory_rows(tokens: int) -> dict[str, Row]:
    """Bytes kept against those of the queries and keys, and one copy of each distinct mask.

    Padded to make the models hand over a mask; BERT's queries and keys are 12 heads of 64, the
    Llama's 8 query and 2 key-value heads of 64.
    """
    inputs = _inputs(tokens)
    padding = torch.ones_like(inputs["input_ids"])
    padding[0, -tokens // 8 :] = 0
    inputs["attention_mask"] = padding
    rows: dict[str, Row] = {}
    for name, model, heads, mask in (
        ("BERT-base layers", _bert(), 2 * 12, tokens),
        ("Llama 4x512", _llama(), 8 + 2, tokens * tokens),
    ):
        trace = trace_forward(model, inputs)
        asked = sum(heads * layer.queries * 64 * 4 for layer in trace.layers) + mask
        rows[f"capture: {name} {tokens} tokens, bytes kept / bytes of q, k and one mask"] = _row(
            trace.nbytes / asked, "x", "lower", 1, 1.2
        )
    return rows


def _median_ms(work: Callable[[], Any], runs: int) -> float:
    work()
    return 1000 * statistics.median(_seconds(work) for _ in range(runs))


def _tile_rows(trace: Trace, tokens: int) -> dict[str, Row]:
    """Times of what a view asks for, on one head of a captured pass."""
    name = f"capture: BERT-base layers {tokens} tokens"
    quarter = tokens // 4
    trace.block(0, 0, 0, tokens, 0, quarter)  # fills the row statistics
    work: dict[str, tuple[Callable[[], Any], float | None]] = {
        "one head": (lambda: trace.attention(3, 3), None),
        "one row": (lambda: trace.rows(3, 3, [tokens // 2]), None),
        "a cached tile of 1/16 of a head": (
            lambda: trace.block(0, 0, quarter, 2 * quarter, 0, quarter),
            None,
        ),
        "thumbnails of all heads of a layer": (lambda: trace.thumbnails(3), None),
    }
    return {
        f"{name}, {what}": _row(_median_ms(run, 15), "ms", "lower", 15, goal)
        for what, (run, goal) in work.items()
    }


def rows() -> dict[str, Row]:
    """All measurements: name -> {value, unit, goal, better, runs}. Under four minutes."""
    out: dict[str, Row] = {}
    for tokens in (512, 1024):
        out.update(_forward_rows("BERT-base layers", _bert(), tokens, PAIRS))
        out.update(_forward_rows("Llama 4x512", _llama(), tokens, PAIRS))
    out.update(_eager_rows(512, PAIRS))
    out.update(_memory_rows(512))
    for tokens in (512, 1024):
        out.update(_tile_rows(trace_forward(_bert(), _inputs(tokens)), tokens))
    gc.collect()
    return out


if __name__ == "__main__":
    started = time.perf_counter()
    for key, row in rows().items():
        print(f"{row['value']:>10} {row['unit']:<3} {key}")
    print(f"{time.perf_counter() - started:.0f} s")
