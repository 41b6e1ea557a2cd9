"""The cache of starter models: each built once into a plain Hugging Face folder.

A folder's name holds a hash of what it was made from (the shipped weights, the pinned base, the
version of this layout), so an update of either makes a new folder. It is built under a temporary
name and moved in place as a whole under a file lock: another process sees it whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lmkit.errors import StarterError
from lmkit.models.starters import carriers, catalog, hub
from lmkit.models.starters.carriers import CARRIERS, PipRunner
from lmkit.models.starters.catalog import Starter
from lmkit.models.starters.hub import Downloader

__all__ = ["Progress", "StarterStatus", "cache_dir", "install", "resolve", "status"]

Progress = Callable[[str, int, int], None]
"""``(what is being done, steps done, steps in all)``."""

_LAYOUT = 1
_MARKER = "lmkit-starter.json"
_HUB_FILES = ("*.json", "*.txt", "*.jinja", "model.safetensors")
_LOCK_SECONDS = 900.0


@dataclass(frozen=True)
class StarterStatus:
    """One line of ``lmkit starter``.

    Attributes:
        name: The starter's name.
        title: What it is.
        ready: Whether it is in the cache, so that nothing more is needed to use it.
        path: Its folder in the cache, also when it is not there yet.
        bytes: Size on disk; 0 when it is not there.
        carrier: Distribution that carries its base.
        carrier_installed: Whether that distribution is installed.
    """

    name: str
    title: str
    ready: bool
    path: Path
    bytes: int
    carrier: str
    carrier_installed: bool


def cache_dir() -> Path:
    """Where starters are kept: ``$LMKIT_CACHE/starters``, else in the user's cache folder."""
    chosen = os.environ.get("LMKIT_CACHE")
    if chosen:
        return Path(chosen).expanduser() / "starters"
    import platformdirs

    return Path(platformdirs.user_cache_dir("lmkit", appauthor=False)) / "starters"


def resolve(
    name: str, *, progress: Progress | None = None, download: Downloader | None = None
) -> Path:
    """Folder of a starter model that ``from_pretrained`` takes; built on first use.

    Args:
        name: ``sentiment`` or ``starter:sentiment``.
        progress: Called at each step of a first use.
        download: Gets a repository from a hub; the hub's own client when not given.

    Raises:
        StarterError: The name is unknown, the carrier is missing and no hub can be reached, a
            file is not the one that is pinned, or the cache cannot be written.
    """
    starter = catalog.info(name)
    target = _folder(starter)
    if _is_whole(target):
        return target
    carrier = CARRIERS[starter.carrier]
    base = carriers.find(carrier)
    say = progress or _silent
    if base is None:
        base = _from_hub(starter, download, say)
        if starter.name == "chat":
            return base
        _verify_hub_base(starter, base)
    with _locked(starter):
        if _is_whole(target):
            return target
        if carriers.find(carrier) is not None:
            say(f"Checking {carrier.distribution}", 0, 2)
            carriers.verify(carrier, base)
        say(f"Building {starter.reference}", 1, 2)
        _build_in_place(starter, base, target)
        _remove_older(starter, target)
    say(f"{starter.reference} is ready", 2, 2)
    return target


def install(
    names: Iterable[str] | None = None,
    progress: Progress | None = None,
    *,
    run_pip: PipRunner = carriers.run_pip,
) -> list[StarterStatus]:
    """Bring the carriers that are missing with pip, and build the starters.

    Args:
        names: Which starters; all when not given.
        progress: Called before each step.
        run_pip: Runs the pip command.

    Returns:
        The status of the starters asked for.

    Raises:
        StarterError: As :func:`resolve`, or pip failed.
    """
    starters = [catalog.info(n) for n in (catalog.names() if names is None else names)]
    say = progress or _silent
    total = len(starters) + 1
    # Also where the cache is warm: an environment that says "install" is to be complete by itself.
    needed = dict.fromkeys(s.carrier for s in starters)
    missing = [CARRIERS[name] for name in needed if carriers.find(CARRIERS[name]) is None]
    if missing:
        say("Installing " + " and ".join(c.distribution for c in missing), 0, total)
        carriers.install(missing, run_pip)
    for done, starter in enumerate(starters, start=1):
        say(f"Preparing {starter.reference}", done, total)
        resolve(starter.name)
    say("The starter models are ready", total, total)
    return [_status(starter) for starter in starters]


def status() -> list[StarterStatus]:
    """The state of every starter; builds and downloads nothing."""
    return [_status(catalog.info(name)) for name in catalog.names()]


def _status(starter: Starter) -> StarterStatus:
    path = _folder(starter)
    ready = _is_whole(path)
    return StarterStatus(
        name=starter.name,
        title=starter.title,
        ready=ready,
        path=path,
        bytes=sum(size for _, size in _files(path)) if ready else 0,
        carrier=starter.carrier,
        carrier_installed=carriers.find(CARRIERS[starter.carrier]) is not None,
    )


def _silent(_text: str, _done: int, _total: int) -> None:
    """Progress of someone who does not ask for it."""


# --- the base -------------------------------------------------------------------------------


def _from_hub(starter: Starter, download: Downloader | None, say: Progress) -> Path:
    missing = StarterError(
        f"{starter.reference} needs the carrier package {starter.carrier}, which is not installed.",
        hint=carriers.INSTALL_HINT,
    )
    if not hub.allowed():
        raise missing
    say(f"Getting {starter.hub} from the model hub", 0, 2)
    try:
        return (download or hub.download)(starter.hub, _HUB_FILES)
    except StarterError as error:
        missing.details = " ".join((error.message, error.details)).strip()
        raise missing from error


def _verify_hub_base(starter: Starter, base: Path) -> None:
    """The weights are differences to one very file, wherever it comes from."""
    wanted = CARRIERS[starter.carrier].files["model.safetensors"]
    try:
        found = carriers.sha256_of(base / "model.safetensors")
    except OSError as error:
        raise StarterError(
            f"The model hub's {starter.hub} has no model.safetensors.", details=str(error)
        ) from error
    if found != wanted:
        raise StarterError(
            f"The model hub's {starter.hub} is not the version that {starter.reference} "
            "was made from.",
            hint=carriers.INSTALL_HINT,
            details=f"SHA-256 {found}, expected {wanted}",
        )


# --- folders --------------------------------------------------------------------------------


def _key(starter: Starter) -> str:
    digest = hashlib.sha256(f"{_LAYOUT}".encode())
    digest.update(CARRIERS[starter.carrier].files[CARRIERS[starter.carrier].weights].encode())
    if starter.weights is not None:
        try:
            digest.update(starter.weights.read_bytes())
        except OSError as error:
            raise StarterError(
                f"The file {starter.weights.name} of {starter.reference} "
                "is missing from this installation.",
                hint="Install lmkit again.",
                details=str(error),
            ) from error
    return digest.hexdigest()[:16]


def _folder(starter: Starter) -> Path:
    return cache_dir() / f"{starter.name}-{_key(starter)}"


def _is_whole(path: Path) -> bool:
    """Whether every file that was written is there at its size; a hash would read it all."""
    try:
        sizes = json.loads((path / _MARKER).read_text("utf-8"))["files"]
        return all((path / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _files(folder: Path) -> list[tuple[Path, int]]:
    return [(f, f.stat().st_size) for f in sorted(folder.rglob("*")) if f.is_file()]


@contextmanager
def _locked(starter: Starter) -> Iterator[None]:
    from filelock import FileLock, Timeout

    root = cache_dir()
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f"{starter.name}.lock")
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout as error:
        raise StarterError(
            f"Another process has been preparing {starter.reference} for very long.",
            hint=f"If there is none, delete {root / (starter.name + '.lock')}.",
        ) from error
    except OSError as error:
        raise _cannot_write(root, error) from error
    try:
        yield
    finally:
        lock.release()


def _cannot_write(root: Path, error: OSError) -> StarterError:
    return StarterError(
        f"The cache folder {root} cannot be written: {error.strerror or error}.",
        hint="Free space there, or set LMKIT_CACHE to another folder.",
        details=repr(error),
    )


def _build_in_place(starter: Starter, base: Path, target: Path) -> None:
    from lmkit.models.starters import build

    scratch = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        scratch.mkdir(parents=True)
        build.write(starter, base, scratch)
        sizes = {file.relative_to(scratch).as_posix(): size for file, size in _files(scratch)}
        (scratch / _MARKER).write_text(
            json.dumps({"starter": starter.name, "layout": _LAYOUT, "files": sizes}, indent=1),
            "utf-8",
        )
        if target.exists():  # damaged, or it would have been used
            shutil.rmtree(target)
        os.replace(scratch, target)
    except OSError as error:
        raise _cannot_write(target.parent, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _remove_older(starter: Starter, keep: Path) -> None:
    """What an earlier version or a killed build left. The lock is held, so none is being built."""
    for path in _siblings(starter, keep.parent.iterdir()):
        if path != keep:
            shutil.rmtree(path, ignore_errors=True)


def _siblings(starter: Starter, paths: Iterable[Path]) -> Sequence[Path]:
    return [p for p in paths if p.is_dir() and p.name.startswith(f"{starter.name}-")]
