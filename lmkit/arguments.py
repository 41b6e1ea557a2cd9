"""Command-line options from a task's fields: the same for ``%%lm`` and ``lmkit run``."""

from __future__ import annotations

import argparse
import difflib
import shlex
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from lmkit.declarations import fields_of, row_fields_of
from lmkit.errors import FieldError, TaskError
from lmkit.fields import option_name, parse_value
from lmkit.host import RegisteredTask
from lmkit.protocol.messages import BooleanField, ChoiceField, FieldSpec

__all__ = [
    "OptionError",
    "Parser",
    "load_options",
    "option_name",
    "row_values",
    "rows_parser",
    "split",
    "task_parser",
]


class OptionError(FieldError):
    """The options of a magic or command cannot be read."""

    code = "option"


class HelpAsked(Exception):  # noqa: N818 - not an error
    """``--help`` was given; the text is in ``args[0]``."""


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that raises instead of ending the kernel."""

    def error(self, message: str) -> NoReturn:
        """Raise :class:`OptionError`, with the nearest option for a misspelt one."""
        raise OptionError(
            f"{self.prog}: {message}.", hint=self._near(message) or f"See {self.prog} --help."
        )

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Never end the process."""
        raise OptionError(message or f"{self.prog} stopped.")

    def print_help(self, file: Any = None) -> None:
        """Hand the help text to whoever asked."""
        raise HelpAsked(self.format_help())

    def _near(self, message: str) -> str:
        if "expected one argument" in message:
            return "Write its value behind it; one that begins with a dash as --option=--value."
        words = [word for word in message.split() if word.startswith("--")]
        options = [name for action in self._actions for name in action.option_strings]
        near = difflib.get_close_matches(words[0], options, n=1) if words else []
        return f"Did you mean {near[0]}?" if near else ""


def task_parser(registered: RegisteredTask, prog: str) -> Parser:
    """The parser of a task: its fields and the options of every model.

    Fields that were not given are absent from the result, so that their defaults hold.
    """
    parser = _model_parser(registered, prog)
    group = parser.add_argument_group("fields")
    for field in fields_of(registered.task):
        _add_field(group, field)
    return parser


def rows_parser(registered: RegisteredTask, prog: str) -> Parser:
    """The parser of a task's data-set mode: the data, its columns, fields that hold for all rows.

    Raises:
        TaskError: the task reads no data sets.
    """
    task = registered.task
    if not task.columns:
        raise TaskError(f"The task {task.name} reads no data sets.", hint="Use lmkit run.")
    parser = _model_parser(registered, prog)
    parser.add_argument("data", help="a .csv, .tsv, .jsonl, .json, .parquet or .arrow file")
    parser.add_argument("--out", metavar="FOLDER", help="write rows, problems and report there")
    parser.add_argument("--json", action="store_true", help="print the scores as one JSON object")
    group = parser.add_argument_group("columns of the data set")
    for column in task.columns:
        text = (column.help or column.label).replace("%", "%%")
        group.add_argument(
            f"--{column.name.replace('_', '-')}",
            dest=column.name,
            metavar="COLUMN",
            default=argparse.SUPPRESS,
            help=f"{text} Default: told by its name.",
        )
    group = parser.add_argument_group("fields")
    for field in (*row_fields_of(task), *task.report_fields):
        if not field.hidden:
            _add_field(group, field)
    return parser


def row_values(registered: RegisteredTask, options: argparse.Namespace) -> dict[str, Any]:
    """The columns and field values that were given to :func:`rows_parser`."""
    task = registered.task
    fields = (*task.columns, *row_fields_of(task), *task.report_fields)
    given = vars(options)
    return {one.name: given[one.name] for one in fields if one.name in given}


def _model_parser(registered: RegisteredTask, prog: str) -> Parser:
    task = registered.task
    parser = Parser(prog=f"{prog} {task.name}", description=task.help or task.title)
    parser.add_argument(
        "--model",
        "-m",
        default=task.default_model,
        help="starter:NAME, a hub id, a local folder"
        + (f"; default {task.default_model}" if task.default_model else ""),
    )
    parser.add_argument("--device", help="cpu, cuda:0, mps; default: the chosen one")
    parser.add_argument("--dtype", help="float32, bfloat16, float16; default: the checkpoint's")
    parser.add_argument("--revision", help="revision on the hub")
    parser.add_argument(
        "--allow-pickle", action="store_true", help="read a pickle checkpoint; it can run code"
    )
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="let this model run code from the hub"
    )
    return parser


def load_options(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``ModelStore.get`` that were given."""
    names = ("device", "dtype", "revision", "allow_pickle", "trust_remote_code")
    return {name: getattr(options, name) for name in names if getattr(options, name)}


def field_values(registered: RegisteredTask, options: argparse.Namespace) -> dict[str, Any]:
    """The field values that were given."""
    given = vars(options)
    names = [field.name for field in fields_of(registered.task)]
    return {name: given[name] for name in names if name in given}


def split(line: str) -> list[str]:
    """Split a magic's line as a shell does.

    Raises:
        OptionError: a quotation mark without its partner.
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise OptionError(
            f"The line cannot be read: {error}.", hint='Close every quotation mark: "...".'
        ) from error


def _add_field(group: Any, field: FieldSpec) -> None:
    text = (field.help or field.label).replace("%", "%%")
    common = {"dest": field.name, "default": argparse.SUPPRESS}
    if isinstance(field, BooleanField):
        group.add_argument(
            option_name(field), action=argparse.BooleanOptionalAction, help=text, **common
        )
        return
    if isinstance(field, ChoiceField):
        text += f" One of {', '.join(field.options)}.".replace("%", "%%")
    metavar = field.name.upper()
    group.add_argument(
        option_name(field), type=_reader(field), help=text, metavar=metavar, **common
    )


def _reader(field: FieldSpec) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        return parse_value(field, text)

    return read


def parse(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """Parse words; FieldError of a value is passed on as it is."""
    return parser.parse_args(list(words))
