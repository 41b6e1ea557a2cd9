"""Writes a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lmkit.errors import SaveError

__all__ = ["replaced"]


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` when the block ends without an error.

    Until then, and after an error, what was at ``path`` stays as it was.

    Raises:
        SaveError: it cannot be written there.
    """
    # In the same folder: a move within a file system is one step.
    part = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("xb") as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        raise SaveError(
            f"{path} could not be written: {error.strerror or error}.",
            hint="Is there such a folder, with room in it, and are you allowed to write there?",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
