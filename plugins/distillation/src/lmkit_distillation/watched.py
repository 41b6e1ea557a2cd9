"""A run as its panel sees it: numbers and curves from the folder, attention from its students."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.api import Job, JobInfo, Result, Text, TextTrace, Tools
from lmkit.views.compared import SideLens
from lmkit.views.lenses import DifferenceTrace
from lmkit_distillation.card_views import results
from lmkit_distillation.client import Run
from lmkit_distillation.curves import charts, note
from lmkit_distillation.errors import DistillationError
from lmkit_distillation.folder import read_json
from lmkit_distillation.history import History
from lmkit_distillation.known import known_runs
from lmkit_distillation.siblings import Siblings, compared
from lmkit_distillation.toml import shown_recipe

if TYPE_CHECKING:
    from lmkit_distillation.recipe import Recipe

__all__ = ["WatchedRun", "info_of", "mode_of"]

CLASSES = {
    "classification": "AutoModelForSequenceClassification",
    "ner": "AutoModelForTokenClassification",
    "generation": "AutoModelForCausalLM",
}


def info_of(run: Run, history: History) -> JobInfo:
    """Where a run is now."""
    recipe = read_json(run.folder.path / "recipe.json")
    plain = recipe.get("recipe", {}) if isinstance(recipe, dict) else {}
    teacher = str(plain.get("teacher", {}).get("model", "")) or run.folder.path.name
    layers = plain.get("student", {}).get("layers", 0)
    history.read()
    if run.active:
        state = "paused" if run.folder.wish == "pause" else "running"
    elif run.folder.running is not None:
        state = "killed"
    elif run.unsaid:
        state = "failed"
    else:
        state = history.end or "new"
    actions: dict[str, tuple[str, ...]] = {
        "running": ("pause", "stop"),
        "paused": ("resume", "stop"),
        "finished": (),
    }
    problem = (run.unsaid or history.problem) if state == "failed" else ""
    if state == "killed":
        problem = "The process of this run is gone without a word; Resume goes on from its last"
        problem += " checkpoint."
    return JobInfo(
        name=_shown_path(run.folder.path),
        title=f"{Path(teacher).name} → {layers} layers" if layers else Path(teacher).name,
        task="distillation",
        field="folder",
        state=state,  # type: ignore[arg-type]
        step=history.step,
        steps=history.total,
        note="; ".join(filter(None, (mode_of(plain), _note(state, history)))),
        problem=problem,
        seconds_left=history.seconds_left if state == "running" else None,
        actions=actions.get(state, ("resume",)),  # type: ignore[arg-type]
    )


class WatchedRun(Job):
    """A run that a panel follows.

    Args:
        run: The run.
        text: What both models read for the explorer; empty: no attention.
        pair: A second text behind it; empty: none.
    """

    def __init__(self, run: Run, text: str = "", pair: str = "") -> None:
        self.run = run
        self._text, self._pair = text, pair or None
        self._history = History(run.folder.events_file)
        self._siblings = Siblings(run.folder.path)
        self._recipe: Recipe | None = None
        self._student: tuple[int, int] | None = None

    def info(self) -> JobInfo:
        """Where it is now."""
        return info_of(self.run, self._history)

    def results(self) -> Sequence[Result]:
        """The report card where there is one, beside those of other runs, curves, the recipe."""
        card = self.run.report if self._history.end == "finished" else None
        found: list[Result] = []
        if card is not None:
            others = self._siblings(one.folder.path for one in known_runs())
            beside = compared(card, self.run.folder.path, others)
            found += results({**card, "compared": beside or card.get("compared")})
        found += charts(self._history)
        return [*found, Text(title="Recipe", text=shown_recipe(self._plan()))]

    def act(self, name: str) -> None:
        """Pause, stop or resume it."""
        deeds = {"pause": self.run.pause, "stop": self.run.stop, "resume": self.run.resume}
        if name not in deeds:
            raise DistillationError(f"A run has no button {name!r}.")
        if name != "resume" and not self.run.active:
            raise DistillationError("This run does not go on at the moment.", hint="Press Resume.")
        deeds[name]()

    def attention(self, tools: Tools) -> TextTrace | None:
        """Student minus teacher on the watched text, where there is a newer student."""
        if not self._text.strip():
            return None
        before = self._student
        folder = next((f for f in (self.run.student, self.run.folder.best) if f.is_dir()), None)
        if folder is None:
            return None
        try:
            stat = (folder / "config.json").stat()
            mark = (stat.st_ino, stat.st_mtime_ns)
            if mark == self._student:
                return None
            # Looked at once, also where it can't be shown: to load it again would say the same.
            self._student = mark
            return self._difference(folder, tools)
        except FileNotFoundError:
            self._student = before  # a better one takes its place just now: at the next look
            return None

    def _difference(self, folder: Path, tools: Tools) -> TextTrace:
        import transformers

        recipe = self._plan()
        kind = CLASSES[recipe.task]
        with tools.loading():
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            student = getattr(transformers, kind).from_pretrained(folder).eval()
        ours = tools.model(student, kind, tokenizer=tokenizer).trace(self._text, self._pair)
        theirs = tools.model(recipe.teacher.model, kind).trace(self._text, self._pair)
        trace: Any = DifferenceTrace(ours, theirs)  # type: ignore[arg-type]
        trace.own_lenses = (
            SideLens("first-alone", "Only the student", second=False),
            SideLens("second-alone", "Only the teacher", second=True),
        )
        return trace  # type: ignore[no-any-return]

    def _plan(self) -> Recipe:
        if self._recipe is None:
            self._recipe = self.run.folder.recipe()
        return self._recipe


def mode_of(plain: Mapping[str, Any]) -> str:
    """What is out of the ordinary in how a run learns, in a few words; of a recipe's plain values.

    They come from a folder that anybody may have written: what has no sense is passed over.
    """

    def part(section: Any, name: str) -> Any:
        found = section.get(name) if isinstance(section, Mapping) else None
        return found if isinstance(found, Mapping | int | float) else None

    said = []
    if part(plain.get("sequences"), "use"):
        beams = part(plain.get("sequences"), "beams")
        many = isinstance(beams, int) and beams > 1
        said.append(f"sequence level, {beams} beams" if many else "sequence level, greedy")
    share = part(plain.get("on_policy"), "lambda")
    if isinstance(share, int | float) and share > 0:
        said.append(f"on-policy, lambda {share:g}")
    copies = part(part(plain.get("data"), "augment"), "copies")
    if isinstance(copies, int) and copies > 0:
        said.append(f"{copies} {'copy' if copies == 1 else 'copies'} of each text")
    return ", ".join(said)


def _note(state: str, history: History) -> str:
    return note(history) + (", writing the report" if _reporting(state, history) else "")


def _reporting(state: str, history: History) -> bool:
    return state == "running" and 0 < history.total <= history.step


def _shown_path(path: Path) -> str:
    """From the working directory where it lies below it: a notebook that is moved still fits."""
    whole = path.expanduser().resolve()
    here = Path.cwd()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(whole)
