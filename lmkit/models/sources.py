"""From what the user wrote (a starter, a folder, a hub id) to a folder with the files."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from lmkit.api import progress
from lmkit.errors import ModelError, ModelNotFoundError
from lmkit.models.hub import fetch, looks_like_hub_id
from lmkit.models.loading import one_at_a_time, waiting_for
from lmkit.models.quiet import quietly

__all__ = ["Located", "locate"]

_STARTER = "starter:"


@dataclass(frozen=True)
class Located:
    """Where the files of a model are.

    Attributes:
        name: As the user wrote it.
        folder: The folder with its files.
        revision: The commit on the hub that they are of; empty for folders and starters.
    """

    name: str
    folder: Path
    revision: str = ""


def locate(
    source: str,
    revision: str | None = None,
    *,
    allow_pickle: bool = False,
    code: bool = False,
    weights: bool = True,
) -> Located:
    """Find or fetch the files of a model; an existing folder comes before a hub id.

    Args:
        source: ``starter:NAME``, a folder, or a hub id.
        revision: A branch, tag or commit on the hub; None for starters and folders.
        allow_pickle: Fetch pickled weights where there are no others.
        code: Fetch Python files too.
        weights: False for a tokenizer alone.

    Raises:
        ModelNotFoundError: there is no such model.
        ModelError: it could not be fetched or built.
    """
    name = source.strip()
    if not name:
        raise ModelNotFoundError("No model was named.", hint="Try --model starter:sentiment.")
    if "\0" in name or len(name) > 4_096:
        raise ModelNotFoundError("This is not the name of a model.", hint=_ways())
    if name.startswith(_STARTER):
        return Located(name, _starter(name))
    path = Path(name).expanduser()
    try:
        if path.is_dir():
            return Located(name, path)
        if path.is_file():
            raise ModelNotFoundError(
                f"{_short(name)} is a file, not the folder of a model.",
                hint="Give the folder that holds its config.json.",
            )
    except OSError as error:
        raise ModelNotFoundError(
            f"{_short(name)} can't be read.", hint="Check the path.", details=str(error)
        ) from error
    if not looks_like_hub_id(name):
        raise ModelNotFoundError(
            f"There is no model {_short(name)}: no such folder, and not a name that the hub takes.",
            hint=_guess(name) or _ways(),
        )
    try:
        folder, commit = fetch(
            name, revision, allow_pickle=allow_pickle, code=code, weights=weights
        )
    except ModelNotFoundError as error:
        guess = _guess(name)
        if not guess:
            raise
        raise ModelNotFoundError(error.message, hint=guess, details=error.details) from error
    return Located(name, folder, commit)


def _starter(name: str) -> Path:
    from lmkit.models import starters

    bare = name.removeprefix(_STARTER)
    if bare not in starters.names():
        raise ModelNotFoundError(
            f"There is no starter model {_short(bare)}.",
            hint=_guess(bare) or _ways(),
        )
    try:
        # The first use of a starter builds it with transformers.
        with waiting_for(one_at_a_time), quietly():
            return Path(starters.resolve(bare, progress=progress))
    except OSError as error:
        raise ModelError(
            f"{name} could not be prepared: {error.strerror or 'its files cannot be read'}.",
            hint="Check the free disk space and try `lmkit starter install`.",
            details=str(error),
        ) from error


def _guess(name: str) -> str:
    from lmkit.models import starters

    bare = name.lower().replace("starters:", "").replace("starter", "").strip(" :/-_.")
    near = difflib.get_close_matches(bare, starters.names(), n=1, cutoff=0.7)
    return f"Did you mean {_STARTER}{near[0]}?" if near else ""


def _ways() -> str:
    from lmkit.models import starters

    known = ", ".join(_STARTER + name for name in starters.names())
    return f"Give a folder, a hub id (owner/name), or a starter: {known}."


def _short(name: str) -> str:
    return repr(name if len(name) <= 120 else name[:119] + "…")
