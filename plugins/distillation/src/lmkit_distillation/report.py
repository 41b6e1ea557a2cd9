"""The report card: what the student kept of the teacher, what it lost, how much faster it is.

``report.json`` has all numbers, ``report.html`` shows them; the model card in the student's folder
says the same in short. Speed is measured interleaved: one pass of the teacher, one of the student,
so that what else the machine does meets both.
"""

from __future__ import annotations

import html
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lmkit_distillation.data import IGNORED, Encoded, collate
from lmkit_distillation.evaluate import Answers, metrics
from lmkit_distillation.folder import write_text, writing
from lmkit_distillation.memory import peak_bytes
from lmkit_distillation.schema import VERSION

if TYPE_CHECKING:
    from lmkit_distillation.engine import Engine

__all__ = ["interval", "per_class", "write_report"]


def write_report(run: Engine, texts: Sequence[Encoded]) -> dict[str, Any]:
    """Measure both models on ``texts`` and write the card."""
    recipe = run.recipe
    card: dict[str, Any] = {
        "version": VERSION,
        "task": recipe.task,
        "teacher": recipe.teacher.model,
        "student": str(run.folder.student),
        "best_step": run.best_step,
        "steps": run.step,
        "texts": len(texts),
        "parameters": run._parameters(),
        "bytes": {
            "student": _size(run.folder.student),
            "teacher": sum(p.numel() * p.element_size() for p in run.pair.teacher.parameters()),
        },
        "peak_memory": peak_bytes(run.device),
    }
    if texts:
        card["quality"] = _quality(run, texts)
    if recipe.report.speed and texts:
        card["speed"] = [_speed(run, texts, size) for size in recipe.report.batches]
    with writing(run.folder.path):
        write_text(run.folder.path / "report.json", json.dumps(card, indent=1))
        write_text(run.folder.path / "report.html", to_html(card))
        write_text(run.folder.student / "README.md", _model_card(card))
    return card


def _quality(run: Engine, texts: Sequence[Encoded]) -> dict[str, Any]:
    labels, task = run.pair.labels, run.recipe.task
    both = {"teacher": run._ask(texts, teacher=True), "student": run._ask(texts)}
    found: dict[str, Any] = {name: metrics(one, labels, task) for name, one in both.items()}
    teacher, student = both["teacher"], both["student"]
    if teacher.predicted.shape == student.predicted.shape:
        found["agreement"] = float((teacher.predicted == student.predicted).mean())
    known = student.targets != IGNORED
    if known.any() and teacher.targets.shape == student.targets.shape:
        right = {name: (one.predicted == one.targets)[known] for name, one in both.items()}
        number = run.recipe.report.resamples
        groups = student.text[known]
        for name, one in right.items():
            found[name]["accuracy_interval"] = interval(one, groups, number)
        change = right["student"].astype(float) - right["teacher"]
        found["change"] = float(change.mean())
        found["change_interval"] = interval(change, groups, number)
        # Which places the student has right, for paired comparisons of several students.
        found["right"] = [int(one) for one in right["student"]]
        if labels:
            found["per_class"] = per_class(teacher, student, labels)
            found["regressions"] = _regressions(run, texts, teacher, student)
    return found


def interval(
    values: NDArray[Any], groups: NDArray[np.int64], resamples: int, seed: int = 0
) -> list[float]:
    """95 % bootstrap interval of a mean, whole texts drawn with replacement.

    The percentile interval of Efron 1979; of a difference of two models on the same texts it is
    the paired one.
    """
    _, inverse = np.unique(groups, return_inverse=True)
    sums = np.bincount(inverse, weights=values.astype(float))
    counts = np.bincount(inverse).astype(float)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for i in range(resamples):
        drawn = generator.integers(0, len(sums), len(sums))
        means[i] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, [0.025, 0.975])
    return [float(low), float(high)]


def per_class(teacher: Answers, student: Answers, labels: Sequence[str]) -> list[dict[str, Any]]:
    """For each class how many places it has, and the share of them that each model gets right."""
    rows = []
    for index, label in enumerate(labels):
        own = teacher.targets == index
        if own.any():
            before = float((teacher.predicted[own] == index).mean())
            after = float((student.predicted[own] == index).mean())
            rows.append(
                {
                    "label": label,
                    "places": int(own.sum()),
                    "teacher": before,
                    "student": after,
                    "change": after - before,
                }
            )
    return sorted(rows, key=lambda row: row["change"])


def _regressions(
    run: Engine, texts: Sequence[Encoded], teacher: Answers, student: Answers
) -> list[dict[str, Any]]:
    """Texts that the teacher had right and the student has wrong, the surest mistakes first."""
    worse = (
        (student.targets != IGNORED)
        & (teacher.predicted == student.targets)
        & (student.predicted != student.targets)
    )
    places = np.flatnonzero(worse)
    order = places[np.argsort(-student.loss[places], kind="stable")][:10]
    labels = run.pair.labels
    return [
        {
            "text": run.pair.tokenizer.decode(texts[student.text[i]].ids, skip_special_tokens=True),
            "label": labels[student.targets[i]],
            "student": labels[student.predicted[i]],
            "loss": float(student.loss[i]),
        }
        for i in order
    ]


def _speed(run: Engine, texts: Sequence[Encoded], size: int) -> dict[str, Any]:
    """Latency of a batch (p50, p95) and throughput of both models, one pass each in turn."""
    sample = [texts[i % len(texts)] for i in range(size * 8)]
    batches = [
        collate(sample[i : i + size], *run.pads).to(run.device) for i in range(0, len(sample), size)
    ]
    asked = {
        "teacher": (run.pair.teacher, "teacher_inputs"),
        "student": (run.pair.student, "inputs"),
    }
    times: dict[str, list[float]] = {name: [] for name in asked}
    end = time.monotonic() + run.recipe.report.seconds / max(1, len(run.recipe.report.batches))
    count = 0
    with torch.inference_mode():
        while count < 6 or (time.monotonic() < end and count < 400):
            batch = batches[count % len(batches)]
            for name, (model, inputs) in asked.items():
                model.eval()
                begun = time.perf_counter()
                model(**getattr(batch, inputs))
                if run.device.type == "cuda":
                    torch.cuda.synchronize()
                if count >= 2:  # the first passes fill caches
                    times[name].append(time.perf_counter() - begun)
            count += 1
    row: dict[str, Any] = {"batch": size, "passes": count - 2}
    for name, values in times.items():
        row[name] = {
            "p50": float(np.quantile(values, 0.5)),
            "p95": float(np.quantile(values, 0.95)),
            "texts_per_second": size / float(np.mean(values)),
        }
    row["speedup"] = row["teacher"]["p50"] / row["student"]["p50"]
    return row


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.glob("*.safetensors"))


def lines(card: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The card as rows of what, teacher, student."""
    rows = [
        (
            "Parameters",
            f"{card['parameters']['teacher']:,}",
            f"{card['parameters']['student']:,}",
        ),
        (
            "Weights, MB",
            f"{card['bytes']['teacher'] / 1e6:.1f}",
            f"{card['bytes']['student'] / 1e6:.1f}",
        ),
    ]
    quality = card.get("quality", {})
    for name in ("accuracy", "f1", "loss"):
        if name in quality.get("teacher", {}):
            shown = []
            for who in ("teacher", "student"):
                text = f"{quality[who][name]:.4f}"
                if name == "accuracy" and "accuracy_interval" in quality[who]:
                    low, high = quality[who]["accuracy_interval"]
                    text += f" ({low:.4f} to {high:.4f})"
                shown.append(text)
            rows.append((name.capitalize() if name != "f1" else "F1", shown[0], shown[1]))
    if "change" in quality:
        low, high = quality["change_interval"]
        rows.append(("Change", "", f"{quality['change']:+.4f} ({low:+.4f} to {high:+.4f})"))
    if "agreement" in quality:
        rows.append(("Agreement", "", f"{quality['agreement']:.4f}"))
    for one in card.get("speed", ()):
        for key, what in (("p50", "median"), ("p95", "95th percentile")):
            rows.append(
                (
                    f"Latency at batch {one['batch']}, {what}, ms",
                    f"{one['teacher'][key] * 1e3:.2f}",
                    f"{one['student'][key] * 1e3:.2f}",
                )
            )
        rows.append((f"Speed at batch {one['batch']}", "1", f"{one['speedup']:.2f}"))
    return rows


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Distillation report</title>
<meta name="viewport" content="width=device-width">
<style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;
margin:2rem auto;padding:0 1rem}table{border-collapse:collapse;margin:1rem 0 2rem;width:100%%}
th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid #8884;
font-variant-numeric:tabular-nums}th:first-child,td:first-child{text-align:left;
overflow-wrap:anywhere}caption{text-align:left;font-weight:600}</style>
<h1>Distillation report</h1><p>%s taught %s: %d steps, best after %d; measured on %d texts.</p>%s
</html>
"""


def to_html(card: dict[str, Any]) -> str:
    """A page that needs nothing else; all text is escaped."""
    tables = [_table("What was kept", ("", "Teacher", "Student"), lines(card))]
    quality = card.get("quality", {})
    if quality.get("per_class"):
        rows = [
            (
                r["label"],
                str(r["places"]),
                f"{r['teacher']:.4f}",
                f"{r['student']:.4f}",
                f"{r['change']:+.4f}",
            )
            for r in quality["per_class"]
        ]
        head = ("Class", "Places", "Teacher right", "Student right", "Change")
        tables.append(_table("By class, the greatest loss first", head, rows))
    if quality.get("regressions"):
        shown = [(r["text"], r["label"], r["student"]) for r in quality["regressions"]]
        tables.append(
            _table(
                "What the teacher had right and the student has wrong",
                ("Text", "Label", "Student says"),
                shown,
            )
        )
    return _PAGE % (
        html.escape(card["teacher"]),
        html.escape(Path(card["student"]).parent.name),
        card["steps"],
        card["best_step"],
        card["texts"],
        "".join(tables),
    )


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th scope=col>{html.escape(one)}</th>" for one in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(one)}</td>" for one in row) + "</tr>" for row in rows
    )
    return f"<table><caption>{html.escape(title)}</caption><tr>{cells}</tr>{body}</table>"


def _model_card(card: dict[str, Any]) -> str:
    rows = "\n".join(f"| {a} | {b} | {c} |" for a, b, c in lines(card))
    return (
        f"# A student of {card['teacher']}\n\nDistilled with lmkit. Task: {card['task']}; "
        f"{card['steps']} steps, best after {card['best_step']}; measured on {card['texts']} "
        f"texts.\n\n| | Teacher | Student |\n|---|---:|---:|\n{rows}\n"
    )
