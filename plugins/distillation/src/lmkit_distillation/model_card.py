"""README.md of a student: what it is, of whom, by what recipe, how good."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from lmkit.api import Table
from lmkit_distillation.card_views import exports, lines
from lmkit_distillation.shared import base_name
from lmkit_distillation.usage import use_lines

__all__ = ["model_card"]

_PIPELINE = {
    "classification": "text-classification",
    "ner": "token-classification",
    "generation": "text-generation",
}


def model_card(card: dict[str, Any]) -> str:
    """The card, with the front matter that the Hugging Face hub reads."""
    teacher = base_name(card["teacher"])
    front = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {_PIPELINE.get(card['task'], 'other')}",
        "tags: [distillation, lmkit]",
        f"base_model: {json.dumps(teacher)}",
        "---",
    ]
    rows = "\n".join(f"| {' | '.join(_cell(one) for one in row)} |" for row in lines(card))
    parts = [
        "\n".join(front),
        f"# A student of {_plain(teacher)}",
        f"Distilled with lmkit. Task: {card['task']}; {card['steps']:,} steps, the best after "
        f"{card['best_step']:,}; measured on {card['texts']:,} texts. In brackets are 95 % "
        "bootstrap intervals over texts.",
        f"## What was kept\n\n| | Teacher | Student |\n|---|---:|---:|\n{rows}",
    ]
    groups = (card.get("quality") or {}).get("per_class") or (card.get("quality") or {}).get(
        "per_entity"
    )
    if groups:
        parts.append("## By label\n\n" + _groups(groups))
    if card.get("exports"):
        parts.append("## Other forms\n\n" + _forms(exports(card)))
    command, code = use_lines()
    parts.append(
        "## Use\n\nThe folder is a plain Hugging Face model: `AutoTokenizer` and the auto class of "
        "its task read it, and lmkit takes its path wherever it takes a model. In the folder of "
        f"this file:\n\n```bash\n{command}\n```\n\n```python\n{code}\n```"
    )
    if card.get("recipe"):
        # Nothing in a recipe can end the block: a fence is longer than any run of its own sign.
        body = json.dumps(card["recipe"], indent=1, ensure_ascii=False)
        fence = "`" * max(3, 1 + max((len(m) for m in re.findall("`+", body)), default=0))
        parts.append(f"## Recipe\n\n{fence}json\n{body}\n{fence}")
    parts.append(
        "## Licence\n\nA student is a derived work of its teacher: the licence of "
        f"{_plain(teacher)} and that of the training texts hold for it. lmkit does not "
        "know them and grants none; name them here before you share this folder."
    )
    return "\n\n".join(parts) + "\n"


def _groups(groups: Sequence[dict[str, Any]]) -> str:
    rows = "\n".join(
        f"| {_cell(str(g['label']))} | {g['places']:,} | {g['teacher']:.4f} | {g['student']:.4f} "
        f"| {g['change']:+.4f} |"
        for g in groups
    )
    return (
        f"| Label | In the texts | Teacher | Student | Change |\n|---|---:|---:|---:|---:|\n{rows}"
    )


def _forms(table: Table) -> str:
    rows = [table.columns, *table.rows]
    shown = [
        f"| {' | '.join(_cell('' if one is None else str(one)) for one in row)} |" for row in rows
    ]
    shown.insert(1, "|---" * len(table.columns) + "|")
    return "\n".join(shown) + "\n\nFiles are named from the folder above this one."


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """One line without markup: names come from models and users."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", " ".join(text.split()))
