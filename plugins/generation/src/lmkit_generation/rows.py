"""A data set's rows: what a model writes after each prompt, or how likely it finds each text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lmkit.api import (
    FieldError,
    LoadedModel,
    Row,
    RowOutput,
    RowProblem,
    RowStream,
    progress,
    shared,
)
from lmkit_generation.prompts import PromptError, made_of
from lmkit_generation.scoring import check_scores, long_losses, losses, perplexity_of
from lmkit_generation.settings import in_force
from lmkit_generation.windows import read_whole

__all__ = ["ORDERS", "scored_rows", "written_rows"]

ORDERS = ("as in the data set", "least expected first", "longest first")
"""Orders of the table of rows."""
_BATCH = 8
"""Texts at once: each position's logits are as many as the vocabulary."""


def scored_rows(
    model: LoadedModel, rows: RowStream, stride: int
) -> Iterator[tuple[Row, RowOutput] | RowProblem]:
    """The perplexity of each text, as :func:`lmkit_generation.scoring.score` has it.

    A text that was cut for its batch is read again, in windows.

    Raises:
        ModelError: the model reads with an encoder.
    """
    import torch

    check_scores(model)
    for batch in model.batches(rows, text="prompt", batch_size=_BATCH):
        if isinstance(batch, RowProblem):
            yield batch
            continue
        for place, sequence in enumerate(batch.sequences):
            row = sequence.row
            if len(sequence.ids) < 2:
                yield RowProblem(
                    row.index, "prompt", "The text is one token; the first has nothing before it."
                )
                continue
            count, left = len(sequence.ids), 0
            if sequence.total > count and model.longest:
                ids = read_whole(model, row["prompt"]).ids
                count = len(ids)
                parts = []
                for part, done in long_losses(model, ids, stride):
                    progress("Windows", done, count)
                    parts.append(part)
                found = torch.cat(parts)
            else:
                left = max(0, sequence.total - count)
                found = losses(batch.output.logits[place, batch.place(place)], sequence.ids)
            if not bool(found.isfinite().all()):
                yield RowProblem(
                    row.index, "prompt", f"{model.name} computed logits that are no numbers."
                )
                continue
            loss = float(found.mean())
            yield (
                row,
                {
                    "perplexity": perplexity_of(loss),
                    "loss": loss,
                    "tokens": count,
                    "left_out": left,
                },
            )


def written_rows(
    model: LoadedModel, rows: RowStream, values: Mapping[str, Any], options: Mapping[str, Any]
) -> Iterator[tuple[Row, RowOutput] | RowProblem]:
    """What the model writes after each prompt, row by row: the text that it writes alone.

    Batches would be padded, and a sampled text would depend on its neighbours.

    Args:
        model: The model.
        rows: The data set's.
        values: The task's fields.
        options: Of ``generate``, for its strategy.
    """
    tokenizer = model.tokenizer
    settings = in_force(model, values["strategy"])
    two = bool(getattr(model.model.config, "is_encoder_decoder", False))
    for turn, row in enumerate(shared(rows)):
        progress("Rows", turn, len(rows))
        try:
            prompt, chat = made_of(
                row["prompt"],
                system=values["system"],
                preset=values["preset"],
                template=values["template"],
                tokenizer=tokenizer,
                encoder_decoder=two,
            )
        except PromptError as error:
            yield RowProblem(row.index, "prompt", f"{error.message} {error.hint}")
            continue
        try:
            made = model.complete(
                prompt,
                chat=chat,
                max_new_tokens=values["max_new_tokens"],
                seed=values["seed"],
                **{
                    name: value for name, value in options.items() if name != "num_return_sequences"
                },
            )
        except FieldError as error:  # nothing is left of it after tokenisation
            yield RowProblem(row.index, "prompt", error.message)
            continue
        output: dict[str, Any] = {
            "written": made.text,
            "tokens": len(made.ids),
            "left_out": max(0, made.total - made.read),
        }
        if settings:
            output["settings"] = settings
        expected = row.get("expected")
        if expected is not None:
            output["match"] = made.text.split() == expected.split()
            output["contains"] = " ".join(expected.split()) in " ".join(made.text.split())
        yield row, output
