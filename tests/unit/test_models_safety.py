"""What a folder may hold, decided before anything of it runs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lmkit.errors import (
    LmkitError,
    ModelError,
    ModelNotFoundError,
    RemoteCodeError,
    UnsafeCheckpointError,
)
from lmkit.models.safety import check_code, inspect_folder, read_json


def folder(path: Path, config: dict[str, Any] | None = None, *, weights: bool = True) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config or {"model_type": "bert"}))
    if weights:
        save_file(
            {"a": np.zeros((4, 8), np.float32), "b": np.zeros(16, np.float16)},
            path / "model.safetensors",
        )
    return path


def fails(path: Path, kind: type[LmkitError], **options: bool) -> LmkitError:
    with pytest.raises(kind) as caught:
        inspect_folder(path, "some/model", **options)
    error = caught.value
    assert error.message.endswith(".")
    assert "\n" not in error.message
    assert error.hint
    return error


def test_bytes_are_counted_by_type(tmp_path: Path) -> None:
    checkpoint = inspect_folder(folder(tmp_path / "m"), "m")
    assert checkpoint.stored == {"F32": 128, "F16": 32}
    assert checkpoint.nbytes() == 160
    assert checkpoint.nbytes("float32") == 128 + 64
    assert checkpoint.nbytes("float16") == 64 + 32
    assert not checkpoint.pickle


def test_a_pickle_is_refused_with_the_way_to_allow_it(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", weights=False)
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    (path / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    error = fails(path, UnsafeCheckpointError)
    assert "pytorch_model.bin" in error.message
    assert "allow_pickle=True" in error.hint
    assert "--allow-pickle" in error.hint
    assert not marker.exists()
    assert inspect_folder(path, "m", allow_pickle=True).pickle


def test_safetensors_are_preferred_to_a_pickle_beside_them(tmp_path: Path) -> None:
    path = folder(tmp_path / "m")
    (path / "pytorch_model.bin").write_bytes(b"x")
    assert not inspect_folder(path, "m", allow_pickle=True).pickle


@pytest.mark.parametrize("shard", ["evil.bin", "../evil.safetensors", "/elsewhere/x.safetensors"])
def test_an_index_that_misleads_is_refused(tmp_path: Path, shard: str) -> None:
    path = folder(tmp_path / "m", weights=False)
    (path / "evil.bin").write_bytes(b"x")
    index = {"weight_map": {"a": shard}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "mislead" in fails(path, UnsafeCheckpointError, allow_pickle=True).hint


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", weights=False)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00002.safetensors" in fails(path, ModelNotFoundError).message


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data + b"extra",
        lambda data: b"",
        lambda data: b"\xff" * 64,
        lambda data: (10).to_bytes(8, "little") + b"[[[[[[[[[[" + data,
        lambda data: (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_damaged_weights_are_named_before_loading(tmp_path: Path, damage: Any) -> None:
    path = folder(tmp_path / "m")
    file = path / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    error = fails(path, ModelError)
    assert "damaged" in error.message
    assert "model.safetensors" in error.message


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("adapter_config.json", "PEFT adapter"),
        ("model.gguf", "GGUF"),
        ("other.txt", "no config.json"),
    ],
)
def test_a_folder_that_is_no_model_says_what_it_is(tmp_path: Path, file: str, says: str) -> None:
    (tmp_path / file).write_text("{}")
    assert says in fails(tmp_path, ModelError).message


def test_weights_of_another_framework(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", weights=False)
    assert "model.safetensors is missing" in fails(path, ModelNotFoundError).message
    (path / "tf_model.h5").write_bytes(b"x")
    assert "tf_model.h5" in fails(path, ModelError).message


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", "[" * 100_000])
def test_a_broken_config_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ModelError) as caught:
        read_json(path, "some/model")
    assert "config.json of some/model" in caught.value.message


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "own", "auto_map": {"AutoModel": "modeling.Own"}},
        {"auto_map": {"AutoModel": "modeling.Own"}},
        {"model_type": ["bert"], "auto_map": {"AutoModel": "modeling.Own"}},
        {"model_type": "bert", "attn_implementation": "someone/kernel"},
        {"model_type": "bert", "_attn_implementation": {"": "someone/kernel"}},
    ],
)
def test_code_of_its_own_needs_the_users_word(tmp_path: Path, config: dict[str, Any]) -> None:
    path = folder(tmp_path / "m", config)
    error = fails(path, RemoteCodeError)
    assert "some/model" in error.message
    assert "trust_remote_code=True" in error.hint
    assert inspect_folder(path, "m", trust_remote_code=True).config == config


def test_a_known_architecture_may_keep_its_auto_map() -> None:
    check_code({"model_type": "llama", "auto_map": {"AutoModel": "modeling.Own"}}, "m")


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    path = folder(tmp_path / "m")
    first = inspect_folder(path, "m").fingerprint
    assert inspect_folder(path, "m").fingerprint == first
    save_file({"a": np.ones(3, np.float32)}, path / "model.safetensors")
    assert inspect_folder(path, "m").fingerprint != first
