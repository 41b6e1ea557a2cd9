"""The built front end inside the package."""

from __future__ import annotations

import base64
import functools
import zlib
from importlib import resources

from lmkit.errors import LmkitError

__all__ = ["core_source", "loader_source", "packed_core"]


class AssetError(LmkitError):
    """The package was installed without its built front end."""

    code = "front-end-missing"


@functools.cache
def _read(name: str) -> str:
    file = resources.files("lmkit") / "static" / name
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise AssetError(
            f"lmkit's front end ({name}) is not built in this installation.",
            hint="In a source tree run `make build`; otherwise reinstall lmkit-core.",
        ) from error


def loader_source() -> str:
    """The anywidget module, at most 2 kB: it asks the kernel for the core once a page."""
    return _read("widget.js")


def core_source() -> str:
    """The renderer, one ES module."""
    return _read("core.js")


@functools.cache
def packed_core() -> str:
    """The renderer as base64 of raw deflate, as saved HTML carries it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(core_source().encode("utf-8")) + packer.flush()
    return base64.b64encode(packed).decode("ascii")
