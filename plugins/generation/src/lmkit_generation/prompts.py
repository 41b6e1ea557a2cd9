"""What the model is given to read: presets, chats, and plain prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmkit.api import FieldError

__all__ = ["PRESETS", "Prompt", "made_of"]

Prompt = str | Sequence[Mapping[str, Any]]

PRESETS = ("free", "dialogue", "article", "summary")
"""What a prompt is put into before the model reads it."""

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


def made_of(
    text: str, *, system: str, preset: str, template: str, tokenizer: Any, encoder_decoder: bool
) -> tuple[Prompt, bool]:
    """The prompt, and whether it is a chat for the tokenizer's template.

    Args:
        text: What the user wrote.
        system: How the model is told to behave; a preset may have its own.
        preset: One of :data:`PRESETS`.
        template: ``auto`` (a chat where the tokenizer has a template), ``chat`` or ``plain``.
        tokenizer: The model's.
        encoder_decoder: Such a model reads an instruction of its training: T5's ``summarize:``.

    Raises:
        FieldError: a system prompt where no chat template can carry it.
    """
    chat = template == "chat" or (
        template == "auto" and bool(getattr(tokenizer, "chat_template", None))
    )
    if chat:
        messages = [{"role": "user", "content": _INSTRUCTIONS[preset].format_map({"text": text})}]
        told = system.strip() or _SYSTEM.get(preset, "")
        if told:
            messages.insert(0, {"role": "system", "content": told})
        return messages, True
    if system.strip():
        raise FieldError(
            "A system prompt needs a chat, and this prompt is given plain.",
            hint="Choose the chat template, or write the instruction into the prompt.",
        )
    if encoder_decoder:
        return (f"summarize: {text}" if preset == "summary" else text), False
    return _PLAIN[preset].format_map({"text": text}), False
