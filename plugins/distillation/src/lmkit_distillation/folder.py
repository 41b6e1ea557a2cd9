"""The run folder: everything of a run, written so that no kill can lose what was there.

    recipe.json       the recipe, with its fingerprint
    data.json         a sum of each data file, as the training began with it
    events.jsonl      what happened: one JSON object a line, each with its step and time
    micro.jsonl       from which step on which micro-batch size holds
    running.json      which process runs, since when, and where it is
    kills             the kernel's counter of kills for memory, as it was when a process died
    wish              "run", "pause" or "stop": what the user wants
    checkpoints/      step-00000012: complete by the rename that gives it this name
    best/             the best student so far, likewise
    student/          the finished student, a plain Hugging Face folder
    exports/          its other forms: int8.pt, student.onnx
    report.json, report.html
    tensorboard/      the same curves for TensorBoard

Every file is written beside its name, flushed to the disk and renamed; lines are appended and
flushed. A half line at the end of a JSONL file is what a kill leaves, and is dropped.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from lmkit_distillation.data_marks import changed
from lmkit_distillation.errors import RunFolderError
from lmkit_distillation.recipe import WITHOUT_WEIGHT, Recipe, recipe_from

__all__ = ["RunFolder", "digest", "new_folder", "read_lines", "write_text"]


class RunFolder:
    """The files of one run.

    Args:
        path: The folder; made when something is written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.events_file = self.path / "events.jsonl"
        self.micro_file = self.path / "micro.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.path / "best"
        self.student = self.path / "student"
        self.exports = self.path / "exports"
        self.kills_file = self.path / "kills"

    # the recipe

    def claim(self, recipe: Recipe) -> None:
        """Make the folder this recipe's, or see that it is.

        Raises:
            RunFolderError: it holds the run of another recipe, or one that began with other data,
                or can't be written.
        """
        known = self._recipe_file()
        mark = recipe.fingerprint()
        if known is not None and known.get("fingerprint") != mark:
            differing = _differing(known["recipe"], recipe.as_dict())
            told = f"; what differs: {', '.join(differing[:5])}" if differing else ""
            raise RunFolderError(
                f"{self.path} holds the run of another recipe{told}.", hint=_ELSEWHERE
            )
        self.check_data(recipe)
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            body = {"fingerprint": mark, "recipe": recipe.as_dict()}
            write_text(self.path / "recipe.json", json.dumps(body, indent=1))

    def check_data(self, recipe: Recipe) -> None:
        """See that the data is what the run has learnt from; where nothing was learnt, any is.

        Raises:
            RunFolderError: a file holds something else.
        """
        known = read_json(self.path / "data.json")
        there = any(any(self.checkpoints.glob(one)) for one in ("step-*", f".step-*{_ASIDE}"))
        if not isinstance(known, dict) or not there:
            return
        found = changed(known, recipe.data)
        if found:
            raise RunFolderError(
                f"{found[0]} has changed since {self.path} began to learn from it.",
                hint=f"Put back what it held. {_ELSEWHERE}",
            )

    def keep_data(self, marks: Mapping[str, str]) -> None:
        """Keep the sums of the data that is learnt from."""
        write_text(self.path / "data.json", json.dumps(marks, indent=1))

    def put_back(self) -> None:
        """Give folders that :func:`new_folder` had set aside as it was killed their names again."""
        for parent in (self.path, self.checkpoints):
            for old in parent.glob(f".*{_ASIDE}"):
                name = old.name.removeprefix(".").removesuffix(_ASIDE)
                if not (parent / name).exists():
                    with writing(parent):
                        old.replace(parent / name)

    def recipe(self) -> Recipe:
        """The recipe of this run.

        Raises:
            RunFolderError: there is none.
        """
        known = self._recipe_file()
        if known is None:
            raise RunFolderError(f"{self.path} is no run folder: it has no recipe.json.")
        return recipe_from(known["recipe"])

    def _recipe_file(self) -> dict[str, Any] | None:
        found = read_json(self.path / "recipe.json")
        return found if isinstance(found, dict) and "recipe" in found else None

    # events

    def event(self, kind: str, step: int, **values: Any) -> None:
        """Append one event; JSON has no word for what is not finite but null."""
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        line = {"kind": kind, "step": step, "time": round(time.time(), 3), **finite}
        append_line(self.events_file, line)

    def events(self) -> list[dict[str, Any]]:
        """All events so far, without what a kill left half written."""
        return read_lines(self.events_file)

    def forget_after(self, step: int) -> None:
        """Drop training events later than ``step``: a resumed run writes them again."""
        kept = [e for e in self.events() if e.get("step", 0) <= step or e["kind"] == "start"]
        write_text(self.events_file, "".join(json.dumps(e) + "\n" for e in kept))

    # wishes of the user

    @property
    def wish(self) -> str:
        """``"run"``, ``"pause"`` or ``"stop"``."""
        try:
            found = (self.path / "wish").read_text(encoding="utf-8").strip()
        except OSError:
            return "run"
        return found if found in ("pause", "stop") else "run"

    def want(self, wish: str) -> None:
        """Ask the running process to go on, pause, or write a checkpoint and stop."""
        with writing(self.path):
            write_text(self.path / "wish", wish)

    # who runs it

    @property
    def running(self) -> dict[str, Any] | None:
        """What the last process wrote of itself; None after a proper end."""
        found = read_json(self.path / "running.json")
        return found if isinstance(found, dict) else None

    def alive(self) -> bool:
        """Whether the process of this run is still there."""
        found = self.running
        return found is not None and _is_process(int(found.get("pid", 0)), found.get("born"))

    def mark(self, **values: Any) -> None:
        """Say where this process is; kept small, it is written at every step."""
        body = {"pid": os.getpid(), "born": _birth(os.getpid()), **values}
        write_text(self.path / "running.json", json.dumps(body), durable=False)

    def unmark(self) -> None:
        """A proper end."""
        (self.path / "running.json").unlink(missing_ok=True)


_ELSEWHERE = "Give this recipe an 'out' of its own (--set out=runs/other), or delete that folder."


def _differing(known: Any, recipe: Mapping[str, Any], where: str = "") -> list[str]:
    """The keys whose values two recipes don't share, among those that decide the weights."""
    found = []
    for name, value in recipe.items():
        key = where + name
        other = known.get(name) if isinstance(known, dict) else None
        if key in WITHOUT_WEIGHT:
            continue
        if isinstance(value, dict) and isinstance(other, dict):
            found += _differing(other, value, f"{key}.")
        elif other is not None and json.dumps(other) != json.dumps(value):
            found.append(key)
    return found


# writing that survives


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a file system says into one sentence; an interrupt stays one."""
    try:
        yield
    except RunFolderError:
        raise
    except Exception as error:
        # torch and safetensors raise errors of their own, of which the system's is the context or
        # which have its number among their words.
        if _interrupted(error):
            raise KeyboardInterrupt from error
        code = _system_error(error)
        if code in _FULL:
            raise RunFolderError(
                f"The disk of {path} is full; everything up to the last checkpoint is kept.",
                hint="Make room and start the same recipe again: it goes on from there.",
            ) from error
        if code is None:
            raise
        raise RunFolderError(f"{path} can't be written: {os.strerror(code)}.") from error


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The disk, the user's share of it, or the size that a file may have."""


def _system_error(error: BaseException) -> int | None:
    """The system's number of what went wrong in a write; None where it was something else."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen.errno
        # torch's writer meets its own error while it closes what it could not write.
        seen = seen.__cause__ or (seen.__context__ if isinstance(seen, RuntimeError) else None)
    found = re.search(r"\(os error (\d+)\)", str(error))  # Rust's form
    return int(found[1]) if found else None


def _interrupted(error: BaseException) -> bool:
    """Whether it was the user: an interrupt in torch's writer is the context of its own error."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or (seen.__context__ if isinstance(seen, RuntimeError) else None)
    return seen is not None


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        RunFolderError: it can't be written.
    """
    with writing(path.parent):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append one JSON object; a half line left by a kill is closed first."""
    with writing(path.parent), path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSONL file; none where there is no file."""
    try:
        raw = path.read_bytes()
    except OSError:
        return []
    found = []
    for line in raw.splitlines():
        try:
            one = json.loads(line)
        except ValueError:
            continue
        if isinstance(one, dict):
            found.append(one)
    return found


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where it is not there or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


_ASIDE = "-old"


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Fill a folder beside ``target``, flush it, and give it that name at the end.

    A kill in between leaves a folder whose name begins with a dot, which the next call removes;
    one that it left without any of the two is named again by :meth:`RunFolder.put_back`.
    """
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{target.name}-*"):
            shutil.rmtree(left, ignore_errors=True)
        making = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
        making.chmod(0o755)
        try:
            yield making
            for file in making.rglob("*"):
                if file.is_file():
                    _flush(file)
            old = target.parent / f".{target.name}{_ASIDE}"
            if target.exists():
                os.replace(target, old)
            os.replace(making, target)
            _flush(target.parent)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    found = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _birth(pid: int) -> str:
    """When a process began, by the kernel's count: tells a pid that was given anew."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def _is_process(pid: int, born: object) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        state = ""
    if state == "Z":  # ended, and its parent has not looked yet
        return False
    return not born or _birth(pid) in ("", born)
