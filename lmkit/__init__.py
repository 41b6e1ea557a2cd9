"""lmkit: see and measure what language models do, in Jupyter and VS Code.

``%load_ext lmkit`` in a notebook, or ``lmkit.load(...)`` in Python. Nothing heavy is imported until
it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmkit.version import __version__

if TYPE_CHECKING:
    from lmkit.attention import Attention
    from lmkit.capture import capture
    from lmkit.explorer import Explorer, compare, explore
    from lmkit.host import PluginHost
    from lmkit.kit import Analysis, Kit
    from lmkit.settings import options

__all__ = [
    "Analysis",
    "Attention",
    "Explorer",
    "Kit",
    "__version__",
    "capture",
    "compare",
    "explore",
    "load",
    "load_ipython_extension",
    "options",
    "plugin_host",
    "unload_ipython_extension",
]

_LAZY = {
    "Analysis": "lmkit.kit",
    "Attention": "lmkit.attention",
    "Explorer": "lmkit.explorer",
    "Kit": "lmkit.kit",
    "capture": "lmkit.capture",
    "compare": "lmkit.explorer",
    "explore": "lmkit.explorer",
    "options": "lmkit.settings",
}


def load(
    model: Any = None,
    tokenizer: Any = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Kit:
    """Load a model and give it a method for each installed task.

    Args:
        model: ``starter:NAME``, a hub id, a local folder, or a ``transformers`` model in memory.
            None: each task's own default model.
        tokenizer: The tokenizer of a model in memory.
        device: ``cpu``, ``cuda:0``, ``mps``; default: the kernel's chosen device. A model in
            memory stays where it is.
        dtype: ``float32``, ``bfloat16``, ``float16``; default: as in the checkpoint.
        revision: Hub revision.
        allow_pickle: Read checkpoints that are pickles; they can run code.
        trust_remote_code: Let this model run code of its own from the hub.

    Returns:
        A kit: ``kit.classify("...")`` and so on. The weights are read at the first task, because
        the task decides with which head.

    Raises:
        LmkitError: one sentence saying what went wrong.
    """
    from lmkit.kernel_session import current_session
    from lmkit.kit import Kit

    given: dict[str, Any] = {
        "tokenizer": tokenizer,
        "device": device,
        "dtype": dtype,
        "revision": revision,
        "allow_pickle": allow_pickle,
        "trust_remote_code": trust_remote_code,
    }
    options = {name: value for name, value in given.items() if value not in (None, False)}
    session = current_session()
    if isinstance(model, str) and not model.strip():
        from lmkit.errors import ModelNotFoundError

        raise ModelNotFoundError(
            "No model was named: the name is empty.",
            hint="Give one, 'starter:sentiment' say; lmkit.load() takes each task's own.",
        )
    if model is not None:
        session.models.check(model, **options)
    return Kit(session, model, options)


def plugin_host() -> PluginHost:
    """The plugin host of this process: ``lmkit.plugin_host().rescan()`` finds new plugins."""
    from lmkit.kernel_session import current_host

    return current_host()


def __getattr__(name: str) -> Any:
    from importlib import import_module
    from importlib.util import find_spec

    module = _LAZY.get(name)
    if module is not None:
        return getattr(import_module(module), name)
    # ``from lmkit import x`` asks here before it imports the module x: don't load plugins for that.
    if not name.startswith("_") and find_spec(f"lmkit.{name}") is None:
        from lmkit.tools import caller

        function = caller(name)
        if function is not None:
            return function
    raise AttributeError(f"module 'lmkit' has no attribute {name!r}")


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext lmkit``: the magics ``%lmkit`` and ``%%lm``, and the comm of saved views."""
    from lmkit.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext lmkit``: takes the magics away; open panels go on working."""
    from lmkit.magics import unload

    unload(shell)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "lmkit"}]
