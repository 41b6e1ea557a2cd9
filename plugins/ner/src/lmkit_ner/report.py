"""What to show of a data set: scores by kind, confusions of kinds, and each error."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmkit.api import Change, Field, FieldError, Matrix, Result, Row, RowResults, Table
from lmkit_ner.scoring import ERRORS, Match, count_kinds, match_marks, score_matches
from lmkit_ner.tags import Mark

__all__ = ["REPORT_FIELDS", "make_report", "read_kinds"]

MOST_ERRORS = 2_000
"""Rows of the list of errors: each carries a text for a click."""
MOST_OPENED = 2_000
"""Characters of it: a longer text is opened around the error. A page and a notebook carry as much
for every row, and a model reads about as much at once."""
_BLANK = re.compile(r"\s+")
_WORD = 100
"""Characters in which the end of a word is looked for; some scripts have no blanks."""
AROUND = 30
"""Characters of the text before and after an error."""

REPORT_FIELDS = (
    Field.choice("error", ("all", *ERRORS), label="Errors", help="Which errors are listed."),
    Field.text(
        "kinds",
        label="Kinds",
        help="Names of the data set's kinds where the model has others: person=PER, product= "
        "(nothing after the sign leaves a kind out).",
        required=False,
        multiline=False,
    ),
)


@dataclass(frozen=True)
class _Text:
    row: Row
    text: str
    found: tuple[Mark, ...]
    matches: tuple[Match, ...]


def read_kinds(given: str) -> dict[str, str]:
    """``"person=PER, product="`` as a mapping.

    Raises:
        FieldError: it is not made of pairs.
    """
    names: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in given.split(","))):
        name, sign, other = part.partition("=")
        if not sign or not name.strip():
            raise FieldError(
                f"{part!r} is no pair of kinds.", hint="Write for instance person=PER, product="
            )
        names[name.strip()] = other.strip()
    return names


def make_report(done: RowResults, *, error: str, kinds: str) -> tuple[Result, ...]:
    """The report on the rows that are done.

    Args:
        done: Rows with ``text``, ``entities`` and, where the data set has them, ``right``.
        error: Which outcome is listed, or "all".
        kinds: Other names of kinds, as :func:`read_kinds` reads them.

    Raises:
        FieldError: ``kinds`` cannot be read.
    """
    names = read_kinds(kinds)
    texts = [_read(row, output, names) for row, output in done]
    judged = [one for one, (_, output) in zip(texts, done, strict=True) if "right" in output]
    if not judged:
        return (_found_table(texts),)
    matches = [match for one in judged for match in one.matches]
    return (
        _measures(matches, len(judged)),
        _by_kind(matches),
        _confusions(matches),
        _errors(judged, error),
    )


def _read(row: Row, output: Mapping[str, Any], names: Mapping[str, str]) -> _Text:
    found = tuple((int(o["start"]), int(o["end"]), str(o["label"])) for o in output["entities"])
    right = [
        (int(start), int(end), names.get(str(kind), str(kind)))
        for start, end, kind in output.get("right", ())
    ]
    right = [mark for mark in right if mark[2]]
    return _Text(row, str(output["text"]), found, tuple(match_marks(right, found)))


def _measures(matches: Sequence[Match], texts: int) -> Table:
    strict = score_matches(matches, "strict")
    micro = strict.pop("")
    count = len(strict) or 1
    weights = sum(score.right for score in strict.values()) or 1
    rows: list[tuple[str, float]] = [
        ("precision", micro.precision),
        ("recall", micro.recall),
        ("F1", micro.f1),
        ("macro F1", sum(score.f1 for score in strict.values()) / count),
        ("weighted F1", sum(score.f1 * score.right for score in strict.values()) / weights),
        ("partial F1", score_matches(matches, "partial")[""].f1),
        ("boundaries F1", score_matches(matches, "exact")[""].f1),
        ("kinds F1", score_matches(matches, "type")[""].f1),
        ("entities", micro.right),
        ("texts", texts),
    ]
    note = (
        "Precision, recall and F1 count an entity whose boundaries and kind are right. Partial "
        "leaves kinds out and gives half for an overlap; kinds leaves boundaries out."
    )
    return Table(columns=("measure", "value"), rows=tuple(rows), title="Scores", note=note)


def _by_kind(matches: Sequence[Match]) -> Table:
    strict, partial = score_matches(matches, "strict"), score_matches(matches, "partial")
    outcomes = count_kinds(matches)
    rows: list[tuple[str | float, ...]] = []
    for kind, score in strict.items():
        if not kind:
            continue
        counts = outcomes.get(kind, Counter())
        rows.append(
            (
                kind, score.right, score.found, score.precision, score.recall, score.f1,
                partial[kind].f1 if kind in partial else 0.0, *(counts[one] for one in ERRORS),
            )
        )  # fmt: skip
    columns = ("kind", "right", "found", "precision", "recall", "F1", "partial F1", *ERRORS)
    return Table(columns=columns, rows=tuple(rows), title="By kind")


def _confusions(matches: Sequence[Match]) -> Matrix:
    pairs = Counter(
        (match.right[2] if match.right else "", match.found[2] if match.found else "")
        for match in matches
    )
    kinds = sorted({kind for pair in pairs for kind in pair if kind})
    names = [*kinds, ""]
    return Matrix(
        rows=(*kinds, "none"),
        columns=(*kinds, "none"),
        cells=tuple(
            tuple(None if not row and not column else pairs[row, column] for column in names)
            for row in names
        ),
        row_title="right",
        column_title="found",
        title="Kinds",
        note="Entities that answer to each other, boundaries right or not. None: missed in a "
        "column, found for nothing in a row.",
    )


def _errors(texts: Sequence[_Text], wanted: str) -> Table:
    listed = [
        (one, match)
        for one in texts
        for match in one.matches
        if match.outcome != "correct" and wanted in ("all", match.outcome)
    ]
    rows = tuple(
        (
            one.row.index, match.outcome, _quote(one.text, match.right), _kind(match.right),
            _quote(one.text, match.found), _kind(match.found), _around(one.text, match),
        )
        for one, match in listed[:MOST_ERRORS]
    )  # fmt: skip
    left = len(listed) - len(rows)
    notes = [f"{left:,} more errors are not listed."] if left > 0 else []
    if any(len(one.text) > MOST_OPENED for one, _ in listed[:MOST_ERRORS]):
        notes.append(
            f"Of a text of more than {MOST_OPENED:,} characters a click opens what is around the "
            "error."
        )
    return Table(
        columns=("row", "error", "right", "kind", "found", "found kind", "in"),
        rows=rows,
        title="Errors",
        note=" ".join(notes),
        changes=tuple(
            Change(values={"text": _opened(one.text, match), "window": 0})
            for one, match in listed[:MOST_ERRORS]
        ),
    )


def _opened(text: str, match: Match) -> str:
    """The text, or where it is long the stretch of it around an error, cut between words."""
    if len(text) <= MOST_OPENED:
        return text
    marks = [mark for mark in (match.right, match.found) if mark is not None]
    first = min(mark[0] for mark in marks)
    last = min(max(mark[1] for mark in marks), first + MOST_OPENED)
    room = (MOST_OPENED - (last - first)) // 2
    start = max(0, min(first - room, len(text) - MOST_OPENED))
    end = min(len(text), start + MOST_OPENED)
    if start:  # half a word may be taken for another name
        blank = _BLANK.search(text, start - 1, min(first, start + _WORD))
        start = blank.end() if blank else start
    if end < len(text):
        blanks = [one.start() for one in _BLANK.finditer(text, max(last, end - _WORD), end + 1)]
        end = blanks[-1] if blanks else end
    return text[start:end]


def _found_table(texts: Sequence[_Text]) -> Table:
    """Without right entities: what was found, by kind and surface."""
    counts = Counter((kind, one.text[start:end]) for one in texts for start, end, kind in one.found)
    listed = counts.most_common(MOST_ERRORS)
    left = len(counts) - len(listed)
    note = "The data set gives no right entities, so there are no scores."
    return Table(
        columns=("kind", "entity", "times"),
        rows=tuple((kind, _short(text), count) for (kind, text), count in listed),
        title="Entities",
        note=f"{note} {left:,} rarer ones are not listed." if left > 0 else note,
    )


def _kind(mark: Mark | None) -> str | None:
    return None if mark is None else mark[2]


def _quote(text: str, mark: Mark | None) -> str | None:
    return None if mark is None else _short(text[mark[0] : mark[1]])


def _around(text: str, match: Match) -> str:
    marks = [mark for mark in (match.right, match.found) if mark is not None]
    start = max(0, min(mark[0] for mark in marks) - AROUND)
    end = max(mark[1] for mark in marks) + AROUND
    before, after = "…" if start else "", "…" if end < len(text) else ""
    return f"{before}{_short(text[start:end])}{after}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:199]}…"
