"""The tasks from the outside: Python calls, data sets, bad input, and what is saved."""

from __future__ import annotations

import gc
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lmkit_ner import kernel_key
from lmkit_ner.reading import Reading, read_text

from lmkit.api import Spans, Table, TokenLabels
from lmkit.errors import FieldError, WrongModelKindError
from lmkit.host import PluginHost
from lmkit.kit import Kit
from lmkit.models import ModelStore
from lmkit.protocol.codec import to_builtins
from lmkit.session import Session
from lmkit.transports.snapshot import snapshot
from tests.tiny import tiny_bert

TEXT = "Ada Lovelace worked with Charles Babbage in London. Ada Lovelace wrote to him."


@pytest.fixture(scope="module")
def session() -> Session:
    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "ner"})
    host.discover()
    assert {one.task.name for one in host.tasks} == {"ner", "redact"}
    return Session(host, ModelStore(device="cpu"))


@pytest.fixture(scope="module")
def kit(session: Session) -> Kit:
    return Kit(session, "starter:ner", {})


def test_spans_name_their_tokens(kit: Kit) -> None:
    r = kit.recognise(TEXT)
    spans, labels = r.results
    assert isinstance(spans, Spans)
    assert isinstance(labels, TokenLabels)
    assert [TEXT[one.start : one.end] for one in r.spans][:3] == [
        "Ada Lovelace", "Charles Babbage", "London",
    ]  # fmt: skip
    for one in r.spans:
        tokens = [r.attention.tokens[index] for index in one.tokens]
        assert (tokens[0].start, tokens[-1].end) == (one.start, one.end)
    assert all(sum(row) == pytest.approx(1, abs=1e-4) for row in labels.values)


def test_a_long_text_shows_one_window_and_the_way_to_others(kit: Kit) -> None:
    text = "Nothing happened here at all. " * 120 + TEXT
    r = kit.recognise(text)
    assert "window 2 of 2" in r.results[1].note
    assert all(one.tokens for one in r.spans if one.start > 3600)
    first = kit.recognise(text, window=1)
    far = [one for one in first.spans if not one.tokens]
    assert far
    assert all(one.change is not None and one.change.values == {"window": 2} for one in far)


def test_another_window_of_a_long_text_is_looked_at_without_reading_it_again(
    session: Session, kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(model: Any, text: str, stride: int) -> Reading:
        read.append(text)
        return read_text(model, text, stride)

    monkeypatch.setattr("lmkit_ner.reading.read_text", counted)
    text = "Nothing happened here at all. " * 150 + TEXT
    spans = kit.recognise(text).spans
    again = kit.recognise(text, window=1)
    assert len(read) == 1
    assert "window 1 of 3" in again.results[1].note
    assert [(one.start, one.end, one.score) for one in again.spans] == [
        (one.start, one.end, one.score) for one in spans
    ]
    kit.recognise(text, stride=64)
    kit.recognise(f"{text} Mary Somerville.")
    kit.recognise("Ada lived in London.")  # one window is read in a moment
    kit.recognise("Ada lived in London.")
    assert len(read) == 5
    model = kit.loaded("ner")
    given = Kit(session, (model.model, model.tokenizer), {})  # its weights are the user's
    given.recognise(text)
    given.recognise(text)
    assert len(read) == 7


def test_of_a_very_long_text_python_has_all_and_a_page_what_it_draws(
    session: Session, tmp_path: Path
) -> None:
    names = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
    folder = tiny_bert(
        tmp_path, 5, head="TokenClassification", id2label=names,
        label2id={name: index for index, name in names.items()},
    )  # fmt: skip
    text = "the plot is thin , but i was moved by the old river . " * 1_000
    r = Kit(session, str(folder), {}).recognise(text, strategy="simple", stride=8)
    spans, labels = r.results
    assert isinstance(spans, Spans)
    assert spans.text == text
    assert len(r.spans) > 4_000
    assert "window 1 of " in labels.note
    (shown, _) = r.view.spec().results
    assert isinstance(shown, Spans)
    assert (shown.whole_characters, shown.whole_spans) == (len(text), len(r.spans))
    form = len(text)  # the form holds all of it
    assert len(json.dumps(to_builtins(r.view.spec()))) < form + 300_000
    assert len(json.dumps(to_builtins(list(r.results)))) > form + 500_000
    assert f"and {len(r.spans) - 48:,} more" in repr(r)


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_text_is_refused_in_a_sentence(kit: Kit, text: str) -> None:
    with pytest.raises(FieldError):
        kit.recognise(text)


def test_a_word_of_300_characters(kit: Kit) -> None:
    r = kit.recognise("Ada " + "x" * 300 + " in London")
    assert {one.label for one in r.spans} <= {"PER", "LOC", "ORG"}


def test_a_model_without_labels_of_tokens(session: Session, tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "model", 2)
    with pytest.raises(WrongModelKindError, match="needs"):
        Kit(session, str(folder), {}).recognise(TEXT)


@pytest.mark.parametrize("verb", ["recognise", "redact"])
def test_a_closed_panel_leaves_no_tensor_where_its_result_and_error_are_held(
    session: Session, kit: Kit, verb: str
) -> None:
    getattr(kit, verb)(TEXT)  # what the model makes once stays

    def tensors() -> set[int]:
        gc.collect()
        return {id(one) for one in gc.get_objects() if issubclass(type(one), torch.Tensor)}

    before = tensors()
    # IPython's Out and last traceback hold what the user no longer names.
    out = [getattr(kit, verb)(TEXT)]
    assert tensors() - before
    held = []
    try:
        getattr(kit, verb)(" ")
    except FieldError as error:
        held.append(error)
    assert held[0].__traceback__ is not None
    session.views.close(out[0].view.id)
    assert tensors() - before == set()
    assert out[0].results


def test_nothing_that_is_kept_of_a_redaction_holds_a_name(kit: Kit) -> None:
    kernel_key.forget()
    r = kit.redact(TEXT)
    # in words, too, the text without its names stands first
    assert r.results[0].text in repr(r)
    start = r"\[PERSON 1\] worked with \[PERSON 2\] in \[LOCATION 1\]\. \[PERSON 1\] "
    assert re.match(start, r.values["text"])
    kept = str(to_builtins(snapshot(r.view, None)))
    kept += repr(r.record) + repr(r.view.spec()) + repr(r.attention.tokens)
    for name in ("Lovelace", "Babbage", "London", "lovelace", "babbage", "london"):
        assert name not in kept
    back = kit.redact(r.values["text"], do="restore")
    assert back.values["text"] == TEXT
    assert kernel_key.restore(r.values["text"]) == TEXT


def test_a_kind_that_the_model_does_not_know(kit: Kit) -> None:
    with pytest.raises(FieldError, match="no kind 'FOOD'"):
        kit.redact(TEXT, kinds="PER, FOOD")
    assert "Ada Lovelace" in kit.redact(TEXT, kinds="location").values["text"]


def test_a_data_set_with_tags(kit: Kit) -> None:
    words = ["Ada", "Lovelace", "lived", "in", "London", "with", "Mary", "Somerville", "."]
    tags = ["B-PER", "I-PER", "O", "O", "B-ORG", "O", "B-PER", "I-PER", "O"]
    rows = [
        {"words": words, "tags": tags},
        {"words": words, "tags": tags[:3]},
        {"words": [], "tags": []},
    ]
    done = kit.evaluate("ner", rows)
    places = {(problem.row, problem.column) for problem in done.problems}
    assert (1, "tags") in places
    assert 2 in {row for row, _ in places}
    assert done.scores["entities"] == 3
    (errors,) = [one for one in done.results if getattr(one, "title", "") == "Errors"]
    assert isinstance(errors, Table)
    assert ("type", "London", "ORG", "London", "LOC") in {row[1:6] for row in errors.rows}
    assert errors.changes[0] is not None
    known = done.report(kinds="ORG=LOC").scores["F1"]
    assert known is not None
    assert known > (done.report(kinds="").scores["F1"] or 0)
    with pytest.raises(FieldError):
        done.report(kinds="nonsense")


def test_a_data_set_without_tags(kit: Kit) -> None:
    done = kit.evaluate("ner", [{"text": TEXT}, {"text": "Nothing."}])
    (found,) = done.results
    assert isinstance(found, Table)
    assert found.rows[0][1:] == ("Ada Lovelace", 2)


def test_a_panel_that_redacts_keeps_nothing_of_its_runs_before(session: Session, kit: Kit) -> None:
    kernel_key.forget()
    r = kit.redact(TEXT)
    session.runs.run_now(r._panel, {"do": "restore"})
    assert r.values["text"] == TEXT
    session.runs.run_now(r._panel, {"do": "redact"})
    assert "Ada" not in r.values["text"]
    kept = str(to_builtins(snapshot(r.view, None)))
    assert "lovelace" not in kept.lower()
    # The host may keep a pass to compare the next one with: not one over another text than shown.
    before = getattr(r.view, "previous", None)
    assert before is None or before.text == r.values["text"]
