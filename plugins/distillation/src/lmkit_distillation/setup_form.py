"""The form of the distillation panel: its fields, and the recipe that their values make."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmkit.api import Field, FieldError, FieldSpec
from lmkit_distillation.folder import write_text, writing
from lmkit_distillation.recipe import TEACHER_KINDS, Recipe, recipe_from

__all__ = ["FIELDS", "PRESETS", "recipe_of"]

PRESETS: dict[str, tuple[dict[str, Any], ...]] = {
    "soft labels": ({"kind": "kl", "temperature": 2.0},),
    "soft and hard labels": (
        {"kind": "kl", "temperature": 2.0},
        {"kind": "ce", "weight": 0.5},
    ),
    "hard labels": ({"kind": "ce"},),
    "soft labels and hidden states": (
        {"kind": "kl", "temperature": 2.0},
        {"kind": "hidden"},
    ),
    "Jensen-Shannon (GKD)": ({"kind": "jsd", "beta": 0.5},),
    "TinyBERT": (
        {"kind": "kl"},
        {"kind": "embedding"},
        {"kind": "hidden"},
        {"kind": "attention"},
    ),
    "MiniLM": (
        {"kind": "kl"},
        {"kind": "attention", "measure": "kl", "map": "last"},
        {"kind": "relations", "of": ["v"], "map": "last"},
    ),
}
"""Losses by the name that the form has for them."""

FIELDS: tuple[FieldSpec, ...] = (
    Field.text(
        "train",
        label="Training texts",
        help="A csv, tsv, jsonl or json file, or a variable of the notebook that holds a DataFrame"
        " or a list of dicts. Empty: the run that is in the folder.",
        placeholder="train.tsv",
        required=False,
        multiline=False,
        body=True,
    ),
    Field.text(
        "dev",
        label="Dev texts",
        help="For evaluation as training goes on, and the best checkpoint.",
        placeholder="dev.tsv",
        required=False,
        multiline=False,
    ),
    Field.text(
        "folder",
        label="Run folder",
        help="Everything of the run is kept there. A folder with a run shows it.",
        default="runs/distilled",
        required=False,
        multiline=False,
    ),
    Field.text(
        "text",
        label="Watched text",
        help="Student minus teacher: their attention on this text, anew after each better"
        " evaluation. Empty: none.",
        required=False,
    ),
    Field.text(
        "second",
        label="Second watched text",
        help="For models that read two texts at once.",
        required=False,
        later=True,
    ),
    Field.integer("layers", label="Student layers", minimum=1, maximum=64, default=3),
    Field.choice("loss", tuple(PRESETS), label="Loss"),
    Field.integer("epochs", label="Epochs", minimum=1, maximum=100, default=3),
    Field.integer(
        "steps",
        label="Steps",
        help="In place of epochs where it is not 0.",
        minimum=0,
        maximum=1_000_000,
        default=0,
        later=True,
    ),
    Field.integer("batch", label="Texts a step", minimum=1, maximum=4096, default=32),
    Field.choice("kind", ("classification", "ner", "generation"), label="Task", later=True),
    Field.text(
        "test",
        label="Test texts",
        help="For the report alone; by default the dev texts.",
        required=False,
        multiline=False,
        later=True,
    ),
    Field.text(
        "column",
        label="Text column",
        help="That of the prompts of a chat, or where the teacher or the student writes.",
        default="text",
        required=False,
        multiline=False,
        later=True,
    ),
    Field.text(
        "target",
        label="Label column",
        help="That of the answers of a chat, or where the teacher or the student writes.",
        default="label",
        required=False,
        multiline=False,
        later=True,
    ),
    Field.boolean(
        "chat",
        label="Chat template",
        help="Generation: prompts, or lists of messages, go through the tokenizer's chat template,"
        " and the label column's text is the answer.",
        later=True,
    ),
    Field.boolean(
        "written",
        label="Teacher writes the targets",
        help="Generation: what the teacher writes after each prompt is learnt (sequence level).",
        later=True,
    ),
    Field.number(
        "own",
        label="Student's own texts",
        help="Generation: share of the steps whose texts the student samples (lambda of GKD).",
        minimum=0,
        maximum=1,
        default=0,
        step=0.05,
        later=True,
    ),
    Field.integer(
        "copies",
        label="Copies of a text",
        help="Made of each training text: words replaced, or rewritten. 0: none.",
        minimum=0,
        maximum=100,
        default=0,
        later=True,
    ),
    Field.text(
        "masked",
        label="Masked-language model",
        help="It replaces words in the copies. Empty: starter:chat rewrites the texts.",
        placeholder="bert-base-uncased",
        required=False,
        multiline=False,
        later=True,
    ),
    Field.number(
        "rate",
        label="Learning rate",
        minimum=1e-6,
        maximum=1e-2,
        default=5e-5,
        step=1e-6,
        later=True,
    ),
    Field.integer(
        "every",
        label="Evaluate every",
        help="Steps; 0: ten times in all.",
        minimum=0,
        maximum=100_000,
        default=0,
        later=True,
    ),
    Field.integer(
        "seconds",
        label="Seconds of timing",
        help="How long the report measures speed.",
        minimum=0,
        maximum=600,
        default=20,
        later=True,
    ),
    Field.integer("seed", label="Seed", minimum=0, maximum=2**31 - 1, default=0, later=True),
    Field.boolean("preview", label="Only show the recipe", later=True),
)


def recipe_of(values: Mapping[str, Any], teacher: str) -> Recipe:
    """The recipe that the form makes; a variable is written into the run folder first.

    Raises:
        FieldError: naming the field.
        RecipeError: naming the key of the recipe.
    """
    if not values["folder"].strip():
        raise FieldError("Run folder: name one.", hint="It is made if it is not there.")
    folder = Path(values["folder"].strip()).expanduser()
    kind = values["kind"]
    texts, labels = values["column"] or "text", values["target"] or "label"
    prompted = bool(values["written"] or values["own"] or values["chat"])
    columns = {
        "classification": {"text": texts, "label": labels},
        "ner": {"tokens": texts, "tags": labels},
        "generation": {"prompt": texts, "completion": labels} if prompted else {"text": texts},
    }[kind]
    data: dict[str, Any] = {**columns, "chat": values["chat"]}
    losses = [dict(one) for one in PRESETS[values["loss"]]]
    if values["copies"]:
        # Without a loss that asks the teacher, what the source's label says is all that is known.
        asked = any(one["kind"] in TEACHER_KINDS for one in losses)
        data["augment"] = {
            "copies": values["copies"],
            "masked": values["masked"].strip(),
            "labels": "teacher" if asked else "copy",
        }
    for name, label in (("train", "Training texts"), ("dev", "Dev texts"), ("test", "Test texts")):
        if values[name].strip():
            data[name] = _file(values[name].strip(), label, folder / "data" / f"{name}.jsonl")
    if "train" not in data:
        raise FieldError(
            "Training texts: name a file or a variable of the notebook.",
            hint="To look at a run that is there, give its Run folder alone.",
        )
    length = {"steps": values["steps"]} if values["steps"] else {"epochs": float(values["epochs"])}
    return recipe_from(
        {
            "task": kind,
            "out": str(folder),
            "seed": values["seed"],
            "teacher": {"model": teacher},
            "student": {"layers": values["layers"]},
            "data": data,
            "loss": losses,
            "train": {
                **length,
                "batch": values["batch"],
                "rate": values["rate"],
                "evaluate_every": values["every"],
            },
            "sequences": {"use": values["written"]},
            "on_policy": {"lambda": values["own"]},
            "report": {"seconds": float(values["seconds"]), "speed": values["seconds"] > 0},
        }
    )


def _file(given: str, label: str, target: Path) -> str:
    path = Path(given).expanduser()
    if path.exists():
        return str(path.resolve())
    rows = _rows(given) if re.fullmatch(r"[^\W\d]\w*", given) else None
    if rows is None:
        raise FieldError(
            f"{label}: there is neither a file nor a variable {given!r}.",
            hint="Paths are taken from the notebook's folder.",
        )
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, "".join(json.dumps(row, default=str) + "\n" for row in rows))
    return str(target.resolve())


def _rows(name: str) -> Sequence[Mapping[str, Any]] | None:
    """The rows of a notebook's variable; None where there is none that holds rows."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    value: Any = None if shell is None else shell.user_ns.get(name)
    if value is None:
        return None
    if callable(getattr(value, "to_dict", None)) and hasattr(value, "columns"):
        value = value.to_dict("records")
    elif callable(getattr(value, "to_list", None)) and hasattr(value, "column_names"):
        value = value.to_list()  # a Hugging Face data set
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        return value
    return None
