"""The way to the originals on a model hub, for a machine that has one and lacks the carriers."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from lmkit.errors import StarterError

__all__ = ["Downloader", "allowed", "download"]

Downloader = Callable[[str, Sequence[str]], Path]
"""``(repository, file name patterns) -> folder``; replaced in tests."""

_TRUE = {"1", "on", "true", "yes"}


def allowed() -> bool:
    """Whether the environment lets a hub be asked at all (``HF_HUB_OFFLINE`` is not set)."""
    return not any(
        os.environ.get(name, "").strip().lower() in _TRUE
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def _reachable(timeout: float = 3.0) -> bool:
    """A quick look, since the hub's own client tries for long; a proxy is taken on trust."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    parts = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=timeout):
            return True
    except OSError:
        return False


def download(repository: str, patterns: Sequence[str]) -> Path:
    """Folder with the repository's files, from the hub or its local cache.

    Raises:
        StarterError: No hub can be reached, or it does not give the files.
    """
    if not _reachable():
        raise StarterError("No model hub can be reached.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=list(patterns)))
    except Exception as error:  # the client raises what its transport raises
        raise StarterError(
            f"The model hub did not give {repository}.", details=repr(error)
        ) from error
