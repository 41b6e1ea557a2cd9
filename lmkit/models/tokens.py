"""Tokens as people read them, with their places in the text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lmkit.models.segment import assign, clean_text
from lmkit.protocol.messages import Token
from lmkit.protocol.words import Words

__all__ = ["Encoded", "Reader", "append_generated", "encode", "raw_tokens", "read_tokens"]

Span = tuple[int, int]
SEPARATOR = "\n"
"""Between a text and its pair in the text of a trace."""


@dataclass(frozen=True)
class Encoded:
    """One text (or pair) as ids, with what the tokenizer said of each.

    Attributes:
        inputs: Lists for the model: ``input_ids``, ``attention_mask``, ``token_type_ids``...,
            each of shape (tokens,).
        special: For each token whether the tokenizer added it.
        spans: For each token its place in its own text; None for special ones.
        sequences: For each token 0 for the text, 1 for the pair, None for special ones.
        total: How many tokens there were before any were left out.
        bounds: For each token its place in the text, also of special ones that stand in it; empty
            where the tokenizer gives none.
    """

    inputs: dict[str, list[int]]
    special: tuple[bool, ...]
    spans: tuple[Span | None, ...]
    sequences: tuple[int | None, ...]
    total: int
    bounds: tuple[Span, ...] = ()

    @property
    def ids(self) -> list[int]:
        """The ids, shape (tokens,)."""
        return self.inputs["input_ids"]

    def first(self, count: int) -> Encoded:
        """The first ``count`` tokens."""
        return Encoded(
            {key: value[:count] for key, value in self.inputs.items()},
            self.special[:count],
            self.spans[:count],
            self.sequences[:count],
            count,
        )


def encode(
    tokenizer: Any, text: str, pair: str | None, limit: int | None, *, bare: bool = False
) -> Encoded:
    """Tokenise, leaving out what is beyond ``limit`` tokens.

    ``bare`` adds no special tokens (a chat template has written them); those that stand in the
    text count as special then.

    Not safe to call from two threads with one tokenizer: fast tokenizers keep the truncation as
    a state of their own.
    """
    encoded = _call(tokenizer, text, pair, None, bare)
    total = len(encoded["input_ids"])
    if limit is not None and total > limit:
        text_read = _enough(tokenizer, encoded, text, pair, limit)
        encoded = _call(tokenizer, text_read, pair, limit, bare)
    ids = [int(i) for i in encoded["input_ids"]]
    inputs = {
        key: [int(i) for i in value]
        for key, value in encoded.items()
        if key in (getattr(tokenizer, "model_input_names", None) or ("input_ids",))
        and len(value) == len(ids)
    }
    inputs["input_ids"] = ids
    written = set(getattr(tokenizer, "all_special_ids", None) or ()) if bare else set()
    batch = getattr(encoded, "encodings", None)
    if batch:
        fast = batch[0]
        sequences = tuple(fast.sequence_ids)
        special = tuple(
            bool(mask) or sequence is None or (bare and identity in written)
            for mask, sequence, identity in zip(
                fast.special_tokens_mask, sequences, ids, strict=True
            )
        )
        spans: tuple[Span | None, ...] = tuple(
            None if hidden else _inside(offset, text if sequence == 0 else pair or "")
            for offset, hidden, sequence in zip(fast.offsets, special, sequences, strict=True)
        )
        sequences = tuple(None if s else q for s, q in zip(special, sequences, strict=True))
        bounds = tuple((int(a), int(b)) for a, b in fast.offsets)
        return Encoded(inputs, special, spans, sequences, total, bounds)
    return _align(tokenizer, inputs, encoded, text, pair, total)


def _call(
    tokenizer: Any, text: str, pair: str | None, limit: int | None, bare: bool = False
) -> Any:
    keywords: dict[str, Any] = {"return_special_tokens_mask": True, "verbose": False}
    if bare:
        keywords["add_special_tokens"] = False
    if limit is not None:
        # A limit smaller than the special tokens themselves would be refused.
        most = max(limit, tokenizer.num_special_tokens_to_add(pair=pair is not None) + 1)
        keywords |= {"truncation": "longest_first", "max_length": most}
    if pair is None:
        return tokenizer(text, **keywords)
    return tokenizer(text, pair, **keywords)


def _enough(tokenizer: Any, encoded: Any, text: str, pair: str | None, limit: int) -> str:
    """The start of a long text that surely holds the tokens that are kept.

    Tokenising megabytes takes seconds; once, to count, is enough.
    """
    batch = getattr(encoded, "encodings", None)
    if not batch or pair is not None or getattr(tokenizer, "truncation_side", "") != "right":
        return text
    offsets = batch[0].offsets
    if len(offsets) <= 2 * limit:
        return text
    return text[: max(end for _, end in offsets[: 2 * limit])]


def _inside(offset: Span, text: str) -> Span:
    """Offsets without the white space that some tokenizers count to the token."""
    start = min(max(int(offset[0]), 0), len(text))
    end = min(max(int(offset[1]), start), len(text))
    part = text[start:end]
    if part.strip():
        start += len(part) - len(part.lstrip())
        end -= len(part) - len(part.rstrip())
    return start, end


def _align(
    tokenizer: Any,
    inputs: dict[str, list[int]],
    encoded: Any,
    text: str,
    pair: str | None,
    total: int,
) -> Encoded:
    """Find the tokens of a tokenizer without offsets in the text, one after the other.

    A token whose letters are not there (the unknown token, a normalised form) gets an empty
    place where the one before ended.
    """
    ids = inputs["input_ids"]
    mask = encoded.get("special_tokens_mask") or [0] * len(ids)
    special = tuple(bool(m) for m in mask)
    reader = Reader(tokenizer)
    raws = raw_tokens(tokenizer, ids)
    texts = [text, pair or ""]
    folded = [_fold(t) for t in texts]
    at, sequence, seen = 0, 0, False
    spans: list[Span | None] = []
    sequences: list[int | None] = []
    for index, (raw, hidden) in enumerate(zip(raws, special, strict=True)):
        if hidden:
            if seen and pair is not None and sequence == 0 and not all(special[index:]):
                at, sequence, seen = 0, 1, False
            spans.append(None)
            sequences.append(None)
            continue
        seen = True
        wanted = _fold(reader.text(raw, ids[index])).strip()
        found = folded[sequence].find(wanted, at) if wanted else -1
        # Far ahead it is another occurrence, not this token.
        if found < 0 or found - at > 64 + len(wanted):
            spans.append((at, at))
        else:
            spans.append((found, found + len(wanted)))
            at = found + len(wanted)
        sequences.append(sequence)
    return Encoded(inputs, special, tuple(spans), tuple(sequences), total)


def append_generated(
    tokenizer: Any, encoded: Encoded, text: str, ids: Sequence[int]
) -> tuple[Encoded, str]:
    """An encoded text with generated ids after it, and the text with what they say.

    Each token gets the place of what it added to the decoded text; tokens that hold one character
    together, the place of that character. Special tokens add nothing.
    """
    special_ids = set(getattr(tokenizer, "all_special_ids", None) or ())
    spans: list[Span | None] = []
    whole = text
    # Decoded from a little before, since decoders drop or add a space at a beginning.
    base = list(encoded.ids)
    before, done = max(0, len(base) - 5), len(base)
    waiting: list[int] = []
    everything = [*base, *ids]

    def decoded(first: int, last: int) -> str:
        kept = [i for i in everything[first:last] if i not in special_ids]
        return clean_text(
            str(tokenizer.decode(kept, clean_up_tokenization_spaces=False)) if kept else ""
        )

    def flush(until: int) -> None:
        """Give the waiting tokens what they say together; those from ``until`` on come later."""
        nonlocal whole, before, done
        new = decoded(before, until)[len(decoded(before, done)) :]
        start, whole = len(whole), whole + new
        for index in waiting:
            spans[index] = _inside((start, len(whole)), whole)
        waiting.clear()
        before, done = max(done - 1, 0), until

    reader = Reader(tokenizer)
    for at, (identity, raw) in enumerate(
        zip(ids, raw_tokens(tokenizer, ids), strict=True), len(base)
    ):
        if identity in special_ids:
            spans.append(None)
            continue
        part = "<0x" in reader.text(raw, identity)  # of a character
        if waiting and not part:
            flush(at)
        waiting.append(at - len(base))
        spans.append((len(whole), len(whole)))
        if not (part and decoded(before, at + 1).endswith("\ufffd")):
            flush(at + 1)
    if waiting:
        flush(len(everything))
    count = len(ids)
    inputs = {
        key: [
            *value,
            *(ids if key == "input_ids" else [1 if key == "attention_mask" else 0] * count),
        ]
        for key, value in encoded.inputs.items()
    }
    special = tuple(span is None for span in spans)
    return (
        Encoded(
            inputs,
            encoded.special + special,
            encoded.spans + tuple(spans),
            encoded.sequences + tuple(None if s else 0 for s in special),
            encoded.total + count,
        ),
        whole,
    )


def _fold(text: str) -> str:
    """Lower case without a change of length, so that positions stay."""
    return "".join(low if len(low := c.lower()) == 1 else c for c in text)


def read_tokens(
    tokenizer: Any, encoded: Encoded, text: str, pair: str | None
) -> tuple[str, tuple[Token, ...], Words]:
    """Tokens and words of an encoded text.

    Returns:
        The text that all places count in (with a pair: both, joined by a line break), the
        tokens, and the words.
    """
    whole = text if pair is None else text + SEPARATOR + pair
    shift = (0, len(text) + len(SEPARATOR))
    places = [
        None if span is None else (span[0] + shift[sequence or 0], span[1] + shift[sequence or 0])
        for span, sequence in zip(encoded.spans, encoded.sequences, strict=True)
    ]
    words, numbers = assign(whole, places)
    reader = Reader(tokenizer)
    tokens = tuple(
        Token(
            text=clean_text(raw if hidden else reader.text(raw, identity)),
            raw=clean_text(raw),
            special=hidden,
            word=number,
            start=place[0] if place else 0,
            end=place[1] if place else 0,
        )
        for raw, identity, hidden, number, place in zip(
            raw_tokens(tokenizer, encoded.ids),
            encoded.ids,
            encoded.special,
            numbers,
            places,
            strict=True,
        )
    )
    return whole, tokens, words


def raw_tokens(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Tokens as they stand in the vocabulary; bytes in Python's notation."""
    got = tokenizer.convert_ids_to_tokens(list(ids))
    return [
        # A model may write an id that its tokenizer has no token for.
        f"<id {identity}>"
        if raw is None
        else raw.decode("utf-8", "backslashreplace")
        if isinstance(raw, bytes)
        else str(raw)
        for raw, identity in zip(got, ids, strict=True)
    ]


class Reader:
    """Turns a token of the vocabulary into text: one token, by itself.

    A token that holds a part of a character shows its bytes as ``<0xE4>``.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._steps = _steps(tokenizer)
        added = getattr(tokenizer, "added_tokens_decoder", None) or {}
        self._added = {int(i): str(getattr(t, "content", t)) for i, t in added.items()}

    def text(self, raw: str, identity: int) -> str:
        """The text of the token ``raw`` of id ``identity``."""
        known = self._added.get(identity)
        if known is not None:
            return known
        for step in self._steps:
            raw = step(raw)
        return raw


Step = Callable[[str], str]


def _steps(tokenizer: Any) -> list[Step]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = getattr(backend, "decoder", None)
    if decoder is not None:
        try:
            return _of_decoder(json.loads(decoder.__getstate__()))
        except (AttributeError, TypeError, ValueError):
            pass
    name = type(tokenizer).__name__
    if name.startswith("ByT5"):
        return [lambda raw: show_bytes(raw.encode("latin-1")) if _is_latin(raw) else raw]
    if hasattr(tokenizer, "byte_decoder"):
        return [_byte_level]
    return [lambda raw: raw.removeprefix("##"), lambda raw: raw.replace("\u2581", " "), _byte_mark]


def _of_decoder(state: Any) -> list[Step]:
    """The steps of a `tokenizers` decoder that concern one token by itself."""
    kind = state.get("type") if isinstance(state, dict) else None
    if kind == "Sequence":
        return [step for part in state["decoders"] for step in _of_decoder(part)]
    if kind == "ByteLevel":
        return [_byte_level]
    if kind == "ByteFallback":
        return [_byte_mark]
    if kind == "WordPiece":
        prefix = str(state.get("prefix", "##"))
        return [lambda raw: raw.removeprefix(prefix)]
    if kind == "Metaspace":
        mark = str(state.get("replacement", "\u2581"))
        return [lambda raw: raw.replace(mark, " ")]
    if kind == "BPEDecoder":
        suffix = str(state.get("suffix", "</w>"))
        return [lambda raw: raw.removesuffix(suffix)]
    if kind == "Replace":
        pattern = state.get("pattern", {})
        content = str(state.get("content", ""))
        if isinstance(pattern, dict) and isinstance(pattern.get("String"), str):
            what = pattern["String"]
            return [lambda raw: raw.replace(what, content)] if what else []
    return []


def show_bytes(data: bytes) -> str:
    """Decode UTF-8; bytes that are no whole character stand as ``<0xE4>``."""
    text = data.decode("utf-8", "surrogateescape")
    return "".join(f"<0x{ord(c) - 0xDC00:02X}>" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text)


@lru_cache(maxsize=1)
def _bytes_of_chars() -> dict[str, int]:
    """Byte-level BPE writes each byte as a printable character (Radford et al. 2019, GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    table = {chr(b): b for b in printable}
    table.update({chr(256 + n): b for n, b in enumerate(others)})
    return table


def _byte_level(raw: str) -> str:
    table = _bytes_of_chars()
    if any(c not in table for c in raw):
        return raw
    return show_bytes(bytes(table[c] for c in raw))


def _byte_mark(raw: str) -> str:
    """SentencePiece writes a lone byte as ``<0x0A>``; whole characters are shown as such."""
    if len(raw) == 6 and raw.startswith("<0x") and raw.endswith(">"):
        try:
            return show_bytes(bytes([int(raw[3:5], 16)]))
        except ValueError:
            return raw
    return raw


def _is_latin(raw: str) -> bool:
    return all(ord(c) < 256 for c in raw)
