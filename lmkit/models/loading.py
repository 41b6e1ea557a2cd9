"""Load a model's folder with transformers, and say in one sentence what went wrong.

One load at a time in the process: ``from_pretrained`` changes global state (the default dtype,
whether weights are initialised, the progress bars).
"""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmkit.errors import LmkitError, ModelError, RemoteCodeError, WrongModelKindError
from lmkit.models.hardware import memory_errors
from lmkit.models.heads import check_config, check_head, head_warnings, need_of, suited_class
from lmkit.models.quiet import quietly
from lmkit.models.safety import Checkpoint, check_code, has_vocabulary, read_json
from lmkit.work import current_work

__all__ = ["Loaded", "dtype_name", "load_model", "load_tokenizer", "one_at_a_time", "waiting_for"]

one_at_a_time = threading.RLock()
"""Held while transformers loads anything."""

_DTYPES = ("float32", "float16", "bfloat16", "float64")
_ALIASES = {
    "fp32": "float32",
    "f32": "float32",
    "float": "float32",
    "fp16": "float16",
    "f16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "fp64": "float64",
    "double": "float64",
}


@dataclass
class Loaded:
    """A model with what must be said of it: ``loud`` on weights that are random."""

    model: Any
    loud: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@contextmanager
def waiting_for(lock: Any) -> Iterator[None]:
    """Hold a lock; while another thread has it, the user's Stop is obeyed."""
    work = current_work()
    while not lock.acquire(timeout=0.1):
        if work is not None:
            work.check()
    try:
        yield
    finally:
        lock.release()


def dtype_name(dtype: Any) -> str | None:
    """The name of a dtype given as a string or a ``torch.dtype``; None for the stored one.

    Raises:
        ModelError: it is none that weights can have.
    """
    if dtype is None or dtype == "auto":
        return None
    name = str(dtype).removeprefix("torch.").strip().lower()
    name = _ALIASES.get(name, name)
    if name not in _DTYPES:
        raise ModelError(
            f"There is no dtype {str(dtype)[:40]!r} for weights.",
            hint=f"Choose one of {', '.join(_DTYPES)}.",
        )
    return name


def load_model(
    checkpoint: Checkpoint,
    auto_class: str,
    device: str,
    dtype: str | None,
    *,
    trust_remote_code: bool = False,
    untrained: bool = False,
) -> Loaded:
    """Load the weights onto a device, in eval mode.

    Args:
        checkpoint: A folder that was looked through.
        auto_class: Name of a transformers auto class.
        device: A name that :func:`~lmkit.models.hardware.check_device` gave.
        dtype: Name of the dtype; None keeps the stored one.
        trust_remote_code: Run the folder's own Python files.
        untrained: Its head is yet to be trained.

    Raises:
        WrongModelKindError: the auto class has no such model, or it was trained for another task.
        DeviceMemoryError: it does not fit.
        ModelError: anything else; the details hold the traceback.
    """
    name = checkpoint.name
    check_config(checkpoint.config, name, auto_class, untrained=untrained)
    import transformers

    auto = getattr(transformers, auto_class, None)
    if auto is None or not hasattr(auto, "from_pretrained"):
        raise WrongModelKindError(
            f"transformers has no auto class {auto_class!r}.",
            hint="The task's auto_class names a class such as AutoModelForSequenceClassification.",
        )
    keywords: dict[str, Any] = {
        "local_files_only": True,
        "use_safetensors": not checkpoint.pickle,
        "trust_remote_code": trust_remote_code,
        "output_loading_info": True,
        "dtype": dtype or "auto",
    }
    quantized = "quantization_config" in checkpoint.config
    if quantized:
        # Packed weights can't be moved afterwards, and their type is their own.
        keywords |= {"device_map": {"": device}, "dtype": "auto"}
    need = checkpoint.nbytes(None if quantized else dtype)
    with (
        waiting_for(one_at_a_time),
        quietly(),
        memory_errors(name, "cpu", "its weights", need),
        _explained(name, checkpoint.folder, auto_class),
    ):
        model, info = auto.from_pretrained(str(checkpoint.folder), **keywords)
    with memory_errors(name, device, "its weights", need), _explained(name, checkpoint.folder):
        model = (model if quantized else model.to(device)).eval()
    missing = {str(key) for key in info.get("missing_keys", ())}
    if not untrained:
        check_head(model, name, auto_class, missing, checkpoint.config)
    loud, notes = head_warnings(model, name, auto_class, missing, len(model.state_dict()))
    mismatched = info.get("mismatched_keys") or ()
    if mismatched:
        raise ModelError(
            f"The weights of {name} don't have the shapes that its config.json says.",
            hint="Fetch the model again, or repair its config.json.",
            details="\n".join(str(key) for key in mismatched),
        )
    return Loaded(model, loud, notes)


def load_tokenizer(folder: Path, name: str, *, trust_remote_code: bool = False) -> Any:
    """Load the tokenizer of a folder.

    Raises:
        ModelError: there is none, or it can't be read.
        RemoteCodeError: it needs Python files of its own.
    """
    settings: Mapping[str, Any] = {}
    if (folder / "tokenizer_config.json").is_file():
        settings = read_json(folder / "tokenizer_config.json", name)
    if settings.get("auto_map") and not trust_remote_code:
        _check_tokenizer_code(settings, folder, name)
    from transformers import AutoTokenizer

    if not has_vocabulary(folder) and not _needs_no_vocabulary(settings):
        raise ModelError(
            f"{name} has no tokenizer: there is no vocabulary such as tokenizer.json in it.",
            hint="Save it there with tokenizer.save_pretrained(...), or name one: "
            "tokenizer='owner/name'.",
            details=str(folder),
        )
    with waiting_for(one_at_a_time), quietly(), _explained(f"the tokenizer of {name}", folder):
        return AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust_remote_code
        )


def _needs_no_vocabulary(settings: Mapping[str, Any]) -> bool:
    """Byte and character tokenizers (ByT5, CANINE) have no file of their own."""
    import transformers

    named = settings.get("tokenizer_class")
    cls = getattr(transformers, named, None) if isinstance(named, str) else None
    return cls is not None and getattr(cls, "vocab_files_names", None) == {}


def _check_tokenizer_code(settings: Mapping[str, Any], folder: Path, name: str) -> None:
    import transformers

    named = settings.get("tokenizer_class")
    known = isinstance(named, str) and hasattr(transformers, named)
    if known or (folder / "tokenizer.json").is_file():
        return
    check_code({"auto_map": settings["auto_map"]}, f"The tokenizer of {name}")


@contextmanager
def _explained(name: str, folder: Path, auto_class: str = "") -> Iterator[None]:
    """Turn whatever transformers raises into a :class:`ModelError` with one sentence."""
    from lmkit.models.hardware import is_memory_error

    try:
        yield
    except LmkitError:
        raise
    except Exception as error:
        if is_memory_error(error):
            raise
        raise _explain(error, name, folder, auto_class) from error


def _suited(folder: Path) -> str:
    """The auto class that a checkpoint was saved for; empty where its config cannot be read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return suited_class(config) if isinstance(config, dict) else ""


def _explain(error: Exception, name: str, folder: Path, auto_class: str) -> LmkitError:
    text = str(error)
    details = f"{folder}\n" + "".join(traceback.format_exception(error))[-20_000:]
    if "trust_remote_code" in text:
        return RemoteCodeError(
            f"{name} needs Python files of its own, which would run in this kernel.",
            hint="Read them first; if you trust them, say trust_remote_code=True for this model.",
            details=details,
        )
    if text.startswith("Unrecognized configuration class"):
        return WrongModelKindError(
            f"{name} has no model for this task, which needs {need_of(auto_class)}.",
            hint=f"Give a model that {auto_class} loads.",
            details=details,
            suited=_suited(folder),
        )
    if "does not recognize this architecture" in text or text.startswith("Unrecognized model"):
        return ModelError(
            f"The installed transformers does not know the architecture of {name}.",
            hint="Update transformers, or check model_type in its config.json.",
            details=details,
        )
    if isinstance(error, ImportError):
        first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
        return ModelError(
            f"{name} needs a package that is not installed: {first[:300]}",
            hint="Install it with pip in this kernel's environment, then try again.",
            details=details,
        )
    if "size mismatch" in text or "mismatched" in text:
        return ModelError(
            f"The weights of {name} don't have the shapes that its config.json says.",
            hint="Fetch the model again, or repair its config.json.",
            details=details,
        )
    if type(error).__name__ == "SafetensorError" or "UnpicklingError" in type(error).__name__:
        return ModelError(
            f"The weights of {name} are damaged and can't be read.",
            hint="Fetch the model again.",
            details=details,
        )
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return ModelError(
        f"{name} could not be loaded: {first.strip()[:300]}",
        hint="The full error is in the details.",
        details=details,
    )
