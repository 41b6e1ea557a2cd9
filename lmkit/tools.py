"""What lmkit lends to the commands of plugins (:class:`lmkit.api.Tools`)."""

from __future__ import annotations

from typing import Any

from lmkit.host import RegisteredCommand
from lmkit.kernel_session import current_host, current_session
from lmkit.lending import LentTools

__all__ = ["KernelTools", "caller"]


class KernelTools(LentTools):
    """The tools of this process's session."""

    def __init__(self) -> None:
        super().__init__(lambda: current_session().models)


def caller(name: str) -> Any:
    """The function behind ``lmkit.NAME``, or None where no plugin brings one."""
    from lmkit.api import Command

    found: RegisteredCommand | None = current_host().command(name.replace("_", "-"))
    if found is None or found.command.call is Command.call:
        return None
    command = found.command()

    def call(*args: Any, **values: Any) -> Any:
        return command.call(KernelTools(), *args, **values)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = type(command).call.__doc__
    return call
