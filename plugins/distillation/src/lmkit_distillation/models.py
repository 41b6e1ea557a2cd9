"""Teacher and student of a recipe, loaded, checked and ready to run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from lmkit.api import Tools
from lmkit_distillation.errors import DistillationError
from lmkit_distillation.losses.vocabulary import Head
from lmkit_distillation.recipe import Recipe
from lmkit_distillation.student import (
    check_checkpointing,
    check_head,
    check_tokenizers,
    cut,
    from_config,
    head_of,
    kept_layers,
    set_dropout,
    shared_vocabulary,
)

__all__ = ["AUTO_CLASS", "Pair", "load_pair", "shape_of"]

AUTO_CLASS = {
    "classification": "AutoModelForSequenceClassification",
    "ner": "AutoModelForTokenClassification",
    "generation": "AutoModelForCausalLM",
}


@dataclass
class Pair:
    """Teacher and student with what they read.

    Attributes:
        teacher, student: The models. The teacher has no gradients.
        teacher_tokenizer, tokenizer: Theirs; one object where they read the same.
        labels: Classes by index; empty in generation.
        teacher_head, head: Of causal models.
        held: Keeps the teacher's weights in memory.
    """

    teacher: Any
    student: Any
    teacher_tokenizer: Any
    tokenizer: Any
    labels: Sequence[str]
    teacher_head: Head | None
    head: Head | None
    held: ExitStack

    @property
    def aligned(self) -> bool:
        """Whether both read the same tokens."""
        return self.tokenizer is self.teacher_tokenizer


def load_pair(recipe: Recipe, tools: Tools, device: torch.device) -> Pair:
    """Load the teacher, make the student, see that they fit.

    Raises:
        ModelError: a model can't be loaded.
        DistillationError: they don't fit each other.
    """
    kind = AUTO_CLASS[recipe.task]
    where = recipe.teacher.device or str(device)
    loaded = tools.model(
        recipe.teacher.model, kind, device=where, dtype=recipe.teacher.dtype or None
    )
    held = ExitStack()
    held.enter_context(loaded.hold())
    teacher: Any = loaded.model
    tokenizer = teacher_tokenizer = loaded.tokenizer
    torch.manual_seed(recipe.seed)
    wish = recipe.student
    if wish.start == "teacher":
        student: Any = cut(teacher, kept_layers(wish, teacher.config.num_hidden_layers))
    elif wish.start == "config":
        student = from_config(teacher, wish, recipe.seed)
    else:
        other = tools.model(wish.model, kind, device="cpu")
        # What is lent stays as it is: it may be the teacher, or serve others in this process.
        with other.hold():
            student = copy.deepcopy(other.model).float()
        if wish.align == "refuse":
            check_tokenizers(other.tokenizer, tokenizer)
        else:
            tokenizer = other.tokenizer
        _check_labels(student, teacher, recipe)
    for parameter in student.parameters():
        parameter.requires_grad_(True)
    if wish.dropout >= 0:
        set_dropout(student, wish.dropout)
    if wish.checkpointing:
        student.gradient_checkpointing_enable({"use_reentrant": False})
    check_checkpointing(student)
    student.to(device)
    labels: Sequence[str] = ()
    heads: tuple[Head | None, Head | None] = (None, None)
    if recipe.task == "generation":
        same = tokenizer is teacher_tokenizer
        common = (
            shared_vocabulary(_width(student), _width(teacher), len(tokenizer)) if same else None
        )
        heads = (
            head_of(teacher, common or _tokens(teacher, teacher_tokenizer)),
            head_of(student, common or _tokens(student, tokenizer)),
        )
        for model, head, words in (
            (teacher, heads[0], teacher_tokenizer),
            (student, heads[1], tokenizer),
        ):
            probe = words("One two three.", return_tensors="pt")["input_ids"]
            assert head is not None
            check_head(model, head, {"input_ids": probe.to(model.device)})
    else:
        labels = [teacher.config.id2label[i] for i in range(teacher.config.num_labels)]
    return Pair(teacher, student, teacher_tokenizer, tokenizer, labels, heads[0], heads[1], held)


def shape_of(model: Any) -> tuple[int, int]:
    """Width and number of layers."""
    config = model.config.get_text_config()
    return int(config.hidden_size), int(config.num_hidden_layers)


def longest(model: Any) -> int:
    """Most tokens that a model reads."""
    config = model.config.get_text_config()
    limit = int(getattr(config, "max_position_embeddings", 0) or (1 << 20))
    # RoBERTa and its like count positions from behind the padding's.
    return limit - 2 if getattr(config, "model_type", "") in ("roberta", "xlm-roberta") else limit


def _tokens(model: Any, tokenizer: Any) -> int:
    """Logits that stand for tokens: where probabilities are sorted, others would be among them."""
    tokens = int(max(tokenizer.get_vocab().values())) + 1
    shared_vocabulary(_width(model), _width(model), tokens)
    return tokens


def _width(model: Any) -> int:
    return int(model.get_output_embeddings().weight.shape[0])


def _check_labels(student: Any, teacher: Any, recipe: Recipe) -> None:
    if recipe.task == "generation":
        return
    mine = [student.config.id2label[i] for i in range(student.config.num_labels)]
    theirs = [teacher.config.id2label[i] for i in range(teacher.config.num_labels)]
    if mine == [f"LABEL_{i}" for i in range(len(theirs))]:
        # A head that was never trained has transformers' placeholders for names, and no classes.
        student.config.id2label = dict(enumerate(theirs))
        student.config.label2id = {name: i for i, name in enumerate(theirs)}
    elif mine != theirs:
        raise DistillationError(
            f"Student and teacher have different labels: {', '.join(mine[:8])} and "
            f"{', '.join(theirs[:8])}.",
            hint="Both must name the same classes in the same order.",
        )
