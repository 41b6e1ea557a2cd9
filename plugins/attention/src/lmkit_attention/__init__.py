"""One pass of any model over a text, to explore its attention without any task."""

from __future__ import annotations

from collections.abc import Sequence

from lmkit.api import Field, LoadedModel, RegisterTask, Result, Task, hookimpl

__all__ = ["AttentionOfAnyModel", "lmkit_host_api", "lmkit_register_tasks"]

lmkit_host_api = ">=1,<2"


class AttentionOfAnyModel(Task):
    """A captured pass; what there is to see is the attention itself."""

    name = "attention"
    title = "Attention"
    help = "One pass of any model over a text: every head of its attention, without a task."
    auto_class = "AutoModel"
    default_model = "starter:encoder"
    fields = (
        Field.text("text", label="Text", placeholder="A text to read"),
        Field.text(
            "pair",
            label="Second text",
            help="For models that read two texts at once.",
            required=False,
        ),
    )

    def run(self, model: LoadedModel, *, text: str, pair: str) -> Sequence[Result]:
        """One forward pass; the explorer shows what it captured."""
        model.trace(text, pair or None)
        return ()


@hookimpl
def lmkit_register_tasks(register: RegisterTask) -> None:
    """Offer the task."""
    register(AttentionOfAnyModel)
