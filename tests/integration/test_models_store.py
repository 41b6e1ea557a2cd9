"""Loading once, listing, unloading, and every failure as one sentence."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import threading
import types
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from lmkit.api import LoadedModel, Task, Text, hookimpl
from lmkit.errors import (
    DeviceError,
    DeviceMemoryError,
    LmkitError,
    MissingHeadWarning,
    ModelError,
    ModelNotFoundError,
    RemoteCodeError,
    UnsafeCheckpointError,
    WrongModelKindError,
)
from lmkit.host import PluginHost
from lmkit.models import HuggingFaceModel, ModelStore, loading
from lmkit.models import store as store_module
from lmkit.protocol.messages import Progress
from lmkit.runner import run_task
from lmkit.work import Work, doing
from tests import tiny

CLASSIFY = "AutoModelForSequenceClassification"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders to copy from: making a model costs more than copying it."""
    root = tmp_path_factory.mktemp("models")
    tiny.tiny_bert(root / "bert")
    tiny.tiny_bert(root / "bare", head="")
    tiny.tiny_bert(root / "tagger", 5, head="TokenClassification")
    tiny.tiny_bert(root / "masked", head="MaskedLM")
    tiny.tiny_llama(root / "llama")
    tiny.tiny_t5(root / "t5")
    return root


@pytest.fixture
def bert(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "bert", tmp_path / "bert"))


@pytest.fixture
def store() -> ModelStore:
    return ModelStore(device="cpu")


def get(store: ModelStore, *args: Any, **options: Any) -> HuggingFaceModel:
    got = store.get(*args, **options)
    assert isinstance(got, HuggingFaceModel)
    return got


def refused(store: ModelStore, kind: type[LmkitError], *args: Any, **options: Any) -> LmkitError:
    """The error of a load that must fail: one sentence, a hint, and nothing left behind."""
    with pytest.raises(kind) as caught:
        store.get(*args, **options)
    error = caught.value
    assert "\n" not in error.message
    assert error.hint
    assert store.list() == ()
    return error


def edit(path: Path, **changes: Any) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in (config | changes).items() if v is not None}))


# -- loading once ---------------------------------------------------------------------------------


def test_the_same_request_gives_the_same_model(store: ModelStore, bert: Path) -> None:
    first = get(store, str(bert), CLASSIFY)
    assert get(store, bert, CLASSIFY) is first
    assert get(store, str(bert) + "/", CLASSIFY) is first
    assert get(store, first, CLASSIFY) is first
    assert get(store, first) is first
    assert get(store, bert, CLASSIFY, dtype="bfloat16") is not first
    assert [info.dtype for info in store.list()] == ["bfloat16", "float32"]
    assert store.list()[1].bytes == first.nbytes > first.parameters * 4 - 1
    assert store.list()[0].bytes < first.nbytes
    assert not any(info.pinned for info in store.list())


def test_another_head_of_the_same_files_is_another_model(store: ModelStore, bert: Path) -> None:
    bare = get(store, bert)
    full = get(store, bare, CLASSIFY)
    assert (bare.facts.kind, full.facts.kind) == ("BertModel", "BertForSequenceClassification")
    assert get(store, bert, CLASSIFY) is full
    assert bare.labels == ()
    assert full.labels == ("negative", "positive")


def test_many_threads_load_once(
    store: ModelStore, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    real = store_module.load_model

    def counted(*args: Any, **options: Any) -> Any:
        loads.append(args)
        return real(*args, **options)

    monkeypatch.setattr(store_module, "load_model", counted)
    start, got = threading.Barrier(4), []

    def ask() -> None:
        start.wait()
        got.append(store.get(bert, CLASSIFY))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert len(got) == 4
    assert len({id(one) for one in got}) == 1


def test_a_folder_written_again_is_another_model(store: ModelStore, bert: Path) -> None:
    first = get(store, bert, CLASSIFY)
    tiny.tiny_bert(bert, 3)
    second = get(store, bert, CLASSIFY)
    assert second is not first
    assert len(second.labels) == 3
    assert len(first.labels) == 2


def test_loading_is_reported_and_can_be_stopped(store: ModelStore, bert: Path) -> None:
    said: list[Progress] = []
    with doing(Work(said.append)):
        store.get(bert, CLASSIFY)
    assert said[0].label == f"Loading {bert}"


def test_transformers_keeps_its_settings_and_says_nothing(
    store: ModelStore, bert: Path, made: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging as noise

    verbosity, bars = noise.get_verbosity(), noise.is_progress_bar_enabled()
    level = logging.getLogger().level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store.get(made / "bare", CLASSIFY, untrained=True)
    assert (noise.get_verbosity(), noise.is_progress_bar_enabled()) == (verbosity, bars)
    assert logging.getLogger().level == level
    seen = capfd.readouterr()
    assert seen.out == ""
    assert seen.err == ""


# -- devices --------------------------------------------------------------------------------------


def test_the_device_is_chosen_by_name(store: ModelStore, bert: Path) -> None:
    assert store.device == "cpu"
    assert store.choose_device("CPU") == "cpu"
    with pytest.raises(DeviceError, match="There is no cuda:7 in this kernel"):
        store.choose_device("cuda:7")
    assert store.device == "cpu"
    refused(store, DeviceError, bert, device="cuda:7")
    assert store.budget_bytes > 0
    assert ModelStore(123, device="cpu").budget_bytes == 123


# -- unloading ------------------------------------------------------------------------------------


def test_unloading_frees_the_parameters(store: ModelStore, bert: Path) -> None:
    loaded = get(store, bert, CLASSIFY)
    trace = loaded.trace(tiny.TEXT)
    attention = trace.attention(0, 0)
    parameters = [weakref.ref(p) for p in loaded.model.parameters()]
    size = loaded.nbytes
    assert store.unload(loaded.name) == size > 0
    assert [ref() for ref in parameters if ref() is not None] == []
    assert store.list() == ()
    assert not loaded.loaded
    # Names and facts stay, and so do the numbers that a trace holds.
    assert loaded.labels == ("negative", "positive")
    assert (loaded.device, loaded.nbytes) == ("cpu", size)
    assert (trace.attention(0, 0) == attention).all()
    assert store.list() == ()


def test_an_unloaded_model_loads_itself_again(store: ModelStore, bert: Path) -> None:
    loaded = get(store, bert, CLASSIFY)
    trace = loaded.trace(tiny.TEXT)
    attention = trace.attention(1, 1)
    trace.release()
    store.clear()
    assert (trace.attention(1, 1) == attention).all()
    assert loaded.loaded
    assert [info.name for info in store.list()] == [str(bert)]
    store.clear()
    assert get(store, bert, CLASSIFY) is loaded
    assert loaded.warnings == ()


def test_files_that_changed_since_are_said(store: ModelStore, bert: Path) -> None:
    loaded = get(store, bert, CLASSIFY)
    store.clear()
    tiny.tiny_bert(bert)
    assert loaded.model is not None
    assert "changed since they were first loaded" in loaded.warnings[0]


def test_files_that_are_gone_are_one_sentence(store: ModelStore, bert: Path) -> None:
    loaded = get(store, bert, CLASSIFY)
    trace = loaded.trace(tiny.TEXT)
    trace.release()
    store.clear()
    shutil.rmtree(bert)
    with pytest.raises(ModelNotFoundError):
        trace.attention(0, 0)


def test_what_is_held_elsewhere_is_not_counted_as_freed(store: ModelStore, bert: Path) -> None:
    loaded = get(store, bert, CLASSIFY)
    module = loaded.model
    assert store.unload(str(bert)) == 0
    del module
    gc.collect()


def test_unloading_what_is_not_there(store: ModelStore, bert: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="No model 'x' is loaded"):
        store.unload("x")
    store.get(bert)
    with pytest.raises(ModelNotFoundError) as caught:
        store.unload("x")
    assert str(bert) in caught.value.hint


def test_a_model_in_use_stays(store: ModelStore, bert: Path) -> None:
    loaded = get(store, bert, CLASSIFY)
    with loaded.hold():
        assert store.list()[0].pinned
        with pytest.raises(ModelError, match="in use by a run"):
            store.unload(str(bert))
        assert store.clear() == 0
        assert loaded.loaded
    assert store.clear() > 0


def test_a_run_of_a_task_holds_its_model(store: ModelStore, bert: Path) -> None:
    class Clearing(Task):
        name = "clearing"

        def run(self, model: LoadedModel) -> Text:
            assert isinstance(model, HuggingFaceModel)
            return Text(text=f"{store.clear()} {model.loaded}")

    module = types.SimpleNamespace(
        lmkit_register_tasks=hookimpl(lambda register: register(Clearing))
    )
    host = PluginHost(entry_points=list)
    host.register(module, "clearing")
    outcome = run_task(host, host.task("clearing"), store.get(bert), {}, Work())
    assert outcome.results == (Text(text="0 True"),)
    assert store.clear() > 0


def test_a_model_can_be_checked_without_loading_it(
    store: ModelStore, bert: Path, mine: tuple[Any, Any]
) -> None:
    store.check(str(bert), dtype="float16")
    store.check(mine[0], tokenizer=mine[1])
    for wrong in ({"device": "cuda:7"}, {"dtype": "int3"}):
        with pytest.raises(ModelError):
            store.check(bert, **wrong)
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    with pytest.raises(UnsafeCheckpointError):
        store.check(bert)
    assert store.list() == ()


def test_the_least_recently_used_goes_first(made: Path) -> None:
    size = get(ModelStore(device="cpu"), made / "bert", CLASSIFY).nbytes
    store = ModelStore(int(size * 2.5), device="cpu")
    one = get(store, made / "bert", CLASSIFY)
    two = get(store, made / "tagger", "AutoModelForTokenClassification")
    one.trace(tiny.TEXT)
    three = get(store, made / "masked", "AutoModelForMaskedLM")
    assert [m.loaded for m in (one, two, three)] == [True, False, True]
    with one.hold():
        two.trace(tiny.TEXT)
        assert [m.loaded for m in (one, two, three)] == [True, True, False]
    assert {info.name for info in store.list()} == {one.name, two.name}


def test_a_model_larger_than_the_budget_is_loaded_alone(made: Path) -> None:
    store = ModelStore(1, device="cpu")
    one = get(store, made / "bert", CLASSIFY)
    two = get(store, made / "tagger", "AutoModelForTokenClassification")
    assert [m.loaded for m in (one, two)] == [False, True]


def test_no_room_is_said_before_loading(
    store: ModelStore, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "free_memory", lambda device: 50_000)
    error = refused(store, DeviceMemoryError, bert, CLASSIFY)
    assert f"cpu is out of memory: {bert} needs 1" in error.message
    assert "50 kB are free" in error.message
    assert "dtype='float16'" in error.hint


def test_a_device_that_fills_up_while_loading_leaves_what_was_there(
    store: ModelStore, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = get(store, made / "bert", CLASSIFY)

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(transformers.AutoModelForTokenClassification, "from_pretrained", full)
    with pytest.raises(DeviceMemoryError, match="out of memory"):
        store.get(made / "tagger", "AutoModelForTokenClassification")
    assert [info.name for info in store.list()] == [first.name]
    assert first.trace(tiny.TEXT).layers


# -- heads ----------------------------------------------------------------------------------------


def without_weight(folder: Path, name: str) -> None:
    """Take a weight out of a checkpoint."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_head_that_is_random_in_part_is_warned_of(store: ModelStore, bert: Path) -> None:
    without_weight(bert, "classifier.bias")
    with pytest.warns(MissingHeadWarning, match="classifier.bias is random. Its labels mean"):
        store.get(bert, CLASSIFY)
    without_weight(bert, "classifier.weight")
    with pytest.raises(WrongModelKindError, match="with no trained classification head"):
        store.get(bert, CLASSIFY)


def test_a_random_head_that_may_be_trained_is_warned_of_loudly(
    store: ModelStore, made: Path
) -> None:
    with pytest.warns(MissingHeadWarning) as heard:
        loaded = store.get(made / "bare", CLASSIFY, untrained=True)
    expected = (
        f"{made / 'bare'} has no trained classification head: classifier.bias, "
        "classifier.weight are random. Its labels mean nothing until it is trained."
    )
    assert loaded.warnings == (expected,)
    assert [str(w.message) for w in heard] == [expected]
    assert heard[0].filename == __file__
    store.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loaded.model is not None
    assert loaded.warnings == (expected,)


def test_a_random_pooler_is_a_note(store: ModelStore, made: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = get(store, made / "masked")
    assert len(loaded.warnings) == 1
    assert "no trained pooler" in loaded.warnings[0]


def test_weights_that_are_missing_inside_are_loud(store: ModelStore, bert: Path) -> None:
    without_weight(bert, "bert.encoder.layer.1.attention.self.query.weight")
    with pytest.warns(MissingHeadWarning, match="1 of 41 weights of .* are not in its checkpoint"):
        store.get(bert, CLASSIFY)


@pytest.mark.parametrize(
    ("folder", "auto_class", "is_a", "needs"),
    [
        ("tagger", CLASSIFY, "labels tokens", "classifies whole texts"),
        ("bert", "AutoModelForTokenClassification", "classifies whole texts", "labels tokens"),
        ("bert", "AutoModelForCausalLM", "classifies whole texts", "continues text"),
        ("masked", "AutoModelForCausalLM", "fills in masked words", "continues text"),
        ("t5", "AutoModelForCausalLM", "turns one text into another", "continues text"),
    ],
)
def test_a_head_for_something_else_is_refused(
    store: ModelStore, made: Path, folder: str, auto_class: str, is_a: str, needs: str
) -> None:
    error = refused(store, WrongModelKindError, made / folder, auto_class)
    assert is_a in error.message
    assert f"this task needs a model that {needs}" in error.message
    assert auto_class in error.hint
    heads = {
        "bert": "SequenceClassification",
        "tagger": "TokenClassification",
        "masked": "MaskedLM",
        "t5": "Seq2SeqLM",
    }
    assert error.suited == f"AutoModelFor{heads[folder]}"


def test_an_architecture_without_such_a_head(store: ModelStore, made: Path) -> None:
    error = refused(store, WrongModelKindError, made / "llama", "AutoModelForMaskedLM")
    assert "which needs a model that fills in masked words" in error.message


def test_an_auto_class_that_does_not_exist(store: ModelStore, made: Path) -> None:
    error = refused(store, WrongModelKindError, made / "bare", "AutoModelForNothing")
    assert "no auto class 'AutoModelForNothing'" in error.message


# -- files that can't be loaded -------------------------------------------------------------------


def test_a_pickle_loads_only_when_allowed(store: ModelStore, bert: Path) -> None:
    before = get(ModelStore(device="cpu"), bert, CLASSIFY).trace(tiny.TEXT).output.logits
    from safetensors.torch import load_file

    torch.save(load_file(bert / "model.safetensors"), bert / "pytorch_model.bin")
    (bert / "model.safetensors").unlink()
    error = refused(store, UnsafeCheckpointError, bert, CLASSIFY)
    assert "allow_pickle=True" in error.hint
    allowed = get(store, bert, CLASSIFY, allow_pickle=True)
    assert torch.equal(allowed.trace(tiny.TEXT).output.logits, before)


def test_an_evil_pickle_does_not_run_even_when_allowed(
    store: ModelStore, bert: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    torch.save({"x": Evil()}, bert / "pytorch_model.bin")
    (bert / "model.safetensors").unlink()
    refused(store, ModelError, bert, CLASSIFY, allow_pickle=True)
    assert not marker.exists()


def test_code_of_its_own_runs_only_when_trusted(
    store: ModelStore, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = tmp_path / "modules"
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(modules))
    monkeypatch.syspath_prepend(str(modules))
    marker = tmp_path / "ran"
    (bert / "own.py").write_text(
        f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
        "from transformers import BertConfig, BertForSequenceClassification\n"
        "class OwnConfig(BertConfig):\n    model_type = 'own-bert'\n"
        "class OwnBert(BertForSequenceClassification):\n    config_class = OwnConfig\n"
    )
    own = {"AutoConfig": "own.OwnConfig", CLASSIFY: "own.OwnBert"}
    edit(bert / "config.json", model_type="own-bert", auto_map=own, architectures=None)
    error = refused(store, RemoteCodeError, bert, CLASSIFY)
    assert str(bert) in error.message
    assert "trust_remote_code=True" in error.hint
    assert not marker.exists()
    loaded = get(store, bert, CLASSIFY, trust_remote_code=True)
    assert marker.exists()
    assert loaded.facts.kind == "OwnBert"
    assert loaded.trace(tiny.TEXT).layers


def test_a_tokenizer_with_code_of_its_own_is_refused(store: ModelStore, bert: Path) -> None:
    (bert / "tokenizer.json").rename(bert / "vocab.json")
    own = {"AutoTokenizer": ["own.OwnTokenizer", None]}
    edit(bert / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=own)
    assert "tokenizer" in refused(store, RemoteCodeError, bert).message


def test_a_missing_tokenizer_is_not_made_up(store: ModelStore, bert: Path) -> None:
    (bert / "tokenizer.json").unlink()
    error = refused(store, ModelError, bert, CLASSIFY)
    assert "has no tokenizer" in error.message
    assert "tokenizer=" in error.hint


def test_a_tokenizer_from_elsewhere(store: ModelStore, bert: Path, made: Path) -> None:
    (bert / "tokenizer.json").unlink()
    loaded = get(store, bert, CLASSIFY, tokenizer=made / "tagger")
    assert loaded.trace(tiny.TEXT).words[0].text == "The"
    own = loaded.tokenizer
    assert get(store, bert, CLASSIFY, tokenizer=own) is not loaded
    assert get(store, bert, CLASSIFY, tokenizer=own).tokenizer is own


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "never-heard-of"}, "does not know the architecture"),
        ({"model_type": None}, "does not know the architecture"),
        ({"hidden_size": 48}, "don't have the shapes"),
        ({"num_attention_heads": 5}, "could not be loaded"),
        ({"hidden_size": "x"}, "could not be loaded"),
    ],
)
def test_a_config_that_does_not_fit(
    store: ModelStore, bert: Path, changes: dict[str, Any], says: str
) -> None:
    edit(bert / "config.json", **changes)
    error = refused(store, ModelError, bert, CLASSIFY)
    assert says in error.message
    assert error.details or "architecture" in error.message


def test_a_damaged_tokenizer(store: ModelStore, bert: Path) -> None:
    (bert / "tokenizer.json").write_text("{")
    assert "tokenizer of" in refused(store, ModelError, bert, CLASSIFY).message


def test_a_package_that_is_missing_is_named(
    store: ModelStore, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def needs(*_: Any, **__: Any) -> None:
        raise ImportError("This model needs `kernelpack`.\nmore")

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", needs)
    error = refused(store, ModelError, bert)
    assert "needs a package that is not installed: This model needs `kernelpack`." in error.message


@pytest.mark.parametrize("dtype", ["int8", "f8", "", 7])
def test_a_dtype_that_is_none(store: ModelStore, bert: Path, dtype: Any) -> None:
    assert "float32" in refused(store, ModelError, bert, dtype=dtype).hint


@pytest.mark.parametrize("dtype", ["bf16", "bfloat16", torch.bfloat16])
def test_a_dtype_by_any_of_its_names(store: ModelStore, bert: Path, dtype: Any) -> None:
    assert get(store, bert, dtype=dtype).dtype == "bfloat16"


def test_waiting_for_another_load_can_be_stopped() -> None:
    lock, work = threading.Lock(), Work()
    lock.acquire()
    work.cancel()
    with doing(work), pytest.raises(LmkitError, match="Stopped"), loading.waiting_for(lock):
        raise AssertionError("the lock is held")


# -- objects --------------------------------------------------------------------------------------


@pytest.fixture
def mine(bert: Path) -> tuple[Any, Any]:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(bert)
    return model, transformers.AutoTokenizer.from_pretrained(bert)


def test_objects_in_all_their_forms(store: ModelStore, mine: tuple[Any, Any]) -> None:
    model, tokenizer = mine
    loaded = get(store, mine, CLASSIFY)
    assert (loaded.model, loaded.tokenizer) == (model, tokenizer)
    assert get(store, model, CLASSIFY, tokenizer=tokenizer) is loaded
    pipe = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    assert get(store, pipe, CLASSIFY) is loaded
    assert loaded.given
    (info,) = store.list()
    assert info.pinned
    assert (info.name, info.kind) == ("BertForSequenceClassification",) * 2
    assert store.clear() == 0
    assert not loaded.loaded
    with pytest.raises(ModelError, match="was given as an object"):
        loaded.trace(tiny.TEXT)
    assert get(store, mine, CLASSIFY).trace(tiny.TEXT).layers


def test_an_object_that_nobody_holds_is_freed(store: ModelStore, bert: Path) -> None:
    model = transformers.AutoModel.from_pretrained(bert)
    loaded = get(store, model)
    alive = weakref.ref(model)
    del model
    assert alive() is not None
    del loaded
    gc.collect()
    assert alive() is None
    assert store.list() == ()


def test_an_objects_tokenizer_is_found_beside_its_files(
    store: ModelStore, bert: Path, mine: tuple[Any, Any]
) -> None:
    assert get(store, mine[0], CLASSIFY).tokenizer.vocab_size == mine[1].vocab_size
    model = transformers.BertModel(transformers.BertConfig(**mine[0].config.to_dict()))
    model.config._name_or_path = "someone/never-fetched"
    with pytest.raises(ModelError) as caught:
        store.get(model)
    assert caught.value.message == "The BertModel came without its tokenizer."
    assert "lmkit.load(model, tokenizer)" in caught.value.hint


def test_objects_that_are_no_models(store: ModelStore, mine: tuple[Any, Any]) -> None:
    model, tokenizer = mine
    refused(store, WrongModelKindError, torch.nn.Linear(2, 2), tokenizer=tokenizer)
    refused(store, WrongModelKindError, 7)
    refused(store, WrongModelKindError, None)
    refused(store, ModelError, (model, tokenizer, 3))
    refused(store, ModelError, (model, "no/such/tokenizer/here"))
    refused(store, ModelError, (model, model))
    error = refused(store, WrongModelKindError, mine, "AutoModelForTokenClassification")
    assert error.message == (
        "This model is a BertForSequenceClassification, a model that classifies whole texts; "
        "this task needs a model that labels tokens."
    )
    refused(store, ModelError, mine, device="cpu")
    refused(store, ModelError, mine, dtype="float16")


def test_a_compiled_object_is_looked_through(store: ModelStore, mine: tuple[Any, Any]) -> None:
    compiled = torch.compile(mine[0])
    loaded = get(store, (compiled, mine[1]), CLASSIFY)
    assert loaded.name == "BertForSequenceClassification"
    assert loaded.labels == ("negative", "positive")
    expected = get(store, mine, CLASSIFY).trace(tiny.TEXT).attention(0, 0)
    assert abs(loaded.trace(tiny.TEXT).attention(0, 0) - expected).max() < 1e-5
