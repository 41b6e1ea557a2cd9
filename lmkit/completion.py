"""Tab completion of ``%%lm``, ``%lm`` and ``%lmkit`` lines, from the tasks' fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmkit import arguments
from lmkit.declarations import fields_of
from lmkit.errors import LmkitError
from lmkit.host import RegisteredTask
from lmkit.kernel_session import current_host, current_session
from lmkit.protocol.messages import BooleanField, ChoiceField

__all__ = ["COMMANDS", "complete", "install", "uninstall"]

COMMANDS: dict[str, str] = {
    "": "the home panel",
    "plugins": "the plugins and their state; with a name, its error in full",
    "tasks": "the tasks that can be run",
    "models": "the models loaded",
    "evaluate": "a data set through a task: `evaluate TASK DATA --text COLUMN --label COLUMN`",
    "unload": "unload a model by name, or all",
    "device": "the devices; with a name, choose one",
    "budget": "how large a saved output may be; `budget 5MB` sets it",
    "starter": "the starter models; `starter install` brings them",
    "rescan": "find plugins installed a moment ago",
    "help": "this list",
}
"""What ``%lmkit`` takes, and what it does."""

_MODEL_OPTIONS = (
    "--model", "--device", "--dtype", "--revision", "--allow-pickle", "--trust-remote-code",
    "--background", "--help",
)  # fmt: skip


def install(shell: Any) -> None:
    """Add the completions to a shell. Where they apply, Python's own names are left out."""
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher()  # type: ignore[untyped-decorator]
    def lmkit_matcher(context: Any) -> Any:
        line = context.text_until_cursor if context.cursor_line == 0 else ""
        found = complete(line)
        if found is None:
            return {"completions": [], "suppress": False}
        typed = _typed(line)
        completions = [SimpleCompletion(text, type="lmkit") for text in found]
        return {"completions": completions, "suppress": True, "matched_fragment": typed}

    uninstall(shell)
    shell.Completer.custom_matchers.append(lmkit_matcher)


def uninstall(shell: Any) -> None:
    """Take the completions away."""
    shell.Completer.custom_matchers[:] = [
        one
        for one in shell.Completer.custom_matchers
        if getattr(one, "__name__", "") != "lmkit_matcher"
    ]


def complete(line: str) -> list[str] | None:
    """What the last word of ``line`` may become; None where lmkit has no say."""
    words = line.split()
    if not words or words[0] not in ("%%lm", "%lm", "%lmkit") or line == words[0]:
        return None
    typed = _typed(line)
    settled = words[1:-1] if typed else words[1:]
    options = _commands(settled) if words[0] == "%lmkit" else _task_words(settled)
    return [option for option in options if option.startswith(typed)]


def _typed(line: str) -> str:
    return "" if line[-1:].isspace() else line.split()[-1]


def _task_words(settled: Sequence[str]) -> list[str]:
    host = current_host()
    if not settled:
        return [one.task.name for one in host.tasks]
    try:
        registered = host.task(settled[0])
    except LmkitError:
        return []
    return _options(registered, settled)


def _options(registered: RegisteredTask, settled: Sequence[str]) -> list[str]:
    fields = {arguments.option_name(field): field for field in fields_of(registered.task)}
    last = settled[-1]
    if last in ("--model", "-m"):
        from lmkit.models import starters

        return [f"starter:{name}" for name in starters.names()]
    if last == "--device":
        return _devices()
    if last == "--dtype":
        return ["float32", "bfloat16", "float16"]
    field = fields.get(last)
    if isinstance(field, ChoiceField):
        return [f'"{one}"' if " " in one else one for one in field.options]
    if last == "--revision" or (field is not None and not isinstance(field, BooleanField)):
        return []
    return [option for option in (*_MODEL_OPTIONS, *fields) if option not in settled]


def _commands(settled: Sequence[str]) -> list[str]:
    if not settled:
        return [name for name in COMMANDS if name]
    if settled == ["evaluate"]:
        return [one.task.name for one in current_host().tasks if one.task.columns]
    if settled[0] == "plugins":
        return [plugin.name for plugin in current_host().plugins]
    if settled[0] == "unload":
        return ["all", *(one.name for one in current_session().models.list())]
    if settled[0] == "device":
        return _devices()
    return ["install"] if list(settled) == ["starter"] else []


def _devices() -> list[str]:
    from lmkit.models import devices

    return [one.name for one in devices(current_session().models.device)]
