"""Put finished runs into the package: ``python ship.py --data DATA --out OUT``.

Copies the weights of the run to ship of each task, writes the table of scores into its model
card, and draws the sample of inputs that the tests hold the shipped weights to.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import data
import train

from lmkit.models.starters import catalog

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests" / "integration" / "data" / "starter_scores.json"
BEGIN, END = "<!-- scores: written by examples/starters/ship.py -->", "<!-- end of scores -->"

OWN_NER = (
    "[PER Marie Curie] was born in [LOC Warsaw] and moved to [LOC Paris] in 1891 .",
    "The [ORG World Health Organization] is based in [LOC Geneva] .",
    "[PER Angela Merkel] met [PER Barack Obama] in [LOC Berlin] yesterday .",
    "I bought these shoes at [ORG Walmart] last week and they already fell apart .",
    "She studied law at [ORG Harvard University] before joining [ORG Goldman Sachs] .",
    "We drove from [LOC San Francisco] to [LOC Los Angeles] along the coast .",
    "[PER Nelson Mandela] became president of [LOC South Africa] in 1994 .",
    "Does anyone know a good dentist in [LOC Seattle] ?",
    "[ORG Microsoft] said on Tuesday that [PER Satya Nadella] would visit [LOC India] .",
    "The river flows through [LOC Germany] , [LOC Austria] and [LOC Hungary] .",
    "Thanks for your help , I will call you tomorrow .",
    "[ORG Manchester United] signed [PER Wayne Rooney] from [ORG Everton] .",
    "The meeting with [PER John Smith] has been moved to Friday .",
    "[PER Tolstoy] wrote most of the novel in [LOC Moscow] .",
    "The food was great but the service was slow .",
    "[ORG NASA] launched the probe from [LOC Florida] in 1977 .",
    "[LOC Brazil] and [LOC Argentina] signed the treaty in [LOC Montevideo] .",
    "[PER Steve Jobs] founded [ORG Apple] with [PER Steve Wozniak] .",
    "My cousin works for the [ORG United Nations] in [LOC New York] .",
    "There are seven moons around that planet .",
)
"""Sentences written for this test, with their spans: nothing that was trained on."""


def marked(line: str) -> tuple[list[str], list[str]]:
    """Words and IOB2 tags of a line with ``[PER ...]`` spans."""
    words, tags, kind, begun = [], [], "", False
    for word in line.split():
        if word.startswith("["):
            kind, begun = word[1:], False
            continue
        closes = word.endswith("]") and bool(kind)
        words.append(word.removesuffix("]") if closes else word)
        tags.append("O" if not kind else f"{'I' if begun else 'B'}-{kind}")
        begun = True
        if closes:
            kind = ""
    return words, tags


def table(results: Sequence[dict[str, Any]], keys: Sequence[str]) -> str:
    """All runs with all forms, as a Markdown table."""
    lines = [
        "| run | seed | score | fully fine-tuned | cut to rank and int8 | as shipped |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        for key in keys:
            if key not in result["shipped"]:
                continue
            forms = [f"{result[form][key]:.4f}" for form in ("full", "compressed", "shipped")]
            name = f"{result['run']} | {result['seed']} | {key.replace('_', ' ')}"
            lines.append(f"| {name} | " + " | ".join(forms) + " |")
    return "\n".join(lines)


def facts(shipped: dict[str, Any]) -> str:
    """What ships, as a Markdown table."""
    settings = {k: v for k, v in shipped["settings"].items() if k != "rows"}
    return "\n".join(
        (
            "| what ships | |",
            "|---|---|",
            f"| run | {shipped['run']} |",
            f"| seed | {shipped['seed']} |",
            f"| bytes | {shipped['bytes']} |",
            f"| SHA-256 | `{shipped['sha256']}` |",
            f"| settings | `{json.dumps(settings, sort_keys=True)}` |",
        )
    )


def write_card(task: str, text: str) -> None:
    """Put ``text`` between the marks of the task's model card."""
    card = catalog.info(task).card
    before, _, rest = card.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    card.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


def classified(task: str, texts: Sequence[str]) -> list[str]:
    """Labels by the shipped model, as a user gets them."""
    import torch

    model, tokenizer = shipped_model(task)
    out = []
    with torch.inference_mode():
        for text in texts:
            inputs = tokenizer(text, return_tensors="pt", truncation=True)
            out.append(model.config.id2label[int(model(**inputs).logits.argmax())])
    return out


def tagged(sentences: Sequence[Sequence[str]]) -> list[list[str]]:
    """IOB2 tags by the shipped model, one a word, by its first piece."""
    import torch

    model, tokenizer = shipped_model("ner")
    out = []
    with torch.inference_mode():
        for words in sentences:
            inputs = tokenizer(
                list(words), is_split_into_words=True, return_tensors="pt", truncation=True
            )
            best = model(**inputs).logits[0].argmax(-1).tolist()
            tags: dict[int, str] = {}
            for place, word in enumerate(inputs.word_ids()):
                if word is not None:
                    tags.setdefault(word, model.config.id2label[best[place]])
            out.append([tags.get(i, "O") for i in range(len(words))])
    return out


def shipped_model(task: str) -> tuple[Any, Any]:
    """Model and tokenizer, from the folder that a user gets."""
    import transformers

    from lmkit.models import starters

    folder = starters.resolve(task)
    kind = getattr(transformers, starters.info(task).auto_class)
    return kind.from_pretrained(folder).eval(), transformers.AutoTokenizer.from_pretrained(folder)


def sample_texts(
    task: str, rows: Sequence[data.Text], labels: Sequence[str], shorten: Callable[[str], str]
) -> dict[str, Any]:
    """A seeded sample with the shipped model's answers."""
    chosen = random.Random(11).sample(list(rows), 120)
    texts = [shorten(row.text) for row in chosen]
    found = classified(task, texts)
    gold = [labels[row.label] for row in chosen]
    return {
        "accuracy": sum(f == g for f, g in zip(found, gold, strict=True)) / len(gold),
        "rows": [
            {"text": t, "gold": g, "predicted": f, "source": row.source}
            for t, g, f, row in zip(texts, gold, found, chosen, strict=True)
        ],
    }


def sample_ner(rows: Sequence[data.Sentence]) -> dict[str, Any]:
    """As :func:`sample_texts`, with sentences of our own beside those of the set."""
    with_names = [row for row in rows if any(tag != "O" for tag in row.tags)]
    without = [row for row in rows if all(tag == "O" for tag in row.tags) and len(row.words) > 5]
    rng = random.Random(11)
    chosen = rng.sample(with_names, 80) + rng.sample(without, 20)
    own = [marked(line) for line in OWN_NER]
    words = [list(row.words) for row in chosen] + [w for w, _ in own]
    gold = [list(row.tags) for row in chosen] + [t for _, t in own]
    source = [row.source for row in chosen] + ["written for this test"] * len(own)
    found = tagged(words)
    count = len(chosen)
    return {
        "f1": train.span_scores(gold[:count], found[:count])["f1"],
        "f1_own": train.span_scores(gold[count:], found[count:])["f1"],
        "rows": [
            {"words": w, "gold": g, "predicted": f, "source": s}
            for w, g, f, s in zip(words, gold, found, source, strict=True)
        ],
    }


def main() -> None:
    """Ship the finished runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join(train.TASKS))
    args = parser.parse_args()
    fixture = json.loads(FIXTURE.read_text("utf-8")) if FIXTURE.exists() else {}
    for task in args.only.split(","):
        folder = args.out / task
        summary = json.loads((folder / "summary.json").read_text("utf-8"))
        results = [
            json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*/result.json"))
        ]
        shipped = next(r for r in results if r["run"] == summary["ship"])
        target = catalog.info(task).weights
        assert target is not None
        shutil.copyfile(folder / summary["ship"] / "delta.safetensors", target)
        assert hashlib.sha256(target.read_bytes()).hexdigest() == shipped["sha256"]
        keys = (
            ("f1", "precision", "recall", "f1_PER", "f1_ORG", "f1_LOC")
            if task == "ner"
            else ("accuracy", "accuracy_as_typed", "accuracy_first_40_words")
        )
        parts = [table(results, keys), overall(task, summary), facts(shipped)]
        write_card(task, "\n\n".join(parts))
        if task == "sentiment":
            rows = data.sst2(args.data / "sst2", "dev")
            fixture[task] = sample_texts(task, rows, data.SENTIMENT_LABELS, lambda text: text)
        elif task == "news":
            held = data.news_split(args.data)[1]
            fixture[task] = sample_texts(
                task, held, data.NEWS_LABELS, lambda text: " ".join(text.split()[:25])
            )
        else:
            fixture[task] = sample_ner(data.ner_corpora(args.data)["ewt"])
        fixture[task]["sha256"] = shipped["sha256"]
        print(task, {k: v for k, v in fixture[task].items() if k != "rows"}, overall(task, summary))
    FIXTURE.parent.mkdir(parents=True, exist_ok=True)
    FIXTURE.write_text(laid_out(fixture), "utf-8")


def laid_out(fixture: dict[str, Any]) -> str:
    """The fixture as JSON with one example a line, so that a change of it can be read."""
    parts = []
    for task in sorted(fixture):
        head = {key: value for key, value in fixture[task].items() if key != "rows"}
        rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in fixture[task]["rows"])
        parts.append(f'"{task}": {json.dumps(head)[:-1]}, "rows": [\n{rows}\n]}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def overall(task: str, summary: dict[str, Any]) -> str:
    """The score in one sentence."""
    if task != "ner":
        return (
            f"Mean accuracy of the {len(summary['shipped'])} seeds: "
            f"**{summary['mean_shipped']:.4f}** as shipped, "
            f"{summary['mean_full']:.4f} fully fine-tuned."
        )
    full, shipped = summary["full"], summary["shipped"]
    return (
        f"Out of fold over all {shipped['spans']:.0f} spans: F1 **{shipped['f1']:.4f}** as shipped "
        f"(precision {shipped['precision']:.4f}, recall {shipped['recall']:.4f}; "
        f"PER {shipped['f1_PER']:.4f}, ORG {shipped['f1_ORG']:.4f}, LOC {shipped['f1_LOC']:.4f}), "
        f"{full['f1']:.4f} fully fine-tuned."
    )


if __name__ == "__main__":
    main()
