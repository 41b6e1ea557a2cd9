"""Scores of a model on a file of words and tags.

    python benchmarks/ner_files.py ewt-dev.iob2 --column 2 --step 5

A line is a word, columns and its tag, with tabs or blanks between them; a blank line ends a
sentence. `starter:ner` was trained on `ewt-dev`: what this prints of it there is no measure of its
quality. docs/starters.md has one, out of fold.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import lmkit

Sentence = dict[str, list[str]]


def read_sentences(path: Path, column: int) -> list[Sentence]:
    """The sentences of a file; comments (a line that begins with ``# ``) are left out.

    Args:
        path: A file in UTF-8, in the manner of CoNLL: Universal NER, WikiGold, WNUT.
        column: That of the tag, from 0 for all of them; negative ones count from the end. The
            word is in column 1 where the first one counts words, else in column 0.
    """
    sentences: list[Sentence] = []
    words: list[str] = []
    tags: list[str] = []
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
        if line.startswith("# "):
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        if cells:
            numbered = len(cells) > 2 and cells[0].isdigit()
            words.append(cells[1 if numbered else 0])
            tags.append(cells[column])
        elif words:
            sentences.append({"tokens": words, "ner_tags": tags})
            words, tags = [], []
    return sentences


def main() -> None:
    """Evaluate, and print what the report says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", default="starter:ner")
    parser.add_argument("--column", type=int, default=-1, help="of the tag, from 0")
    parser.add_argument("--step", type=int, default=1, help="every so many sentences")
    parser.add_argument("--kinds", default="", help="person=PER, product=")
    options = parser.parse_args()
    rows = read_sentences(options.file, options.column)[:: options.step]
    started = time.perf_counter()
    done = lmkit.load(options.model).evaluate("ner", rows)
    seconds = time.perf_counter() - started
    scores = done.report(kinds=options.kinds).scores if options.kinds else done.scores
    for name, value in scores.items():
        print(f"{name:<16} {value if value is None else round(value, 4)}")
    print(f"{len(done.rows):,} of {len(rows):,} sentences, {len(rows) / seconds:.0f} a second")
    for problem in done.problems[:5]:
        print(problem)


if __name__ == "__main__":
    main()
