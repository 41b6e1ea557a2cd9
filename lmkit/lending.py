"""What lmkit lends to plugins (:class:`lmkit.api.Tools`), from a given store of models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmkit.api import LoadedModel, RowTable
    from lmkit.models import ModelStore

__all__ = ["LentTools"]


class LentTools:
    """The tools of one session.

    Args:
        models: Gives its models; asked when the first is needed.
    """

    def __init__(self, models: Callable[[], ModelStore]) -> None:
        self._models = models

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
        return self._models().get(
            source,
            auto_class,
            tokenizer=tokenizer,
            device=device,
            dtype=dtype,
            untrained=True,  # commands may train it
        )

    @contextmanager
    def loading(self) -> Iterator[None]:
        """See :meth:`lmkit.api.Tools.loading`."""
        from lmkit.models.loading import one_at_a_time, waiting_for
        from lmkit.models.quiet import quietly

        with waiting_for(one_at_a_time), quietly():
            yield

    def capture(
        self, model: Any, *, values: bool = False, gradients: bool = False
    ) -> AbstractContextManager[Any]:
        """See :meth:`lmkit.api.Tools.capture`."""
        from lmkit.models.recording import record

        return record(model, values=values, gradients=gradients)

    def rows(self, data: Any) -> RowTable:
        """See :meth:`lmkit.api.Tools.rows`."""
        from lmkit.datasets import open_rows

        return open_rows(data)
