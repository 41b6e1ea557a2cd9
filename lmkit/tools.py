"""What lmkit lends to the commands of plugins (:class:`lmkit.api.Tools`)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from lmkit.host import RegisteredCommand
from lmkit.kernel_session import current_host, current_session

if TYPE_CHECKING:
    from lmkit.api import LoadedModel

__all__ = ["KernelTools", "caller"]


class KernelTools:
    """The tools of this process's session."""

    def model(
        self,
        source: Any,
        auto_class: str = "AutoModel",
        *,
        tokenizer: Any = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> LoadedModel:
        """See :meth:`lmkit.api.Tools.model`."""
        return current_session().models.get(
            source, auto_class, tokenizer=tokenizer, device=device, dtype=dtype
        )

    def capture(
        self, model: Any, *, values: bool = False, gradients: bool = False
    ) -> AbstractContextManager[Any]:
        """See :meth:`lmkit.api.Tools.capture`."""
        from lmkit.models.recording import record

        return record(model, values=values, gradients=gradients)


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
