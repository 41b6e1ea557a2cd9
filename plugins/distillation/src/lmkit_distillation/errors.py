"""What can go wrong in a distillation, each in one sentence with what to do next."""

from __future__ import annotations

from typing import ClassVar

from lmkit.api import LmkitError

__all__ = [
    "DataError",
    "DistillationError",
    "NotFiniteError",
    "PeerGoneError",
    "RecipeError",
    "ReportError",
    "RunFolderError",
]


class DistillationError(LmkitError):
    """A distillation could not go on; its run folder can be resumed."""

    code: ClassVar[str] = "distillation"


class RecipeError(DistillationError):
    """A recipe says something that cannot be; the message names the key."""

    code = "distillation-recipe"


class DataError(DistillationError):
    """A data file can't be read, or a row of it is not what its column promises."""

    code = "distillation-data"


class RunFolderError(DistillationError):
    """The run folder is of another recipe, in use, full, or damaged."""

    code = "distillation-folder"


class NotFiniteError(DistillationError):
    """A loss became NaN or infinite."""

    code = "distillation-nan"


class PeerGoneError(DistillationError):
    """Another process of the run ended without a word."""

    code = "distillation-peer"


class ReportError(DistillationError):
    """A report is missing, of another version, or damaged."""

    code = "distillation-report"
