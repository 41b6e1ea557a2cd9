"""The plugin host: finds plugins, checks them at the door, and goes on without the broken ones."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import os
import site
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import pluggy
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from lmkit import hookspecs
from lmkit.api import HOST_API, Command, Job, Task, View
from lmkit.cells import cell_of
from lmkit.declarations import check_command, check_task, check_view, verb_of
from lmkit.errors import (
    DuplicateNameError,
    HostApiError,
    LmkitError,
    NoSuchViewError,
    PluginError,
    RegistrationError,
    TaskError,
    UnknownTaskError,
    WrongModelKindError,
)
from lmkit.protocol.codec import error_info
from lmkit.protocol.messages import PluginInfo, TaskInfo

__all__ = [
    "ALLOW_VARIABLE",
    "BLOCK_VARIABLE",
    "GROUP",
    "Plugin",
    "PluginHost",
    "RegisteredCommand",
    "RegisteredTask",
    "RegisteredView",
]

GROUP = "lmkit"
"""Entry-point group of plugins."""
ALLOW_VARIABLE = "LMKIT_PLUGINS_ALLOW"
"""Environment variable: comma-separated plugin names; when set, no other is loaded."""
BLOCK_VARIABLE = "LMKIT_PLUGINS_BLOCK"
"""Environment variable: comma-separated plugin names that are not loaded."""

Named = TypeVar("Named", Task, View, Command)
EntryPoints = Callable[[], Iterable[importlib.metadata.EntryPoint]]


@dataclass
class Plugin:
    """One plugin that was found, whether it works or not."""

    name: str
    distribution: str = ""
    version: str = ""
    state: str = "ready"
    tasks: list[str] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    error: LmkitError | None = None
    module: str = ""

    @property
    def title(self) -> str:
        """Name and where it comes from, for messages."""
        origin = " ".join(filter(None, (self.distribution, self.version)))
        return f"{self.name} ({origin})" if origin else self.name

    @property
    def key(self) -> tuple[str, str]:
        """Two distributions may use one entry-point name."""
        return (self.name, self.distribution)

    def info(self) -> PluginInfo:
        """As the home panel shows it."""
        return PluginInfo(
            name=self.name,
            version=self.version,
            state=self.state,  # type: ignore[arg-type]
            tasks=tuple(self.tasks),
            views=tuple(self.views),
            error=None if self.error is None else error_info(self.error),
        )


@dataclass(frozen=True)
class RegisteredTask:
    """A task and the plugin that brought it."""

    task: type[Task]
    plugin: Plugin

    def info(self) -> TaskInfo:
        """As the home panel shows it."""
        task = self.task
        title = task.title or task.name
        return TaskInfo(
            name=task.name, title=title, plugin=self.plugin.name, help=task.help,
            cell=cell_of(task),
        )  # fmt: skip


@dataclass(frozen=True)
class RegisteredView:
    """A view and the plugin that brought it."""

    view: type[View]
    plugin: Plugin


@dataclass(frozen=True)
class RegisteredCommand:
    """A command and the plugin that brought it."""

    command: type[Command]
    plugin: Plugin


class PluginHost:
    """All plugins of this process.

    Args:
        entry_points: Gives the entry points of group ``lmkit``; default: those installed.
        environ: Where the allow and block lists are read; default ``os.environ``.
    """

    def __init__(
        self,
        entry_points: EntryPoints | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._entry_points = entry_points or _installed
        self._environ = os.environ if environ is None else environ
        self._manager = _manager()
        self._plugins: dict[tuple[str, str], Plugin] = {}
        self._tasks: dict[str, RegisteredTask] = {}
        self._views: dict[str, RegisteredView] = {}
        self._commands: dict[str, RegisteredCommand] = {}
        self._lock = threading.RLock()

    # -- finding ----------------------------------------------------------------------------------

    def discover(self) -> None:
        """Load every installed plugin that is not loaded yet, one by one; never raises."""
        with self._lock:
            for entry_point in sorted(self._entry_points(), key=_order):
                plugin = _describe(entry_point)
                if plugin.key not in self._plugins:
                    self._load(entry_point, plugin)

    def rescan(self) -> list[Plugin]:
        """Look again, after a ``pip install`` or ``uninstall`` in this environment.

        New plugins are loaded, removed ones dropped, upgraded and quarantined ones loaded anew.

        Returns:
            The plugins whose state or version is another than before.
        """
        with self._lock:
            importlib.invalidate_caches()
            before = {key: (plugin.version, plugin.state) for key, plugin in self._plugins.items()}
            found = {
                _describe(entry_point).key: entry_point for entry_point in self._entry_points()
            }
            for key, plugin in list(self._plugins.items()):
                entry_point = found.get(key)
                if plugin.module == "" and plugin.distribution == "":
                    continue  # registered by hand, not by an entry point
                if entry_point is None:
                    self._drop(plugin)
                elif plugin.state != "ready" or _describe(entry_point).version != plugin.version:
                    self._drop(plugin)
                    if plugin.state != "blocked":  # who imported a blocked one goes on with it
                        _forget_modules(plugin.module)
            self.discover()
            return [
                plugin
                for key, plugin in self._plugins.items()
                if before.get(key) != (plugin.version, plugin.state)
            ]

    def register(self, module: Any, name: str) -> Plugin:
        """Register a plugin object by hand, as a notebook that develops one does.

        Raises:
            PluginError: it did not pass the door; it is listed as quarantined too.
        """
        with self._lock:
            plugin = Plugin(name=name)
            if plugin.key in self._plugins:
                self._drop(self._plugins[plugin.key])
            self._plugins[plugin.key] = plugin
            try:
                self._admit(module, plugin)
            except (Exception, SystemExit) as error:
                raise self.quarantine(plugin, error) from error
            return plugin

    # -- asking -----------------------------------------------------------------------------------

    @property
    def plugins(self) -> list[Plugin]:
        """All plugins that were found, by name."""
        return sorted(self._plugins.values(), key=lambda plugin: plugin.key)

    @property
    def tasks(self) -> list[RegisteredTask]:
        """All tasks that can be run, by name."""
        return [self._tasks[name] for name in sorted(self._tasks)]

    def task(self, name: str) -> RegisteredTask:
        """The task of this name.

        Raises:
            UnknownTaskError: with the nearest names, and the broken plugins that may have had it.
        """
        found = self._tasks.get(name)
        if found is not None:
            return found
        near = difflib.get_close_matches(name, self._tasks, n=1, cutoff=0.5)
        if near:
            hint = f"Did you mean {near[0]}?"
        elif self._tasks:
            hint = f"There are: {', '.join(sorted(self._tasks))}."
        else:
            hint = "No plugin is installed: pip install lmkit-classification."
        broken = [plugin.name for plugin in self.plugins if plugin.state == "quarantined"]
        if broken:
            hint += f" Not working: {', '.join(broken)} (see %lmkit plugins)."
        raise UnknownTaskError(f"There is no task {name!r}.", hint=hint)

    def fitting(self, auto_class: str) -> list[RegisteredTask]:
        """The tasks that take models of an auto class, or any model, by name."""
        return [
            one
            for one in self.tasks
            if not {auto_class, "AutoModel"}.isdisjoint(one.task.auto_class.split("|"))
        ]

    def with_fitting(self, error: WrongModelKindError) -> WrongModelKindError:
        """The same error, whose hint also says which tasks fit the model, and how to call them."""
        if not error.suited:
            return error
        named = ", ".join(
            f"{one.task.name} (%%lm {one.task.name}, .{verb_of(one.task)}())"
            for one in self.fitting(error.suited)
        )
        fit = f"Tasks that fit this model: {named}." if named else "No installed task fits it."
        return WrongModelKindError(
            error.message,
            hint=f"{error.hint} {fit}".strip(),
            details=error.details,
            suited=error.suited,
        )

    @property
    def views(self) -> list[RegisteredView]:
        """All views of a captured pass, in the order in which they were registered."""
        return list(self._views.values())

    def view(self, name: str) -> RegisteredView:
        """The view of this name.

        Raises:
            NoSuchViewError: with the nearest names.
        """
        found = self._views.get(name)
        if found is not None:
            return found
        near = difflib.get_close_matches(name, self._views, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(self._views)}."
        raise NoSuchViewError(f"There is no view {name!r}.", hint=hint)

    def jobs(self) -> list[Job]:
        """Long work that plugins know of; a plugin that fails at this is set aside."""
        found: list[Job] = []
        for hook in self._manager.hook.lmkit_list_jobs.get_hookimpls():
            try:
                listed: tuple[Any, ...] = tuple(cast("Any", hook.function)())
                if not all(isinstance(one, Job) for one in listed):
                    raise TaskError("lmkit_list_jobs() gave what is no lmkit.api.Job.")
                found += listed
            except (Exception, SystemExit) as error:
                plugin = self._by_module(hook.plugin_name)
                if plugin is None:
                    raise
                self.quarantine(plugin, error)
        return found

    def _by_module(self, name: str) -> Plugin | None:
        return next((one for one in self.plugins if "/".join(one.key) == name), None)

    @property
    def commands(self) -> list[RegisteredCommand]:
        """All verbs of the command line that plugins bring, by name."""
        return [self._commands[name] for name in sorted(self._commands)]

    def command(self, name: str) -> RegisteredCommand | None:
        """The command of this name, or None."""
        return self._commands.get(name)

    def by_verb(self, verb: str) -> RegisteredTask | None:
        """The task that a method name stands for, or None."""
        return next((one for one in self._tasks.values() if verb_of(one.task) == verb), None)

    # -- isolating --------------------------------------------------------------------------------

    def quarantine(self, plugin: Plugin, error: BaseException) -> PluginError:
        """Set a plugin aside with its error; the traceback is kept in ``error.details``.

        After a failed *call* its tasks stay listed: the next run that the user starts is a new
        chance, and :meth:`release` lifts the quarantine when it succeeds.
        """
        named = isinstance(error, LmkitError) and plugin.name in error.message
        if isinstance(error, PluginError) and named:
            wrapped = error
        elif isinstance(error, LmkitError):
            kind = type(error) if isinstance(error, PluginError) else PluginError
            wrapped = kind(
                f"Plugin {plugin.title}: {error.message}",
                hint=error.hint,
                details=error.details,
            )
        else:
            info = error_info(error)
            wrapped = PluginError(
                f"Plugin {plugin.title} failed: {info.message}",
                hint=f"`%lmkit plugins {plugin.name}` shows its traceback.",
                details=info.details,
            )
        if not wrapped.details and error.__traceback__ is not None:
            wrapped.details = "".join(traceback.format_exception(error))
        plugin.state, plugin.error = "quarantined", wrapped
        return wrapped

    def release(self, plugin: Plugin) -> None:
        """Lift the quarantine of a plugin whose call succeeded."""
        if plugin.state == "quarantined":
            plugin.state, plugin.error = "ready", None

    # -- inside -----------------------------------------------------------------------------------

    def _load(self, entry_point: importlib.metadata.EntryPoint, plugin: Plugin) -> None:
        twin = next(
            (other for other in self._plugins.values() if other.name == plugin.name),
            None,
        )
        self._plugins[plugin.key] = plugin
        reason = self._blocked(plugin.name)
        if reason:
            plugin.state = "blocked"
            plugin.error = PluginError(f"Plugin {plugin.title} is not loaded: {reason}.")
            return
        try:
            if twin is not None and twin.state == "ready":
                raise DuplicateNameError(
                    f"Two plugins are named {plugin.name}: {twin.title} and {plugin.title}.",
                    hint=f"{twin.title} is in use. Uninstall one of them.",
                )
            self._admit(_import(entry_point), plugin)
        except (
            Exception,
            SystemExit,
        ) as error:  # a plugin may call sys.exit() when imported
            self.quarantine(plugin, error)

    def _blocked(self, name: str) -> str:
        allowed = _names(self._environ.get(ALLOW_VARIABLE))
        if allowed is not None and name not in allowed:
            return f"{ALLOW_VARIABLE} does not name it"
        if name in (_names(self._environ.get(BLOCK_VARIABLE)) or ()):
            return f"{BLOCK_VARIABLE} names it"
        return ""

    def _admit(self, module: Any, plugin: Plugin) -> None:
        _check_host_api(module, plugin)
        tasks, views, commands = self._try_out(module, plugin)
        for task in tasks:
            self._check_unique(task, plugin)
        for view in views:
            taken = self._views.get(view.name)
            if taken is not None:
                raise _taken("view", view.name, plugin, taken.plugin)
        for command in commands:
            used = self._commands.get(command.name)
            if used is not None:
                raise _taken("command", command.name, plugin, used.plugin)
        self._manager.register(module, name="/".join(plugin.key))
        for task in tasks:
            self._tasks[task.name] = RegisteredTask(task, plugin)
            plugin.tasks.append(task.name)
        for view in views:
            self._views[view.name] = RegisteredView(view, plugin)
            plugin.views.append(view.name)
        for command in commands:
            self._commands[command.name] = RegisteredCommand(command, plugin)
            plugin.commands.append(command.name)

    def _try_out(
        self, module: Any, plugin: Plugin
    ) -> tuple[list[type[Task]], list[type[View]], list[type[Command]]]:
        """Register with a manager of its own, so that a failure leaves no trace in the real one."""
        trial = _manager()
        try:
            trial.register(module, name=plugin.name)
            trial.check_pending()  # register() alone lets a misspelt hook through
        except pluggy.PluginValidationError as error:
            raise RegistrationError(
                f"Plugin {plugin.title} does not fit the hooks: {_first_line(error)}.",
                hint=f"The hooks are: {', '.join(_hook_names())}.",
            ) from error
        if not trial.get_hookcallers(module):
            raise RegistrationError(
                f"Plugin {plugin.title} implements no hook.",
                hint="Mark its functions with @lmkit.api.hookimpl.",
            )
        tasks = _collect(trial.hook.lmkit_register_tasks, check_task, "task", plugin)
        views = _collect(trial.hook.lmkit_register_views, check_view, "view", plugin)
        hook = trial.hook.lmkit_register_commands
        commands = _collect(hook, check_command, "command", plugin)
        return tasks, views, commands

    def _check_unique(self, task: type[Task], plugin: Plugin) -> None:
        for other in self._tasks.values():
            same_verb = verb_of(other.task) == verb_of(task)
            if other.task.name == task.name or same_verb:
                what = "task" if other.task.name == task.name else "verb"
                name = task.name if what == "task" else verb_of(task)
                raise _taken(what, name, plugin, other.plugin)

    def _drop(self, plugin: Plugin) -> None:
        del self._plugins[plugin.key]
        for name in plugin.tasks:
            self._tasks.pop(name, None)
        for name in plugin.views:
            self._views.pop(name, None)
        for name in plugin.commands:
            self._commands.pop(name, None)
        registered = self._manager.get_plugin("/".join(plugin.key))
        if registered is not None:
            self._manager.unregister(registered)


def _collect(
    hook: Any, check: Callable[[object], type[Named]], what: str, plugin: Plugin
) -> list[type[Named]]:
    """Call one registering hook of one plugin, and check what it registers."""
    found: list[type[Named]] = []

    def register(declared: type[Named]) -> None:
        checked = check(declared)
        if any(other.name == checked.name for other in found):
            raise DuplicateNameError(
                f"Plugin {plugin.title} registers two {what}s named {checked.name}."
            )
        found.append(checked)

    returned: Sequence[object] = hook(register=register)
    if returned:  # pluggy leaves out implementations that return None
        raise RegistrationError(
            f"Plugin {plugin.title} returned {returned[0]!r:.80} from lmkit_register_{what}s.",
            hint=f"Call register(My{what.title()}) and return nothing.",
        )
    return found


def _taken(what: str, name: str, plugin: Plugin, other: Plugin) -> DuplicateNameError:
    return DuplicateNameError(
        f"The {what} {name} of plugin {plugin.title} is taken by plugin {other.title}.",
        hint=f"Uninstall one of them, or set {BLOCK_VARIABLE}={other.name}.",
    )


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("lmkit")
    manager.add_hookspecs(hookspecs)
    return manager


def _hook_names() -> list[str]:
    return sorted(name for name in vars(hookspecs) if name.startswith("lmkit_"))


def _installed() -> Iterable[importlib.metadata.EntryPoint]:
    return importlib.metadata.entry_points(group=GROUP)


def _order(entry_point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    return _describe(entry_point).key


def _describe(entry_point: importlib.metadata.EntryPoint) -> Plugin:
    distribution = entry_point.dist
    return Plugin(
        name=entry_point.name,
        distribution=distribution.name if distribution else "",
        version=distribution.version if distribution else "",
        module=entry_point.module,
    )


def _import(entry_point: importlib.metadata.EntryPoint) -> Any:
    try:
        return entry_point.load()
    except ModuleNotFoundError:
        # An editable install made after this process began: its .pth file has not been read.
        if not _read_new_path_files():
            raise
        return entry_point.load()


def _read_new_path_files() -> bool:
    before = list(sys.path)
    known = {os.path.normcase(path) for path in before}
    hooks = len(sys.meta_path)
    for folder in map(Path, before):
        if folder.name in ("site-packages", "dist-packages") and folder.is_dir():
            for path_file in sorted(folder.glob("*.pth")):
                if path_file.name != "distutils-precedence.pth":
                    site.addpackage(str(folder), path_file.name, known)
    importlib.invalidate_caches()
    return sys.path != before or len(sys.meta_path) != hooks


def _forget_modules(module: str) -> None:
    """Forget a plugin's own package, so that it is imported anew."""
    parts = module.split(".")
    if parts[0] == __name__.partition(".")[0]:
        return  # lmkit's own views: importing the host anew under its user would tear it in two
    top = sys.modules.get(parts[0])
    shared = top is not None and getattr(top, "__file__", None) is None  # a namespace package
    own = ".".join(parts[:2] if shared else parts[:1])
    for name in list(sys.modules):
        if name == own or name.startswith(own + "."):
            del sys.modules[name]


def _names(value: str | None) -> list[str] | None:
    if value is None or not value.strip():
        return None
    return [name.strip() for name in value.split(",") if name.strip()]


def _check_host_api(module: Any, plugin: Plugin) -> None:
    declared = getattr(module, "lmkit_host_api", None)
    if declared is None:
        return
    version = ".".join(map(str, HOST_API))
    try:
        fits = version in SpecifierSet(declared)
    except (InvalidSpecifier, TypeError, AttributeError) as error:
        raise HostApiError(
            f"Plugin {plugin.title} declares lmkit_host_api = {declared!r}, which is no range.",
            hint="Write a version range such as '>=1,<2'.",
        ) from error
    if not fits:
        raise HostApiError(
            f"Plugin {plugin.title} is written for host API {declared}; this lmkit has {version}.",
            hint="Install a version of the plugin, or of lmkit, that fits.",
        )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines).rstrip(".") if lines else type(error).__name__
