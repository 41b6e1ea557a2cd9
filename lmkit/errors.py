"""One tree of errors. Each says what happened and what to do next.

Every error that lmkit raises on purpose derives from :class:`LmkitError`. The front end, the
magics and the command line show ``message`` and ``hint`` and keep ``details`` behind a click,
so a user never meets a bare traceback for something that lmkit foresaw.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AttentionUnavailableError",
    "BudgetExceededError",
    "Cancelled",
    "CaptureError",
    "DataSetError",
    "DeviceError",
    "DeviceMemoryError",
    "DuplicateNameError",
    "FieldError",
    "HostApiError",
    "LmkitError",
    "MissingHeadWarning",
    "ModelError",
    "ModelNotFoundError",
    "NoSuchViewError",
    "PluginError",
    "ProtocolError",
    "RegistrationError",
    "RemoteCodeError",
    "SaveError",
    "SettingError",
    "StarterError",
    "TaskError",
    "UnknownSessionError",
    "UnknownTaskError",
    "UnknownViewError",
    "UnsafeCheckpointError",
    "WrongModelKindError",
]


class LmkitError(Exception):
    """Base of all errors that lmkit raises on purpose.

    Args:
        message: One sentence: what happened, naming the plugin, model, field or row.
        hint: What the user can do about it; empty when there is nothing to advise.
        details: Longer text for those who ask (a traceback, a file list); never shown first.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "", details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def _render_traceback_(self) -> list[str]:
        """Let IPython print the sentence instead of the stack (its own hook for this)."""
        lines = [f"{type(self).__name__}: {self.message}"]
        if self.hint:
            lines.append(self.hint)
        return lines


class PluginError(LmkitError):
    """A plugin failed; the host went on without it."""

    code = "plugin"


class RegistrationError(PluginError):
    """What a plugin registered is not what the hook asks for."""

    code = "plugin-registration"


class DuplicateNameError(RegistrationError):
    """Two plugins registered the same name."""

    code = "plugin-duplicate"


class HostApiError(PluginError):
    """The plugin was written for another range of the host API."""

    code = "plugin-host-api"


class TaskError(LmkitError):
    """A task could not be run."""

    code = "task"


class UnknownTaskError(TaskError):
    """No plugin offers a task of this name."""

    code = "task-unknown"


class FieldError(TaskError):
    """A field got a value that it does not take."""

    code = "field"


class DataSetError(TaskError):
    """A data set could not be read, or lacks what the task needs."""

    code = "data-set"


class ModelError(LmkitError):
    """A model could not be loaded or used."""

    code = "model"


class ModelNotFoundError(ModelError):
    """No such model, path or file."""

    code = "model-not-found"


class UnsafeCheckpointError(ModelError):
    """The checkpoint is a pickle, which can run code when it is read."""

    code = "model-unsafe"


class RemoteCodeError(ModelError):
    """The model wants to run code of its own from the hub."""

    code = "model-remote-code"


class WrongModelKindError(ModelError):
    """The model does not have the head that the task needs.

    Args:
        suited: The auto class that the model is of, where that is known: it says which tasks fit.
    """

    code = "model-kind"

    def __init__(
        self, message: str, *, hint: str = "", details: str = "", suited: str = ""
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.suited = suited


class DeviceError(ModelError):
    """The device asked for is not there or not usable."""

    code = "device"


class DeviceMemoryError(DeviceError):
    """The device ran out of memory."""

    code = "device-memory"


class StarterError(ModelError):
    """A starter model could not be installed or expanded."""

    code = "starter"


class CaptureError(LmkitError):
    """A forward pass could not be captured."""

    code = "capture"


class AttentionUnavailableError(CaptureError):
    """The model, or a layer of it, has no attention that could be shown."""

    code = "capture-no-attention"


class BudgetExceededError(CaptureError):
    """More bytes were asked for than the budget allows."""

    code = "budget"


class SaveError(LmkitError):
    """A view could not be saved as asked."""

    code = "save"


class SettingError(LmkitError):
    """A setting got a value that it does not take."""

    code = "setting"


class ProtocolError(LmkitError):
    """A message is not of the protocol, or asks for what cannot be."""

    code = "protocol"


class UnknownSessionError(ProtocolError):
    """The view belongs to a kernel session that is no more."""

    code = "unknown-session"


class UnknownViewError(ProtocolError):
    """The session holds no view of this id."""

    code = "unknown-view"


class NoSuchViewError(LmkitError):
    """No installed plugin brings a view of this name."""

    code = "no-such-view"


class Cancelled(LmkitError):  # noqa: N818 - a user's wish, not an error
    """The user stopped the work. Not a failure: what was there before stays."""

    code = "cancelled"


class MissingHeadWarning(UserWarning):
    """Weights that the task's head needs were not in the checkpoint and are random."""
