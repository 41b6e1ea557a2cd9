"""Text classification: label probabilities of a text or of a data set, and zero-shot labels."""

from __future__ import annotations

from lmkit.api import RegisterTask, hookimpl
from lmkit_classification.task import Classification
from lmkit_classification.zero_shot import ZeroShot

__all__ = ["Classification", "ZeroShot", "lmkit_host_api", "lmkit_register_tasks"]

lmkit_host_api = ">=1,<2"


@hookimpl
def lmkit_register_tasks(register: RegisterTask) -> None:
    """Offer the tasks."""
    register(Classification)
    register(ZeroShot)
