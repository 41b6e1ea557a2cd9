"""A data set's rows: what a model writes after each prompt, or how likely it finds each text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmkit.api import (
    Completion,
    FieldError,
    LoadedModel,
    Row,
    RowOutput,
    RowProblem,
    RowStream,
    progress,
    shared,
)
from lmkit_generation.prompts import Prompt, PromptError, made_of
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
    """What the model writes after each prompt: the text that it writes alone.

    Row by row, or ``batch`` of them at once where nothing but the prompt decides on the text: a
    sampled one would depend on its neighbours, and a penalty sees the filling.

    Args:
        model: The model.
        rows: The data set's.
        values: The task's fields.
        options: Of ``generate``, for its strategy.
    """
    writer = _Writer(model, values, options)
    two = bool(getattr(model.model.config, "is_encoder_decoder", False))
    waiting: list[tuple[Row, Prompt, bool]] = []
    for turn, row in enumerate(shared(rows)):
        progress("Rows", turn, len(rows))
        try:
            prompt, chat = made_of(
                row["prompt"],
                system=values["system"],
                preset=values["preset"],
                template=values["template"],
                tokenizer=model.tokenizer,
                encoder_decoder=two,
            )
        except PromptError as error:
            yield RowProblem(row.index, "prompt", f"{error.message} {error.hint}")
            continue
        waiting.append((row, prompt, chat))
        if len(waiting) >= writer.batch:
            yield from writer.written(waiting)
            waiting.clear()
    if waiting:
        yield from writer.written(waiting)


class _Writer:
    """Writes rows together where that gives the texts of rows alone.

    Attributes:
        batch: How many at once; 1 after a first batch whose text was another than alone.
    """

    def __init__(
        self, model: LoadedModel, values: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        self._model = model
        self._values = values
        self._options = {
            name: value for name, value in options.items() if name != "num_return_sequences"
        }
        self._settings = in_force(model, values["strategy"])
        alone = (
            values["strategy"] != "greedy"
            or values["repetition_penalty"] != 1.0
            or "stop_strings" in options
            or bool(self._settings)
        )
        self.batch = 1 if alone else int(values["batch"])
        self._checked = False

    def written(
        self, waiting: Sequence[tuple[Row, Prompt, bool]]
    ) -> Iterator[tuple[Row, RowOutput] | RowProblem]:
        """What comes of some rows."""
        together: Sequence[Completion] = ()
        if len(waiting) > 1 and self.batch > 1:
            together = self._together(waiting)
        for at, (row, prompt, chat) in enumerate(waiting):
            try:
                made = together[at] if together else self._alone(prompt, chat)
            except FieldError as error:  # nothing is left of it after tokenisation
                yield RowProblem(row.index, "prompt", error.message)
                continue
            yield row, self._output(row, made)

    def _alone(self, prompt: Prompt, chat: bool) -> Completion:
        return self._model.complete(
            prompt,
            chat=chat,
            max_new_tokens=self._values["max_new_tokens"],
            seed=self._values["seed"],
            **self._options,
        )

    def _together(self, waiting: Sequence[tuple[Row, Prompt, bool]]) -> Sequence[Completion]:
        """All at once; nothing where one of them cannot be, or a first one comes out otherwise."""
        try:
            made = self._model.complete_all(
                [prompt for _, prompt, _ in waiting],
                chat=waiting[0][2],
                max_new_tokens=self._values["max_new_tokens"],
                **self._options,
            )
        except FieldError:
            return ()
        if not self._checked:
            # The shortest has the most filling before it: a family that reads it shows it here.
            at = min(range(len(made)), key=lambda place: made[place].read)
            self._checked = True
            if made[at].ids != self._alone(*waiting[at][1:]).ids:
                self.batch = 1
                return ()
        return made

    def _output(self, row: Row, made: Completion) -> RowOutput:
        output: dict[str, Any] = {
            "written": made.text,
            "tokens": len(made.ids),
            "left_out": max(0, made.total - made.read),
        }
        if self._settings:
            output["settings"] = self._settings
        expected = row.get("expected")
        if expected is not None:
            output["match"] = made.text.split() == expected.split()
            output["contains"] = " ".join(expected.split()) in " ".join(made.text.split())
        return output
