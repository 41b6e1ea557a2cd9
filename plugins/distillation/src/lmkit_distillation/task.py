"""The panel of a distillation: set up, start, watch, and read the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.api import Job, LoadedModel, Result, Task, Text, follow
from lmkit_distillation.client import Run
from lmkit_distillation.known import remember
from lmkit_distillation.setup_form import FIELDS, asks, planned
from lmkit_distillation.toml import shown_recipe

if TYPE_CHECKING:
    from lmkit_distillation.watched import WatchedRun

__all__ = ["Distillation"]


class Distillation(Task):
    """Trains a small model from a big one in a process of its own, and draws how it goes."""

    name = "distillation"
    title = "Distillation"
    help = "Train a small model from a big one, watched live: losses, agreement, attention."
    verb = "distill_panel"
    auto_class = (
        "AutoModelForSequenceClassification|AutoModelForTokenClassification|AutoModelForCausalLM"
    )
    default_model = "starter:sentiment"
    fields = FIELDS

    def run(self, model: LoadedModel, **values: Any) -> Sequence[Result]:
        """Start the recipe of the form, or go on with it; the kernel is free at once.

        Raises:
            FieldError: a field that does not fit.
            DistillationError: the folder holds the run of another recipe, or can't be written.
        """
        there = None if asks(values) else self.job(values)
        if there is not None:
            follow(there)
            return there.results()
        recipe, variables = planned(values, model.name)
        if values["preview"]:
            return [Text(title="Recipe", text=shown_recipe(recipe))]
        run = remember(Run(recipe.out))
        run.folder.claim(recipe)
        for rows in variables:
            rows.write()
        run.resume()
        watched = _watched(run, values["text"], values["second"])
        follow(watched)
        return watched.results()

    def job(self, values: Mapping[str, Any]) -> Job | None:
        """The run that is in the folder; None where there is none."""
        given = str(values["folder"]).strip()
        folder = Path(given).expanduser()
        if not given or not (folder / "recipe.json").is_file():
            return None
        return _watched(remember(Run(folder)), str(values["text"]), str(values["second"]))


def _watched(run: Run, text: str, pair: str) -> WatchedRun:
    from lmkit_distillation.watched import WatchedRun

    return WatchedRun(run, text, pair)
