"""Rows a second through a data set, against a hand-written loop over the same sorted batches.

The loop tokenises all texts, sorts them by length, pads each batch and keeps the probabilities:
what one writes by hand when it has to be fast. Both run in turns, several times each; the ratio is
that of the medians. ``python -m benchmarks --only datasets``, or with a file of one text a line
(a tab and a label behind it are left out): ``python -m benchmarks.bench_datasets FILE [ROWS]``.
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import lmkit

ROWS = 10_000
BATCH = 32
TURNS = 3
WORDS = (
    "a the film plot acting is was and but of in it never quite moving dull funny slow honest "
    "performance director story scenes audience best worst year really too long warm heart"
)


def made_up(count: int, seed: int = 0) -> list[str]:
    """Texts of SST-2's lengths: 2 to 50 words, 19 in the mean."""
    chance, words = random.Random(seed), WORDS.split()
    return [
        " ".join(chance.choices(words, k=min(50, max(2, round(chance.gammavariate(4, 4.8))))))
        for _ in range(count)
    ]


def by_hand(model: Any, tokenizer: Any, texts: Sequence[str]) -> list[list[float]]:
    """The loop: probabilities of each text, in order."""
    encoded = tokenizer(list(texts), truncation=True)["input_ids"]
    order = sorted(range(len(texts)), key=lambda one: -len(encoded[one]))
    found: list[list[float]] = [[] for _ in texts]
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = tokenizer.pad(
                {"input_ids": [encoded[row] for row in rows]}, return_tensors="pt"
            )
            logits = model(**batch).logits
            for row, numbers in zip(rows, logits.softmax(-1).tolist(), strict=True):
                found[row] = numbers
    return found


def measure(texts: Sequence[str]) -> dict[str, float]:
    """Rows a second of both, the largest difference of a probability, and growth of memory."""
    torch.set_num_threads(1)
    # On a machine that is shared, seconds of the process tell more than those of the wall.
    clock = time.process_time if os.environ.get("CPU_TIME") else time.perf_counter
    kit = lmkit.load("starter:sentiment")
    loaded = kit.loaded("classification")
    kit.evaluate("classification", texts[:BATCH])  # warm
    by_hand(loaded.model, loaded.tokenizer, texts[:BATCH])
    seconds: dict[str, list[float]] = {"lmkit": [], "loop": []}
    grown, worst = 0, 0.0
    for turn in range(TURNS):
        started = clock()
        expected = by_hand(loaded.model, loaded.tokenizer, texts)
        seconds["loop"].append(clock() - started)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = clock()
        done = kit.evaluate("classification", texts)
        seconds["lmkit"].append(clock() - started)
        if turn:  # the first holds what both need
            grown = max(grown, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        worst = max(
            abs(one - other)
            for row, numbers in zip(done.rows, expected, strict=True)
            for one, other in zip(row["probabilities"].values(), numbers, strict=True)
        )
    medians = {name: len(texts) / statistics.median(times) for name, times in seconds.items()}
    return {**medians, "difference": worst, "grown": grown / 1024}


def rows() -> dict[str, dict[str, Any]]:
    """The figures of :mod:`benchmarks`; ``FULL=1`` takes all 10,000 rows, else 2,000."""
    count = ROWS if os.environ.get("FULL") else 2_000
    found = measure(made_up(count))
    note = f"{found['lmkit']:.0f} against {found['loop']:.0f} rows/s, one thread"

    def row(value: float, unit: str, goal: float | None, better: str, note: str) -> dict[str, Any]:
        return {
            "value": value, "unit": unit, "goal": goal, "better": better, "runs": TURNS,
            "note": note,
        }  # fmt: skip

    name = f"data set, {count} rows"
    return {
        f"{name}: speed of the hand-written loop": row(
            found["lmkit"] / found["loop"], "x", 0.95, "higher", note
        ),
        f"{name}: largest difference of a probability": row(
            found["difference"], "", 1e-5, "lower", ""
        ),
        f"{name}: memory grows in a run by": row(
            found["grown"], "MB", 64, "lower", "peak of the process, after the first run"
        ),
    }


def main(file: str, count: int = ROWS) -> None:
    """Print the figures for a file of texts, repeated to so many rows."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    texts = [line.split("\t")[0] for line in lines if line.strip()]
    found = measure((texts * (count // len(texts) + 1))[:count])
    sys.stdout.write(
        f"{count:,} rows, batches of {BATCH}, one thread: loop {found['loop']:,.0f} rows/s, "
        f"lmkit {found['lmkit']:,.0f} rows/s, ratio {found['lmkit'] / found['loop']:.3f}; largest "
        f"difference of a probability {found['difference']:.1e}; memory grew by "
        f"{found['grown']:.0f} MB\n"
    )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
