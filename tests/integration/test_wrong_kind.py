"""A task with a model of the wrong kind says what it needs, and which tasks fit the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lmkit
from lmkit.api import LoadedModel, Task, Text, hookimpl
from lmkit.errors import MissingHeadWarning, WrongModelKindError
from lmkit.host import PluginHost
from lmkit.lending import LentTools
from lmkit.models import ModelStore
from lmkit.session import Session
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama, tiny_t5

CLASSIFICATION = "classification (%%lm classification, .classify())"
GENERATION = "generation (%%lm generation, .generate())"
NER = "ner (%%lm ner, .recognise())"
ATTENTION = "attention (%%lm attention"


def encoder(path: Path) -> Path:
    return tiny_bert(path, head="")


def filler(path: Path) -> Path:
    return tiny_bert(path, head="MaskedLM")


def in_memory(folder: Path) -> tuple[Any, Any]:
    import transformers

    named = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, named).from_pretrained(folder)
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def hint_of(source: Any, task: str) -> tuple[str, str]:
    with pytest.raises(WrongModelKindError) as caught:
        lmkit.load(source).loaded(task)
    return caught.value.message, caught.value.hint


@pytest.mark.parametrize("task", ["generation", "ner"])
def test_a_classifier(tmp_path: Path, task: str) -> None:
    message, hint = hint_of(str(tiny_bert(tmp_path)), task)
    assert "classifies whole texts" in message
    assert "needs a model that" in message
    assert CLASSIFICATION in hint
    assert ATTENTION in hint
    assert GENERATION not in hint
    assert NER not in hint


def test_a_model_that_writes(tmp_path: Path) -> None:
    # transformers has no Llama that fills in words
    class Fills(Task):
        """Needs a model that fills in masked words."""

        name = "fills"
        auto_class = "AutoModelForMaskedLM"

    kit = lmkit.load(str(tiny_llama(tmp_path)))
    with pytest.raises(WrongModelKindError) as caught:
        kit.session.runs.load_for(Fills, str(tmp_path), {})
    assert "needs a model that fills in masked words" in caught.value.message
    assert GENERATION in caught.value.hint
    assert ATTENTION in caught.value.hint
    assert CLASSIFICATION not in caught.value.hint
    assert NER not in caught.value.hint


@pytest.mark.parametrize("task", ["classification", "generation"])
def test_a_model_that_labels_tokens(task: str) -> None:
    message, hint = hint_of("starter:ner", task)
    assert "labels tokens" in message
    assert NER in hint
    assert ATTENTION in hint
    assert CLASSIFICATION not in hint
    assert GENERATION not in hint


@pytest.mark.parametrize("given", ["folder", "object", "loaded"])
@pytest.mark.parametrize(
    ("make", "task", "is_a", "fits"),
    [
        (tiny_gpt2, "classification", "continues text", GENERATION),
        (tiny_gpt2, "ner", "continues text", GENERATION),
        (tiny_llama, "classification", "continues text", GENERATION),
        (tiny_t5, "ner", "turns one text into another", GENERATION),
        (encoder, "generation", "an encoder", ATTENTION),
        (filler, "generation", "fills in masked words", ATTENTION),
        (encoder, "classification", "with no trained classification head", ATTENTION),
        (encoder, "ner", "with no trained token classification head", ATTENTION),
        (filler, "classification", "fills in masked words", ATTENTION),
        (filler, "ner", "with no trained token classification head", ATTENTION),
    ],
)
def test_models_that_write_and_models_that_read(
    tmp_path: Path, make: Any, task: str, is_a: str, fits: str, given: str
) -> None:
    folder = make(tmp_path)
    source: Any = str(folder)
    if given == "object":
        source = in_memory(folder)
    elif given == "loaded":
        source = lmkit.load(source).loaded("attention")
    message, hint = hint_of(source, task)
    assert is_a in message
    assert "this task needs a model that" in message
    assert fits in hint
    assert CLASSIFICATION not in hint
    assert NER not in hint
    assert (GENERATION in hint) == (fits == GENERATION)


def test_a_starter_that_writes_does_not_classify() -> None:
    message, hint = hint_of("starter:chat", "classification")
    assert "continues text" in message
    assert "starter:sentiment" in hint
    assert GENERATION in hint


def test_the_encoder_starter_classifies_by_similarity_alone() -> None:
    message, hint = hint_of("starter:encoder", "classification")
    assert message == (
        "starter:encoder is a BertModel, an encoder, with no trained classification head; "
        "this task needs a model that classifies whole texts."
    )
    assert "starter:sentiment" in hint
    assert "zero-shot (%%lm zero-shot, .zero_shot())" in hint
    found = lmkit.load("starter:encoder").zero_shot("He scored twice.", candidates="sport, art")
    assert max(found.labels, key=found.labels.__getitem__) == "sport"


@pytest.mark.parametrize("make", [tiny_gpt2, encoder])
def test_what_is_in_a_checkpoint_counts_where_its_config_names_labels(
    tmp_path: Path, make: Any
) -> None:
    import transformers

    folder = make(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "dull", "1": "fine"}, "label2id": {"dull": 0, "fine": 1}}
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": 0}))
    message, hint = hint_of(str(folder), "classification")
    assert "with no trained classification head" in message
    assert CLASSIFICATION not in hint
    # The same config over weights that have the head: its class alone is named wrongly.
    transformers.AutoModelForSequenceClassification.from_pretrained(folder).save_pretrained(folder)
    saved = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(saved | {"architectures": config["architectures"]})
    )
    assert lmkit.load(str(folder)).loaded("classification").labels == ("dull", "fine")


def test_a_checkpoint_that_names_no_class_is_told_by_its_weights(tmp_path: Path) -> None:
    folder = encoder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["architectures"]
    (folder / "config.json").write_text(json.dumps(config))
    message, hint = hint_of(str(folder), "classification")
    assert message.startswith(f"{folder} is a BertModel, with no trained classification head;")
    assert ATTENTION in hint
    assert CLASSIFICATION not in hint


def test_a_head_that_was_asked_for_as_an_object_is_the_users_own(tmp_path: Path) -> None:
    import transformers

    folder = encoder(tmp_path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert len(lmkit.load((model, tokenizer)).classify("a film").labels) == 2


def test_commands_may_train_a_head_and_share_what_tasks_load(tmp_path: Path) -> None:
    store = ModelStore(device="cpu")
    tools = LentTools(lambda: store)
    writer, classifier = tiny_gpt2(tmp_path / "writer"), tiny_bert(tmp_path / "classifier")
    kind = "AutoModelForSequenceClassification"
    assert tools.model(str(classifier), kind) is store.get(classifier, kind)
    for untrained in (writer, encoder(tmp_path / "encoder")):
        with pytest.warns(MissingHeadWarning, match="no trained classification head"):
            tools.model(str(untrained), kind)
        with pytest.raises(WrongModelKindError):
            store.get(untrained, kind)


def test_a_model_in_memory(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tiny_bert(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    _, hint = hint_of((model, AutoTokenizer.from_pretrained(folder)), "ner")
    assert CLASSIFICATION in hint
    assert GENERATION not in hint


def test_no_installed_task_fits(tmp_path: Path) -> None:
    class Marks(Task):
        """Needs a model that labels tokens."""

        name = "marks"
        auto_class = "AutoModelForTokenClassification"

        def run(self, model: LoadedModel) -> Text:
            return Text(text=model.name)

    class Plugin:
        @hookimpl
        def lmkit_register_tasks(self, register: Any) -> None:
            register(Marks)

    host = PluginHost(entry_points=lambda: ())
    host.register(Plugin(), "marks")
    session = Session(host, ModelStore(device="cpu"))
    with pytest.raises(WrongModelKindError) as caught:
        session.runs.load_for(Marks, str(tiny_bert(tmp_path)), {})
    session.stop()
    assert caught.value.hint.endswith("No installed task fits it.")


def test_the_panel_shows_which_tasks_fit(tmp_path: Path) -> None:
    kit = lmkit.load(str(tiny_bert(tmp_path)))
    session = kit.session
    task = session.host.task("generation")
    panel = session.views.open_panel(
        task, str(tmp_path), model_name="tiny", values={"prompt": "a film"}
    )
    with pytest.raises(WrongModelKindError):
        session.runs.run_now(panel)
    status = panel.view.status
    assert status.state == "error"
    assert status.error is not None
    assert status.error.code == "model-kind"
    assert CLASSIFICATION in status.error.hint
    assert "continues text" in status.error.message
    session.views.close(panel.view.id)
