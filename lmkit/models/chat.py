"""Chats written out by a tokenizer's template, with the places of their turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmkit.errors import FieldError, ModelError
from lmkit.models.segment import clean_text

__all__ = ["ANSWERING", "messages_of", "render"]

ANSWERING = "assistant"
"""The role that the template opens for the model."""

Message = Mapping[str, Any]


def messages_of(prompt: str | Sequence[Message]) -> list[dict[str, str]]:
    """A prompt as messages: a string is what the user says.

    Raises:
        FieldError: a message without role or content.
    """
    if isinstance(prompt, str):
        return [{"role": "user", "content": clean_text(prompt)}]
    made = []
    for message in prompt:
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise FieldError(
                "A message has a role and a content, both strings.",
                hint='For example {"role": "user", "content": "Hello"}.',
            )
        made.append({"role": clean_text(role), "content": clean_text(content)})
    if not made:
        raise FieldError("The chat is empty.", hint="Give at least one message.")
    return made


def render(
    tokenizer: Any, messages: Sequence[Message], name: str
) -> tuple[str, tuple[tuple[str, int, int], ...]]:
    """The text that the model reads, and its turns: (role, start, end).

    The last turn is the one that the model is to write; it begins with what the template opens
    for it and ends with the text. A template that does not write a chat from its beginning on, one
    message after the other, has no turns to tell.

    Raises:
        ModelError: there is no template, or it refuses these messages.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"{name} has no chat template.", hint="Leave out chat=True and write the prompt whole."
        )
    try:
        whole = _apply(tokenizer, messages, True)
    except Exception as error:
        raise ModelError(
            f"The chat template of {name} refuses this chat: {str(error)[:300]}",
            hint="Roles are mostly system, user and assistant, the last two by turns.",
        ) from error
    ends: list[int] = []
    for count in range(1, len(messages) + 1):
        try:
            part = _apply(tokenizer, messages[:count], False)
        except Exception:
            return whole, ()
        if not whole.startswith(part):
            return whole, ()
        ends.append(len(part))
    starts = [0, *ends[:-1]]
    turns = [
        (str(m["role"]), start, end) for m, start, end in zip(messages, starts, ends, strict=True)
    ]
    opening = whole[ends[-1] :]
    role = turns[0][0]
    # A template may put a system message of its own before the first: it ends where the first
    # message's own heading, made of the opening for the answer, begins.
    if role != "system" and ANSWERING in opening:
        at = whole[: ends[0]].find(opening.replace(ANSWERING, role, 1))
        if at > 0 and whole[:at].strip() and "system" in whole[:at]:
            turns[:1] = [("system", 0, at), (role, at, ends[0])]
    return whole, (*turns, (ANSWERING, ends[-1], len(whole)))


def _apply(tokenizer: Any, messages: Sequence[Message], answer: bool) -> str:
    return str(
        tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=answer)
    )
