"""A run from a notebook: in a process of its own, so that the kernel stays free."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit_distillation.errors import DistillationError
from lmkit_distillation.folder import RunFolder, writing
from lmkit_distillation.recipe import Recipe, load_recipe, recipe_from
from lmkit_distillation.schema import read_report

__all__ = ["Run", "start"]


class Run:
    """A distillation that runs, has run, or waits to go on: all that is known is in its folder.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = RunFolder(folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._launched = 0.0

    def __repr__(self) -> str:
        """State and last evaluation."""
        last = [e for e in self.events() if e["kind"] == "evaluation"][-1:]
        shown = "".join(
            f", {name} {value:.4f}"
            for event in last
            for name, value in event.items()
            if isinstance(value, float) and name != "time"
        )
        return f"<Run {self.folder.path}: {self.state}, step {self.step}{shown}>"

    @property
    def state(self) -> str:
        """``"new"``, ``"running"``, ``"paused"``, ``"stopped"``, ``"finished"``, ``"failed"``.

        ``"killed"`` is a run whose process is gone without a word; all but ``"finished"`` can be
        resumed.
        """
        if self.active:
            return "paused" if self.folder.wish == "pause" else "running"
        if self.folder.running is not None:
            return "killed"
        if self.unsaid:
            return "failed"
        return next((e["kind"] for e in reversed(self.events()) if e["kind"] in _ENDS), "new")

    @property
    def unsaid(self) -> str:
        """Why the process that this object started ended before it wrote anything down.

        Empty where it goes on, ended well, or said it in the folder.
        """
        code = None if self._process is None else self._process.poll()
        if not code or any(
            e["kind"] in _ENDS and e["time"] >= self._launched for e in self.events()
        ):
            return ""
        return self._words() or f"Its process ended with status {code} before it said why."

    @property
    def holds_process(self) -> bool:
        """Whether this object started a process."""
        return self._process is not None

    @property
    def active(self) -> bool:
        """Whether a process works on it or holds on, of this kernel or of another."""
        started = self._process is not None and self._process.poll() is None
        return started or self.folder.alive()

    @property
    def step(self) -> int:
        """Steps done."""
        return max((int(e.get("step", 0)) for e in self.events()), default=0)

    def events(self) -> list[dict[str, Any]]:
        """What has happened, oldest first."""
        return self.folder.events()

    @property
    def report(self) -> dict[str, Any] | None:
        """The report card; None before the end.

        Raises:
            ReportError: the file has another form.
        """
        path = self.folder.path / "report.json"
        return read_report(path) if path.exists() else None

    @property
    def student(self) -> Path:
        """The finished student's folder: a model name everywhere in lmkit."""
        return self.folder.student

    def pause(self) -> None:
        """Hold on after the current step; memory stays taken."""
        self.folder.want("pause")

    def stop(self) -> None:
        """Write a checkpoint after the current step and end the process."""
        self.folder.want("stop")

    def resume(self) -> Run:
        """Go on: after a pause, a stop, an error or a kill."""
        if self.state in ("running", "paused"):
            self.folder.want("run")
        elif self.state != "finished":
            self._launch()
        return self

    def wait(self, timeout: float | None = None) -> Run:
        """Wait for the end.

        Raises:
            DistillationError: the run failed; the message is its own.
            TimeoutError: it goes on longer than ``timeout`` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while self.state in ("running", "paused"):
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"{self!r} is not at its end after {timeout} seconds.")
            time.sleep(0.1)
        if self.state in ("failed", "killed", "new"):
            goes_on = "run.resume() goes on from the checkpoint."
            raise DistillationError(self.problem, hint=f"{self.hint} {goes_on}".lstrip())
        return self

    @property
    def problem(self) -> str:
        """What ended a run before its time; empty where nothing did."""
        state = self.state
        if state == "failed":
            if self.unsaid:
                return self.unsaid
            failed = [e for e in self.events() if e["kind"] == "failed"]
            return str(failed[-1].get("message", "The run failed."))
        if state in ("killed", "new"):
            return f"The process of {self.folder.path} is gone. {self._words()}".rstrip()
        return ""

    @property
    def hint(self) -> str:
        """What to do about the problem, where the run said that."""
        failed = [e for e in self.events() if e["kind"] == "failed"]
        known = self.state == "failed" and not self.unsaid and failed
        return str(failed[-1].get("hint", "")) if known else ""

    def _words(self) -> str:
        try:
            text = (self.folder.path / "output.txt").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        lines = [line for line in text.splitlines() if line.strip()]
        said = [line for line in lines if line.startswith("lmkit: ")] or lines
        return said[-1].removeprefix("lmkit: ")[:500] if said else ""

    def _launch(self) -> None:
        command = [sys.executable, "-m", "lmkit", "distill", "--resume", str(self.folder.path)]
        with writing(self.folder.path):
            self.folder.want("run")
            output = (self.folder.path / "output.txt").open("wb")
        self._launched = round(time.time(), 3)
        try:
            with output:
                # A group of its own: the kernel's interrupt is not meant for it.
                self._process = subprocess.Popen(  # noqa: S603 - our own module
                    command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                )
        except OSError as error:
            raise DistillationError(
                f"The process of {self.folder.path} can't be started: {error.strerror or error}.",
                hint="Resume tries again.",
            ) from error


_ENDS = frozenset({"finished", "failed", "stopped"})


def start(recipe: Recipe | Mapping[str, Any] | Path | str, *, wait: bool = False) -> Run:
    """Start a recipe, or go on with it, in a process of its own.

    Args:
        recipe: A TOML file, or the same as plain values.
        wait: Come back at its end.
    """
    if isinstance(recipe, Path | str):
        recipe = load_recipe(recipe)
    elif not isinstance(recipe, Recipe):
        recipe = recipe_from(recipe)
    run = Run(recipe.out)
    run.folder.claim(recipe)
    run.resume()
    return run.wait() if wait else run


def summary(run: Run) -> str:
    """What ``lmkit distill --status`` prints."""
    body = {"state": run.state, "step": run.step, "problem": run.problem, "hint": run.hint}
    return json.dumps(body)
