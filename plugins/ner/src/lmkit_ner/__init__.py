"""Named entities: spans with scores, the labels of each token, and redaction of names."""

from __future__ import annotations

from lmkit.api import RegisterTask, hookimpl
from lmkit_ner.recognise import Ner
from lmkit_ner.redact import Redact
from lmkit_ner.redaction import Key, kernel_key

__all__ = ["Key", "Ner", "Redact", "kernel_key", "lmkit_host_api", "lmkit_register_tasks"]

lmkit_host_api = ">=1,<2"


@hookimpl
def lmkit_register_tasks(register: RegisterTask) -> None:
    """Offer the tasks."""
    for task in (Ner, Redact):
        register(task)
