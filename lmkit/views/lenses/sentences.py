"""Cut a text into sentences by Unicode alone, the same for every language and model.

The rules are those of Unicode Standard Annex #29, section 5 (default sentence boundaries), with
the character classes of the ``regex`` package, which transformers brings: so a Chinese full stop,
an Arabic question mark and a Hindi danda end a sentence, a decimal point and "e.g. this" do not.
The annex knows no abbreviations: "Mr. Smith" is cut, as it is by every rule without a dictionary.
One thing is tailored, as it allows: an opening quotation mark right after a full stop, usual in
Chinese, begins the next sentence.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

__all__ = ["sentence_spans"]


def sentence_spans(text: str, breaks: tuple[int, ...] = ()) -> list[tuple[int, int]]:
    """Spans (start, end) of the sentences of a text, in order, without white space around them.

    Args:
        text: Any text; a line break ends a sentence, as the annex has it.
        breaks: Further places where a sentence ends, for instance where a second text begins.

    Returns:
        Spans that hold something besides white space; together they hold all of the rest.
    """
    ends = sorted({*_boundaries(text), *(b for b in breaks if 0 < b < len(text)), len(text)})
    spans: list[tuple[int, int]] = []
    start = 0
    for end in ends:
        part = text[start:end]
        bare = part.strip()
        if bare:
            first = start + len(part) - len(part.lstrip())
            spans.append((first, first + len(bare)))
        start = end
    return spans


@lru_cache(maxsize=1)
def _patterns() -> tuple[Any, Any, Any, Any]:
    import regex

    skip = r"[\p{SB=EX}\p{SB=FO}]*+"  # SB5: marks and formats belong to what they follow
    separator = r"(?:\r\n|[\p{SB=SE}\p{SB=CR}\p{SB=LF}])"
    # SB9 to SB11: closing marks, spaces and one separator go with the terminator. The annex counts
    # opening marks among them; here one that begins the next sentence stays with it.
    close = r"(?:(?![\p{Ps}\p{Pi}])\p{SB=CL}|[\p{Ps}\p{Pi}](?=\s|$))"
    end = regex.compile(
        rf"(?P<stop>(?P<full>\p{{SB=AT}})|\p{{SB=ST}}){skip}"
        rf"(?P<after>(?:{close}{skip})*+(?:\p{{SB=SP}}{skip})*+)(?P<line>{separator})?"
        rf"|(?P<only>{separator})"
    )
    goes_on = regex.compile(r"[\p{SB=SC}\p{SB=AT}\p{SB=ST}]")  # SB8a
    lower = regex.compile(  # SB8
        r"[^\p{SB=LE}\p{SB=UP}\p{SB=LO}\p{SB=SE}\p{SB=CR}\p{SB=LF}\p{SB=AT}\p{SB=ST}]*+\p{SB=LO}"
    )
    cased = regex.compile(r"[\p{SB=UP}\p{SB=LO}]")
    return end, goes_on, lower, cased


def _boundaries(text: str) -> list[int]:
    """Where the annex breaks inside of a text."""
    end, goes_on, lower, cased = _patterns()
    found: list[int] = []
    for match in end.finditer(text):
        at = match.end()
        if match["only"] or match["line"]:  # SB4
            found.append(at)
            continue
        if at >= len(text) or goes_on.match(text, at):  # SB8a
            continue
        if match["full"]:
            if lower.match(text, at):  # SB8
                continue
            if not match["after"] and _inside_number_or_name(text, match.start("stop"), at, cased):
                continue
        found.append(at)
    return found


def _inside_number_or_name(text: str, stop: int, at: int, cased: Any) -> bool:
    """SB6 and SB7: "3.4" and "U.S" are not cut at their full stop."""
    import regex

    following = text[at]
    if regex.match(r"\p{SB=NU}", following):
        return True
    before = stop - 1
    while before >= 0 and regex.match(r"[\p{SB=EX}\p{SB=FO}]", text[before]):
        before -= 1
    return (
        before >= 0
        and bool(cased.match(text[before]))
        and bool(regex.match(r"\p{SB=UP}", following))
    )
