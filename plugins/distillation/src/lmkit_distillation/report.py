"""The report card: what the student kept of the teacher, what it lost, what it costs.

``report.json`` has all numbers in the form of :mod:`lmkit_distillation.schema`, ``report.html``
shows them; the model card in the student's folder says the same in short.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lmkit_distillation.card_views import results
from lmkit_distillation.cost import Forward, flops_of, peak_of, sample_batches, speed_of
from lmkit_distillation.data import Batch, Encoded, collate
from lmkit_distillation.energy import energy_of
from lmkit_distillation.evaluate import Answers, answers
from lmkit_distillation.examples import lost_most, mistakes
from lmkit_distillation.exports import Export, keep_exports
from lmkit_distillation.folder import write_text, writing
from lmkit_distillation.memory import peak_bytes
from lmkit_distillation.model_card import model_card
from lmkit_distillation.models import AUTO_CLASS
from lmkit_distillation.objective import Seen
from lmkit_distillation.page import to_page
from lmkit_distillation.quality import quality_of, with_intervals
from lmkit_distillation.schema import VERSION, check_report
from lmkit_distillation.shared import base_name, without_paths
from lmkit_distillation.siblings import Siblings, compared, mark_of
from lmkit_distillation.usage import explore_lines

if TYPE_CHECKING:
    from lmkit_distillation.engine import Engine

__all__ = ["to_html", "write_report"]


def write_report(run: Engine, texts: Sequence[Encoded]) -> dict[str, Any]:
    """Measure both models on ``texts`` and write the card."""
    recipe = run.recipe
    card: dict[str, Any] = {
        "version": VERSION,
        "task": recipe.task,
        "teacher": base_name(recipe.teacher.model),
        "teacher_is_folder": Path(recipe.teacher.model).expanduser().is_dir(),
        "student": f"{run.folder.path.resolve().name}/{run.folder.student.name}",
        "best_step": run.best_step,
        "steps": run.step,
        "texts": len(texts),
        "texts_mark": mark_of(texts),
        "parameters": run._parameters(),
        "bytes": {
            "student": _size(run.folder.student),
            "teacher": sum(p.numel() * p.element_size() for p in run.pair.teacher.parameters()),
        },
        "peak_memory": peak_bytes(run.device),
    }
    if texts:
        _measure(run, texts, card)
    card = _told(card, run)
    beside = compared(card, run.folder.path, Siblings(run.folder.path)())
    if beside:
        card["compared"] = beside
    check_report(card)
    with writing(run.folder.path):
        write_text(run.folder.path / "report.json", json.dumps(card, indent=1))
        write_text(run.folder.path / "report.html", to_html(card))
        told = {**card, "recipe": _recipe_told(recipe.as_dict())}
        write_text(run.folder.student / "README.md", model_card(told))
    return card


def _told(card: dict[str, Any], run: Engine) -> dict[str, Any]:
    """The card without folders of this machine, for whoever it is given to.

    Texts and labels of the data are the user's and stay as they are.
    """
    out = run.folder.path
    known = (str(out.resolve()), str(out), run.recipe.teacher.model, str(Path.cwd()))
    parts = ("memory", "flops", "energy", "exports")
    return {
        name: without_paths(value, known) if name in parts else value
        for name, value in card.items()
    }


def _measure(run: Engine, texts: Sequence[Encoded], card: dict[str, Any]) -> None:
    recipe = run.recipe
    asked = {
        "teacher": run._ask(texts, teacher=True),
        "student": run._ask(texts),
    }
    characters = _characters(run, texts) if recipe.by_characters else None
    card["quality"] = quality_of(
        asked["teacher"],
        asked["student"],
        run.pair.labels,
        recipe.task,
        recipe.report.resamples,
        characters,
    )
    card["quality"]["regressions"] = _regressions(run, texts, asked, characters)
    forwards: dict[str, Forward] = {
        "teacher": _forward(run.pair.teacher, "teacher_inputs"),
        "student": _forward(run.pair.student, "inputs"),
    }
    one = sample_batches(texts, 1, run.pads, run.device)
    card["flops"] = {
        **{name: flops_of(forward, one) for name, forward in forwards.items()},
        "note": "Operations by torch's FlopCounterMode: matrix products, one text at a time.",
    }
    if recipe.report.exports:
        example = collate([texts[0], texts[-1]], *run.pads)
        made = keep_exports(recipe.report.exports, run.pair.student, example, run.folder.exports)
        card["exports"] = [_row(run, texts, export, forwards) for export in made]
    if not recipe.report.speed:
        return
    sizes = recipe.report.batches
    seconds = recipe.report.seconds / max(1, len(sizes))
    card["speed"] = []
    for size in sizes:
        row = speed_of(
            forwards, sample_batches(texts, size, run.pads, run.device), seconds, run.device
        )
        row["speedup"] = row["teacher"]["p50"] / row["student"]["p50"]
        card["speed"].append(row)
    batches = sample_batches(texts, max(sizes, default=1), run.pads, run.device)
    pair = {name: forwards[name] for name in ("teacher", "student")}
    card["energy"] = energy_of(pair, batches, min(2.0, seconds / 4), run.device)
    if recipe.report.memory:
        card["memory"] = _memory(run, batches)


def _characters(run: Engine, texts: Sequence[Encoded]) -> tuple[list[int], list[int]]:
    """How many characters of each text the teacher's, and the student's, counted tokens are."""

    def each(tokenizer: Any, read: Sequence[Encoded]) -> list[int]:
        return [
            len(tokenizer.decode([t for t in one.targets if t >= 0], skip_special_tokens=True))
            for one in read
        ]

    return (
        each(run.pair.teacher_tokenizer, [one.other or one for one in texts]),
        each(run.pair.tokenizer, texts),
    )


def _forward(model: Any, inputs: str) -> Forward:
    model.eval()

    def forward(batch: Batch) -> object:
        return model(**getattr(batch, inputs))

    return forward


def _row(
    run: Engine, texts: Sequence[Encoded], export: Export, forwards: dict[str, Forward]
) -> dict[str, Any]:
    """A form's row; one that runs is measured with the others from here on."""
    row: dict[str, Any] = {"name": export.name, "bytes": export.bytes, "problem": export.problem}
    if export.file:
        row["file"] = f"{run.folder.exports.name}/{export.file}"
    logits = export.logits
    if logits is None:
        return row
    try:
        found = answers(
            _seen(logits),
            texts,
            batch=max(1, min(8 if run.recipe.task == "generation" else 64, run.recipe.train.batch)),
            pads=run.pads,
            device=torch.device("cpu"),
        )
    # A form that fails on some text is a row that says so.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return {**row, "problem": lines[0][:300]}
    row["quality"] = with_intervals(
        found, run.pair.labels, run.recipe.task, run.recipe.report.resamples
    )
    forwards[export.name] = logits
    return row


def _seen(
    logits: Callable[[Batch], torch.Tensor],
) -> Callable[[Batch, dict[str, torch.Tensor]], Seen]:
    def ask(batch: Batch, inputs: dict[str, torch.Tensor]) -> Seen:
        rows = logits(batch)
        return Seen(rows if batch.counted is None else rows[batch.counted])

    return ask


def _memory(run: Engine, batches: Sequence[Batch]) -> dict[str, Any]:
    kind = AUTO_CLASS[run.recipe.task]
    found: dict[str, Any] = {}
    problems = []
    for name, model, inputs in (
        ("teacher", run.recipe.teacher.model, [b.teacher_inputs for b in batches[:2]]),
        ("student", str(run.folder.student), [b.inputs for b in batches[:2]]),
    ):
        found[name], problem = peak_of(model, kind, inputs, run.device)
        if problem:
            problems.append(f"{name.capitalize()}: {problem}")
    where = "of the GPU" if run.device.type == "cuda" else "of the whole process, torch included"
    found["note"] = " ".join(
        [f"Peak memory {where}, each model alone, batch {len(batches[0].texts)}.", *problems]
    )
    return found


def _regressions(
    run: Engine,
    texts: Sequence[Encoded],
    asked: dict[str, Answers],
    characters: tuple[list[int], list[int]] | None,
) -> list[dict[str, Any]]:
    """The worst examples of the task."""
    teacher, student = asked["teacher"], asked["student"]
    if run.recipe.task == "generation":
        chat = run.recipe.data.chat
        read = (texts, teacher, student, run.pair.tokenizer)
        return lost_most(*read, chat=chat, characters=characters)
    if teacher.targets.shape != student.targets.shape:
        return []
    return mistakes(texts, teacher, student, run.pair.labels, run.pair.tokenizer)


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.glob("*.safetensors"))


def _recipe_told(recipe: dict[str, Any]) -> Any:
    """A recipe for others to read."""

    def told(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: told(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [told(one) for one in value]
        return base_name(value) if isinstance(value, str) else value

    return told({name: one for name, one in recipe.items() if name != "out"})


def to_html(card: dict[str, Any]) -> str:
    """The card as a page that needs nothing else.

    Raises:
        ReportError: it is not a report of this version.
    """
    shown = results(card)
    wrong = (card.get("quality") or {}).get("regressions") or ()
    return to_page(
        f"What the student kept of {card['teacher']}",
        f"{Path(card['student']).parent.name}: {card['task']}, {card['steps']:,} steps, the best "
        f"after {card['best_step']:,}.",
        shown,
        explore_lines(card, wrong),
    )
