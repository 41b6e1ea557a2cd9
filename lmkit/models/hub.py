"""Files of a model on the hub: asked about once, quickly, then read from the local cache.

transformers asks for each file by itself and tries an unreachable hub six times, 23 seconds a
file. Here one question with a short limit decides whether the hub is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lmkit.api import progress
from lmkit.errors import ModelError, ModelNotFoundError, UnsafeCheckpointError
from lmkit.models.quiet import quietly

__all__ = ["Fetched", "fetch", "looks_like_hub_id"]

_SECONDS = 5.0
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)
_SMALL = (".json", ".txt", ".model", ".jinja", ".spm", ".tiktoken", ".vocab", ".codes", ".bpe")

Fetched = tuple[Path, str]
"""A folder with the files, and the commit that they are of (empty when not known)."""


def looks_like_hub_id(source: str) -> bool:
    """Whether this can be the name of a repository: ``name`` or ``owner/name``."""
    return (
        _ID.fullmatch(source) is not None
        and len(source) <= 96
        and ".." not in source
        and "--" not in source
    )


def fetch(
    repo: str,
    revision: str | None = None,
    *,
    allow_pickle: bool = False,
    code: bool = False,
    weights: bool = True,
    use_hub: bool = True,
) -> Fetched:
    """Bring a repository's files into the hub's own cache.

    Args:
        repo: ``owner/name`` or ``name``.
        revision: A branch, tag or commit; the default branch without it.
        allow_pickle: Bring pickled weights where there are no others.
        code: Bring Python files too.
        weights: False for a tokenizer alone.
        use_hub: False to look in the cache only.

    Raises:
        ModelNotFoundError: no such repository, or neither cached nor reachable.
        UnsafeCheckpointError: it has pickled weights only, and they are not allowed.
        ModelError: access is refused, or the download failed.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or not use_hub:
        return _cached(repo, revision, "The hub is switched off (HF_HUB_OFFLINE is set)")
    progress(f"Asking the hub for {repo}")
    try:
        info = _ask(repo, revision)
    except _UnreachableError as error:
        return _cached(repo, revision, "The model hub cannot be reached", str(error))
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or ()}
    files = _choose(repo, sizes, allow_pickle=allow_pickle, code=code, weights=weights)
    return _download(repo, revision, str(info.sha), {file: sizes[file] for file in files})


class _UnreachableError(Exception):
    """The hub did not answer."""


def _ask(repo: str, revision: str | None) -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return HfApi().model_info(repo, revision=revision, timeout=_SECONDS, files_metadata=True)
    except GatedRepoError as error:
        raise _gated(repo, error) from error
    except RevisionNotFoundError as error:
        raise ModelNotFoundError(
            f"{repo} has no revision {str(revision)[:80]!r}.", hint="Leave revision out."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelNotFoundError(
            f"The hub has no model {repo!r}, or it is private.",
            hint="Check the spelling; for a private model set HF_TOKEN or run `hf auth login`.",
        ) from error
    except HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if status in (401, 403):
            raise _gated(repo, error) from error
        raise _UnreachableError(str(error)) from error
    except Exception as error:
        # Below the hub's own errors lie those of its HTTP library, which changed three times.
        raise _UnreachableError(f"{type(error).__name__}: {error}") from error


def _gated(repo: str, error: Exception) -> ModelError:
    return ModelError(
        f"The hub does not give {repo} to you: its authors ask for consent first.",
        hint="Accept their terms on the model's page, then set HF_TOKEN or run `hf auth login`.",
        details=str(error),
    )


def _choose(
    repo: str, files: Iterable[str], *, allow_pickle: bool, code: bool, weights: bool
) -> list[str]:
    top = [file for file in files if "/" not in file]
    suffixes = (*_SMALL, ".py") if code else _SMALL
    chosen = [file for file in top if file.endswith(suffixes)]
    if not weights:
        return chosen
    tensors = [f for f in top if re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors", f)]
    if "model.safetensors" in tensors:
        tensors = ["model.safetensors"]
    pickles = [f for f in top if re.fullmatch(r"pytorch_model(-\d+-of-\d+)?\.bin", f)]
    if not tensors and pickles and not allow_pickle:
        raise UnsafeCheckpointError(
            f"{repo} comes as a pickle ({pickles[0]}), and reading a pickle can run code.",
            hint="If you trust its author, say allow_pickle=True (on the command line "
            "--allow-pickle). Many models have a copy in safetensors: try "
            "revision='refs/pr/1' after looking at the model's page.",
        )
    return chosen + (tensors or pickles)


def _download(repo: str, revision: str | None, commit: str, sizes: dict[str, int]) -> Fetched:
    from huggingface_hub import hf_hub_download

    folder: Path | None = None
    done, total = 0, sum(sizes.values())
    for file in sorted(sizes, key=lambda name: sizes[name]):
        progress(f"Downloading {repo}", done, total)
        try:
            with quietly():
                path = Path(hf_hub_download(repo, file, revision=commit))
                if folder is None:
                    # By commit alone the cache would not know, offline, what the branch is.
                    hf_hub_download(repo, file, revision=revision)
        except Exception as error:
            raise ModelError(
                f"The download of {repo} broke off at {file}.",
                hint="Check the connection and the free disk space, then try again: what was "
                "fetched is kept.",
                details=f"{type(error).__name__}: {error}",
            ) from error
        folder = path.parent
        done += sizes[file]
    if folder is None:
        raise ModelNotFoundError(f"The repository {repo} holds no model files.")
    return folder, commit


def _cached(repo: str, revision: str | None, why: str, details: str = "") -> Fetched:
    from huggingface_hub import try_to_load_from_cache

    for file in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        try:
            found = try_to_load_from_cache(repo, file, revision=revision)
        except ValueError:
            break
        if isinstance(found, str):
            folder = Path(found).parent
            return folder, folder.name if folder.parent.name == "snapshots" else ""
    raise ModelNotFoundError(
        f"{why}, and {repo!r} is not in the local cache.",
        hint="Give a folder, a starter model such as starter:sentiment, or try again online.",
        details=details,
    )
