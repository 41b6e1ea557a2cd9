"""Texts said in other words by a text model, where no masked-language model is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from lmkit_distillation.kept_texts import KeptTexts
from lmkit_distillation.recipe import Augment
from lmkit_distillation.sampling import Writer, groups, seed_of

__all__ = ["cleaned", "rewrite"]

_ASK = (
    "Rewrite the following text in other words. Keep its meaning, its tone and about its length. "
    "Answer with the rewritten text alone.\n\n"
)
_STEP = 32
"""Room is a multiple of it, so that texts of about one length are written together."""
_MOST = 256


def rewrite(
    texts: Sequence[tuple[str, str]],
    writer: Writer,
    tokenizer: Any,
    kept: KeptTexts,
    wish: Augment,
    seed: int,
    longest: int,
    done: Callable[[int, int], None],
) -> None:
    """Write the copies that are not there yet; each is kept as ``ID/NUMBER``, cleaned.

    Args:
        texts: Ids and texts, each once.
        writer: The text model.
        tokenizer: Its.
        kept: Takes the copies.
        wish: Copies, temperature, texts at a time.
        seed: With id and number it decides what is drawn.
        longest: Tokens that the model reads; a text that leaves no room has no copies.
        done: Told how many are there, and of how many.

    Raises:
        DistillationError: memory ran out.
        RunFolderError: the disk is full.
    """
    names, prompts, rooms = [], [], []
    for name, text in texts:
        prompt = _prompt(text, tokenizer)
        length = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        room = min(_MOST, -(-(length * 3 // 2 + 8) // _STEP) * _STEP)
        for number in range(wish.copies):
            names.append((name, number))
            prompts.append(prompt)
            rooms.append(room if len(prompt) + room <= longest else 0)
    said = dict(texts)
    keys = [f"{name}/{number}" for name, number in names]
    kept.add((key, "") for key, room in zip(keys, rooms, strict=True) if room == 0)
    ready = sum(key in kept for key in keys)
    for chosen in groups([len(one) for one in prompts], rooms, wish.batch):
        if all(keys[i] in kept for i in chosen):
            continue
        written = writer.sample(
            [prompts[i] for i in chosen],
            [seed_of(seed, "rewrite", *names[i]) for i in chosen],
            rooms[chosen[0]],
            wish.temperature,
        )
        ready += sum(keys[i] not in kept for i in chosen)
        kept.add(
            (keys[i], cleaned(tokenizer.decode(ids, skip_special_tokens=True), said[names[i][0]]))
            for i, ids in zip(chosen, written, strict=True)
        )
        done(ready, len(keys))


def cleaned(written: str, source: str) -> str:
    """The rewritten text in what a model said: its first paragraph, without a heading or quotes.

    Empty where it is the source again, or less than a third or more than three times as long: then
    the model did something else than it was asked.
    """
    text = re.split(r"\n\s*\n", written.strip(), maxsplit=1)[0]
    text = re.sub(
        r"^(?:here is|here's|rewritten|the rewritten)\b[^:\n]{0,60}:\s*", "", text, flags=re.I
    )
    text = " ".join(text.split())
    for left, right in (('"', '"'), ("“", "”"), ("'", "'")):
        if len(text) > 1 and text[0] == left and text[-1] == right:
            text = text[1:-1].strip()
    same = " ".join(source.split()).casefold() == text.casefold()
    fits = len(source) / 3 <= len(text) <= 3 * len(source) + 20
    return text if fits and not same else ""


def _prompt(text: str, tokenizer: Any) -> list[int]:
    if getattr(tokenizer, "chat_template", None):
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": _ASK + text}], tokenize=False, add_generation_prompt=True
        )
        return list(tokenizer(asked, add_special_tokens=False)["input_ids"])
    return list(tokenizer(f"{_ASK}Text: {text}\n\nRewritten text:")["input_ids"])
