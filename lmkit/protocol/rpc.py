"""What an editor asks ``python -m lmkit serve --stdio`` beside the messages of views.

JSON-RPC 2.0 in frames of ``Content-Length``. The method ``request`` carries the messages of
:mod:`lmkit.protocol.messages`; the others, described here, say what there is and open views. See
docs/protocol.md.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from lmkit.protocol.messages import (
    PROTOCOL,
    DeviceInfo,
    FieldSpec,
    FieldValue,
    Id,
    JobInfo,
    Line,
    ModelInfo,
    Name,
    PluginInfo,
    Result,
    StarterInfo,
    Struct,
    TaskCell,
)

__all__ = [
    "Act",
    "CloseView",
    "Complete",
    "Completions",
    "DeviceList",
    "Initialize",
    "Initialized",
    "ModelList",
    "NewPlugin",
    "NewPluginMade",
    "OpenTask",
    "Opened",
    "PluginList",
    "RunAct",
    "RunContent",
    "RunList",
    "RunName",
    "StarterList",
    "TaskDeclaration",
    "TaskList",
]


class Initialize(Struct, frozen=True, kw_only=True):
    """The first request of an editor: which protocol it speaks."""

    protocol: int = PROTOCOL
    client: Line = ""


class Initialized(Struct, frozen=True, kw_only=True):
    """Who answers. ``session`` is new with every process: views of another one are gone."""

    session: Id
    protocol: int
    version: Line
    python: Line
    executable: Line


class TaskDeclaration(Struct, frozen=True, kw_only=True):
    """One task with all that it declares: enough to draw its form and to complete its options.

    ``body`` names the text field that takes the body of a cell. What is selected in an editor goes
    there where ``cell`` has a text.
    """

    name: Name
    title: Line
    plugin: Line
    help: Line = ""
    default_model: Line = ""
    body: Line = ""
    fields: tuple[FieldSpec, ...] = ()
    cell: TaskCell


class TaskList(Struct, frozen=True, kw_only=True):
    """The tasks that can be run."""

    tasks: tuple[TaskDeclaration, ...]


class PluginList(Struct, frozen=True, kw_only=True):
    """The plugins and their state."""

    plugins: tuple[PluginInfo, ...]


class ModelList(Struct, frozen=True, kw_only=True):
    """The models loaded."""

    models: tuple[ModelInfo, ...]


class StarterList(Struct, frozen=True, kw_only=True):
    """The starter models."""

    starters: tuple[StarterInfo, ...]


class DeviceList(Struct, frozen=True, kw_only=True):
    """The devices, the chosen one marked."""

    devices: tuple[DeviceInfo, ...]


class OpenTask(Struct, frozen=True, kw_only=True):
    """Open a task's panel; the model is loaded at its first run. Empty: the task's default."""

    task: Name
    model: Line = ""
    values: dict[str, FieldValue] = msgspec.field(default_factory=dict)


class Opened(Struct, frozen=True, kw_only=True):
    """An open view, to be greeted with ``hello``."""

    session: Id
    view: Id


class CloseView(Struct, frozen=True, kw_only=True):
    """Forget a view and release its capture; a run in progress is stopped."""

    view: Id


class Act(Struct, frozen=True, kw_only=True):
    """What the buttons of the home panel do: ``unload``, ``device``, ``rescan``."""

    name: Name
    argument: Line = ""


class Complete(Struct, frozen=True, kw_only=True):
    """What the last word of a line may become; ``line`` ends at the cursor."""

    line: Line


class Completions(Struct, frozen=True, kw_only=True):
    """Whole words; None where lmkit has no say."""

    words: Annotated[tuple[Line, ...], Meta(max_length=10_000)] | None


class NewPlugin(Struct, frozen=True, kw_only=True):
    """Write a new plugin into ``folder``, which must be there."""

    name: Name
    folder: Line


class NewPluginMade(Struct, frozen=True, kw_only=True):
    """Where the plugin was written, and the file to begin with."""

    folder: Line
    main: Line


class RunList(Struct, frozen=True, kw_only=True):
    """Answer to ``runs/list``: long work that plugins know of, the newest first."""

    runs: Annotated[tuple[JobInfo, ...], Meta(max_length=1_000)]


class RunName(Struct, frozen=True, kw_only=True):
    """Arguments of ``runs/read``: the name that ``runs/list`` gave."""

    name: Line


class RunAct(RunName, frozen=True, kw_only=True):
    """Arguments of ``runs/act``: a name, and one of the run's ``actions``."""

    action: Name


class RunContent(Struct, frozen=True, kw_only=True):
    """Answer to ``runs/read`` and ``runs/act``: where a run is, and what its panel draws."""

    run: JobInfo
    results: Annotated[tuple[Result, ...], Meta(max_length=1_000)]
