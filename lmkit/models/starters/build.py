"""Write the folder of one starter: weights, config, tokenizer files and model card."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from lmkit.errors import StarterError
from lmkit.models.starters import delta, gguf
from lmkit.models.starters.carriers import CARRIERS
from lmkit.models.starters.catalog import Starter

__all__ = ["write"]

_TOKENIZER_FILES = ("vocab.txt", "special_tokens_map.json")
_SENTENCE_FILES = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json")


def write(starter: Starter, base: Path, out: Path) -> None:
    """Fill the empty folder ``out``.

    Args:
        starter: Which one.
        base: Folder of its base's files, already verified.
        out: Where to write.

    Raises:
        StarterError: A file of the base or of the shipped weights cannot be used.
        OSError: ``out`` cannot be written.
    """
    if starter.name == "chat":
        gguf.convert(base / CARRIERS[starter.carrier].weights, out)
    elif starter.weights is None:
        _copy_weights(base / "model.safetensors", out / "model.safetensors")
        _write_config(starter, base, out)
        _write_tokenizer(base, out)
        for name in _SENTENCE_FILES:
            if (base / name).is_file():
                shutil.copyfile(base / name, out / name)
        if (base / "1_Pooling" / "config.json").is_file():
            (out / "1_Pooling").mkdir()
            shutil.copyfile(base / "1_Pooling" / "config.json", out / "1_Pooling" / "config.json")
    else:
        _write_expanded(starter, starter.weights, base, out)
        _write_config(starter, base, out)
        _write_tokenizer(base, out)
    if starter.card.is_file():
        shutil.copyfile(starter.card, out / "README.md")


def _copy_weights(source: Path, target: Path) -> None:
    """A hard link where the file system allows it: 90 MB that need not lie there twice."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _write_expanded(starter: Starter, weights: Path, base: Path, out: Path) -> None:
    from safetensors.numpy import load_file, save_file

    packed = delta.load(weights)
    if packed.base_sha256 != CARRIERS[starter.carrier].files["model.safetensors"]:
        raise StarterError(
            f"The shipped weights of {starter.reference} belong to another base.",
            hint="Install lmkit again.",
        )
    encoder = load_file(base / "model.safetensors")
    encoder.pop("embeddings.position_ids", None)
    tuned = delta.expand(packed, encoder)
    if starter.kind == "token-classification":
        encoder = {k: v for k, v in encoder.items() if not k.startswith("pooler.")}
    state = {f"bert.{name}": value for name, value in encoder.items()} | tuned
    rows = state.get("classifier.weight")
    if rows is None or rows.shape[0] != len(starter.labels):
        raise StarterError(
            f"The shipped weights of {starter.reference} do not have one output for each of its "
            f"{len(starter.labels)} labels.",
            hint="Install lmkit again.",
        )
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})


def _write_config(starter: Starter, base: Path, out: Path) -> None:
    config = _read_json(base / "config.json")
    for key in ("_name_or_path", "gradient_checkpointing", "transformers_version"):
        config.pop(key, None)
    config |= {"architectures": [starter.architecture], "dtype": "float32"}
    if starter.labels:
        config["id2label"] = {str(i): label for i, label in enumerate(starter.labels)}
        config["label2id"] = {label: i for i, label in enumerate(starter.labels)}
    if starter.kind == "classification":
        config["problem_type"] = "single_label_classification"
    _write_json(out / "config.json", config)


def _write_tokenizer(base: Path, out: Path) -> None:
    """Copied but for what the original was set to for its own use: cut and padded to 128 tokens."""
    tokenizer = _read_json(base / "tokenizer.json")
    tokenizer |= {"truncation": None, "padding": None}
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")
    settings = _read_json(base / "tokenizer_config.json")
    for key in ("name_or_path", "do_basic_tokenize", "never_split", "special_tokens_map_file"):
        settings.pop(key, None)
    _write_json(out / "tokenizer_config.json", settings | {"model_max_length": 512})
    for name in _TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, out / name)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StarterError(
            f"The file {path.name} of the base model cannot be read.", details=str(error)
        ) from error
    if not isinstance(value, dict):
        raise StarterError(f"The file {path.name} of the base model is not a table.")
    return value


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")
