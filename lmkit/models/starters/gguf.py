"""Turn the GGUF of the chat model into a plain folder of safetensors, once.

transformers reads a GGUF by dequantising it, which takes some 15 s at each load, and refuses to
save what it read. The folder written here is float32: dequantised Q4_1 weights are exact in
float32 (largest difference of a logit 0.0) but off by 0.32 in bfloat16 and 0.04 in float16, and
loading takes 0.05 s in each, since safetensors maps the file. The price is 538 MB of disk
instead of 269 MB.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from lmkit.errors import StarterError

__all__ = ["convert"]


def convert(file: Path, out: Path) -> None:
    """Write the model in ``file`` as a Hugging Face folder into the existing folder ``out``.

    Config, generation config, tokenizer and chat template come along.

    Raises:
        StarterError: The package ``gguf`` is missing, or the file cannot be read.
    """
    if importlib.util.find_spec("gguf") is None:
        raise StarterError(
            "The package gguf, which reads the chat model's file, is not installed.",
            hint="Run `pip install gguf`.",
        )
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(
            file.parent, gguf_file=file.name, local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise StarterError(
            f"The chat model's file {file.name} could not be converted.", details=repr(error)
        ) from error
    state = model.state_dict()
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    save_file(
        {name: value.contiguous() for name, value in state.items()},
        out / "model.safetensors",
        metadata={"format": "pt"},
    )
    config = model.config.to_dict()
    # It would say that the weights are still quantised and point to a file that is not there.
    config.pop("quantization_config", None)
    config.pop("_name_or_path", None)
    config |= {"architectures": [type(model).__name__], "dtype": "float32"}
    _write_json(out / "config.json", config)
    model.generation_config.save_pretrained(out)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(out)
    saved = out / "tokenizer_config.json"
    settings = json.loads(saved.read_text("utf-8"))
    for key in ("is_local", "local_files_only"):
        settings.pop(key, None)
    _write_json(saved, settings)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")
