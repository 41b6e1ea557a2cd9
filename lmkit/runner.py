"""Runs one task on one model, isolated: a plugin's failure is named and goes no further."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lmkit.api import LoadedModel
from lmkit.datasets import RowRun
from lmkit.declarations import fields_of, row_fields_of
from lmkit.errors import AttentionUnavailableError, LmkitError, TaskError
from lmkit.fields import check_values, defaults
from lmkit.host import Plugin, PluginHost, RegisteredTask, RegisteredView
from lmkit.protocol.messages import (
    Chart,
    Grid,
    HeadGrid,
    Labels,
    Matrix,
    Page,
    Result,
    Selection,
    Spans,
    Table,
    Text,
    TokenChoices,
    TokenLabels,
    TokenScores,
    Tree,
    ViewInfo,
)
from lmkit.rows import RowResults
from lmkit.run_record import record_run
from lmkit.views.attention import CapturedTrace
from lmkit.views.panel import Outcome
from lmkit.work import Work, doing

__all__ = [
    "check_job",
    "check_partial",
    "list_views",
    "report_rows",
    "run_rows",
    "run_task",
    "run_view",
]

_RESULTS = (
    Labels, Spans, Text, Table, HeadGrid, TokenScores, TokenLabels, Page, Chart, Matrix,
    TokenChoices, Tree, Grid,
)  # fmt: skip


def run_task(
    host: PluginHost,
    registered: RegisteredTask,
    model: LoadedModel,
    values: Mapping[str, Any],
    work: Work,
) -> Outcome:
    """Run a task in this thread.

    Args:
        host: Quarantines the plugin on an error that it did not foresee.
        registered: The task.
        model: What it runs on.
        values: Field values; checked here.
        work: Carries progress and the wish to stop.

    Raises:
        FieldError: a value that a field does not take.
        Cancelled: the user pressed Stop.
        TaskError: the task returned something that is no result.
        PluginError: the plugin raised an error of its own; the traceback is in its details.
    """
    task = registered.task
    checked = check_values(fields_of(task), values)
    started = time.monotonic()
    try:
        with doing(work), model.hold():
            work.check()
            returned = task().run(model, **checked)
            work.check()  # a task that stops by itself has returned what it has
        results = _check_results(returned, f"Task {task.name}", registered.plugin, "run")
        replaced = _check_replaced(registered, work.replaced)
    except TaskError as error:
        if error.__class__ is TaskError:
            host.quarantine(registered.plugin, error)
        raise
    except LmkitError:
        raise
    except (Exception, SystemExit) as error:  # a plugin must not end the kernel
        raise host.quarantine(registered.plugin, error) from error
    host.release(registered.plugin)
    trace = work.traces[-1] if work.traces else None
    output = trace.output if trace is not None and not trace.layers else None
    note = ""
    if trace is None and work.job is None:
        note = f"The task {task.name} made no captured pass, so there is no attention to show."
    elif trace is not None and not trace.layers:
        note = _why_no_attention(trace)
        trace = None
    with model.hold():  # its weights may go between two uses; the record asks for its class
        record = record_run(task.name, model, {**checked, **replaced}, trace)
    return Outcome(
        results=results,
        trace=trace,
        record=record,
        attention_note=note,
        output=output,
        # A loaded model repeats what its traces say.
        warnings=tuple(dict.fromkeys((*model.warnings, *getattr(trace, "warnings", ())))),
        seconds=time.monotonic() - started,
        replaced={name: (checked[name], value) for name, value in replaced.items()},
        stopped=work.cancelled,
        job=work.job,
    )


def _check_replaced(registered: RegisteredTask, values: Mapping[str, Any]) -> dict[str, Any]:
    fields = tuple(field for field in fields_of(registered.task) if field.name in values)
    unknown = sorted(set(values) - {field.name for field in fields})
    if unknown:
        raise TaskError(
            f"Task {registered.task.name} of plugin {registered.plugin.title} replaced the value "
            f"of {unknown[0]!r}, which is none of its fields."
        )
    return check_values(fields, values)


def check_partial(registered: RegisteredTask, results: Sequence[Any]) -> tuple[Result, ...]:
    """What a run shows before its end, checked as what it returns is.

    Raises:
        TaskError: something that is no sound result.
    """
    return _check_results(results, f"Task {registered.task.name}", registered.plugin, "show")


def check_job(registered: RegisteredTask, results: Sequence[Any]) -> tuple[Result, ...]:
    """What a job has to show, checked as what a run returns is.

    Raises:
        TaskError: something that is no sound result.
    """
    return _check_results(results, f"Task {registered.task.name}", registered.plugin, "results")


def list_views(host: PluginHost, trace: CapturedTrace) -> tuple[ViewInfo, ...]:
    """What can be asked of a pass beside its pictures; a view that fails here says so."""
    listed = []
    for registered in host.views:
        view = registered.view
        try:
            reason = view().unavailable(trace)
            if not isinstance(reason, str):
                raise TaskError(f"View {view.name} gave {_kind(reason)} from unavailable().")
        except (Exception, SystemExit) as error:
            reason = host.quarantine(registered.plugin, error).message
        listed.append(
            ViewInfo(
                name=view.name,
                title=view.title or view.name,
                help=view.help,
                plugin=registered.plugin.name,
                fields=tuple(view.fields),
                follows=tuple(sorted(view.follows)),  # type: ignore[arg-type]
                reason=reason[:10_000],
            )
        )
    return tuple(listed)


def run_view(
    host: PluginHost,
    registered: RegisteredView,
    trace: CapturedTrace,
    values: Mapping[str, Any],
    selection: Selection,
    work: Work,
) -> tuple[Result, ...]:
    """Ask a view for its results in this thread.

    Args:
        host: Quarantines the plugin on an error that it did not foresee.
        registered: The view.
        trace: The pass.
        values: Values of the view's fields; missing ones take their defaults.
        selection: Layer, head and tokens.
        work: Carries progress and the wish to stop.

    Raises:
        FieldError: a value that a field does not take.
        Cancelled: the user pressed Stop.
        TaskError: the view is not available for this pass, or returned what is no result.
        PluginError: the plugin raised an error of its own; the traceback is in its details.
    """
    view = registered.view
    fields = tuple(view.fields)
    checked = check_values(fields, {**defaults(fields), **values})
    try:
        with doing(work):
            work.check()
            made = view()
            reason = made.unavailable(trace)
            if reason:
                raise AttentionUnavailableError(f"{view.title or view.name}: {reason}")
            returned = made.show(
                trace,
                layer=selection.layer,
                head=selection.head,
                tokens=selection.tokens,
                **checked,
            )
            work.check()
        results = _check_results(returned, f"View {view.name}", registered.plugin, "show")
    except TaskError as error:
        if error.__class__ is TaskError:
            host.quarantine(registered.plugin, error)
        raise
    except LmkitError:
        raise
    except (Exception, SystemExit) as error:  # a plugin must not end the kernel
        raise host.quarantine(registered.plugin, error) from error
    host.release(registered.plugin)
    return results


def run_rows(
    host: PluginHost,
    registered: RegisteredTask,
    model: LoadedModel,
    run: RowRun,
    values: Mapping[str, Any],
    work: Work,
) -> None:
    """Send the rows that are left through a task, in this thread.

    Args:
        host: Quarantines the plugin on an error that it did not foresee.
        registered: The task.
        model: What it runs on.
        run: Takes each row as it is done; what it holds stays when this raises.
        values: Values of the fields that are no columns; checked here.
        work: Carries progress and the wish to stop.

    Raises:
        FieldError: a value that a field does not take.
        Cancelled: the user pressed Stop.
        PluginError: the plugin raised an error of its own; the traceback is in its details.
    """
    task = registered.task
    who = f"Task {task.name} of plugin {registered.plugin.title}"
    checked = check_values(row_fields_of(task), values)
    try:
        with doing(work), model.hold():
            work.check()
            for item in task().run_rows(model, run.stream(), **checked):
                run.add(item, who)
            run.ended = True
    except LmkitError as error:
        if error.__class__ is TaskError:
            host.quarantine(registered.plugin, error)
        raise
    except (Exception, SystemExit) as error:  # a plugin must not end the kernel
        raise host.quarantine(registered.plugin, error) from error
    host.release(registered.plugin)


def report_rows(
    host: PluginHost,
    registered: RegisteredTask,
    done: RowResults,
    values: Mapping[str, Any],
) -> tuple[Result, ...]:
    """Ask a task what to show of the rows that are done.

    Args:
        host: Quarantines the plugin on an error that it did not foresee.
        registered: The task.
        done: The rows and what the task found for them.
        values: Values of the fields that are no columns, and of the report's; checked here.

    Raises:
        FieldError: a value that a field does not take.
        TaskError: the task returned something that is no result.
        PluginError: the plugin raised an error of its own; the traceback is in its details.
    """
    task = registered.task
    fields = (*row_fields_of(task), *task.report_fields)
    checked = check_values(fields, values)
    try:
        returned = task().report_rows(done, **checked)
        results = _check_results(returned, f"Task {task.name}", registered.plugin, "report_rows")
    except TaskError as error:
        if error.__class__ is TaskError:
            host.quarantine(registered.plugin, error)
        raise
    except LmkitError:
        raise
    except (Exception, SystemExit) as error:
        raise host.quarantine(registered.plugin, error) from error
    return results


def _why_no_attention(trace: Any) -> str:
    error = getattr(trace, "error", None)
    return str(error or AttentionUnavailableError("This model has no attention layers."))


def _check_results(returned: Any, who: str, plugin: Plugin, method: str) -> tuple[Result, ...]:
    many = isinstance(returned, Sequence) and not isinstance(returned, str | bytes)
    results = tuple(returned) if many else (returned,)
    results = tuple(_readable(one) if isinstance(one, Table) else one for one in results)
    for result in results:
        if isinstance(result, Table):
            _check_rows(result, who, plugin)
        elif isinstance(result, TokenScores):
            _check_token_rows(result, who, plugin)
        elif isinstance(result, TokenLabels):
            _check_token_labels(result, who, plugin)
        elif isinstance(result, Matrix):
            _check_matrix(result, who, plugin)
        elif isinstance(result, Chart):
            _check_series(result, who, plugin)
        elif isinstance(result, Tree):
            _check_parents(result, who, plugin)
        elif isinstance(result, Grid):
            _check_cells(result, who, plugin)
        if not isinstance(result, _RESULTS):
            names = ", ".join(kind.__name__ for kind in _RESULTS)
            raise TaskError(
                f"{who} of plugin {plugin.title} returned {_kind(result)}, which is no result.",
                hint=f"{method}() returns one of {names}, or a sequence of them.",
            )
        try:  # the structs do not check what a plugin puts into them
            msgspec.convert(msgspec.to_builtins(result), type(result))
        except (msgspec.ValidationError, TypeError) as error:
            raise TaskError(
                f"{who} of plugin {plugin.title} returned a "
                f"{type(result).__name__} that is not sound: {error}."
            ) from error
    return results


def _check_rows(table: Table, who: str, plugin: Plugin) -> None:
    for number, row in enumerate(table.rows):
        if len(row) != len(table.columns):
            raise TaskError(
                f"{who} of plugin {plugin.title} returned a Table "
                f"whose row {number} has {len(row)} cells for {len(table.columns)} columns."
            )
    if table.changes and len(table.changes) != len(table.rows):
        raise TaskError(
            f"{who} of plugin {plugin.title} returned a Table with {len(table.changes)} changes "
            f"for {len(table.rows)} rows."
        )


def _check_matrix(matrix: Matrix, who: str, plugin: Plugin) -> None:
    shape = (len(matrix.rows), len(matrix.columns))
    for what, cells in (("cells", matrix.cells), ("changes", matrix.changes)):
        if what == "changes" and not cells:
            continue
        if len(cells) != shape[0] or any(len(row) != shape[1] for row in cells):
            raise TaskError(
                f"{who} of plugin {plugin.title} returned a Matrix of {shape[0]} rows and "
                f"{shape[1]} columns whose {what} have another shape."
            )


def _check_series(chart: Chart, who: str, plugin: Plugin) -> None:
    for series in chart.series:
        if len(series.x) != len(series.y):
            raise TaskError(
                f"{who} of plugin {plugin.title} returned a Chart whose series {series.label!r} "
                f"has {len(series.x)} x for {len(series.y)} y."
            )


def _check_token_rows(scores: TokenScores, who: str, plugin: Plugin) -> None:
    for number, row in enumerate(scores.rows):
        if len(row.values) != len(scores.tokens):
            raise TaskError(
                f"{who} of plugin {plugin.title} returned TokenScores whose row {number} has "
                f"{len(row.values)} values for {len(scores.tokens)} tokens."
            )


def _check_token_labels(found: TokenLabels, who: str, plugin: Plugin) -> None:
    wide = len(found.labels)
    if len(found.values) != len(found.tokens) or any(len(row) != wide for row in found.values):
        raise TaskError(
            f"{who} of plugin {plugin.title} returned TokenLabels whose values are not "
            f"{len(found.tokens)} tokens by {wide} labels."
        )


def _check_parents(tree: Tree, who: str, plugin: Plugin) -> None:
    for number, node in enumerate(tree.nodes):
        if node.parent is not None and not 0 <= node.parent < number:
            raise TaskError(
                f"{who} of plugin {plugin.title} returned a Tree whose node {number} has "
                f"the parent {node.parent}, which is no earlier node."
            )


def _check_cells(grid: Grid, who: str, plugin: Plugin) -> None:
    shape = (len(grid.rows), len(grid.columns))
    if len(grid.cells) != shape[0] or any(len(row) != shape[1] for row in grid.cells):
        raise TaskError(
            f"{who} of plugin {plugin.title} returned a Grid whose cells are not "
            f"{shape[0]} rows of {shape[1]}."
        )


def _readable(table: Table) -> Table:
    """NaN and infinity have no form in JSON: such cells become words."""

    def cell(value: Any) -> Any:
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    return msgspec.structs.replace(
        table, rows=tuple(tuple(cell(value) for value in row) for row in table.rows)
    )


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
