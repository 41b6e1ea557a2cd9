"""The form of the distillation panel: its fields, and the recipe that their values make."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.api import Field, FieldError, FieldSpec
from lmkit_distillation.recipe import TEACHER_KINDS, Recipe, recipe_from
from lmkit_distillation.variables import KeptRows, rows_of

__all__ = ["FIELDS", "PRESETS", "asks", "planned"]

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
        {"kind": "attention", "measure": "kl", "map": "final"},
        {"kind": "relations", "of": ["v"], "map": "final"},
    ),
    "MiniLM v2": ({"kind": "kl"}, {"kind": "relations", "map": "final"}),
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
        "unlabelled",
        label="Unlabelled texts",
        help="On these the teacher alone speaks. A file or a variable, as training texts.",
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
        "patience",
        label="Patience",
        help="Evaluations without a better one before it stops; 0: to the end.",
        minimum=0,
        maximum=10_000,
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
    Field.text(
        "further",
        label="Further settings (TOML)",
        help="Anything else of a recipe; goes before the fields. docs/distillation.md names the"
        " keys.",
        placeholder='[student]\nstart = "config"\nhidden = 384',
        required=False,
        later=True,
    ),
    Field.boolean("preview", label="Only show the recipe", later=True),
)


_FILES = (
    ("train", "Training texts"),
    ("unlabelled", "Unlabelled texts"),
    ("dev", "Dev texts"),
    ("test", "Test texts"),
)
_FIELDS_OF = (("out", "Run folder"), ("task", "Task"), ("teacher.model", "the panel's model"))
"""Keys that further settings can't name, and what says them."""


def asks(values: Mapping[str, Any]) -> bool:
    """Whether a form describes a run; else it only names the folder of one."""
    return any(values[name].strip() for name in ("train", "unlabelled", "further"))


def planned(values: Mapping[str, Any], teacher: str) -> tuple[Recipe, list[KeptRows]]:
    """What the form makes; nothing is written.

    Args:
        values: Of :data:`FIELDS`.
        teacher: Name of the model that is learnt from.

    Returns:
        The recipe, and the rows of variables of the notebook that it names by their files.

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
    further = _further(values["further"])
    losses = further.get("loss", [dict(one) for one in PRESETS[values["loss"]]])
    if values["copies"]:
        data["augment"] = {
            "copies": values["copies"],
            "masked": values["masked"].strip(),
            "labels": "teacher" if _asks_teacher(losses) else "copy",
        }
    variables: list[KeptRows] = []
    for name, label in _FILES:
        if values[name].strip():
            data[name] = _file(values[name].strip(), label, folder / "data", name, variables)
    said = further.get("data", {})
    if not any(name in given for given in (data, said) for name in ("train", "unlabelled")):
        raise FieldError(
            "Training texts: name a file or a variable of the notebook.",
            hint="To look at a run that is there, give its Run folder alone.",
        )
    length = {"steps": values["steps"]} if values["steps"] else {"epochs": float(values["epochs"])}
    student = {"layers": values["layers"]}
    # What the fields always say gives way to what contradicts it.
    own = further.get("student", {})
    if isinstance(own.get("keep"), list) or own.get("start") == "model":
        student = {}
    if "epochs" in further.get("train", {}):
        length = {}
    plain = {
        "task": kind,
        "out": str(folder),
        "seed": values["seed"],
        "teacher": {"model": teacher},
        "student": student,
        "data": data,
        "loss": losses,
        "train": {
            **length,
            "batch": values["batch"],
            "rate": values["rate"],
            "evaluate_every": values["every"],
            "patience": values["patience"],
        },
        "sequences": {"use": values["written"]},
        "on_policy": {"lambda": values["own"]},
        "report": {"seconds": float(values["seconds"]), "speed": values["seconds"] > 0},
    }
    return recipe_from(_merged(plain, further)), variables


def _further(text: str) -> dict[str, Any]:
    """Further settings as plain values, whose sections are tables."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FieldError(
            f"Further settings (TOML): {error}.",
            hint="A recipe's keys, in lines such as [train] and precision = 'bf16'.",
        ) from error
    for key, says in _FIELDS_OF:
        section, _, name = key.rpartition(".")
        table = found.get(section) if section else found
        if isinstance(table, dict) and name in table:
            raise FieldError(f"Further settings (TOML): {key} is what {says} says.")
    for section in ("student", "data", "train"):
        if not isinstance(found.get(section, {}), dict):
            raise FieldError(f"Further settings (TOML): {section} must be a table.")
    return found


def _asks_teacher(losses: Any) -> bool:
    """Without a loss that asks the teacher, what a source's label says is all that is known."""
    if not isinstance(losses, list):
        return True  # whoever checks the recipe says what it must be
    return any(isinstance(one, dict) and one.get("kind") in TEACHER_KINDS for one in losses)


def _merged(plain: Mapping[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """Tables key by key; all else is replaced."""
    made = dict(plain)
    for key, value in further.items():
        before = made.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        made[key] = _merged(before, value) if both else value  # type: ignore[arg-type]
    return made


def _file(given: str, label: str, folder: Path, part: str, variables: list[KeptRows]) -> str:
    path = Path(given).expanduser()
    if path.exists():
        return str(path.resolve())
    rows = rows_of(given) if re.fullmatch(r"[^\W\d]\w*", given) else None
    if rows is None:
        raise FieldError(
            f"{label}: there is neither a file nor a variable {given!r}.",
            hint="Paths are taken from the notebook's folder.",
        )
    kept = KeptRows.of(rows, folder, part)
    variables.append(kept)
    return str(kept.path)
