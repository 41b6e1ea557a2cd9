"""One forward pass with its text: tokens, words, attention, limits, release and recompute."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.api import LoadedModel, TextTrace, pass_of
from lmkit.errors import Cancelled, DeviceMemoryError, FieldError, ModelError
from lmkit.models import HuggingFaceModel, ModelStore
from lmkit.protocol.messages import Progress
from lmkit.work import Work, doing
from tests import tiny

CLASSIFY = "AutoModelForSequenceClassification"
MAKERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "bert": (tiny.tiny_bert, CLASSIFY),
    "roberta": (tiny.tiny_roberta, CLASSIFY),
    "llama": (tiny.tiny_llama, "AutoModelForCausalLM"),
    "gpt2": (tiny.tiny_gpt2, "AutoModelForCausalLM"),
    "t5": (tiny.tiny_t5, "AutoModelForSeq2SeqLM"),
    "bart": (tiny.tiny_bart, CLASSIFY),
}
HOSTILE = [
    "<img src=x onerror=alert(1)></script>",
    "\u202eevil\u202c \u2066bidi\u2069",
    "a\x00b \ud800 \udfff\ud83d c",
    "👩‍👩‍👧 👍🏽 🏴󠁧󠁢󠁥󠁮󠁧󠁿 中文 한국어",
    "x" * 100_000,
    "word " * 5_000,
    "[CLS] [SEP] <s> </s> <|endoftext|> <0x41>",
    "e\u0301" * 300,
    "\ufeff\u200b\u00ad\u2028\x85",
    "ﷺ ﬁ Ⅷ İ ß",
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HuggingFaceModel]:
    store = ModelStore(device="cpu")
    loaded = {}
    for name, (make, auto_class) in MAKERS.items():
        got = store.get(make(tmp_path_factory.mktemp(name) / name), auto_class)
        assert isinstance(got, HuggingFaceModel)
        loaded[name] = got
    return loaded


@pytest.fixture
def bert(tmp_path: Path) -> HuggingFaceModel:
    got = ModelStore(device="cpu").get(tiny.tiny_bert(tmp_path / "bert"), CLASSIFY)
    assert isinstance(got, HuggingFaceModel)
    return got


def reference(model: Any, **inputs: Any) -> Any:
    """The model's own answer, eager and without any capture."""
    copy = type(model).from_pretrained(model.config._name_or_path, attn_implementation="eager")
    with torch.no_grad():
        return copy.eval()(**inputs, output_attentions=True)


@pytest.mark.parametrize("name", ["bert", "roberta", "llama", "gpt2"])
def test_attention_and_output_are_the_models_own(
    models: dict[str, HuggingFaceModel], name: str
) -> None:
    loaded = models[name]
    trace = loaded.trace(tiny.TEXT)
    ids = torch.tensor([trace.input_ids])
    eager = reference(loaded.model, input_ids=ids)
    for layer, expected in enumerate(eager.attentions):
        for head in range(expected.shape[1]):
            got = trace.attention(layer, head)
            assert np.abs(got - expected[0, head].numpy()).max() <= 1e-5
    assert torch.allclose(trace.output.logits, eager.logits, atol=1e-5)
    mean = torch.stack(eager.attentions).mean(dim=(0, 1, 2, 3)).numpy()
    assert np.abs(trace.attention_received() - mean).max() <= 1e-5
    assert trace.error is None
    assert trace.missing == ()
    assert trace.deviation is not None
    assert trace.deviation < 1e-5


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_encoder_decoders_show_the_encoders_text(
    models: dict[str, HuggingFaceModel], name: str
) -> None:
    loaded = models[name]
    trace = loaded.trace(tiny.TEXT)
    ids = torch.tensor([trace.input_ids])
    decoder = torch.tensor(
        [loaded.tokenizer.convert_tokens_to_ids([t.raw for t in trace.decoder_tokens])]
    )
    eager = reference(loaded.model, input_ids=ids, decoder_input_ids=decoder)
    by_role = {
        "encoder": eager.encoder_attentions,
        "decoder": eager.decoder_attentions,
        "cross": eager.cross_attentions,
    }
    seen = dict.fromkeys(by_role, 0)
    for layer in trace.layers:
        expected = by_role[layer.role][seen[layer.role]][0, 1].numpy()
        seen[layer.role] += 1
        assert np.abs(trace.attention(layer.index, 1) - expected).max() <= 1e-5
        assert layer.queries == len(trace.tokens_of(layer.role))
        assert layer.keys == len(trace.tokens_of(layer.role, keys=True))
    assert seen == {role: len(given) for role, given in by_role.items()}
    assert trace.decoder_tokens[0].special


def test_it_is_what_the_plugin_api_promises(models: dict[str, HuggingFaceModel]) -> None:
    loaded = models["bert"]
    assert isinstance(loaded, LoadedModel)
    trace = loaded.trace(tiny.TEXT, values=True)
    assert isinstance(trace, TextTrace)
    assert loaded.labels == ("negative", "positive")
    assert (loaded.device, loaded.dtype, loaded.warnings) == ("cpu", "float32", ())
    assert models["llama"].labels == ()
    assert not loaded.model.training
    rows = trace.rows(0, 1, slice(2, 5))
    assert np.allclose(rows, trace.attention(0, 1)[2:5], atol=1e-6)
    every_other = trace.rows(0, 1, slice(None, None, 2))
    assert np.allclose(every_other, trace.attention(0, 1)[::2], atol=1e-6)
    assert trace.values(0, 0).shape == (len(trace.tokens), 8)
    assert trace.thumbnails(0, 4).shape == (4, 4, 4)
    assert np.allclose(trace.summed(1, 2, [1, 3]), trace.attention(1, 2)[[1, 3]].sum(0))


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_a_pass_can_be_made_again_by_hand(models: dict[str, HuggingFaceModel], name: str) -> None:
    trace = models[name].trace(tiny.TEXT)
    again = pass_of(trace)
    assert again is trace
    with again.model.borrow() as model:
        output = model(**again.inputs())
    assert torch.equal(output.logits, again.output.logits)
    assert again.model.kind == type(models[name].model).__name__
    assert again.model.free_memory > 0


def test_a_pass_of_the_users_own_code_cannot(models: dict[str, HuggingFaceModel]) -> None:
    trace = models["bert"].trace(tiny.TEXT)
    assert pass_of(trace.capture) is None  # type: ignore[arg-type]


def test_a_borrowed_model_is_given_back_as_it_was(models: dict[str, HuggingFaceModel]) -> None:
    loaded = models["bert"]
    weights = list(loaded.model.parameters())
    loaded.model.train()
    loaded.model.classifier.eval()
    weights[0].requires_grad_(False)
    before = [module.training for module in loaded.model.modules()]
    try:
        with torch.no_grad(), suppress(ZeroDivisionError), loaded.borrow() as model:
            assert torch.is_grad_enabled()
            assert not any(module.training for module in model.modules())
            assert not any(weight.requires_grad for weight in model.parameters())
            raise ZeroDivisionError
        assert [module.training for module in loaded.model.modules()] == before
        assert [weight.requires_grad for weight in weights] == [False, *[True] * (len(weights) - 1)]
    finally:
        weights[0].requires_grad_(True)
        loaded.model.eval()


def test_a_full_device_is_a_sentence_for_a_borrower(models: dict[str, HuggingFaceModel]) -> None:
    with pytest.raises(DeviceMemoryError, match="gradients"), models["bert"].borrow("gradients"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


# -- tokens and words -----------------------------------------------------------------------------


def test_wordpiece_tokens_read_as_text(models: dict[str, HuggingFaceModel]) -> None:
    trace = models["bert"].trace("The films don't bore 中文")
    texts = [(t.text, t.raw) for t in trace.tokens]
    assert texts[:4] == [("[CLS]",) * 2, ("the",) * 2, ("film",) * 2, ("s", "##s")]
    assert texts[-3:] == [("中",) * 2, ("文",) * 2, ("[SEP]",) * 2]
    places = [trace.text[t.start : t.end].lower() for t in trace.tokens if not t.special]
    assert places == [t.text for t in trace.tokens if not t.special]
    assert [w.text for w in trace.words] == ["The", "films", "don't", "bore", "中", "文"]
    assert [t.special for t in trace.tokens].count(True) == 2
    assert trace.tokens[0].word is None


@pytest.mark.parametrize("name", ["gpt2", "roberta", "llama"])
def test_parts_of_a_character_show_their_bytes(
    models: dict[str, HuggingFaceModel], name: str
) -> None:
    trace = models[name].trace("film 中 é")
    texts = [t.text for t in trace.tokens if not t.special]
    for char in "中é":
        marks = [f"<0x{byte:02X}>" for byte in char.encode()]
        at = texts.index(marks[0])
        assert texts[at : at + len(marks)] == marks
        place = "film 中 é".index(char)
        inner = [t for t in trace.tokens if not t.special][at : at + len(marks)]
        assert {(t.start, t.end) for t in inner} == {(place, place + 1)}
        assert len({t.word for t in inner}) == 1
    assert " film" in texts or "film" in "".join(texts)
    assert [w.text for w in trace.words] == ["film", "中", "é"]


def test_a_space_before_a_word_is_text_and_not_part_of_its_place(
    models: dict[str, HuggingFaceModel],
) -> None:
    for name in ("gpt2", "llama"):
        trace = models[name].trace("a  plot")
        plot = next(t for t in trace.tokens if t.text.strip() == "plot")
        assert plot.text == " plot"
        assert plot.raw in ("Ġplot", "▁plot")
        assert trace.text[plot.start : plot.end] == "plot"


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_pair_counts_in_one_text(models: dict[str, HuggingFaceModel], name: str) -> None:
    trace = models[name].trace("The plot", "a film")
    assert trace.text == "The plot\na film"
    assert trace.pair == "a film"
    assert trace.pair_start == 9
    for token, segment in zip(trace.tokens, trace.segments, strict=True):
        assert token.special == (segment is None)
        if segment == 1:
            assert trace.pair_start <= token.start <= token.end <= len(trace.text)
        elif segment == 0:
            assert 0 <= token.start <= token.end <= len("The plot")
    assert [w.text for w in trace.words] == ["The", "plot", "a", "film"]
    assert all(w.tokens for w in trace.words)


class SlowWords(transformers.PreTrainedTokenizer):  # type: ignore[misc]
    """A tokenizer in Python, without offsets: words and WordPiece-like endings."""

    model_input_names = ["input_ids", "attention_mask"]

    def __init__(self, **keywords: Any) -> None:
        self.known: dict[str, int] = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
        super().__init__(
            pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>", **keywords
        )

    @property
    def vocab_size(self) -> int:
        return 200

    def get_vocab(self) -> dict[str, int]:
        return dict(self.known)

    def _tokenize(self, text: str, **keywords: Any) -> list[str]:
        out = []
        for word in text.lower().split():
            out += [word[:4], "##" + word[4:]] if len(word) > 4 else [word]
        return out

    def _convert_token_to_id(self, token: str) -> int:
        if len(self.known) >= 200:
            return 3
        return self.known.setdefault(token, len(self.known))

    def _convert_id_to_token(self, index: int) -> str:
        return {i: t for t, i in self.known.items()}.get(index, "<unk>")

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        return [1, *token_ids_0, 2, *([*token_ids_1, 2] if token_ids_1 else [])]

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: Any = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        if already_has_special_tokens:
            return [int(i in (0, 1, 2)) for i in token_ids_0]
        second = [] if token_ids_1 is None else [0] * len(token_ids_1) + [1]
        return [1, *([0] * len(token_ids_0)), 1, *second]


def test_a_tokenizer_without_offsets_is_aligned(bert: HuggingFaceModel) -> None:
    loaded = ModelStore(device="cpu").get((bert.model, SlowWords()), CLASSIFY)
    trace = loaded.trace("The Thin plot moved the film")
    shown = [(t.text, trace.text[t.start : t.end]) for t in trace.tokens if not t.special]
    assert shown == [
        ("the", "The"), ("thin", "Thin"), ("plot", "plot"), ("move", "move"), ("d", "d"),
        ("the", "the"), ("film", "film"),
    ]  # fmt: skip
    assert [w.text for w in trace.words] == ["The", "Thin", "plot", "moved", "the", "film"]
    both = loaded.trace("the plot", "the film")
    assert [both.text[t.start : t.end] for t in both.tokens if not t.special] == [
        "the", "plot", "the", "film",
    ]  # fmt: skip
    assert [w.start for w in both.words] == [0, 4, 9, 13]


# -- hostile and long texts -----------------------------------------------------------------------


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_read(models: dict[str, HuggingFaceModel], name: str, text: str) -> None:
    if name == "bert" and not text.strip("\ufeff\u200b\u00ad\u2028\x85"):
        # BERT's normaliser removes all of these.
        with pytest.raises(FieldError, match="Nothing is left of the text"):
            models[name].trace(text)
        return
    trace = models[name].trace(text)
    assert len(trace.text) == len(text)
    trace.text.encode("utf-8")
    assert len(trace.tokens) == trace.layers[0].queries
    for token in trace.tokens:
        token.text.encode("utf-8")
        assert 0 <= token.start <= token.end <= len(text)
        assert token.word is None or token.word < len(trace.words)
    if any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        assert any("lone surrogate" in said for said in trace.warnings)


@settings(max_examples=25, deadline=None)
@given(text=st.text(max_size=40), pair=st.none() | st.text(max_size=20))
def test_any_text_gives_tokens_with_places(
    models: dict[str, HuggingFaceModel], text: str, pair: str | None
) -> None:
    for name in ("bert", "llama", "gpt2"):
        try:
            trace = models[name].trace(text, pair)
        except FieldError:
            continue
        used = sorted(index for word in trace.words for index in word.tokens)
        assert used == [i for i, t in enumerate(trace.tokens) if t.word is not None]
        for word in trace.words:
            assert trace.text[word.start : word.end] == word.text


@pytest.mark.parametrize("text", ["", "  ", "\x00", "\n\t"])
def test_an_empty_text_is_a_fields_error(bert: HuggingFaceModel, text: str) -> None:
    with pytest.raises(FieldError) as caught:
        bert.trace(text)
    assert "text" in caught.value.message


@pytest.mark.parametrize("text", [None, 7, ["a", "b"], b"bytes"])
def test_a_text_that_is_none_is_a_fields_error(bert: HuggingFaceModel, text: Any) -> None:
    with pytest.raises(FieldError, match="A text is a string"):
        bert.trace(text)


def test_gpt2_reads_nothing_of_an_empty_text(models: dict[str, HuggingFaceModel]) -> None:
    with pytest.raises(FieldError, match="The text is empty"):
        models["gpt2"].trace("")


@pytest.mark.parametrize(
    ("name", "limit"), [("bert", 64), ("roberta", 64), ("gpt2", 128), ("llama", 256)]
)
def test_a_text_that_is_too_long_is_cut_with_its_numbers(
    models: dict[str, HuggingFaceModel], name: str, limit: int
) -> None:
    loaded = models[name]
    assert loaded.tokenizer.model_max_length > 10**9
    whole = len(loaded.tokenizer("film " * 300, verbose=False)["input_ids"])
    trace = loaded.trace("film " * 300)
    assert len(trace.tokens) == limit
    expected = loaded.tokenizer("film " * 300, truncation=True, max_length=limit)["input_ids"]
    assert list(trace.input_ids) == expected
    assert trace.warnings == (
        f"The text has {whole:,} tokens; {loaded.name} reads {limit}. "
        f"The last {whole - limit:,} were left out.",
    )
    assert loaded.warnings == trace.warnings
    loaded.trace("film")
    assert loaded.warnings == ()


@pytest.mark.parametrize("words", [*range(125, 132), 5_000])
def test_the_shortcut_for_long_texts_changes_nothing(
    models: dict[str, HuggingFaceModel], words: int
) -> None:
    loaded = models["bert"]
    text = " ".join(["film", "plot", "river"][i % 3] for i in range(words))
    expected = loaded.tokenizer(text, truncation=True, max_length=64)["input_ids"]
    trace = loaded.trace(text)
    assert list(trace.input_ids) == expected
    assert f"The text has {words + 2:,} tokens" in trace.warnings[0]


def test_a_model_that_states_no_limit_gets_one(
    models: dict[str, HuggingFaceModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmkit.models.limits.UNSTATED", 16)
    loaded = models["t5"]
    monkeypatch.setattr(loaded.tokenizer, "model_max_length", 10**30)
    trace = loaded.trace("the film " * 20)
    assert len(trace.tokens) == 16
    assert "states no limit, and lmkit stops at 16" in trace.warnings[0]


def test_a_pair_is_cut_at_the_longer_text(models: dict[str, HuggingFaceModel]) -> None:
    trace = models["bert"].trace("film " * 100, "plot")
    assert len(trace.tokens) == 64
    assert trace.words[-1].text == "plot"
    assert "The two texts have 104 tokens together" in trace.warnings[0]


def test_the_tokenizers_smaller_limit_counts(bert: HuggingFaceModel) -> None:
    bert.tokenizer.model_max_length = 10
    assert len(bert.trace("film " * 20).tokens) == 10
    bert.tokenizer.truncation_side = "left"
    assert "The first 12 were left out." in bert.trace("film " * 20).warnings[0]


def test_warnings_of_all_texts_of_a_run_are_kept(bert: HuggingFaceModel) -> None:
    with doing(Work()):
        bert.trace("film " * 100)
        bert.trace("film " * 200)
        bert.trace("film")
        assert len(bert.warnings) == 2
    with doing(Work()):
        bert.trace("film")
        assert bert.warnings == ()


def test_a_tokenizer_of_another_model_is_named(
    models: dict[str, HuggingFaceModel], tmp_path: Path
) -> None:
    loaded = ModelStore(device="cpu").get((models["bert"].model, models["llama"].tokenizer))
    with pytest.raises(ModelError, match="don't belong together"):
        loaded.trace("The plot moved")


# -- work in progress -----------------------------------------------------------------------------


def test_the_run_hears_of_layers_and_gets_the_trace(bert: HuggingFaceModel) -> None:
    said: list[Progress] = []
    work = Work(said.append)
    with doing(work):
        trace = bert.trace(tiny.TEXT)
    assert work.traces == [trace]
    assert {p.label for p in said} == {"Forward pass"}
    assert [p.done for p in said] == [1, 2]
    assert {p.total for p in said} == {2}


def test_stop_is_heard_at_the_next_layer(bert: HuggingFaceModel) -> None:
    work = Work(lambda progress: work.cancel())
    with doing(work), pytest.raises(Cancelled):
        bert.trace(tiny.TEXT)
    assert work.traces == []
    assert not bert.in_use
    assert bert.trace(tiny.TEXT).attention(0, 0).shape


def test_stop_before_the_pass_runs_nothing(bert: HuggingFaceModel) -> None:
    ran = []
    bert.model.register_forward_pre_hook(lambda *_: ran.append(1))
    work = Work()
    work.cancel()
    with doing(work), pytest.raises(Cancelled):
        bert.trace(tiny.TEXT)
    assert ran == []


# -- release and recompute ------------------------------------------------------------------------


def count_passes(loaded: HuggingFaceModel) -> list[int]:
    passes: list[int] = []
    loaded.model.register_forward_pre_hook(lambda *_: passes.append(1))
    return passes


def test_a_released_trace_answers_by_running_again(bert: HuggingFaceModel) -> None:
    trace = bert.trace(tiny.TEXT)
    before, logits = trace.attention(1, 2), trace.output.logits
    held = trace.nbytes
    assert held > trace.capture.nbytes
    assert trace.release() == held
    assert (trace.nbytes, trace.released) == (0, True)
    passes = count_passes(bert)
    assert len(trace.layers) == 2
    assert len(trace.tokens) == 12
    assert trace.words[0].text == "The"
    assert repr(trace)
    assert trace.released
    assert passes == []
    assert np.array_equal(trace.attention(1, 2), before)
    assert torch.equal(trace.output.logits, logits)
    assert passes == [1]
    assert trace.nbytes == held


def test_many_threads_recompute_once(bert: HuggingFaceModel) -> None:
    trace = bert.trace(tiny.TEXT)
    expected = trace.attention(0, 0)
    passes = count_passes(bert)
    for _ in range(3):
        trace.release()
        passes.clear()
        start = threading.Barrier(4)
        got: list[Any] = []

        def ask(start: threading.Barrier = start, got: list[Any] = got) -> None:
            start.wait()
            got.append(trace.attention(0, 0))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 4
        assert all(np.array_equal(one, expected) for one in got)
        assert passes == [1]


def test_a_recomputed_pass_is_not_a_new_trace_of_the_run(bert: HuggingFaceModel) -> None:
    trace = bert.trace(tiny.TEXT)
    trace.release()
    work = Work()
    with doing(work):
        trace.attention(0, 0)
    assert work.traces == []


# -- failures -------------------------------------------------------------------------------------


def test_a_full_device_is_one_sentence_and_the_model_stays(bert: HuggingFaceModel) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hook = bert.model.register_forward_pre_hook(full)
    with pytest.raises(DeviceMemoryError) as caught:
        bert.trace(tiny.TEXT)
    assert "needs 2.1 GB for this pass" in caught.value.message
    assert "shorter text" in caught.value.hint
    hook.remove()
    assert bert.loaded
    assert bert.trace(tiny.TEXT).layers


def test_a_model_that_fails_is_one_sentence(bert: HuggingFaceModel) -> None:
    def fail(*_: Any) -> None:
        raise IndexError("index out of range in self\nmore")

    bert.model.register_forward_pre_hook(fail)
    with pytest.raises(ModelError) as caught:
        bert.trace(tiny.TEXT)
    assert caught.value.message.endswith("failed on this text: index out of range in self")
    assert "Traceback" in caught.value.details


# -- the user's own object ------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_an_object_is_left_as_it_was(tmp_path: Path, implementation: str) -> None:
    path = tiny.tiny_bert(tmp_path / "m")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        path, attn_implementation=implementation, dtype=torch.bfloat16
    ).train()
    model.bert.encoder.layer[1].eval()
    before = {name: module.training for name, module in model.named_modules()}
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    loaded = ModelStore(device="cpu").get((model, tokenizer), CLASSIFY)
    first, second = loaded.trace(tiny.TEXT), loaded.trace(tiny.TEXT)
    # Dropout off in the pass, and back afterwards.
    assert np.array_equal(first.attention(0, 0), second.attention(0, 0))
    assert {name: module.training for name, module in model.named_modules()} == before
    assert model.config._attn_implementation == implementation
    assert model.dtype == torch.bfloat16
    assert (loaded.name, loaded.dtype) == ("BertForSequenceClassification", "bfloat16")
    assert all(p.grad is None for p in model.parameters())
    assert not model._forward_hooks
    assert not model._forward_pre_hooks
