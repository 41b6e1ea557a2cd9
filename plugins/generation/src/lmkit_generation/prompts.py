"""What the model is given to read: presets, chats, and plain prompts.

A chat of several turns is a list of messages, in Python as it is and everywhere else as JSON: in
the form, a magic, on the command line, in a cell of a data set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lmkit.api import FieldError, Reply

__all__ = [
    "PRESETS",
    "Prompt",
    "PromptError",
    "json_of",
    "made_of",
    "messages_in",
    "reply_to",
    "transcript",
]

Prompt = str | Sequence[Mapping[str, Any]]

PRESETS = ("free", "dialogue", "article", "summary")
"""What a prompt is put into before the model reads it."""

MOST_CARRIED = 200_000
"""Characters of a chat that a page and a notebook carry a second time for a reply."""
_EXAMPLE = 'For example [{"role": "user", "content": "Hello"}].'
_BEGINS = re.compile(r"\s*(?:\[\s*)?\{\s*[\"']?(?:role|content)\b")

_INSTRUCTIONS = {
    "free": "{text}",
    "dialogue": "{text}",
    "article": "Write a short, factual article with a headline about the following.\n\n{text}",
    "summary": "Summarize the following text in a few sentences.\n\n{text}",
}
_SYSTEM = {"dialogue": "You are a helpful assistant. Answer briefly and truthfully."}
_PLAIN = {
    "free": "{text}",
    "dialogue": "User: {text}\nAssistant:",
    "article": "{text}\n\n",
    "summary": "{text}\n\nSummary:",
}


class PromptError(FieldError):
    """One prompt cannot be used; those of other rows may be."""


def json_of(messages: Sequence[Any]) -> str:
    """A chat as the text that the form holds.

    Raises:
        PromptError: something in it is no message.
    """
    return json.dumps(_checked(list(messages)), ensure_ascii=False)


def messages_in(text: str) -> list[dict[str, str]] | None:
    """The messages that a text is, as JSON; None where it is a text.

    Raises:
        PromptError: it begins as a list of messages and is none.
    """
    try:
        found = json.loads(text) if text.lstrip()[:1] in ("[", "{") else None
    except (ValueError, RecursionError) as error:
        if not _BEGINS.match(text):
            return None
        raise PromptError(
            f"The prompt begins as a list of messages and is no JSON: {error}.", hint=_EXAMPLE
        ) from error
    named = ("role", "content")
    if isinstance(found, dict):
        if not any(name in found for name in named):
            return None
        raise PromptError("The prompt is one message; a chat is a list.", hint=_EXAMPLE)
    if not isinstance(found, list) or not any(
        isinstance(one, dict) and any(name in one for name in named) for one in found
    ):
        return None
    return _checked(found)


def _checked(messages: list[Any]) -> list[dict[str, str]]:
    made = []
    for number, one in enumerate(messages, 1):
        role = one.get("role") if isinstance(one, Mapping) else None
        content = one.get("content") if isinstance(one, Mapping) else None
        if not isinstance(role, str) or not isinstance(content, str) or not role.strip():
            raise PromptError(
                f"Message {number} of the prompt has no role and content, both strings.",
                hint=_EXAMPLE,
            )
        made.append({"role": role, "content": content})
    if not made:
        raise PromptError("The chat has no message.", hint=_EXAMPLE)
    if not any(one["content"].strip() for one in made):
        raise PromptError("All messages of the prompt are empty.", hint=_EXAMPLE)
    return made


def transcript(text: str) -> str:
    """A prompt as it is read by people: of a chat who says what."""
    try:
        messages = messages_in(text)
    except PromptError:
        return text
    if messages is None:
        return text
    return "\n".join(f"{one['role']}: {one['content']}" for one in messages)


def made_of(
    text: str, *, system: str, preset: str, template: str, tokenizer: Any, encoder_decoder: bool
) -> tuple[Prompt, bool]:
    """The prompt, and whether it is a chat for the tokenizer's template.

    Args:
        text: What the user wrote, or a chat as JSON. A preset is put around the last thing that
            the user says in it.
        system: How the model is told to behave; a preset may have its own.
        preset: One of :data:`PRESETS`.
        template: ``auto`` (a chat where the tokenizer has a template), ``chat`` or ``plain``.
        tokenizer: The model's.
        encoder_decoder: Such a model reads an instruction of its training: T5's ``summarize:``.

    Raises:
        FieldError: a system prompt where no chat template can carry it.
        PromptError: a chat where no template can carry it, or with a system prompt of its own
            besides the form's.
    """
    chat = template == "chat" or (
        template == "auto" and bool(getattr(tokenizer, "chat_template", None))
    )
    if not chat and system.strip():
        raise FieldError(
            "A system prompt needs a chat, and this prompt is given plain.",
            hint="Choose the chat template, or write the instruction into the prompt.",
        )
    messages = messages_in(text)
    if messages is not None and not chat:
        raise PromptError(
            "The prompt is a list of messages, which needs a chat template.",
            hint="Choose the chat template, or a model that has one; or write the prompt as text.",
        )
    if chat:
        messages = messages or [{"role": "user", "content": text}]
        last = max((at for at, one in enumerate(messages) if one["role"] == "user"), default=-1)
        if last >= 0:
            said = _INSTRUCTIONS[preset].format_map({"text": messages[last]["content"]})
            messages[last] = {"role": "user", "content": said}
        own = any(one["role"] == "system" for one in messages)
        if own and system.strip():
            raise PromptError(
                "There are two system prompts: the form's and the first message of the chat.",
                hint="Leave one of them out.",
            )
        told = system.strip() or ("" if own else _SYSTEM.get(preset, ""))
        if told:
            messages.insert(0, {"role": "system", "content": told})
        return messages, True
    if encoder_decoder:
        return (f"summarize: {text}" if preset == "summary" else text), False
    return _PLAIN[preset].format_map({"text": text}), False


def reply_to(prompt: Prompt, answer: str) -> Reply | None:
    """How a chat goes on after the model's answer; None where it is none or too long to carry.

    What the form's preset and system prompt made of it is in the messages already.
    """
    if isinstance(prompt, str) or not answer.strip():
        return None
    messages = json_of([*prompt, {"role": "assistant", "content": answer}])
    if len(messages) > MOST_CARRIED:
        return None
    values: dict[str, Any] = {"preset": "free", "system": "", "begin": "", "mode": "write"}
    return Reply(field="prompt", messages=messages, values=values)
