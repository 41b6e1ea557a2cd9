"""What a model's folder holds, decided before anything of it is run or unpickled.

Three things in a folder can run code: a pickle (``pytorch_model.bin``), Python files named by
``auto_map``, and an attention kernel named in the configuration. Each needs the user's word.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmkit.errors import ModelError, ModelNotFoundError, RemoteCodeError, UnsafeCheckpointError

__all__ = [
    "Checkpoint",
    "check_code",
    "fingerprint",
    "has_vocabulary",
    "inspect_folder",
    "read_json",
]

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PICKLES = ("pytorch_model.bin.index.json", "pytorch_model.bin")
_VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "source.spm",
    "bpe.codes",
    "tekken.json",
    "vocab.bpe",
    "tokenizer.tiktoken",
)
_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2,
    "I16": 2, "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
_MAX_HEADER = 100_000_000


@dataclass(frozen=True)
class Checkpoint:
    """A folder that was looked through and may be loaded.

    Attributes:
        name: The model, as the user named it.
        folder: Where its files are.
        config: Its ``config.json``.
        pickle: The weights are a pickle, and the user allowed it.
        stored: Bytes of the weights by their stored type (``F32``, ``BF16``...); a pickle counts
            as ``F32``.
        fingerprint: Tells whether the files are still those that were loaded.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    pickle: bool
    stored: Mapping[str, int]
    fingerprint: str

    def nbytes(self, dtype: str | None = None) -> int:
        """Bytes of the weights in memory, as stored or with floats turned into ``dtype``."""
        width = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}.get(dtype or "", 0)
        return sum(
            count // _BYTES[kind] * width if width and kind in _FLOATS else count
            for kind, count in self.stored.items()
        )


def inspect_folder(
    folder: Path, name: str, *, allow_pickle: bool = False, trust_remote_code: bool = False
) -> Checkpoint:
    """Look through a model's folder without running anything of it.

    Raises:
        ModelNotFoundError: no configuration or no weights in it.
        UnsafeCheckpointError: its weights are a pickle and ``allow_pickle`` is False.
        RemoteCodeError: it needs code of its own and ``trust_remote_code`` is False.
        ModelError: a file is damaged, or its weights are of a format that is not read.
    """
    if not (folder / "config.json").is_file():
        raise _without_config(folder, name)
    config = read_json(folder / "config.json", name)
    if not trust_remote_code:
        check_code(config, name)
    files = _safetensors(folder, name)
    if files:
        stored: dict[str, int] = {}
        for file in files:
            for kind, count in _header(file, name).items():
                stored[kind] = stored.get(kind, 0) + count
        return Checkpoint(name, folder, config, False, stored, fingerprint(folder, files))
    pickles = _pickles(folder, name)
    if not pickles:
        raise _without_weights(folder, name)
    if not allow_pickle:
        raise UnsafeCheckpointError(
            f"{name} comes as a pickle ({pickles[0].name}), and reading a pickle can run code.",
            hint="If you trust its author, say allow_pickle=True (on the command line "
            "--allow-pickle); better, ask for a copy in safetensors.",
        )
    size = sum(file.stat().st_size for file in pickles)
    return Checkpoint(name, folder, config, True, {"F32": size}, fingerprint(folder, pickles))


def check_code(config: Mapping[str, Any], name: str) -> None:
    """Refuse a configuration that asks for code that transformers does not bring itself.

    Raises:
        RemoteCodeError: it does.
    """
    for key in ("attn_implementation", "_attn_implementation", "experts_implementation"):
        kernel = config.get(key)
        named = list(kernel.values()) if isinstance(kernel, dict) else [kernel]
        for value in named:
            if isinstance(value, str) and "/" in value:
                raise _code(name, f"a compute kernel from the hub ({value[:80]})")
    if not config.get("auto_map"):
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = config.get("model_type")
    # A model that was added to transformers later than to the hub keeps its auto_map.
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise _code(name, "Python files of its own")


def has_vocabulary(folder: Path) -> bool:
    """Whether a folder holds the vocabulary of a tokenizer.

    Without one transformers makes up a tokenizer of five tokens and says nothing.
    """
    return any((folder / file).is_file() for file in _VOCABULARIES)


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Read a JSON object of a model.

    Raises:
        ModelError: it is not one.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"The file {path.name} of {name} is not valid JSON.",
            hint="Fetch the model again.",
            details=f"{path}: {error}",
        ) from error
    if not isinstance(data, dict):
        raise ModelError(f"The file {path.name} of {name} holds no JSON object.")
    return data


def fingerprint(folder: Path, weights: list[Path]) -> str:
    """SHA-256 over the small files' bytes and the weights' names, sizes and times, in hex.

    The weights themselves are not read: the answer is to "is this still what I loaded?", and
    hashing gigabytes at each load would cost more than loading them.
    """
    digest = hashlib.sha256()
    small = ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "merges.txt"]
    for file in small:
        path = folder / file
        if path.is_file():
            digest.update(file.encode() + b"\0" + path.read_bytes())
    for path in sorted(weights):
        stat = path.stat()
        digest.update(f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _code(name: str, what: str) -> RemoteCodeError:
    return RemoteCodeError(
        f"{name} needs {what}, which would run in this kernel.",
        hint="Read that code first; if you trust it, say trust_remote_code=True for this model "
        "(on the command line --trust-remote-code).",
    )


def _without_config(folder: Path, name: str) -> ModelError:
    if (folder / "adapter_config.json").is_file():
        return ModelError(
            f"{name} holds a PEFT adapter, not a whole model.",
            hint="Load its base model and the adapter with peft, and give lmkit the object.",
        )
    if next(folder.glob("*.gguf"), None) is not None:
        return ModelError(
            f"{name} holds a GGUF file, not a Hugging Face model.",
            hint="Load it with AutoModel.from_pretrained(folder, gguf_file=...) and give lmkit "
            "the model and tokenizer.",
        )
    return ModelNotFoundError(
        f"The folder {name} holds no config.json, so it is not a Hugging Face model.",
        hint="Give the folder that model.save_pretrained(...) wrote.",
    )


def _without_weights(folder: Path, name: str) -> ModelError:
    others = [*folder.glob("*.h5"), *folder.glob("*.msgpack"), *folder.glob("*.onnx")]
    if others:
        return ModelError(
            f"{name} has weights for another framework only ({others[0].name}).",
            hint="lmkit runs PyTorch models: fetch or save it as safetensors.",
        )
    return ModelNotFoundError(
        f"{name} has a config.json but no weights: {_SINGLE} is missing.",
        hint="Fetch the model again, or save it with model.save_pretrained(...).",
    )


def _listed(index: Path, name: str) -> list[str]:
    table = read_json(index, name).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise ModelError(f"The file {index.name} of {name} lists no weights.")
    files = sorted(set(table.values()))
    for file in files:
        if Path(file).name != file or file in (".", ".."):
            raise UnsafeCheckpointError(
                f"The file {index.name} of {name} points outside its folder ({file[:80]!r}).",
                hint="Don't use this model: its files were made to mislead.",
            )
        if not (index.parent / file).is_file():
            raise ModelNotFoundError(
                f"{name} is incomplete: {file} is missing.", hint="Fetch the model again."
            )
    return files


def _safetensors(folder: Path, name: str) -> list[Path]:
    # transformers prefers the single file as well where both are there.
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if not (folder / _INDEX).is_file():
        return []
    files = _listed(folder / _INDEX, name)
    for file in files:
        # transformers would unpickle any other file that the index names.
        if not file.endswith(".safetensors"):
            raise UnsafeCheckpointError(
                f"The file {_INDEX} of {name} lists {file[:80]!r}, which is not a safetensors "
                "file.",
                hint="Don't use this model: its files were made to mislead.",
            )
    return [folder / file for file in files]


def _pickles(folder: Path, name: str) -> list[Path]:
    index, single = (folder / file for file in _PICKLES)
    if single.is_file():
        return [single]
    return [folder / file for file in _listed(index, name)] if index.is_file() else []


def _header(path: Path, name: str) -> dict[str, int]:
    """Bytes by type, from a safetensors header; the file must be as long as it says."""
    size = path.stat().st_size
    damaged = ModelError(
        f"The weights of {name} are damaged: {path.name} is not a whole safetensors file.",
        hint="Fetch the model again.",
        details=f"{path}: {size} bytes",
    )
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= min(size - 8, _MAX_HEADER):
            raise damaged
        try:
            header = json.loads(file.read(length))
            stored: dict[str, int] = {}
            end = 0
            for key, entry in header.items():
                if key == "__metadata__":
                    continue
                first, last = (int(number) for number in entry["data_offsets"])
                kind = str(entry["dtype"])
                kind = kind if kind in _BYTES else "U8"
                stored[kind] = stored.get(kind, 0) + last - first
                end = max(end, last)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise damaged from error
    if size != 8 + length + end:
        raise damaged
    return stored
