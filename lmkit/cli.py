"""``lmkit`` on the command line; ``python -m lmkit`` is the same."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmkit import arguments, reports
from lmkit.errors import LmkitError, MissingHeadWarning
from lmkit.protocol.codec import error_info, to_builtins
from lmkit.version import __version__

__all__ = ["main"]

MAX_PROBLEMS = 20
"""Problems of rows that are printed; a file has them all."""

PLACES = 8
"""Places of a notebook that are listed where they quote a text."""

_USAGE = """usage: lmkit COMMAND ...

  run TASK ...       run a task: lmkit run classification --model starter:sentiment --text "..."
  evaluate TASK DATA ...
                     run a task on a data set: lmkit evaluate classification reviews.csv
                     --text review --label stars --out report; under accelerate launch on
                     several processes
  plugins [NAME]     the plugins and their state; with a name, its error in full
  starter [install]  the starter models; install brings them
  strip FILE ...     take texts, tiles and pictures out of notebooks' saved outputs
  new-plugin NAME    write a plugin to begin with, into the folder at hand or --folder
  serve --stdio      answer an editor on standard input and output (docs/protocol.md)
  doctor             what this installation has and lacks
  --version          the version
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0 done, 1 an error, 2 a wrong command)."""
    words = list(sys.argv[1:] if argv is None else argv)
    commands: dict[str, Callable[[list[str]], int]] = {
        "run": _run,
        "evaluate": _evaluate,
        "plugins": _plugins,
        "starter": _starter,
        "new-plugin": _new_plugin,
        "strip": _strip,
        "serve": _serve,
        "doctor": _doctor,
    }
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_usage())
        return 0 if words else 2
    if words[0] == "--version":
        sys.stdout.write(f"lmkit {__version__}\n")
        return 0
    if words[0] not in commands:
        brought = _brought(words[0])
        if brought is None:
            sys.stderr.write(f"lmkit: there is no command {words[0]!r}.\n{_usage()}")
            return 2
        commands[words[0]] = brought
    try:
        return commands[words[0]](words[1:])
    except arguments.HelpAsked as asked:
        sys.stdout.write(str(asked.args[0]))
        return 0
    except LmkitError as error:
        if "--json" in words:
            sys.stdout.write(json.dumps({"error": to_builtins(error_info(error))}) + "\n")
        else:
            sys.stderr.write(f"lmkit: {error}\n")
        return 2 if isinstance(error, arguments.OptionError) else 1
    except KeyboardInterrupt:
        sys.stderr.write("lmkit: stopped.\n")
        return 130


def _usage() -> str:
    from lmkit.kernel_session import current_host

    lines = [f"  {x.command.name:<18} {x.command.help}\n" for x in current_host().commands]
    return _USAGE + ("\nfrom plugins:\n" + "".join(lines) if lines else "")


def _brought(name: str) -> Callable[[list[str]], int] | None:
    """The command of a plugin, isolated like a task: its failure is named and kept."""
    from lmkit.kernel_session import current_host
    from lmkit.tools import KernelTools

    host = current_host()
    found = host.command(name)
    if found is None:
        return None

    def run(words: list[str]) -> int:
        try:
            return found.command().main(KernelTools(), words)
        except LmkitError:
            raise
        except Exception as error:
            wrapped = host.quarantine(found.plugin, error)
            sys.stderr.write(wrapped.details)
            raise wrapped from error

    return run


def _run(words: list[str]) -> int:
    from lmkit.kernel_session import current_session
    from lmkit.kit import Kit

    session = current_session()
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write("usage: lmkit run TASK [options]\n\n")
        for one in session.host.tasks:
            sys.stdout.write(f"  {one.task.name:<16} {one.task.help or one.task.title}\n")
        return 0 if words else 2
    _task_first("run", words[0])
    registered = session.host.task(words[0])
    parser = arguments.task_parser(registered, "lmkit run")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--html", metavar="FILE", help="write the interactive view to a file")
    options = arguments.parse(parser, words[1:])
    values = arguments.field_values(registered, options)
    for name, value in values.items():
        if value == "-":
            values[name] = _read_input()
    kit = Kit(session, options.model, arguments.load_options(options))
    warnings.simplefilter("ignore", MissingHeadWarning)  # printed below, with the other warnings
    analysis = kit.run(registered.task.name, **values)
    if options.json:
        sys.stdout.write(json.dumps(_as_json(analysis, kit), ensure_ascii=False) + "\n")
    else:
        for warning in analysis.warnings:
            sys.stderr.write(f"lmkit: {warning}\n")
        sys.stdout.write(f"{analysis!r}\n")
    if options.html:
        _write_html(Path(options.html), analysis, registered.task.title)
    return 0


def _refuse_options(command: str, words: Sequence[str], usage: str) -> None:
    """Refuse the options of a command that has none but its help.

    Raises:
        HelpAsked: one of the words asks for help.
        OptionError: another of them is an option.
    """
    if "-h" in words or "--help" in words:
        raise arguments.HelpAsked(f"usage: lmkit {command} {usage}\n")
    unknown = next((one for one in words if one.startswith("-")), "")
    if unknown:
        raise arguments.OptionError(
            f"lmkit {command}: unknown option {unknown}.", hint=f"See lmkit {command} --help."
        )


def _task_first(command: str, word: str) -> None:
    """Refuse an option in the place of the task.

    Raises:
        OptionError: the word is an option.
    """
    if word.startswith("-"):
        raise arguments.OptionError(
            f"lmkit {command}: unknown option {word} before a task.",
            hint=f"The task comes first: lmkit {command} TASK, then its options.",
        )


def _read_input() -> str:
    """Standard input as text.

    Raises:
        LmkitError: it is no UTF-8.
    """
    try:
        return sys.stdin.read().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise LmkitError(
            f"Standard input is not text in UTF-8: {error.reason} at byte {error.start:,}.",
            hint="Convert it, with iconv for instance.",
        ) from error


def _evaluate(words: list[str]) -> int:
    from lmkit.datasets.distributed import several_processes
    from lmkit.evaluation import folder_named
    from lmkit.kernel_session import current_session
    from lmkit.kit import Kit

    session = current_session()
    able = [one for one in session.host.tasks if one.task.columns]
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write("usage: lmkit evaluate TASK DATA [options]\n\n")
        for one in able:
            sys.stdout.write(f"  {one.task.name:<16} {one.task.help or one.task.title}\n")
        return 0 if words else 2
    _task_first("evaluate", words[0])
    registered = session.host.task(words[0])
    parser = arguments.rows_parser(registered, "lmkit evaluate")
    options = arguments.parse(parser, words[1:])
    given = arguments.row_values(registered, options)
    if options.out:
        folder_named(options.out)  # before the rows are computed
    processes = several_processes()
    kit = Kit(session, options.model, arguments.load_options(options))
    warnings.simplefilter("ignore", MissingHeadWarning)
    evaluation = kit.evaluate(registered.task.name, options.data, **given)
    if processes is None or processes.first:  # the others have the same rows
        if options.out:
            evaluation.save(options.out)
        for problem in evaluation.problems[:MAX_PROBLEMS]:
            sys.stderr.write(f"lmkit: {problem}\n")
        if len(evaluation.problems) > MAX_PROBLEMS:
            more = len(evaluation.problems) - MAX_PROBLEMS
            sys.stderr.write(f"lmkit: and {more:,} more; --out writes them all.\n")
        if options.json:
            found = {"rows": len(evaluation), "note": evaluation.note, "scores": evaluation.scores}
            sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
        else:
            sys.stdout.write(f"{evaluation!r}\n")
    if evaluation.error is not None:
        code = 1
    elif evaluation.stopped:
        code = 130
    else:
        code = 0 if len(evaluation) else 1
    if processes is not None:
        processes.leave(code)
    return code


def _as_json(analysis: Any, kit: Any) -> dict[str, Any]:
    return {
        "model": kit.name,
        "values": analysis.values,
        "results": [to_builtins(result) for result in analysis.results],
        "warnings": list(analysis.warnings),
        "seconds": round(analysis.seconds, 4),
    }


def _write_html(path: Path, analysis: Any, title: str) -> None:
    from lmkit.transports.html import standalone, to_html
    from lmkit.transports.picture import describe, draw
    from lmkit.transports.snapshot import snapshot

    bundle = snapshot(analysis.view, None)
    fragment = to_html(bundle, draw(bundle), describe(bundle.spec))
    try:
        path.write_text(standalone([fragment], title), encoding="utf-8")
    except OSError as error:
        raise LmkitError(
            f"{path} cannot be written: {error.strerror or error}.",
            hint="Give --html a file in a folder that is there.",
        ) from error


def _plugins(words: list[str]) -> int:
    _refuse_options("plugins", words, "[NAME ...]\n\nThe plugins; by name, their errors in full.")
    from lmkit.kernel_session import current_host

    return _print(reports.plugins(current_host(), words))


def _starter(words: list[str]) -> int:
    _refuse_options(
        "starter", words, "[install [NAME ...]]\n\nThe starter models; install brings them."
    )
    return _print(reports.starters(words))


def _strip(words: list[str]) -> int:
    """Take texts, tiles, pictures and alt texts out of the saved outputs of notebooks."""
    parser = arguments.Parser(prog="lmkit strip", description=_strip.__doc__)
    parser.add_argument("notebook", nargs="+", help="changed in place")
    parser.add_argument("--out", metavar="FILE", help="write there instead; for one notebook")
    parser.add_argument("--check", action="store_true", help="only say; status 1 if there is any")
    parser.add_argument(
        "--names", action="store_true", help="keep the texts of forms, names replaced"
    )
    parser.add_argument(
        "--sources",
        action="store_true",
        help="with --names: also in strings, comments, magics, markdown and printed outputs",
    )
    parser.add_argument("--kinds", default="", help="with --names: only these: PER,LOC")
    parser.add_argument("--model", default="", help="with --names: the model that finds them")
    options = arguments.parse(parser, words)
    if options.out and len(options.notebook) > 1:
        raise arguments.OptionError("--out takes one notebook.")
    for name in ("model", "kinds", "sources"):
        if getattr(options, name) and not options.names:
            raise arguments.OptionError(f"--{name} goes with --names.")
    from lmkit.strip import strip_file

    replace = _names_replacer(options.model, options.kinds) if options.names else None
    changed = 0
    for name in options.notebook:
        out = Path(options.out) if options.out else None
        found = strip_file(
            Path(name),
            out,
            write=not options.check,
            replace=replace,
            replace_all=replace if options.sources else None,
        )
        changed += found.changed + len(found.rewritten)
        done = "to strip" if options.check else "stripped"
        kept = "sources unchanged"
        if options.sources:
            verb = "names to replace" if options.check else "names replaced"
            kept = f"{verb} in {_places(found.rewritten) or 'no other place'}"
        _print([f"{name}: {found.changed} of {found.outputs} outputs {done}; {kept}"])
        if found.left:
            quoted = "Names of them stand" if replace else "Their texts stand"
            _print([f"  {quoted} elsewhere too, which is yours to change: {_places(found.left)}"])
        if found.unseen:
            _print([f"  Pictures are not looked into: {_places(found.unseen)}"])
    return 1 if options.check and changed else 0


def _places(places: Sequence[str]) -> str:
    more = len(places) - PLACES
    return ", ".join([*places[:PLACES], *([f"{more} more places"] if more > 0 else [])])


def _names_replacer(source: str, kinds: str) -> Callable[..., Sequence[str]]:
    """What an installed task makes of texts with names; its model is loaded with the first."""
    from lmkit.api import Task
    from lmkit.errors import UnknownTaskError
    from lmkit.kernel_session import current_host, current_session

    found = next(
        (x.task for x in current_host().tasks if x.task.without_names is not Task.without_names),
        None,
    )
    if found is None:
        raise UnknownTaskError(
            "No task that replaces names is installed.", hint="Try: pip install lmkit-ner"
        )
    task = found()

    def replace(texts: Sequence[str], known: Sequence[str] = ()) -> Sequence[str]:
        model = current_session().models.get(source or task.default_model, task.auto_class)
        # A plugin of before these options takes the texts alone.
        asked: dict[str, Any] = {"known": known} if known else {}
        asked |= {"kinds": kinds} if kinds else {}
        return task.without_names(model, texts, **asked)

    return replace


def _new_plugin(words: list[str]) -> int:
    """Write a plugin that works as it stands."""
    parser = arguments.Parser(prog="lmkit new-plugin", description=_new_plugin.__doc__)
    parser.add_argument("name", help="lower-case words with hyphens between them")
    parser.add_argument("--folder", default=".", help="where to; default: the folder at hand")
    options = arguments.parse(parser, words)
    from lmkit.scaffold import write_plugin

    made = write_plugin(options.name, Path(options.folder))
    return _print([f"{made.main}", f"Install it with: pip install -e {made.folder}"])


def _serve(words: list[str]) -> int:
    """Answer an editor on standard input and output, without a port, until it goes."""
    parser = arguments.Parser(prog="lmkit serve", description=_serve.__doc__)
    parser.add_argument("--stdio", action="store_true", required=True, help="the only way there is")
    arguments.parse(parser, words)
    from lmkit.serve import serve_stdio

    return serve_stdio()


def _print(lines: Sequence[str]) -> int:
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _doctor(words: list[str]) -> int:
    """Say what this installation has and lacks; status 1 when something is wrong."""
    arguments.parse(arguments.Parser(prog="lmkit doctor", description=_doctor.__doc__), words)
    import importlib.metadata
    import platform

    from lmkit.kernel_session import current_session
    from lmkit.transports.assets import core_source, loader_source

    wrong = 0
    sys.stdout.write(f"lmkit {__version__}, Python {platform.python_version()}\n")
    for name in ("torch", "transformers", "pluggy", "ipywidgets", "jupyterlab"):
        try:
            sys.stdout.write(f"{name} {importlib.metadata.version(name)}\n")
        except importlib.metadata.PackageNotFoundError:
            sys.stdout.write(f"{name} is not installed\n")
    try:
        core_source()
        loader_source()
        sys.stdout.write("front end: built\n")
    except LmkitError as error:
        wrong += 1
        sys.stdout.write(f"front end: {error}\n")
    session = current_session()
    for plugin in session.host.plugins:
        wrong += plugin.state == "quarantined"
        reason = f": {plugin.error}" if plugin.error is not None else ""
        sys.stdout.write(f"plugin {plugin.title}: {plugin.state}{reason}\n")
    from lmkit.models import devices

    for device in devices(session.models.device):
        sys.stdout.write(f"device {device.name}: {device.title}\n")
    return 1 if wrong else 0
