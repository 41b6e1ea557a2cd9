"""Copies of training texts: which words change and into what, labels, leaks, and what is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lmkit_distillation.augment import Augmenter, plain_form
from lmkit_distillation.data import Example
from lmkit_distillation.engine import Engine
from lmkit_distillation.errors import DistillationError, RecipeError
from lmkit_distillation.folder import RunFolder
from lmkit_distillation.kept_texts import KeptTexts
from lmkit_distillation.recipe import Augment, Recipe, recipe_from
from lmkit_distillation.rewriting import cleaned, rewrite
from lmkit_distillation.sampling import Writer
from lmkit_distillation.word_replacement import WordReplacer, spans_of_words

from lmkit.models import ModelStore
from lmkit.tools import KernelTools
from tests.tiny import tiny_bert, tiny_llama

from .runs import changed, messages, run, same, weights, write_rows

TEXT = "The plot, unbelievable, moved you; 12 films!"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("augment")
    tiny_bert(folder / "masked", head="MaskedLM")
    tiny_bert(folder / "teacher", num_hidden_layers=3)
    tiny_llama(folder / "writer")
    words = ("plot", "film", "river", "music", "cinema", "acting")
    rows = [
        {"text": f"the {one} that {'moved' if i % 2 else 'is'} {other}", "label": i % 2}
        for i, one in enumerate(words)
        for other in words[:3]
    ]
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "dev.jsonl", rows[::3])
    write_rows(folder / "other.jsonl", [{"text": "we saw it by the river", "label": 1}])
    return folder


def replacer(files: Path, **wish: Any) -> WordReplacer:
    loaded = ModelStore().get(str(files / "masked"), "AutoModelForMaskedLM")
    settings: dict[str, Any] = {"copies": 3, "masked": "m", "top": 4, **wish}
    return WordReplacer(loaded.model, loaded.tokenizer, Augment(**settings), 64)


def test_words_are_found_and_the_rest_stays() -> None:
    words = [TEXT[a:b] for a, b in spans_of_words(TEXT)]
    assert words == ["The", "plot", "unbelievable", "moved", "you", "12", "films"]
    assert [slice(*one) for one in spans_of_words("isn't")] == [slice(0, 5)]


def test_candidates_are_the_most_probable_words_and_the_nearest_by_embeddings(
    files: Path,
) -> None:
    """The definitions of TinyBERT's algorithm 1 over the whole vocabulary."""
    maker = replacer(files, probability=1.0, copies=40)
    spans = spans_of_words(TEXT)
    copies = maker(TEXT, spans, 5)
    found = [{one[i].lower() for one in copies if i in one} for i in range(len(spans))]
    ids = maker.tokenizer(TEXT)["input_ids"]
    pieces = maker.tokenizer.convert_ids_to_tokens(ids)
    whole = {
        token: i
        for token, i in maker.tokenizer.get_vocab().items()
        if token.isalpha() and token.isascii() and (len(token) > 1 or token in ("a", "i"))
    }
    # A word of one token: masked, by the masked-language model.
    place = pieces.index("plot")
    masked = torch.tensor([ids])
    masked[0, place] = maker.tokenizer.mask_token_id
    with torch.no_grad():
        logits = maker.model(input_ids=masked).logits[0, place]
    best = sorted((w for w in whole if w != "plot"), key=lambda w: -float(logits[whole[w]]))
    assert found[1] == set(best[:4])
    # A word of several: by the cosine of input embeddings.
    table = maker.model.get_input_embeddings().weight.detach()
    start = pieces.index("films") if "films" in pieces else pieces.index("##s") - 1
    mean = table[ids[start : start + 2]].mean(0)
    cosine = torch.nn.functional.cosine_similarity(table, mean[None], dim=-1)
    near = sorted((w for w in whole if w != "films"), key=lambda w: -float(cosine[whole[w]]))
    assert pieces[start : start + 2] == ["film", "##s"]
    assert found[6] == set(near[:4])
    assert found[5] == set()  # no letters


def test_the_share_of_replaced_words_is_the_probability_and_no_copy_is_the_text(
    files: Path,
) -> None:
    text = " ".join(["plot film river music cinema"] * 8)
    spans = spans_of_words(text)
    copies = replacer(files, probability=0.4, copies=60)(text, spans, 1)
    share = sum(map(len, copies)) / (60 * len(spans))
    assert abs(share - 0.4) < 0.04
    assert all(len(one) == 1 for one in replacer(files, probability=0.0)(text, spans, 1))
    assert replacer(files)("12 , 7", spans_of_words("12 , 7"), 1) == []


def test_a_copy_more_changes_none_before_it_and_capitals_are_kept(files: Path) -> None:
    spans = spans_of_words(TEXT)
    few, more = (replacer(files, copies=n, probability=0.9)(TEXT, spans, 3) for n in (2, 3))
    assert more[:2] == few
    assert replacer(files, copies=2, probability=0.9)(TEXT, spans, 4) != few
    assert all(one[0][0].isupper() for one in more if 0 in one)
    shout = replacer(files, probability=1.0)("THE plot", [(0, 3)], 3)
    assert all(one[0].isupper() for one in shout)


def recipe(files: Path, out: Path, **sections: Any) -> dict[str, Any]:
    base = {
        "out": str(out),
        "teacher": {"model": str(files / "teacher")},
        "student": {"layers": 1},
        "data": {
            "train": str(files / "train.jsonl"),
            "dev": str(files / "other.jsonl"),
            "augment": {"copies": 2, "masked": str(files / "masked"), "top": 5},
        },
        "loss": [{"kind": "kl"}, {"kind": "ce"}],
        "train": {"steps": 3, "batch": 8, "rate": 1e-3, "threads": 1},
        "report": {"speed": False, "resamples": 100},
    }
    return changed(base, **sections)


def made(files: Path, out: Path, sources: Sequence[Example], **sections: Any) -> Augmenter:
    plan = recipe_from(recipe(files, out, **sections))
    maker = Augmenter(plan, KernelTools(), out, torch.device("cpu"), ("O", "B-PER"))
    maker.make(sources, lambda count, total: None)
    return maker


def test_tags_stay_with_their_words_and_entities_with_their_tags(
    files: Path, tmp_path: Path
) -> None:
    source = Example(words=("the", "plot", "moved", "music", "film"), tags=(0, 1, 0, 0, 1))
    wish = {"copies": 6, "masked": str(files / "masked"), "probability": 1.0, "labels": "copy"}
    data = {"train": "t.jsonl", "augment": wish}
    copies = made(files, tmp_path / "copy", [source], task="ner", data=data).take([source], ())
    assert len(copies.copies) > 2
    for _, one in copies.copies:
        assert one.tags == source.tags
        assert [one.words[i] for i in (1, 4)] == ["plot", "film"]
        assert all(one.words[i] != source.words[i] for i in (0, 2, 3))
    # The teacher speaks: any word may change, and no tag is claimed to be known.
    data = {"train": "t.jsonl", "augment": {**wish, "labels": "teacher"}}
    copies = made(files, tmp_path / "asked", [source], task="ner", data=data).take([source], ())
    for _, one in copies.copies:
        assert one.tags is None
        assert len(one.words) == 5
        assert one.words[1] != "plot"


def test_what_is_in_dev_or_test_is_neither_source_nor_copy(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = recipe(files, out, data={"dev": str(files / "dev.jsonl")})
    engine = Engine(recipe_from(plan), KernelTools())
    engine.run()
    dev = [json.loads(row)["text"] for row in (files / "dev.jsonl").read_text().splitlines()]
    held = {" ".join(one.casefold().split()) for one in dev}
    read = [engine.pair.tokenizer.decode(t.ids, skip_special_tokens=True) for t in engine.texts]
    count = len((files / "train.jsonl").read_text().splitlines())
    assert len(read) > count
    assert held.isdisjoint(read[count:])
    (said,) = messages(out, "augmented")
    assert f"{len(dev)} texts of dev or test had none" in said
    sources = len(set(read[:count]) - held)
    assert f"copies of {sources} texts" in said
    # A copy that happens to be a text of dev is left out.
    source = Example(text="the plot that is film", label=0)
    maker = made(files, tmp_path / "made", [source])
    every = maker.take([source], ())
    one = plain_form(every.copies[0][1])
    fewer = maker.take([source], {one})
    assert fewer.held_out == 1
    assert [plain_form(c) for _, c in fewer.copies] == [plain_form(c) for _, c in every.copies[1:]]
    assert plain_form(replace(source, text="  THE plot that\tis film")) == plain_form(source)


def test_copies_are_the_same_after_a_kill_and_from_the_disk(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(recipe(files, tmp_path / "whole"))
    killed = recipe(files, tmp_path / "killed")
    plainly, count = KeptTexts.add, 0

    def add(self: KeptTexts, values: Any) -> None:
        nonlocal count
        count += 1
        if count == 7:
            raise KeyboardInterrupt
        plainly(self, values)

    with monkeypatch.context() as patch:
        patch.setattr(KeptTexts, "add", add)
        with pytest.raises(KeyboardInterrupt):
            run(killed)
    (file,) = (tmp_path / "killed" / "augmented").iterdir()
    assert len(file.read_text().splitlines()) == 6
    run(killed)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    # Where all is there, the model that made it is not even loaded.
    (tmp_path / "again").mkdir()
    (file.parent).rename(tmp_path / "again" / "augmented")
    with monkeypatch.context() as patch:
        patch.setattr(Augmenter, "_replace_words", lambda self, sources, done: sources and 1 / 0)
        run(recipe(files, tmp_path / "again"))
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "again"))


def test_labels_are_the_teachers_or_those_of_the_source(files: Path, tmp_path: Path) -> None:
    known = {}
    for labels in ("teacher", "copy"):
        wish = {"copies": 2, "masked": str(files / "masked"), "labels": labels}
        plan = recipe(files, tmp_path / labels, data={"augment": wish}, train={"steps": 1})
        engine = Engine(recipe_from(plan), KernelTools())
        engine.run()
        known[labels] = [one.label for one in engine.texts[18:]]
    assert set(known["teacher"]) == {-100}
    assert set(known["copy"]) == {0, 1}
    assert len(known["copy"]) == len(known["teacher"])


# rewriting


def written(files: Path, kept: KeptTexts, texts: list[tuple[str, str]], **wish: Any) -> list[str]:
    loaded = ModelStore().get(str(files / "writer"), "AutoModelForCausalLM")
    writer = Writer.of(loaded.model, loaded.tokenizer)
    plan = Augment(**{"copies": 2, "batch": 2, **wish})
    rewrite(texts, writer, loaded.tokenizer, kept, plan, 7, 256, lambda count, total: None)
    return [kept[f"{name}/{number}"] for name, _ in texts for number in range(plan.copies)]


def test_rewriting_is_drawn_by_seed_and_id_and_goes_on_where_it_was(
    files: Path, tmp_path: Path
) -> None:
    texts = [(str(i), f"the film {word}") for i, word in enumerate(("is old", "moved", "was thin"))]
    plain = {"temperature": 0.7}
    first = KeptTexts(tmp_path / "a", 1)
    whole = written(files, first, texts, **plain)
    lines = first.file.read_text().splitlines()
    assert len(lines) == 6
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / first.file.name).write_text("\n".join(lines[:3]) + "\n" + lines[3][:20])
    assert written(files, KeptTexts(tmp_path / "b", 1), texts, **plain) == whole
    other = written(files, KeptTexts(tmp_path / "c", 1), [("x", texts[0][1])], **plain)
    assert all(whole)
    assert len({*whole, *other}) == 8


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('"The movie was slow."\n\nI kept the tone.', "The movie was slow."),
        ("Here is the rewritten text: The movie was slow.", "The movie was slow."),
        ("Rewritten text:\n  “The movie   was slow.”", "The movie was slow."),
        ("the FILM was slow", ""),  # the source again
        ("No.", ""),
        ("I can't do that, " * 20, ""),
        ("", ""),
    ],
)
def test_of_what_a_model_says_the_rewritten_text_alone_is_kept(said: str, expected: str) -> None:
    assert cleaned(said, "The film was slow") == expected


@given(st.text(max_size=60), st.text(max_size=60))
def test_cleaning_takes_any_text_and_says_nothing_twice(said: str, source: str) -> None:
    found = cleaned(said, source)
    assert found == " ".join(found.split())
    assert found.casefold() != " ".join(source.split()).casefold() or found == ""


def test_a_run_on_rewritten_texts_says_how_many_there_are(files: Path, tmp_path: Path) -> None:
    wish = {"copies": 1, "masked": "", "writer": str(files / "writer")}
    plan = recipe(files, tmp_path / "out", data={"augment": wish}, train={"steps": 1})
    run(plan)
    (said,) = messages(tmp_path / "out", "augmented")
    assert said == "18 copies of 18 texts."
    made = [e for e in RunFolder(tmp_path / "out").events() if e["kind"] == "prepare"]
    assert made[-1]["done"] == made[-1]["total"] == 18


# recipes


def test_what_would_break_labels_is_refused_with_the_reason(files: Path, tmp_path: Path) -> None:
    good = recipe(files, tmp_path / "out")
    rewriting = {"augment": {"copies": 1}}
    for sections, words in (
        ({"task": "ner", "data": rewriting}, "words would no longer be those that are tagged"),
        ({"loss": [{"kind": "ce"}]}, "no loss looks at the teacher's answers"),
        (
            {"task": "generation", "data": {"prompt": "ask", **rewriting}},
            "completions would no longer fit",
        ),
        ({"data": {"augment": {"copies": 1, "writer": ""}}}, "are both empty"),
        ({"data": {"augment": {"copies": 1, "probability": 2}}}, "probability is 2"),
        ({"data": {"augment": {"copy": 1}}}, "no key data.augment.copy"),
    ):
        with pytest.raises(RecipeError, match=words):
            recipe_from(changed(good, **sections))
    same_run = recipe_from(changed(good, data={"augment": {"copies": 0, "top": 3}}))
    assert same_run.fingerprint() == Recipe.fingerprint(
        recipe_from(changed(good, data={"augment": {}}))
    )
    silent = {"task": "generation", "loss": [{"kind": "ce"}], "data": {"augment": {"copies": 1}}}
    with pytest.raises(RecipeError, match="no loss looks at the teacher's answers"):
        recipe_from(changed(good, **silent))
    wish = {"copies": 1, "masked": "m", "labels": "copy"}
    tagged = recipe_from(changed(good, task="ner", data={"augment": wish}))
    with pytest.raises(DistillationError, match="has no label O"):
        Augmenter(tagged, KernelTools(), tmp_path, torch.device("cpu"), ("PER", "LOC"))
    no_mask = ModelStore().get(str(files / "writer"), "AutoModelForCausalLM")
    with pytest.raises(DistillationError, match="has no mask token"):
        WordReplacer(no_mask.model, no_mask.tokenizer, Augment(masked="writer"), 64)
