"""The models that this kernel has loaded: each once, and no more than fit."""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lmkit.api import LoadedModel, progress
from lmkit.errors import (
    MissingHeadWarning,
    ModelError,
    ModelNotFoundError,
    WrongModelKindError,
)
from lmkit.models.hardware import (
    check_device,
    default_device,
    free_memory,
    no_memory,
    total_memory,
)
from lmkit.models.heads import check_class, check_config, suited_class, unwrapped
from lmkit.models.loaded import HuggingFaceModel, Parts, facts_of
from lmkit.models.loading import dtype_name, load_model, load_tokenizer, waiting_for
from lmkit.models.safety import Checkpoint, has_vocabulary, inspect_folder
from lmkit.models.sources import Located, locate
from lmkit.protocol.messages import ModelInfo

__all__ = ["SHARE", "ModelStore"]

SHARE = 0.6
"""Share of a device's memory that models may take when no budget is named."""


@dataclass(frozen=True)
class _Spec:
    """All that a load depends on; also the way back after unloading."""

    located: Located
    identity: str
    auto_class: str
    tokenizer: Any
    device: str
    dtype: str | None
    allow_pickle: bool
    trust_remote_code: bool
    untrained: bool = False

    @property
    def key(self) -> tuple[Any, ...]:
        """What two loads must share to be the same."""
        mine = self.tokenizer
        return (
            self.identity,
            self.auto_class,
            mine if mine is None or isinstance(mine, str) else id(mine),
            self.device,
            self.dtype,
            self.allow_pickle,
            self.trust_remote_code,
            self.untrained,
        )


class ModelStore:
    """Loads models once, lists them, and unloads the least recently used beyond a budget.

    All methods may be called from any thread. Two threads that ask for the same model get the
    same object, loaded once. A model that a run holds is never unloaded. One that was unloaded
    and is used again loads itself again, from the same files.

    Args:
        budget_bytes: Bytes of weights on each device; by default :data:`SHARE` of its memory. A
            single larger model is loaded alone if the device has room for it.
        device: Where models go that name no device; by default cuda, else mps, else cpu.
    """

    def __init__(self, budget_bytes: int | None = None, *, device: str | None = None) -> None:
        self._budget = budget_bytes
        self._device = None if device is None else check_device(device)
        self._lock = threading.RLock()
        self._loading = threading.RLock()
        self._loaded: dict[tuple[Any, ...], HuggingFaceModel] = {}
        self._handles: weakref.WeakValueDictionary[tuple[Any, ...], HuggingFaceModel] = (
            weakref.WeakValueDictionary()
        )
        self._given: weakref.WeakValueDictionary[tuple[Any, ...], HuggingFaceModel] = (
            weakref.WeakValueDictionary()
        )

    # devices and budget

    @property
    def device(self) -> str:
        """Where models go that name no device."""
        with self._lock:
            if self._device is None:
                self._device = default_device()
            return self._device

    def choose_device(self, name: str) -> str:
        """Put models on ``name`` from now on; those that are loaded stay where they are.

        Returns:
            The full name of the device.

        Raises:
            DeviceError: there is no such device.
        """
        device = check_device(name)
        with self._lock:
            self._device = device
        return device

    @property
    def budget_bytes(self) -> int:
        """Bytes of weights that may be on the chosen device; 0 without a limit."""
        return self.budget_for(self.device)

    def budget_for(self, device: str) -> int:
        """Bytes of weights that may be on a device; 0 without a limit."""
        if self._budget is not None:
            return self._budget
        return int(total_memory(device) * SHARE)

    # loading

    def get(
        self,
        source: Any,
        auto_class: str = "AutoModel",
        *,
        tokenizer: Any = None,
        device: str | None = None,
        dtype: Any = None,
        revision: str | None = None,
        allow_pickle: bool = False,
        trust_remote_code: bool = False,
        untrained: bool = False,
    ) -> LoadedModel:
        """Give a model ready for use.

        Args:
            source: ``starter:NAME``, a folder, a hub id, a model object, a (model, tokenizer)
                pair, a pipeline, or what this method returned before.
            auto_class: Name of the ``transformers`` auto class that the task needs; of several,
                joined by ``|``, the first whose head the model has, else the last that takes it.
            tokenizer: A tokenizer, or the folder or hub id of one; by default the model's own.
            device: Where to; by default :attr:`device`. Not for objects: they stay.
            dtype: Type of the weights (``float16``...); by default as they are stored.
            revision: Branch, tag or commit on the hub.
            allow_pickle: Read weights that are a pickle.
            trust_remote_code: Run Python files that come with this model.
            untrained: The head is yet to be trained: a model without one may be given it.

        Raises:
            ModelNotFoundError: there is no such model, or it is neither cached nor reachable.
            UnsafeCheckpointError: its weights are a pickle.
            RemoteCodeError: it needs Python files of its own.
            WrongModelKindError: it is not of the kind that the task needs.
            DeviceError, DeviceMemoryError: no such device, or no room on it.
            ModelError: anything else that keeps it from loading.
            Cancelled: the user pressed Stop.
        """
        if "|" in auto_class:
            classes = auto_class.split("|")
            kind = self._kind(source, revision, allow_pickle=allow_pickle, code=trust_remote_code)
            heads = [one for one in classes[:-1] if kind.endswith(one.removeprefix("AutoModel"))]
            return self._first(
                [*heads, *(one for one in reversed(classes) if one not in heads)],
                source,
                tokenizer=tokenizer,
                device=device,
                dtype=dtype,
                revision=revision,
                allow_pickle=allow_pickle,
                trust_remote_code=trust_remote_code,
                untrained=untrained,
            )
        if isinstance(source, LoadedModel):
            return self._again(source, auto_class)
        if not isinstance(source, (str, os.PathLike)):
            if device is not None or dtype is not None:
                raise ModelError(
                    "A model that is in memory already stays on its device and in its dtype.",
                    hint="Leave device and dtype out, or change it yourself with model.to(...).",
                )
            return self._object(source, auto_class, tokenizer)
        where = self.device if device is None else check_device(device)
        located, identity = self._locate(
            os.fspath(source), revision, allow_pickle=allow_pickle, code=trust_remote_code
        )
        spec = _Spec(
            located=located,
            identity=identity,
            auto_class=auto_class,
            tokenizer=os.fspath(tokenizer) if isinstance(tokenizer, os.PathLike) else tokenizer,
            device=where,
            dtype=dtype_name(dtype),
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
            # Of no account to a model that has its head: commands and tasks share those.
            untrained=untrained
            and not self._kind(
                source, revision, allow_pickle=allow_pickle, code=trust_remote_code
            ).endswith(auto_class.removeprefix("AutoModel")),
        )
        with self._lock:
            known = self._handles.get(spec.key)
        if known is not None and known.loaded:
            known.touch()
            return known
        return self._load(spec)

    def _first(self, classes: Sequence[str], source: Any, **options: Any) -> LoadedModel:
        """By the first class that takes the model; raises what the first of them said."""
        refused: WrongModelKindError | None = None
        for auto_class in classes:
            try:
                return self.get(source, auto_class, **options)
            except WrongModelKindError as error:
                refused = refused or error
        assert refused is not None
        raise refused

    def check(
        self,
        source: Any,
        *,
        tokenizer: Any = None,
        device: str | None = None,
        dtype: Any = None,
        revision: str | None = None,
        allow_pickle: bool = False,
        trust_remote_code: bool = False,
    ) -> None:
        """Find a model's files and look at them, without reading weights.

        Raises:
            ModelError: whatever :meth:`get` would raise before it reads weights.
        """
        if isinstance(source, LoadedModel):
            return
        if not isinstance(source, (str, os.PathLike)):
            self._object(source, "AutoModel", tokenizer)
            return
        if device is not None:
            check_device(device)
        dtype_name(dtype)
        self._locate(os.fspath(source), revision, allow_pickle=allow_pickle, code=trust_remote_code)

    def suited_class(
        self,
        source: Any,
        *,
        tokenizer: Any = None,
        device: str | None = None,
        dtype: Any = None,
        revision: str | None = None,
        allow_pickle: bool = False,
        trust_remote_code: bool = False,
    ) -> str:
        """Name of the auto class that loads a model with the head that it was saved with.

        ``"AutoModel"`` for models in memory, whose class is what it is.

        Raises:
            ModelError: whatever :meth:`get` would raise before it reads weights.
        """
        if isinstance(source, HuggingFaceModel):
            return source.auto_class
        if not isinstance(source, (str, os.PathLike)):
            return "AutoModel"
        name = os.fspath(source)
        located = locate(name, revision, allow_pickle=allow_pickle, code=trust_remote_code)
        checkpoint = inspect_folder(
            located.folder,
            located.name,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
        )
        return suited_class(checkpoint.config)

    # listing and unloading

    def list(self) -> tuple[ModelInfo, ...]:
        """Models in memory: those loaded here, latest first, then objects that the user gave.

        ``pinned`` marks those that the budget does not unload: objects, and models in use.
        """
        with self._lock:
            loaded = sorted(self._loaded.values(), key=lambda m: -m.last_used)
            given = [handle for handle in self._given.values() if handle.loaded]
        return tuple(
            ModelInfo(
                name=handle.name,
                kind=facts.kind,
                parameters=facts.parameters,
                bytes=facts.nbytes,
                device=facts.device,
                dtype=facts.dtype,
                pinned=handle.given or handle.in_use,
            )
            for handle in (*loaded, *given)
            for facts in (handle.facts,)
        )

    def unload(self, name: str | LoadedModel) -> int:
        """Let go of all models of a name, or of one.

        Returns:
            Bytes that were freed. What other variables still hold is not free and not counted.

        Raises:
            ModelNotFoundError: no model of this name is loaded.
            ModelError: a run is using it.
        """
        with self._lock:
            there = [*self._loaded.values(), *(h for h in self._given.values() if h.loaded)]
            chosen = [h for h in there if h is name or h.name == name]
            if not chosen:
                wanted = name.name if isinstance(name, LoadedModel) else str(name)[:120]
                names = ", ".join(sorted({h.name for h in there}))
                raise ModelNotFoundError(
                    f"No model {wanted!r} is loaded.",
                    hint=f"Loaded are: {names}." if names else "No model is loaded at all.",
                )
        busy = next((h for h in chosen if h.in_use), None)
        if busy is not None:
            raise ModelError(
                f"{busy.name} is in use by a run.", hint="Stop the run, then unload it."
            )
        return sum(self._drop(handle) for handle in chosen)

    def clear(self) -> int:
        """Let go of all models that no run is using; returns the bytes that were freed."""
        with self._lock:
            there = [*self._loaded.values(), *(h for h in self._given.values() if h.loaded)]
        return sum(self._drop(handle) for handle in there if not handle.in_use)

    # inside

    def _locate(
        self, source: str, revision: str | None, *, allow_pickle: bool, code: bool
    ) -> tuple[Located, str]:
        """Files of a model, and a name for exactly these files.

        A folder that was written again since is another model: it is looked at each time.
        """
        with self._lock:
            for (key, *_), handle in list(self._handles.items()):
                if handle.loaded and key == f"hub:{source.strip()}@{revision or ''}":
                    return Located(source.strip(), Path(), handle.revision), key
        located = locate(source, revision, allow_pickle=allow_pickle, code=code)
        if located.revision:
            return located, f"hub:{located.name}@{revision or ''}"
        folder = located.folder.resolve()
        checkpoint = inspect_folder(
            folder, located.name, allow_pickle=allow_pickle, trust_remote_code=code
        )
        return replace(located, folder=folder), f"{folder}#{checkpoint.fingerprint}"

    def _kind(self, source: Any, revision: str | None, *, allow_pickle: bool, code: bool) -> str:
        """The class that a model was saved with, or is of."""
        if isinstance(source, HuggingFaceModel):
            if not isinstance(source.spec, _Spec):
                return source.facts.kind
            folder = source.spec.located.folder
        elif isinstance(source, LoadedModel):
            return type(unwrapped(source.model)).__name__
        elif isinstance(source, (str, os.PathLike)):
            located, identity = self._locate(
                os.fspath(source), revision, allow_pickle=allow_pickle, code=code
            )
            folder = located.folder
            if folder == Path():  # on the hub, and loaded before
                with self._lock:
                    folder = next(
                        handle.spec.located.folder
                        for key, handle in self._handles.items()
                        if key[0] == identity
                    )
        else:
            pair = isinstance(source, (tuple, list)) and len(source) > 0
            model = source[0] if pair else getattr(source, "model", source)
            return type(unwrapped(model)).__name__
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            return str(config["architectures"][0])
        except (OSError, ValueError, LookupError, TypeError):
            return ""  # loading says what is wrong with it

    def _load(self, spec: _Spec, handle: HuggingFaceModel | None = None) -> HuggingFaceModel:
        with waiting_for(self._loading):
            if handle is None:
                with self._lock:
                    handle = self._handles.get(spec.key)
            if handle is not None and handle.loaded:
                handle.touch()
                return handle
            name = spec.located.name
            progress(f"Loading {name}")
            spec = self._with_files(spec)
            checkpoint = inspect_folder(
                spec.located.folder,
                name,
                allow_pickle=spec.allow_pickle,
                trust_remote_code=spec.trust_remote_code,
            )
            check_config(checkpoint.config, name, spec.auto_class, untrained=spec.untrained)
            tokenizer = self._tokenizer(spec)
            self._make_room(spec, checkpoint)
            loaded = load_model(
                checkpoint,
                spec.auto_class,
                spec.device,
                spec.dtype,
                trust_remote_code=spec.trust_remote_code,
                untrained=spec.untrained,
            )
            parts = Parts(loaded.model, tokenizer)
            said = (*loaded.loud, *loaded.notes)
            if handle is None:
                handle = self._new_handle(spec, checkpoint, parts, said)
            else:
                handle.put_back(parts, _changed(handle, checkpoint))
                loaded.loud.clear()
            with self._lock:
                self._loaded[spec.key] = handle
                self._handles[spec.key] = handle
        for message in loaded.loud:
            warnings.warn(message, MissingHeadWarning, stacklevel=_outside())
        return handle

    def _new_handle(
        self, spec: _Spec, checkpoint: Checkpoint, parts: Parts, said: tuple[str, ...]
    ) -> HuggingFaceModel:
        def reload(handle: HuggingFaceModel) -> None:
            self._load(spec, handle)

        return HuggingFaceModel(
            spec.located.name,
            spec.auto_class,
            parts,
            facts=facts_of(parts.model),
            reload=reload,
            warnings=said,
            revision=spec.located.revision,
            fingerprint=checkpoint.fingerprint,
            spec=spec,
        )

    def _with_files(self, spec: _Spec) -> _Spec:
        """The spec with a folder that is there: a hub's cache may have been emptied since."""
        located = spec.located
        if (located.folder / "config.json").is_file() and located.folder != Path():
            return spec
        found = locate(
            located.name if located.revision else str(located.folder),
            located.revision or None,
            allow_pickle=spec.allow_pickle,
            code=spec.trust_remote_code,
        )
        return replace(spec, located=replace(found, name=located.name))

    def _tokenizer(self, spec: _Spec) -> Any:
        mine = spec.tokenizer
        if mine is None:
            return load_tokenizer(
                spec.located.folder, spec.located.name, trust_remote_code=spec.trust_remote_code
            )
        return _tokenizer_of(mine) if isinstance(mine, str) else mine

    def _make_room(self, spec: _Spec, checkpoint: Checkpoint) -> None:
        """Unload idle models, least recently used first, until this one fits.

        Raises:
            DeviceMemoryError: the device has no room for it even so. Asked before loading: on
                the CPU the system would end the whole kernel.
        """
        need, device = checkpoint.nbytes(spec.dtype), spec.device
        budget = self.budget_for(device)
        while True:
            with self._lock:
                here = [h for h in self._loaded.values() if h.device == device]
                idle = sorted((h for h in here if not h.in_use), key=lambda h: h.last_used)
            over = budget > 0 and sum(h.nbytes for h in here) + need > budget
            free = free_memory(device)
            full = 0 < free < need
            if not (over or full) or not idle:
                break
            self._drop(idle[0])
        if full:
            raise no_memory(spec.located.name, device, "its weights", need, free)

    def _drop(self, handle: HuggingFaceModel) -> int:
        """Unload one model if no run holds it; returns the bytes that came free."""
        parts = handle.drop_if_idle()
        with self._lock:
            if not handle.loaded:
                for key in [k for k, h in self._loaded.items() if h is handle]:
                    del self._loaded[key]
                for key in [k for k, h in self._given.items() if h is handle]:
                    del self._given[key]
        if parts is None:
            return 0
        tensors = {
            tensor.untyped_storage().data_ptr(): (
                weakref.ref(tensor),
                tensor.untyped_storage().nbytes(),
            )
            for tensor in (*parts.model.parameters(), *parts.model.buffers())
        }
        device = handle.device
        del parts
        gc.collect()
        _empty_cache(device)
        return sum(size for alive, size in tensors.values() if alive() is None)

    def _again(self, loaded: LoadedModel, auto_class: str) -> LoadedModel:
        """A loaded model for a task that may need another head."""
        if not isinstance(loaded, HuggingFaceModel):
            return loaded
        if loaded.given or auto_class in ("AutoModel", loaded.auto_class):
            check_class(loaded.model, loaded.name, auto_class)
            return loaded
        spec = loaded.spec
        if not isinstance(spec, _Spec):
            return loaded
        other = replace(spec, auto_class=auto_class, untrained=False)
        with self._lock:
            known = self._handles.get(other.key)
        if known is not None and known.loaded:
            known.touch()
            return known
        return self._load(other)

    def _object(self, source: Any, auto_class: str, tokenizer: Any) -> HuggingFaceModel:
        model = source
        if isinstance(source, (tuple, list)):
            if len(source) != 2:
                raise ModelError(
                    f"A model in memory is given as a pair (model, tokenizer), not as "
                    f"{len(source)} things.",
                    hint="lmkit.load((model, tokenizer)) or lmkit.load(model, tokenizer).",
                )
            model, tokenizer = source[0], source[1] if tokenizer is None else tokenizer
        elif hasattr(source, "model") and hasattr(source, "tokenizer"):
            # A transformers pipeline carries both.
            model = source.model
            tokenizer = source.tokenizer if tokenizer is None else tokenizer
        name = type(unwrapped(model)).__name__
        check_class(model, name, auto_class)
        if tokenizer is None:
            tokenizer = _tokenizer_of_object(model, name)
        elif isinstance(tokenizer, (str, os.PathLike)):
            tokenizer = _tokenizer_of(os.fspath(tokenizer))
        if not callable(tokenizer) or not hasattr(tokenizer, "convert_ids_to_tokens"):
            raise ModelError(
                f"A {type(tokenizer).__name__} is not a tokenizer.",
                hint="Give what AutoTokenizer.from_pretrained(...) returned.",
            )
        key = (id(model), id(tokenizer), auto_class)
        with self._lock:
            known = self._given.get(key)
            if known is not None and known.loaded:
                return known
            handle = HuggingFaceModel(name, auto_class, Parts(model, tokenizer))
            self._given[key] = handle
            return handle


def _outside() -> int:
    """The stack level of the first caller that is not lmkit: the user's own line."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
    frame = sys._getframe(1)
    level = 1
    while frame.f_code.co_filename.startswith(here) and frame.f_back is not None:
        frame = frame.f_back
        level += 1
    return level


def _changed(handle: HuggingFaceModel, checkpoint: Checkpoint) -> tuple[str, ...]:
    if not handle.fingerprint or handle.fingerprint == checkpoint.fingerprint:
        return ()
    return (
        f"The files of {handle.name} changed since they were first loaded: what is computed now "
        "may differ from what is shown.",
    )


def _tokenizer_of(source: str) -> Any:
    located = locate(source, weights=False)
    return load_tokenizer(located.folder, located.name)


def _tokenizer_of_object(model: Any, name: str) -> Any:
    """The tokenizer beside the files that an object came from, if they are on this machine."""
    from lmkit.models.hub import fetch, looks_like_hub_id

    origin = getattr(getattr(unwrapped(model), "config", None), "_name_or_path", "") or ""
    folder = Path(origin)
    if origin and not folder.is_dir() and looks_like_hub_id(origin):
        try:
            folder, _ = fetch(origin, weights=False, use_hub=False)
        except ModelNotFoundError:
            folder = Path(origin)
    if origin and folder.is_dir() and has_vocabulary(folder):
        return load_tokenizer(folder, name)
    raise ModelError(
        f"The {name} came without its tokenizer.",
        hint="Give both: lmkit.load(model, tokenizer).",
    )


def _empty_cache(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()
