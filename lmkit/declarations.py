"""Checks what a plugin declares before anything else sees it, and says what is wrong with it."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from lmkit.api import Command, Task, View
from lmkit.errors import RegistrationError
from lmkit.protocol.messages import (
    BooleanField,
    ChoiceField,
    ColumnSpec,
    FieldSpec,
    IntegerField,
    NumberField,
    TextField,
)

__all__ = ["check_command", "check_task", "check_view", "fields_of", "row_fields_of", "verb_of"]

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_FIELD_TYPES = (TextField, IntegerField, NumberField, ChoiceField, BooleanField)
RESERVED_FIELDS = frozenset({
    # options of the magic and the command line, arguments of Kit.run
    "allow_pickle", "background", "device", "dtype", "help", "html", "json", "model", "revision",
    "self", "task", "trust_remote_code",
    # attributes of a panel, which is an ipywidget; a test holds that none is missing
    "add_class", "add_traits", "blur", "class_own_trait_events", "class_own_traits",
    "class_trait_names", "class_traits", "close", "close_all", "comm", "cross_validation_lock",
    "display_id", "focus", "get_manager_state", "get_state", "get_view_spec",
    "handle_comm_opened", "handle_control_comm_opened", "has_trait", "hold_sync",
    "hold_trait_notifications", "keys", "layout", "log", "model_id", "notify_change", "observe",
    "on_msg", "on_trait_change", "on_widget_constructed", "open", "outcome", "remove_class",
    "result", "results", "run", "save", "selection", "send", "send_state", "set_state", "set_trait",
    "setup_instance", "shown_while_running", "start", "state", "status", "stop", "tabbable",
    "tooltip", "trait_defaults", "trait_events", "trait_has_value", "trait_metadata",
    "trait_names", "trait_values", "traits", "unobserve", "unobserve_all", "value",
    "widget_types", "widgets",
})  # fmt: skip
"""Names that lmkit's own options and panels take."""
_FOLLOWED = frozenset({"layer", "head", "tokens"})
"""Parts of the selection, and so keywords of every view's ``show``."""
RESERVED_COLUMNS = frozenset({"data", "model", "out", "processes", "rows", "self", "task"})
"""Names that the Python call and the command line for data sets take."""
RESERVED_COMMANDS = frozenset({
    "doctor", "evaluate", "help", "lab", "new-plugin", "plugins", "run", "serve", "starter",
    "strip",
})  # fmt: skip
"""Verbs of lmkit's own command line."""
RESERVED_VERBS = frozenset({
    "close", "compare", "device", "dtype", "evaluate", "explore", "labels", "loaded", "model",
    "name", "panel", "run", "session", "tasks", "tokenizer", "trace", "trace_generation",
    "warnings",
})  # fmt: skip
"""Names of a kit's own methods, beside which a task's verb would never be reached, and of a
model's; a test holds that none is missing."""


Declared = TypeVar("Declared", Task, View, Command)


def _declared(found: object, kind: type[Declared]) -> type[Declared]:
    """``found`` where it is a subclass of ``kind`` with a sound name."""
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise RegistrationError(
            f"register() got {found!r}, not a subclass of lmkit.api.{kind.__name__}.",
            hint=f"Register the class itself: register(My{kind.__name__}).",
        )
    _check_name(found.name, _who(found, kind))
    return found


def _who(found: type, kind: type) -> str:
    return f"{kind.__name__} {found.__module__}.{found.__qualname__}"


def check_task(found: object) -> type[Task]:
    """Return ``found`` if it is a sound declaration.

    Raises:
        RegistrationError: naming the class and the first thing that is wrong with it.
    """
    task = _declared(found, Task)
    who = _who(task, Task)
    for attribute in ("title", "help", "verb", "default_model"):
        if not isinstance(getattr(task, attribute), str):
            raise RegistrationError(f"{who}: {attribute} is not a string.")
    if not isinstance(task.auto_class, str) or not all(
        one.startswith("AutoModel") for one in task.auto_class.split("|")
    ):
        raise RegistrationError(
            f"{who} has the auto_class {task.auto_class!r}.",
            hint="Name a transformers auto class, for instance 'AutoModelForCausalLM'.",
        )
    verb = verb_of(task)
    if not verb.isidentifier() or keyword.iskeyword(verb) or verb.startswith("_"):
        raise RegistrationError(f"{who} has the verb {verb!r}, which is no method name.")
    if verb in RESERVED_VERBS:
        raise RegistrationError(f"{who} has the verb {verb!r}, which lmkit uses itself.")
    _check_fields(task.fields, who, RESERVED_FIELDS)
    if task.run is Task.run:
        raise RegistrationError(f"{who} defines no run(self, model, *, ...).")
    _check_signature(task.run, who, [field.name for field in task.fields], "model")
    _check_columns(task, who)
    return task


def _check_columns(task: type[Task], who: str) -> None:
    if not isinstance(task.columns, tuple | list) or not all(
        isinstance(one, ColumnSpec) for one in task.columns
    ):
        raise RegistrationError(f"{who}: columns is not a tuple of lmkit.api.Column's.")
    names = [one.name for one in task.columns]
    for column in task.columns:
        name = column.name
        if not name.isidentifier() or keyword.iskeyword(name) or name in RESERVED_COLUMNS:
            raise RegistrationError(f"{who}: {name!r} cannot be the name of a column.")
        if names.count(name) > 1:
            raise RegistrationError(f"{who} has two columns named {name!r}.")
    fields = {field.name for field in task.fields}
    _check_fields(task.report_fields, who, RESERVED_FIELDS | RESERVED_COLUMNS | fields | {*names})
    if not task.columns:
        if task.report_fields:
            raise RegistrationError(f"{who} has report_fields but no columns.")
        return
    for name in ("run_rows", "report_rows"):
        if getattr(task, name) is getattr(Task, name):
            raise RegistrationError(f"{who} has columns but defines no {name}().")
    values = [field.name for field in row_fields_of(task)]
    _check_signature(task.run_rows, who, values, "model, rows")
    report = [*values, *(field.name for field in task.report_fields)]
    _check_signature(task.report_rows, who, report, "done")


def check_view(found: object) -> type[View]:
    """Return ``found`` if it is a sound declaration.

    Raises:
        RegistrationError: naming the class and the first thing that is wrong with it.
    """
    view = _declared(found, View)
    who = _who(view, View)
    for attribute in ("title", "help"):
        if not isinstance(getattr(view, attribute), str):
            raise RegistrationError(f"{who}: {attribute} is not a string.")
    if not isinstance(view.follows, frozenset | set) or not view.follows <= _FOLLOWED:
        raise RegistrationError(
            f"{who} follows {view.follows!r}.",
            hint=f"Name a set of {', '.join(sorted(_FOLLOWED))}.",
        )
    _check_fields(view.fields, who, _FOLLOWED | {"trace", "self", "name"})
    if view.show is View.show:
        raise RegistrationError(f"{who} defines no show(self, trace, *, ...).")
    _check_signature(view.show, who, [*_FOLLOWED, *(field.name for field in view.fields)], "trace")
    return view


def check_command(found: object) -> type[Command]:
    """Return ``found`` if it is a sound declaration.

    Raises:
        RegistrationError: naming the class and the first thing that is wrong with it.
    """
    command = _declared(found, Command)
    who = _who(command, Command)
    if not isinstance(command.help, str):
        raise RegistrationError(f"{who}: help is not a string.")
    if command.name in RESERVED_COMMANDS:
        raise RegistrationError(f"{who} has the name {command.name!r}, which lmkit uses itself.")
    if command.main is Command.main:
        raise RegistrationError(f"{who} defines no main(self, tools, words).")
    return command


def verb_of(task: type[Task]) -> str:
    """Name of the method that runs the task on a loaded model."""
    return task.verb or task.name.replace("-", "_")


def fields_of(task: type[Task]) -> tuple[FieldSpec, ...]:
    """The task's fields, the first text field marked as the body where none is."""
    fields = tuple(task.fields)
    if any(isinstance(field, TextField) and field.body for field in fields):
        return fields
    marked = list(fields)
    for index, field in enumerate(marked):
        if isinstance(field, TextField):
            marked[index] = msgspec.structs.replace(field, body=True)
            break
    return tuple(marked)


def row_fields_of(task: type[Task]) -> tuple[FieldSpec, ...]:
    """The fields that hold for all rows of a data set: those that no column stands in for."""
    columns = {column.name for column in task.columns}
    return tuple(field for field in fields_of(task) if field.name not in columns)


def _check_name(name: object, who: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RegistrationError(
            f"{who} has the name {name!r}.",
            hint="A name is lower-case letters and digits, parts joined by hyphens.",
        )


def _check_fields(fields: object, who: str, reserved: frozenset[str]) -> None:
    if not isinstance(fields, tuple | list):
        raise RegistrationError(f"{who}: fields is not a tuple of lmkit.api.Field's.")
    seen: set[str] = set()
    bodies = 0
    for field in fields:
        if not isinstance(field, _FIELD_TYPES):
            raise RegistrationError(
                f"{who}: {field!r} is not a field.",
                hint="Make fields with lmkit.api.Field.",
            )
        name = field.name
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise RegistrationError(f"{who}: {name!r} cannot be the name of a field.")
        if name in reserved:
            raise RegistrationError(f"{who}: the field name {name!r} is taken by lmkit itself.")
        if name in seen:
            raise RegistrationError(f"{who} has two fields named {name!r}.")
        seen.add(name)
        if name.startswith("no_") and any(
            isinstance(one, BooleanField) and f"no_{one.name}" == name for one in fields
        ):
            raise RegistrationError(
                f"{who}: the field {name!r} stands for the field {name[3:]!r} switched off."
            )
        bodies += isinstance(field, TextField) and field.body
        _check_default(field, f"{who}: field {name!r}")
    if bodies > 1:
        raise RegistrationError(f"{who}: more than one field takes the body of the cell.")


def _check_default(field: FieldSpec, who: str) -> None:
    try:  # the constructors of msgspec do not check types
        msgspec.convert(msgspec.to_builtins(field), type(field))
    except (msgspec.ValidationError, TypeError) as error:
        raise RegistrationError(f"{who} is not declared as it should be: {error}.") from error
    if isinstance(field, IntegerField | NumberField):
        if field.minimum > field.maximum:
            raise RegistrationError(f"{who}: the minimum is above the maximum.")
        if not field.minimum <= field.default <= field.maximum:
            raise RegistrationError(f"{who}: the default {field.default} is out of its bounds.")
    if isinstance(field, ChoiceField) and field.default not in field.options:
        raise RegistrationError(f"{who}: the default {field.default!r} is no option.")


def _check_signature(
    function: Callable[..., object], who: str, names: Iterable[str], first: str
) -> None:
    signature = inspect.signature(function)
    try:
        signature.bind(*[None] * (first.count(",") + 2), **dict.fromkeys(names))
    except TypeError as error:
        raise RegistrationError(
            f"{who}: {function.__name__}{signature} does not take its fields: {error}.",
            hint=f"Write {function.__name__}(self, {first}, *, ...) with one keyword a field.",
        ) from error
