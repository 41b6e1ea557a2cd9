"""Text of unknown origin, made visible, as the views write it (``js/core/src/text.ts``).

Controls become their names in brackets, so that nothing of a token can reorder its neighbours, end
a line or be refused by XML, and blanks become marks.
"""

from __future__ import annotations

__all__ = ["shorten", "visible"]

_C0_NAMES = (
    "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN "
    "EM SUB ESC FS GS RS US"
)
_C0 = tuple(_C0_NAMES.split(" "))
_NAMED = {
    0x00AD: "SHY", 0x061C: "ALM", 0x180E: "MVS", 0x200B: "ZWSP", 0x200C: "ZWNJ", 0x200E: "LRM",
    0x200F: "RLM", 0x2028: "LS", 0x2029: "PS", 0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF",
    0x202D: "LRO", 0x202E: "RLO", 0x2060: "WJ", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI",
    0x2069: "PDI", 0xFEFF: "BOM",
}  # fmt: skip
_BLANKS = {0x20: "·", 0x0A: "↵", 0x0D: "↤", 0x09: "⇥", 0xA0: "⍽", 0x3000: "⬚"}


def _character(code: int, *, blanks: bool) -> str:
    if blanks and code in _BLANKS:
        return _BLANKS[code]
    if not blanks and code in (0x09, 0x0A, 0x0D):
        return " "
    if code < 0x20:
        return f"⟨{_C0[code]}⟩"
    if code == 0x7F:
        return "⟨DEL⟩"
    if 0x80 <= code < 0xA0:
        return f"⟨{code:X}⟩"
    # Surrogates have no UTF-8; U+FFFE and U+FFFF are no characters, and XML refuses them.
    if 0xD800 <= code <= 0xDFFF or code & 0xFFFE == 0xFFFE:
        return "\ufffd"
    name = _NAMED.get(code)
    return chr(code) if name is None else f"⟨{name}⟩"


def visible(text: str, *, blanks: bool = True) -> str:
    """A text in one line without controls.

    Args:
        text: Anything.
        blanks: Show blanks as marks, as tokens want it; False for prose.

    Returns:
        Only characters that XML takes; never empty for a token (``∅``).
    """
    shown = "".join(_character(ord(one), blanks=blanks) for one in text)
    return shown or ("∅" if blanks else "")


def shorten(text: str, most: int) -> str:
    """At most ``most`` characters, the last of them an ellipsis where something is left out."""
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"
