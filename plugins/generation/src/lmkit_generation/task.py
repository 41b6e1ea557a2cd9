"""The generation task: its fields, its run, and the results of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmkit.api import (
    Alternative,
    Change,
    ChosenToken,
    Column,
    Field,
    FieldError,
    GeneratedText,
    LoadedModel,
    Reply,
    Result,
    Row,
    RowOutput,
    RowProblem,
    RowResults,
    RowStream,
    Task,
    Token,
    TokenChoices,
    show,
    stopped,
)
from lmkit_generation.beams import BeamWatch
from lmkit_generation.prompts import PRESETS, json_of, made_of, reply_to
from lmkit_generation.rows import ORDERS, scored_rows, written_rows
from lmkit_generation.scoring import score
from lmkit_generation.settings import in_force, options_of

__all__ = ["Generation"]

_MOST_PREFIX = 4096
_MOST_CARRIED = 2_000
"""Characters of a field that each alternative of each token carries."""
_TITLE = "What the model wrote"


class Generation(Task):
    """Let a model write, see what it thought of each token, and go on from another one."""

    name = "generation"
    title = "Generation"
    help = "Text that a model writes, token by token, with what could have stood in each place."
    verb = "generate"
    auto_class = "AutoModelForSeq2SeqLM|AutoModelForCausalLM"
    default_model = "starter:chat"
    fields = (
        Field.text(
            "prompt",
            label="Prompt",
            placeholder="What the model reads",
            help="A text; or a chat as a JSON list of messages with role and content.",
        ),
        Field.choice("preset", PRESETS, label="Preset", help="Put around the prompt."),
        Field.choice(
            "mode",
            ("write", "score"),
            label="Do",
            help="Go on from it, or score it.",
        ),
        Field.choice(
            "strategy",
            ("greedy", "sample", "beams"),
            label="Strategy",
            help="Likeliest, drawn, or beams.",
        ),
        Field.integer(
            "max_new_tokens", label="Most tokens", minimum=1, maximum=4096, default=60,
        ),
        Field.choice(
            "template",
            ("auto", "chat", "plain"),
            label="Template",
            help="The chat template of the tokenizer, or the prompt as it is; "
            "auto is a chat where there is a template.",
            later=True,
        ),
        Field.text(
            "system",
            label="System prompt",
            help="How the model is told to behave, in a chat.",
            required=False,
            later=True,
        ),
        Field.number(
            "temperature", label="Temperature", help="Sampling: below 1 surer, above 1 bolder.",
            minimum=0.05, maximum=5.0, default=0.8, later=True,
        ),
        Field.integer(
            "top_k", label="Top k", help="Sampling: only the k likeliest; 0 takes all.",
            minimum=0, maximum=1000, default=50, later=True,
        ),
        Field.number(
            "top_p", label="Top p",
            help="Sampling: only the likeliest that make up this probability together.",
            minimum=0.01, maximum=1.0, default=1.0, later=True,
        ),
        Field.number(
            "min_p", label="Min p",
            help="Sampling: only tokens of this share of the likeliest one's probability.",
            minimum=0.0, maximum=1.0, default=0.0, later=True,
        ),
        Field.number(
            "repetition_penalty", label="Repetition penalty",
            help="Above 1, tokens that were there already become less likely.",
            minimum=1.0, maximum=2.0, default=1.0, later=True,
        ),
        Field.integer(
            "seed", label="Seed", help="Of the draws: the same seed gives the same text.",
            minimum=0, maximum=2**31 - 1, default=0, later=True,
        ),
        Field.integer(
            "stride",
            label="Stride",
            help="Scoring a text longer than the model reads: each further window scores so many "
            "tokens; with fewer each has more before it.",
            minimum=1, maximum=4096, default=512, later=True,
        ),
        Field.integer(
            "batch",
            label="Rows at once",
            help="Data sets: greedy texts of so many rows are written together; the same texts.",
            minimum=1, maximum=256, default=1, later=True,
        ),
        Field.integer("beams", label="Beams", minimum=2, maximum=16, default=4, later=True),
        Field.text(
            "stop_at",
            label="Stop sequences",
            help="One a line: writing ends where one of them comes; \\n stands for a line break.",
            required=False,
            later=True,
        ),
        Field.text(
            "begin",
            label="First tokens",
            help="Ids of the tokens that the text begins with, as a JSON list; "
            "a click on an alternative sets them.",
            required=False,
            multiline=False,
            hidden=True,
        ),
    )  # fmt: skip

    columns = (
        Column.chat("prompt", label="Prompt", help="A text, or a list of messages."),
        Column.text(
            "expected", label="Expected", required=False, help="What it should write, if anything."
        ),
    )
    report_fields = (
        Field.text(
            "query", label="Rows that contain", required=False, multiline=False,
            placeholder="a word or more",
        ),
        Field.choice("order", ORDERS, label="Order"),
    )  # fmt: skip

    def from_python(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """A prompt may be a list of messages; the form holds it as JSON.

        Raises:
            FieldError: something in the list is no message.
        """
        prompt = values.get("prompt")
        if isinstance(prompt, Sequence) and not isinstance(prompt, str | bytes):
            return {**values, "prompt": json_of(prompt)}
        return values

    def run(self, model: LoadedModel, **values: Any) -> Result | Sequence[Result]:
        """Write or score, as ``mode`` says; see the fields for the rest.

        Raises:
            FieldError: a stop sequence, system prompt or first tokens that cannot be used.
            ModelError: the model does not write text.
        """
        stopped()  # from now on a Stop ends the text after its token, and keeps it
        if values["mode"] == "score":
            return score(model, values["prompt"], values["stride"])
        return _write(model, values)

    def run_rows(
        self, model: LoadedModel, rows: RowStream, **values: Any
    ) -> Iterator[tuple[Row, RowOutput] | RowProblem]:
        """Write after each row's prompt, as :meth:`run` does; or score the prompts in batches."""
        if values["mode"] == "score":
            return scored_rows(model, rows, values["stride"])
        return written_rows(model, rows, values, options_of(values, model))

    def report_rows(
        self, done: RowResults, *, query: str, order: str, **_: Any
    ) -> Sequence[Result]:
        """Perplexity, or what was written and how much of it was expected; and the rows."""
        from lmkit_generation.report import report  # numpy: not before it is needed

        return report(done, query, order)


def _write(model: LoadedModel, values: Mapping[str, Any]) -> Sequence[Result]:
    tokenizer = model.tokenizer
    prompt, chat = made_of(
        values["prompt"],
        system=values["system"],
        preset=values["preset"],
        template=values["template"],
        tokenizer=tokenizer,
        encoder_decoder=bool(getattr(model.model.config, "is_encoder_decoder", False)),
    )
    begin = _ids_of(values["begin"])
    beams = values["strategy"] == "beams"
    watch = BeamWatch()
    so_far: list[Any] = []

    def told(token: Any) -> None:
        so_far.append(token)
        tokens = tuple(_chosen(one, 0, (), None) for one in so_far)
        show(TokenChoices(tokens=tokens, title=_TITLE, streaming=True))

    options = options_of(values, model)
    if beams:
        options["logits_processor"] = [watch]
    trace = model.trace_generation(
        prompt,
        chat=chat,
        max_new_tokens=values["max_new_tokens"],
        seed=values["seed"],
        prefix=begin,
        on_token=None if beams else told,
        **options,
    )
    choices = _choices(
        trace,
        values,
        len(begin),
        in_force(model, values["strategy"]),
        reply_to(prompt, trace.completion),
    )
    if not beams:
        return (choices,)

    def go_on(path: tuple[int, ...]) -> Change:
        most = max(values["max_new_tokens"], len(begin) + len(path) + 1)
        ids = json.dumps([*begin, *path])
        # The other fields stay: hundreds of nodes with a long prompt each would burst an output.
        return Change(values={"strategy": "greedy", "max_new_tokens": most, "begin": ids})

    ends = {*_many(getattr(model.model.generation_config, "eos_token_id", None))}
    tree = watch.tree(
        trace.sequences,
        lambda identity: str(tokenizer.decode([identity])),
        ends=ends,
        go_on=go_on,
        title="Beams",
        note="Bold is the best, solid was kept to the end, dashed was given up. A click writes on "
        "from there, greedily. Numbers are log-probabilities from the prompt on; the search "
        "divides them by the length.",
    )
    watch.end()  # the text's recipe keeps it
    return (choices, tree)


def _ids_of(text: str) -> tuple[int, ...]:
    if not text.strip():
        return ()
    try:
        ids = json.loads(text)
    except ValueError:
        ids = None
    good = isinstance(ids, list) and all(
        isinstance(i, int) and not isinstance(i, bool) for i in ids
    )
    if not good or len(ids) > _MOST_PREFIX:
        raise FieldError(
            "The first tokens are a list of token ids.", hint="For example [504, 2575]."
        )
    return tuple(ids)


def _choices(
    trace: GeneratedText, values: Mapping[str, Any], begun: int, note: str, reply: Reply | None
) -> TokenChoices:
    written = trace.written
    ids = tuple(one.token_id for one in written)
    carried = _carried(values)
    tokens = tuple(
        _chosen(one, at, ids[:at], carried, forced=at == begun - 1)
        for at, one in enumerate(written)
    )
    if begun and trace.restarted:
        note = f"Written from the prompt on: {trace.restarted}. {note}".strip()
    return TokenChoices(tokens=tokens, text=trace.completion, title=_TITLE, note=note, reply=reply)


def _carried(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that each alternative brings back into the form, so that it goes on from its text.

    A long prompt would stand ten times for each token in page and notebook: the form's own stays.
    Of a search one beam is gone on from, greedily, as in its tree.
    """
    kept = {
        name: value
        for name, value in values.items()
        if not isinstance(value, str) or len(value) <= _MOST_CARRIED
    }
    return {**kept, "strategy": "greedy"} if values["strategy"] == "beams" else kept


def _chosen(
    one: Any,
    at: int,
    before: tuple[int, ...],
    values: dict[str, Any] | None,
    *,
    forced: bool = False,
) -> ChosenToken:
    """One written token; each alternative leads to a run that begins with it."""
    most = 0 if values is None else max(int(values["max_new_tokens"]), at + 2)
    return ChosenToken(
        token=Token(text=one.token.text, raw=one.token.raw, special=one.token.special),
        probability=None if one.probability is None else min(1.0, one.probability),
        rank=one.rank,
        entropy=one.entropy,
        alternatives=tuple(
            Alternative(
                text=other.text,
                probability=min(1.0, other.probability),
                change=None
                if values is None
                else Change(
                    values={
                        **values,
                        "max_new_tokens": most,
                        "begin": json.dumps([*before, other.token_id]),
                    }
                ),
            )
            for other in one.alternatives
        ),
        forced=forced,
        step=one.step,
    )


def _many(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)
