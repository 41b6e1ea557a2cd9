"""``%lmkit`` and ``%%lm``: the notebook's way in. Options come from the tasks' fields."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from lmkit import arguments, completion, reports, settings
from lmkit.declarations import fields_of
from lmkit.errors import Cancelled, FieldError
from lmkit.host import PluginHost, RegisteredTask
from lmkit.kernel_session import current_host, current_session
from lmkit.protocol.messages import DeviceInfo, TextField
from lmkit.session import Session

__all__ = ["load", "unload"]


def load(shell: Any) -> None:
    """Register the magics, their completions and the comm target."""
    shell.register_magic_function(_guarded(shell, _lmkit), "line", "lmkit")
    shell.register_magic_function(_guarded(shell, _lm), "line_cell", "lm")
    completion.install(shell)
    manager = getattr(getattr(shell, "kernel", None), "comm_manager", None)
    if manager is not None:
        from lmkit.transports.comm import register

        register(manager, current_session)


def unload(shell: Any) -> None:
    """Take the magics away."""
    for kind, name in (("line", "lmkit"), ("line", "lm"), ("cell", "lm")):
        shell.magics_manager.magics[kind].pop(name, None)
    completion.uninstall(shell)


def _guarded(shell: Any, magic: Callable[..., Any]) -> Callable[..., Any]:
    def run(line: str, cell: str | None = None) -> Any:
        try:
            return magic(shell, line, cell)
        except arguments.HelpAsked as asked:
            sys.stdout.write(str(asked.args[0]))
            return None

    run.__doc__ = magic.__doc__
    return run


# -- %%lm -----------------------------------------------------------------------------------------


def _lm(shell: Any, line: str, cell: str | None = None) -> Any:
    """Run a task on the text of the cell: ``%%lm TASK --model NAME [options]``.

    ``%lm TASK ...`` without a cell opens the task's panel. ``%%lm TASK --help`` lists the options.
    ``--model`` takes the name of a Python variable that holds a model, too.
    """
    words = arguments.split(line)
    session = current_session()
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_lm_usage(session.host))
        return None
    registered = session.host.task(words[0])
    parser = arguments.task_parser(registered, "%%lm")
    parser.add_argument(
        "--background", action="store_true", help="do not wait: show the panel and run"
    )
    options = arguments.parse(parser, words[1:])
    values = arguments.field_values(registered, options)
    if cell is not None:
        _put_body(registered, values, cell)
    source = _source(shell, options.model)
    return _show(session, registered, source, options, values, run=cell is not None)


def _lm_usage(host: PluginHost) -> str:
    lines = ["%%lm TASK [--model NAME] [options]   and the text in the cell below", ""]
    lines += [f"  {one.task.name:<16} {one.task.help or one.task.title}" for one in host.tasks]
    if not host.tasks:
        lines.append("  No plugin is installed: pip install lmkit-classification")
    return "\n".join(lines) + "\n"


def _put_body(registered: RegisteredTask, values: dict[str, Any], cell: str) -> None:
    body = next(
        (one for one in fields_of(registered.task) if isinstance(one, TextField) and one.body), None
    )
    text = cell.removesuffix("\n")
    if body is None:
        if text.strip():
            raise FieldError(f"The task {registered.task.name} takes no text.")
    elif body.name not in values:
        values[body.name] = text
    elif text.strip():
        raise FieldError(
            f"{body.label} was given twice: in the cell and as {arguments.option_name(body)}."
        )


def _source(shell: Any, name: str) -> Any:
    """A model by name, or the Python variable of that name."""
    value = shell.user_ns.get(name) if name.isidentifier() else None
    return name if value is None else value


def _show(
    session: Session,
    registered: RegisteredTask,
    source: Any,
    options: Any,
    values: Mapping[str, Any],
    *,
    run: bool,
) -> Any:
    from IPython.display import display

    from lmkit.fields import check_values
    from lmkit.kit import Kit, make_panel
    from lmkit.transports.widget import Panel

    if run:
        check_values(fields_of(registered.task), values)  # before anything is drawn
    kit = Kit(session, source, arguments.load_options(options))
    panel = make_panel(kit, registered, values)
    if not isinstance(panel, Panel):  # a plugin's own layout of plain ipywidgets
        return panel
    if not run:
        return panel
    if options.background:
        display(panel)
        panel.start()
        return None
    # The panel is shown before it has run, so that its progress and Stop button work, and the
    # same output is filled in before the cell ends, so that Run all and nbclient save it whole.
    with panel.shown_while_running(), contextlib.suppress(Cancelled):
        panel.run()
    return None


# -- %lmkit ---------------------------------------------------------------------------------------


def _lmkit(shell: Any, line: str, cell: str | None = None) -> Any:
    """The home panel, and what can be said in one line: ``%lmkit help``."""
    words = list(itertools.takewhile(lambda word: not word.startswith("#"), arguments.split(line)))
    command, rest = (words[0], words[1:]) if words else ("", [])
    if command in ("help", "-h", "--help"):
        lines = [f"  %lmkit {name:<9} {text}" for name, text in completion.COMMANDS.items()]
        sys.stdout.write("\n".join(lines) + "\n")
        return None
    if not command:
        return _home()
    if command == "evaluate":
        return _evaluate(shell, rest)
    commands: dict[str, Callable[[list[str]], list[str]]] = {
        "plugins": lambda names: reports.plugins(current_host(), names),
        "tasks": lambda _: reports.tasks(current_host()),
        "models": _models,
        "unload": _unload,
        "device": _device,
        "budget": _budget,
        "starter": reports.starters,
        "rescan": _rescan,
    }
    if command not in commands:
        import difflib

        near = difflib.get_close_matches(command, [*commands, "evaluate"], n=1)
        hint = f"Did you mean %lmkit {near[0]}?" if near else "See %lmkit help."
        raise arguments.OptionError(f"%lmkit has no command {command!r}.", hint=hint)
    sys.stdout.write("\n".join(commands[command](rest)) + "\n")
    return None


def _evaluate(shell: Any, words: list[str]) -> Any:
    """A data set through a task; DATA and --model may be Python variables, as in ``%%lm``."""
    from lmkit.kit import Kit

    session = current_session()
    if not words or words[0] in ("-h", "--help"):
        lines = ["%lmkit evaluate TASK DATA [options]   DATA is a file or a Python variable", ""]
        able = [one for one in session.host.tasks if one.task.columns]
        lines += [f"  {one.task.name:<16} {one.task.help or one.task.title}" for one in able]
        sys.stdout.write("\n".join(lines) + "\n")
        return None
    registered = session.host.task(words[0])
    options = arguments.parse(arguments.rows_parser(registered, "%lmkit evaluate"), words[1:])
    given = arguments.row_values(registered, options)
    kit = Kit(session, _source(shell, options.model), arguments.load_options(options))
    evaluation = kit.evaluate(registered.task.name, _source(shell, options.data), **given)
    if options.out:
        evaluation.save(options.out)
    if not options.json:
        return evaluation
    found = {"rows": len(evaluation), "note": evaluation.note, "scores": evaluation.scores}
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    return None


def _home() -> Any:
    from lmkit.home import open_home
    from lmkit.transports.widget import ViewWidget

    session = current_session()
    return ViewWidget(session, open_home(session))


def _rescan(_: list[str]) -> list[str]:
    changed = current_host().rescan()
    return [reports.plugin_line(plugin) for plugin in changed] or ["Nothing new."]


def _models(_: list[str]) -> list[str]:
    return reports.models(current_session().models.list())


def _unload(names: list[str]) -> list[str]:
    models = current_session().models
    if not names or names == ["all"]:
        freed = models.clear()
    else:
        freed = sum(models.unload(name) for name in names)
    return [f"{freed / 2**20:.0f} MiB freed."]


def _device(names: list[str]) -> list[str]:
    models = current_session().models
    if names:
        models.choose_device(names[0])
    return reports.devices(_devices())


def _budget(words: list[str]) -> list[str]:
    if words:
        settings.options.budget = " ".join(words)
    return [f"A saved output takes up to {settings.size_text(settings.options.budget)}."]


def _devices() -> tuple[DeviceInfo, ...]:
    from lmkit.models import devices

    return devices(current_session().models.device)
