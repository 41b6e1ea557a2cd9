"""Prompts as chats: written out by the tokenizer's template, as an instruction model reads them.

Only the answer is counted by a loss: all before it, earlier answers too, is the prompt, down to
what the template opens for the assistant. The answer ends with the token by which the template
closes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from lmkit_distillation.errors import DataError, DistillationError

__all__ = ["Turn", "chat_ids", "chat_text", "check_template", "template_mark", "turns_of"]

Turn = tuple[str, str]
"""Role and content of a message."""

USER, ASSISTANT = "user", "assistant"


def turns_of(value: Any, place: str, column: str) -> tuple[Turn, ...]:
    """A cell as messages: a text is what the user says.

    Args:
        value: A text, or a list of objects with ``role`` and ``content``.
        place: File and row, for messages.
        column: For messages.

    Raises:
        DataError: it is neither, or empty.
    """
    if isinstance(value, str):
        if not value.strip():
            raise DataError(f"{place}: {column} is empty.")
        return ((USER, value),)
    if not isinstance(value, list | tuple) or not value:
        raise DataError(
            f"{place}: {column} is {value!r:.40}, neither a text nor a list of messages.",
            hint='Messages look like [{"role": "user", "content": "Hello"}].',
        )
    turns = []
    for number, message in enumerate(value):
        role, content = (
            (message.get("role"), message.get("content"))
            if isinstance(message, Mapping)
            else (None, None)
        )
        if not isinstance(role, str) or not isinstance(content, str):
            raise DataError(
                f"{place}: message {number} of {column} has no role and content that are texts.",
                hint='Messages look like {"role": "user", "content": "Hello"}.',
            )
        turns.append((role, content))
    return tuple(turns)


def check_template(tokenizer: Any, name: str) -> None:
    """See that there is a template.

    Raises:
        DistillationError: there is none.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise DistillationError(
            f"data.chat is true and the tokenizer of {name} has no chat template.",
            hint="Leave data.chat out, or choose an instruction model as the teacher.",
        )


def template_mark(tokenizer: Any) -> str:
    """Tells templates apart: what was kept of prompts under another one does not fit."""
    return sha256(str(tokenizer.chat_template).encode()).hexdigest()[:12]


def chat_ids(
    tokenizer: Any, turns: Sequence[Turn], answer: str | None, place: str = ""
) -> tuple[list[int], int]:
    """Tokens of a chat, and how many of them are the prompt.

    Args:
        tokenizer: With a chat template.
        turns: Up to the user's last message.
        answer: What the assistant says; None: it is to be written.
        place: File and row, for messages.

    Raises:
        DataError: the template refuses these messages, or the answer is not behind its prompt.
    """
    prompt = _written(tokenizer, turns, place, opened=True)
    ids = _tokens(tokenizer, prompt)
    if answer is None:
        return ids, len(ids)
    whole = _written(tokenizer, (*turns, (ASSISTANT, answer)), place, opened=False)
    if not whole.startswith(prompt):
        raise DataError(
            f"{place}: the chat template opens an answer otherwise than it writes one that is "
            "there, so the prompt can't be told from it.",
            hint="Let the teacher write the answers (sequences.use = true), or leave data.chat out "
            "and write prompts and completions whole.",
        )
    together = _tokens(tokenizer, whole)
    if together[: len(ids)] == ids:
        rest = together[len(ids) :]
    else:  # a token reaches over the border; the model that answers has read the prompt alone
        rest = _tokens(tokenizer, whole[len(prompt) :])
    return ids + _closed(tokenizer, rest), len(ids)


def chat_text(tokenizer: Any, turns: Sequence[Turn], place: str = "") -> str:
    """A chat as the template writes it, for a tokenizer that is then called as on any text.

    Raises:
        DataError: the template refuses these messages.
    """
    whole = _written(tokenizer, turns, place, opened=False)
    begin = tokenizer.bos_token
    if begin and whole.startswith(begin):
        ids = list(tokenizer(whole)["input_ids"])
        if ids[:2] == [tokenizer.bos_token_id] * 2:  # it adds what the template has written
            return whole.removeprefix(begin)
    return whole


def _closed(tokenizer: Any, answer: list[int]) -> list[int]:
    """The answer up to the token that closes it; the tokenizer's end where the template has none.

    What some templates write behind, a new line for the next turn, is read by nobody who stops
    there.
    """
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    last = next((i for i in reversed(range(len(answer))) if answer[i] in special), None)
    if last is not None and not tokenizer.decode(answer[last + 1 :]).strip():
        return answer[: last + 1]
    end = tokenizer.eos_token_id
    return answer if end is None else [*answer, end]


def _written(tokenizer: Any, turns: Sequence[Turn], place: str, *, opened: bool) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        return str(
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opened)
        )
    # Templates are programs: they raise what they like.
    except Exception as error:
        raise DataError(
            f"{place}: the chat template refuses these messages: {str(error)[:200]}",
            hint="Roles are mostly system, user and assistant, the last two by turns.",
        ) from error


def _tokens(tokenizer: Any, text: str) -> list[int]:
    # The template writes its special tokens itself.
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
