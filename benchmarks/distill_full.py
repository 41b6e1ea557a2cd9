"""The rows of `make bench-distill FULL=1`: a night's work, resumable run by run.

- Every loss by itself beside the labels, and the sets of TinyBERT and MiniLM: 3 layers on SST-2,
  against hard labels.
- NER (with NER=FOLDER): `starter:ner` cut to 3 layers, distilled and by labels alone.
- A language model (with CORPUS=FILE, a text a line): 10 layers of it, distilled and by the next
  token alone, at the same number of tokens.

Differences are of means over the seeds, with paired bootstrap intervals over the reported texts; of
NER, whose tags are no independent draws, seed by seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["full"]

RunOf = Callable[[str, dict[str, Any], argparse.Namespace], dict[str, Any]]

CE = {"kind": "ce", "weight": 0.5}
KL = {"kind": "kl", "temperature": 2.0}
LOSSES: dict[str, list[dict[str, Any]]] = {
    "kl": [CE, KL],
    "reverse-kl": [CE, {"kind": "reverse-kl", "temperature": 2.0}],
    "jsd": [CE, {"kind": "jsd", "temperature": 2.0}],
    "logit-mse": [CE, {"kind": "logit-mse"}],
    "hidden": [CE, {"kind": "hidden"}],
    "hidden-cosine": [CE, {"kind": "hidden", "measure": "cosine"}],
    "embedding": [CE, {"kind": "embedding"}],
    "attention": [CE, {"kind": "attention"}],
    "attention-kl": [CE, {"kind": "attention", "measure": "kl"}],
    "relations": [CE, {"kind": "relations", "map": "last"}],
    "TinyBERT": [
        CE, KL, {"kind": "embedding"}, {"kind": "hidden"}, {"kind": "attention"},
    ],
    "MiniLM": [
        CE, KL, {"kind": "attention", "measure": "kl", "map": "final"},
        {"kind": "relations", "of": ["v"], "map": "final"},
    ],
    "MiniLMv2": [CE, KL, {"kind": "relations", "map": "final"}],
}  # fmt: skip


def full(
    options: argparse.Namespace, run_of: RunOf, hard: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """All of it.

    Args:
        options: Of :mod:`benchmarks.bench_distill`.
        run_of: Runs a recipe, or reads what it left.
        hard: Cards of 3 layers by hard labels, one for each seed.
    """
    found: dict[str, Any] = {"losses": _losses(options, run_of, hard)}
    if options.ner:
        found["ner"] = _ner(options, run_of)
    if options.corpus:
        found["language model"] = _language_model(options, run_of)
    return found


def _losses(
    options: argparse.Namespace, run_of: RunOf, hard: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    from benchmarks.bench_distill import difference

    rows = {}
    for name, losses in LOSSES.items():
        data = {
            "train": str(options.data.resolve() / "train.tsv"),
            "dev": str(options.out.resolve() / "choose.tsv"),
            "test": str(options.out.resolve() / "report.tsv"),
            "max_length": 64,
        }
        cards = _runs(
            f"loss-{name}", options, run_of,
            {"teacher": {"model": options.teacher}, "student": {"layers": 3}, "loss": losses,
             "data": data, "train": {"epochs": 2.0, "batch": 32, "rate": 1e-4}},
        )  # fmt: skip
        rows[name] = {
            "kept": _mean(
                c["quality"]["student"]["accuracy"] / c["quality"]["teacher"]["accuracy"]
                for c in cards
            ),
            "over hard labels": difference(
                [c["quality"]["right"] for c in cards], [c["quality"]["right"] for c in hard]
            ),
        }
    return rows


def _ner(options: argparse.Namespace, run_of: RunOf) -> dict[str, Any]:
    files = _ner_files(options.ner, options.out)
    rows: dict[str, Any] = {}
    scores: dict[str, list[float]] = {}
    for name, losses in (("distilled", [CE, KL, {"kind": "hidden"}]), ("labels", [{"kind": "ce"}])):
        cards = _runs(
            f"ner-{name}", options, run_of,
            {"task": "ner", "teacher": {"model": "starter:ner"}, "student": {"layers": 3},
             "loss": losses, "data": files,
             "train": {"epochs": 3.0, "batch": 32, "rate": 1e-4}},
        )  # fmt: skip
        scores[name] = [c["quality"]["student"]["f1"] for c in cards]
        rows[name] = {
            "f1": _mean(scores[name]),
            "teacher": _mean(c["quality"]["teacher"]["f1"] for c in cards),
        }
    rows["distilled - labels"] = {
        "by_seed": [a - b for a, b in zip(scores["distilled"], scores["labels"], strict=True)]
    }
    return rows


def _ner_files(folder: Path, out: Path) -> dict[str, Any]:
    """Files of columns as JSON lines: train, and every other sentence of dev to choose by."""
    from benchmarks.ner_files import read_sentences

    named = {}
    for name in ("train", "dev"):
        (file, *_) = sorted(folder.glob(f"*{name}*"))
        column = 2 if file.suffix == ".iob2" else -1
        named[name] = read_sentences(file, column)
    parts = {"train": named["train"], "dev": named["dev"][::2], "test": named["dev"][1::2]}
    found: dict[str, Any] = {"tokens": "tokens", "tags": "ner_tags", "max_length": 128}
    for name, sentences in parts.items():
        target = out / f"ner-{name}.jsonl"
        target.write_text("".join(json.dumps(one) + "\n" for one in sentences), encoding="utf-8")
        found[name] = str(target.resolve())
    return found


def _language_model(options: argparse.Namespace, run_of: RunOf) -> dict[str, Any]:
    from benchmarks.bench_distill import difference

    lines = [x for x in options.corpus.read_text(encoding="utf-8").splitlines() if x.strip()]
    data: dict[str, Any] = {"max_length": 256}
    parts = {
        "train": [x for i, x in enumerate(lines) if i % 10 > 1],
        "dev": lines[::10],
        "test": lines[1::10],
    }
    for name, texts in parts.items():
        target = options.out / f"corpus-{name}.jsonl"
        body = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        target.write_text(body, encoding="utf-8")
        data[name] = str(target.resolve())
    rows: dict[str, Any] = {}
    losses = {}
    # The same texts in the same order for as many steps: the same tokens.
    for name, parts_of_loss in (("distilled", [CE, KL]), ("alone", [{"kind": "ce"}])):
        cards = _runs(
            f"corpus-{name}", options, run_of,
            {"task": "generation", "teacher": {"model": options.language_model},
             "student": {"layers": 10}, "loss": parts_of_loss, "data": data,
             "train": {"epochs": 1.0, "batch": 16, "micro_batch": 4, "rate": 2e-4}},
        )  # fmt: skip
        rows[name] = {
            "perplexity": _mean(c["quality"]["student"]["perplexity"] for c in cards),
            "teacher": _mean(c["quality"]["teacher"]["perplexity"] for c in cards),
        }
        losses[name] = [c["quality"]["text_loss"] for c in cards]
    rows["distilled - alone, loss of a text"] = difference(losses["distilled"], losses["alone"])
    return rows


def _runs(
    name: str, options: argparse.Namespace, run_of: RunOf, recipe: dict[str, Any]
) -> list[dict[str, Any]]:
    """The cards of a recipe's seeds."""
    cards = []
    for seed in range(options.seeds):
        slug = f"{'short-' if options.short else ''}full-{name}-{seed}"
        out = str(options.out.resolve() / slug)
        cards.append(
            run_of(
                slug,
                {**recipe, "train": dict(recipe["train"]), "out": out, "seed": seed,
                 "report": {"seconds": 10.0}},
                options,
            )
        )  # fmt: skip
    return cards


def _mean(values: Any) -> float:
    found = list(values)
    return float(sum(found) / len(found))
